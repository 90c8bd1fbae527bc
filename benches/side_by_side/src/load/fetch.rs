//! Fetching over and over what was produced before; the records are thrown away within the kernel.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::net::RecvFlags;
use wire::batch::Batches;

use crate::load::frames::{FetchFrame, read_fetch_head};
use crate::load::produce::{Done, dial};
use crate::server::Cluster;

/// One connection, which reads one partition from its start to its end and begins anew.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Whom it dials.
    pub port: u16,
    /// The topic.
    pub name: String,
    /// The partition.
    pub index: i32,
    /// Size of each batch there.
    pub batch_bytes: u64,
    /// Records of each batch there.
    pub batch_records: u64,
    /// How many batches there are.
    pub batches: u64,
}

/// Reads at least `bytes` with each lane, or for `limit`.
pub fn drive(cluster: &Cluster<'_>, lanes: Vec<Lane>, bytes: u64, limit: Duration) -> Result<Done> {
    let start = Arc::new(Barrier::new(lanes.len() + 1));
    let streams = lanes.iter().map(|lane| dial(lane.port)).collect::<Result<Vec<_>>>()?;
    let threads: Vec<_> = lanes
        .into_iter()
        .zip(streams)
        .map(|(lane, stream)| {
            let start = start.clone();
            std::thread::spawn(move || {
                start.wait();
                run(&lane, stream, bytes, limit)
            })
        })
        .collect();
    let cpu_before = cluster.cpu_seconds()?;
    start.wait();
    let begun = Instant::now();
    let mut done = Done::default();
    for thread in threads {
        let lane = thread.join().expect("a lane does not panic")?;
        done.requests += lane.requests;
        done.records += lane.records;
        done.bytes += lane.bytes;
    }
    done.seconds = begun.elapsed().as_secs_f64();
    done.cpu_seconds = cluster.cpu_seconds()? - cpu_before;
    Ok(done)
}

fn run(lane: &Lane, mut stream: TcpStream, bytes: u64, limit: Duration) -> Result<Done> {
    let begun = Instant::now();
    let mut frame = FetchFrame::new(&lane.name, lane.index, 500)?;
    let mut head = vec![0; 4 + frame.answer_head];
    let mut waste = vec![0; 1 << 20];
    let mut done = Done::default();
    let mut batch = 0;
    while done.bytes < bytes && begun.elapsed() < limit {
        frame.set_offset(i64::try_from(batch * lane.batch_records)?);
        stream.write_all(&frame.bytes)?;
        stream.read_exact(&mut head).context("no answer")?;
        let (error, partition_error, records) =
            read_fetch_head(&head, lane.name.len()).context("an answer without a head")?;
        ensure!((error, partition_error) == (0, 0), "a fetch was refused with {error} and {partition_error}");
        let records = u64::try_from(records)?;
        if done.requests == 0 {
            verify(&mut stream, records)?;
        } else {
            discard(&stream, records, &mut waste)?;
        }
        let whole = records / lane.batch_bytes;
        ensure!(whole > 0, "an answer of {records} bytes holds no batch of {}", lane.batch_bytes);
        done.requests += 1;
        done.bytes += records;
        done.records += whole * lane.batch_records;
        batch += whole;
        if batch >= lane.batches {
            batch = 0;
        }
    }
    Ok(done)
}

/// Has the kernel drop `count` bytes of the stream instead of copying them here.
fn discard(stream: &TcpStream, mut count: u64, waste: &mut [u8]) -> Result<()> {
    while count > 0 {
        let most = waste.len().min(usize::try_from(count)?);
        let (_, dropped) = rustix::net::recv(stream, &mut waste[..most], RecvFlags::TRUNC)?;
        ensure!(dropped > 0, "the server closed a connection");
        count -= dropped as u64;
    }
    Ok(())
}

/// The first answer is read and checked, so that nobody is fast with the wrong bytes.
fn verify(stream: &mut TcpStream, count: u64) -> Result<()> {
    let mut records = vec![0; usize::try_from(count)?];
    stream.read_exact(&mut records)?;
    let mut batches = 0;
    for batch in Batches::new(&records) {
        let Ok(batch) = batch else { break };
        batch.check_crc()?;
        batches += 1;
    }
    ensure!(batches > 0, "no batch came back");
    Ok(())
}
