//! Open loop: one record at a time at a fixed rate, and how long each took to reach a consumer.
//!
//! A record's time begins when it was due, not when it could be sent, so that a
//! server that stands still is charged for all that should have been sent meanwhile.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use wire::batch::Batches;

use crate::load::frames::{FetchFrame, ProduceFrame, read_fetch_head};
use crate::load::produce::{dial, whole};
use crate::server::Cluster;

/// How fast and how long.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Records a second.
    pub per_second: u32,
    /// So many records in all.
    pub records: u32,
    /// As many of the first ones do not count.
    pub warm: u32,
}

/// What was measured.
pub struct Outcome {
    /// From when a record was due until a consumer had it, sorted.
    pub latencies: Vec<Duration>,
    /// Processor time of the servers, warming included.
    pub cpu_seconds: f64,
}

impl Outcome {
    /// The latency that `share` of the records stay within, in milliseconds.
    pub fn percentile_ms(&self, share: f64) -> f64 {
        let place = (self.latencies.len() as f64 * share).ceil() as usize;
        let at = self.latencies.get(place.saturating_sub(1)).or(self.latencies.last());
        at.map_or(0.0, Duration::as_secs_f64) * 1e3
    }
}

impl Pace {
    fn due(&self, begun: Instant, number: u32) -> Instant {
        begun + Duration::from_secs(1) * number / self.per_second
    }
}

/// Produces to partition 0 of `name`, which is empty, and consumes from it, both at its leader.
pub fn drive(
    cluster: &Cluster<'_>,
    port: u16,
    name: &str,
    frame: ProduceFrame,
    pace: Pace,
) -> Result<Outcome> {
    let (sending, consuming) = (dial(port)?, dial(port)?);
    let acknowledged = sending.try_clone()?;
    let fetch = FetchFrame::new(name, 0, 500)?;
    let name_bytes = name.len();
    let cpu_before = cluster.cpu_seconds()?;
    // Everybody is ready before the first record is due.
    let begun = Instant::now() + Duration::from_millis(100);
    let expected = frame.clone();
    let producer = std::thread::spawn(move || send(sending, &frame, begun, pace));
    let acks = std::thread::spawn(move || count_acks(acknowledged, &expected, pace.records));
    let consumer = std::thread::spawn(move || consume(consuming, fetch, name_bytes, begun, pace));
    producer.join().expect("the producer does not panic")?;
    acks.join().expect("the reader of answers does not panic")?;
    let mut latencies = consumer.join().expect("the consumer does not panic")?;
    latencies.sort_unstable();
    Ok(Outcome { latencies, cpu_seconds: cluster.cpu_seconds()? - cpu_before })
}

fn send(mut stream: TcpStream, frame: &ProduceFrame, begun: Instant, pace: Pace) -> Result<()> {
    // The kernel may wake a sleeper 50 µs late by default, which would be most of what is measured.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1))?;
    for number in 0..pace.records {
        std::thread::sleep(pace.due(begun, number).saturating_duration_since(Instant::now()));
        stream.write_all(&frame.bytes)?;
    }
    Ok(())
}

fn count_acks(mut stream: TcpStream, frame: &ProduceFrame, mut left: u32) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut filled = 0;
    while left > 0 {
        let read = stream.read(&mut buffer[filled..]).context("no answer")?;
        ensure!(read > 0, "the server closed a connection");
        filled += read;
        let mut taken = 0;
        while let Some(answer) = whole(&buffer[taken..filled]) {
            ensure!(frame.is_taken(answer), "a produce request was refused: {}", frame.explain(answer));
            left -= 1;
            taken += answer.len();
        }
        buffer.copy_within(taken..filled, 0);
        filled -= taken;
    }
    Ok(())
}

fn consume(
    mut stream: TcpStream,
    mut fetch: FetchFrame,
    name_bytes: usize,
    begun: Instant,
    pace: Pace,
) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    let mut head = vec![0; 4 + fetch.answer_head];
    let mut records = Vec::new();
    let mut next = 0;
    while next < pace.records {
        fetch.set_offset(i64::from(next));
        stream.write_all(&fetch.bytes)?;
        stream.read_exact(&mut head).context("no answer")?;
        let (error, partition_error, length) =
            read_fetch_head(&head, name_bytes).context("an answer without a head")?;
        ensure!((error, partition_error) == (0, 0), "a fetch was refused with {error} and {partition_error}");
        records.resize(usize::try_from(length)?, 0);
        stream.read_exact(&mut records)?;
        let now = Instant::now();
        for batch in Batches::new(&records) {
            let header = batch?.header;
            let end = u32::try_from(header.base_offset.get() + i64::from(header.last_offset_delta) + 1)?;
            let counted = (next..end).filter(|&number| number >= pace.warm);
            latencies.extend(counted.map(|number| now.saturating_duration_since(pace.due(begun, number))));
            next = next.max(end);
        }
    }
    Ok(latencies)
}
