//! Catch-up replication: a node comes back and takes what was written while it was away.
//!
//! Its speed is told from its first new byte on, so that the start of a process, and of
//! a JVM, counts only where the whole way back is told.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::client::Client;
use crate::load::frames::{Batch, Fill, ProduceFrame};
use crate::load::produce::{Lane, Work, drive};
use crate::report::{Better, Metric};
use crate::scenario::{Scale, Scenario};
use crate::server::Cluster;

const TOPIC: &str = "missed";
const PARTITIONS: i32 = 12;
/// The one that is away.
const ABSENT: i32 = 3;
/// 2 GiB of 64 KiB batches.
const BATCHES: u64 = 32_768;
const FILL_MAX: Duration = Duration::from_secs(180);
const BACK_WITHIN: Duration = Duration::from_secs(180);
const POLL_PAUSE: Duration = Duration::from_millis(5);

/// The one.
pub fn scenarios() -> Vec<Scenario> {
    vec![Scenario::alone(
        "catch-up",
        "three nodes, 12 partitions: one was stopped while 2 GiB were written, and comes back",
        3,
        run,
    )]
}

fn run(cluster: &mut Cluster<'_>, scale: &Scale) -> Result<Vec<Metric>> {
    cluster.create_topic(TOPIC, PARTITIONS, &[])?;
    cluster.node(ABSENT)?.stop()?;
    let missed = write(cluster, scale)?;
    let mut client = cluster.client()?;
    await_in_sync(&mut client, 2)?;
    // What is still to be written back would slow the measured part down.
    rustix::fs::sync();
    let data = cluster.node(ABSENT)?.data.clone();
    let stored = stored_bytes(&data)?;
    let begun = Instant::now();
    cluster.spawn(ABSENT)?;
    while stored_bytes(&data)? <= stored {
        ensure!(begun.elapsed() < BACK_WITHIN, "node {ABSENT} fetched nothing within {BACK_WITHIN:?}");
        std::thread::sleep(POLL_PAUSE);
    }
    let (cpu_before, first) = (cluster.cpu_seconds()?, Instant::now());
    await_in_sync(&mut client, 3)?;
    let (rate, all) = (missed as f64 / first.elapsed().as_secs_f64(), begun.elapsed());
    let cpu_seconds = cluster.cpu_seconds()? - cpu_before;
    let lower = |figure, value| Metric { figure, better: Better::Lower, value, goal: None };
    Ok(vec![
        Metric { figure: "MB/s", better: Better::Higher, value: rate / 1e6, goal: None },
        lower("CPU-s a GB", cpu_seconds / (missed as f64 / 1e9)),
        lower("s from its start until in sync", all.as_secs_f64()),
    ])
}

/// Writes to whoever leads now; how many bytes that were.
fn write(cluster: &Cluster<'_>, scale: &Scale) -> Result<u64> {
    let metadata = cluster.client()?.await_leaders(Some(TOPIC), usize::try_from(PARTITIONS)?)?;
    let mut led: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for partition in metadata.topics.iter().flat_map(|topic| &topic.partitions) {
        led.entry(partition.leader_id.0).or_default().push(partition.partition_index);
    }
    ensure!(!led.contains_key(&ABSENT), "node {ABSENT} leads after it was stopped");
    let batch = Batch::new(Fill::Bytes(64 << 10), scale.value_bytes)?;
    let mut lanes = Vec::new();
    for (leader, partitions) in led {
        let node = cluster.nodes.iter().find(|node| node.id == leader).context("a leader that is no node")?;
        let frames = partitions.iter().map(|&index| ProduceFrame::new(TOPIC, &[index], &batch, 1));
        lanes.push(Lane { port: node.port, frames: frames.collect::<Result<_>>()? });
    }
    let work = Work { requests: scale.of(BATCHES), limit: FILL_MAX, ..Work::default() };
    Ok(drive(cluster, lanes, work)?.bytes)
}

/// Waits until every partition has exactly so many replicas in sync.
fn await_in_sync(client: &mut Client, replicas: usize) -> Result<()> {
    let begun = Instant::now();
    loop {
        let now = client.metadata(Some(TOPIC))?;
        let mut partitions = now.topics.iter().flat_map(|topic| &topic.partitions);
        if partitions.all(|partition| partition.isr_nodes.len() == replicas) {
            return Ok(());
        }
        ensure!(begun.elapsed() < BACK_WITHIN, "not {replicas} replicas in sync after {BACK_WITHIN:?}");
        std::thread::sleep(POLL_PAUSE);
    }
}

/// Bytes of the topic's segments in a data directory.
fn stored_bytes(data: &Path) -> Result<u64> {
    let mut bytes = 0;
    for dir in fs::read_dir(data)? {
        let dir = dir?;
        if !dir.file_name().to_str().is_some_and(|name| name.starts_with(TOPIC)) {
            continue;
        }
        for file in fs::read_dir(dir.path())? {
            let file = file?;
            if file.path().extension().is_some_and(|extension| extension == "log") {
                bytes += file.metadata()?.len();
            }
        }
    }
    Ok(bytes)
}
