//! Closed-loop producing: each connection keeps so many requests in flight until the work is done.

use std::collections::VecDeque;
use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::load::frames::ProduceFrame;
use crate::server::Cluster;

/// As many requests as Java's producer has in flight on a connection.
pub const IN_FLIGHT: usize = 5;
/// A server that says nothing for so long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// One connection and what it sends, again and again.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Whom it dials.
    pub port: u16,
    /// Sent in turn.
    pub frames: Vec<ProduceFrame>,
}

/// When a run ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    /// After so many requests.
    pub requests: u64,
    /// Not before so long: processor time is told in steps of 10 ms.
    pub least: Duration,
    /// After so long in any case.
    pub limit: Duration,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Requests answered.
    pub requests: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of their batches.
    pub bytes: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Processor time of the servers meanwhile.
    pub cpu_seconds: f64,
}

/// What the lanes share.
struct Shared {
    left: AtomicI64,
    start: Barrier,
    least: Duration,
    limit: Duration,
    requests: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
}

impl Shared {
    /// Takes one request from those that are left.
    fn goes_on(&self, elapsed: Duration) -> bool {
        elapsed < self.limit && (self.left.fetch_sub(1, Ordering::Relaxed) > 0 || elapsed < self.least)
    }
}

/// Does `work` over `lanes`.
pub fn drive(cluster: &Cluster<'_>, lanes: Vec<Lane>, work: Work) -> Result<Done> {
    let shared = Arc::new(Shared {
        left: AtomicI64::new(i64::try_from(work.requests).unwrap_or(i64::MAX)),
        start: Barrier::new(lanes.len() + 1),
        least: work.least,
        limit: work.limit,
        requests: AtomicU64::new(0),
        records: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
    });
    let streams = lanes.iter().map(|lane| dial(lane.port)).collect::<Result<Vec<_>>>()?;
    let threads: Vec<_> = lanes
        .into_iter()
        .zip(streams)
        .map(|(lane, stream)| {
            let shared = shared.clone();
            std::thread::spawn(move || run(&lane, stream, &shared))
        })
        .collect();
    let cpu_before = cluster.cpu_seconds()?;
    shared.start.wait();
    let begun = Instant::now();
    for thread in threads {
        thread.join().expect("a lane does not panic")?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let done = Done {
        requests: shared.requests.load(Ordering::Relaxed),
        records: shared.records.load(Ordering::Relaxed),
        bytes: shared.bytes.load(Ordering::Relaxed),
        seconds,
        cpu_seconds: cluster.cpu_seconds()? - cpu_before,
    };
    ensure!(done.requests > 0, "no request was answered");
    Ok(done)
}

/// A connection as the load wants it.
pub fn dial(port: u16) -> Result<TcpStream> {
    let stream =
        TcpStream::connect(("127.0.0.1", port)).with_context(|| format!("nobody listens on {port}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    Ok(stream)
}

fn run(lane: &Lane, mut stream: TcpStream, shared: &Shared) -> Result<()> {
    shared.start.wait();
    let begun = Instant::now();
    let mut next = 0;
    let mut in_flight: VecDeque<usize> = VecDeque::new();
    let mut buffer = vec![0; 64 << 10];
    let mut filled = 0;
    loop {
        let mut slices = Vec::new();
        while in_flight.len() < IN_FLIGHT && shared.goes_on(begun.elapsed()) {
            slices.push(IoSlice::new(&lane.frames[next].bytes));
            in_flight.push_back(next);
            next = (next + 1) % lane.frames.len();
        }
        write_all(&mut stream, &mut slices)?;
        if in_flight.is_empty() {
            return Ok(());
        }
        let read = stream.read(&mut buffer[filled..]).context("no answer")?;
        ensure!(read > 0, "the server closed a connection");
        filled += read;
        let mut taken = 0;
        while let Some(answer) = whole(&buffer[taken..filled]) {
            let sent = in_flight.pop_front().context("an answer that nobody waits for")?;
            note(&lane.frames[sent], answer, shared)?;
            taken += answer.len();
        }
        buffer.copy_within(taken..filled, 0);
        filled -= taken;
    }
}

fn note(frame: &ProduceFrame, answer: &[u8], shared: &Shared) -> Result<()> {
    ensure!(frame.is_taken(answer), "a produce request was refused: {}", frame.explain(answer));
    shared.requests.fetch_add(1, Ordering::Relaxed);
    shared.records.fetch_add(frame.records, Ordering::Relaxed);
    shared.bytes.fetch_add(frame.batch_bytes, Ordering::Relaxed);
    Ok(())
}

/// The whole frame at the front of `bytes`, its length included.
pub fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let length = u32::from_be_bytes(*bytes.first_chunk()?) as usize;
    bytes.get(..4 + length)
}

fn write_all(stream: &mut TcpStream, mut slices: &mut [IoSlice<'_>]) -> Result<()> {
    while !slices.is_empty() {
        let written = stream.write_vectored(slices)?;
        ensure!(written > 0, "the server reads no more");
        IoSlice::advance_slices(&mut slices, written);
    }
    Ok(())
}
