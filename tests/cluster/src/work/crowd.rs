//! Clients that ask without a pause, each with many requests on their way, until the node spreads them over its
//! threads: every answer must come, in its order, on the connection that asked.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::cluster::{Cluster, Shape};

const CLIENTS: usize = 6;
/// Requests on their way on one connection.
const WINDOW: i32 = 64;
/// Nobody waits longer for connections to be spread.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The node's second thread for connections, as `net` names it.
const SECOND_THREAD: &str = "connections-1";

/// Runs until connections were moved. Answers how many requests were answered in order.
pub fn run() -> Result<u64> {
    let mut cluster = Cluster::start(Shape::of(1))?;
    let port = cluster.nodes.first().context("a node")?.client_port;
    let pid = cluster.node(1).pid().context("it runs")?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| ask(port, &stop))).collect();
        let spread = await_spread(pid);
        stop.store(true, Ordering::Relaxed);
        let mut answered = 0;
        for client in clients {
            answered += client.join().expect("a client does not panic")?;
        }
        spread.map(|()| answered)
    })
}

fn await_spread(pid: u32) -> Result<()> {
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        // One processor, one thread: only the order can be seen.
        std::thread::sleep(Duration::from_secs(1));
        return Ok(());
    }
    let deadline = Instant::now() + PATIENCE;
    while !has_worked(pid)? {
        ensure!(Instant::now() < deadline, "no connection was moved within {PATIENCE:?}");
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Whether the second thread has used the processor for 50 ms: it does nothing but serve connections.
fn has_worked(pid: u32) -> Result<bool> {
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = fs::read_to_string(task?.path().join("stat"))?;
        let Some((name, rest)) = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(") ")) else {
            bail!("a thread's stat without a name: {stat}");
        };
        if name == SECOND_THREAD {
            // From the state on: user and kernel time are the 12th and 13th, in hundredths of a second.
            let mut times = rest.split(' ').skip(11).map(|word| word.parse::<u64>().unwrap_or(0));
            return Ok(times.next().unwrap_or(0) + times.next().unwrap_or(0) >= 5);
        }
    }
    bail!("the node has no thread {SECOND_THREAD}")
}

/// Asks which APIs there are, over and over.
fn ask(port: u16, stop: &AtomicBool) -> Result<u64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut next_id = 0_i32;
    let mut answer = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let ids = next_id..next_id + WINDOW;
        next_id = ids.end;
        let asked: Vec<u8> = ids.clone().flat_map(frame).collect();
        stream.write_all(&asked)?;
        for id in ids {
            let mut length = [0; 4];
            stream.read_exact(&mut length).with_context(|| format!("no answer to request {id}"))?;
            answer.resize(u32::from_be_bytes(length) as usize, 0);
            stream.read_exact(&mut answer)?;
            let got = answer.first_chunk().map(|id| i32::from_be_bytes(*id));
            ensure!(got == Some(id), "request {id} was answered with {got:?}");
        }
    }
    Ok(u64::try_from(next_id)?)
}

/// ApiVersions 0 without a client id.
fn frame(id: i32) -> [u8; 14] {
    let mut frame = [0; 14];
    frame[3] = 10;
    frame[5] = 18;
    frame[8..12].copy_from_slice(&id.to_be_bytes());
    frame[12..].fill(0xff);
    frame
}
