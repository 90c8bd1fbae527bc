//! Fetching what was produced before: from the page cache, and from the disk where the cache can be dropped.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use rustix::fs::{Advice, fadvise};

use crate::load::fetch::{Lane, drive};
use crate::load::frames::{Batch, Fill, ProduceFrame};
use crate::load::produce::{Done, Lane as ProduceLane, Work, drive as produce};
use crate::report::{Better, Metric};
use crate::scenario::{Scale, Scenario};
use crate::server::Cluster;

const TOPIC: &str = "stored";
const PARTITIONS: i32 = 2;
/// 512 MiB of 64 KiB batches in each partition.
const BATCHES_EACH: u64 = 8_192;
/// Read from each partition, again and again.
const HOT_BYTES_EACH: u64 = 6 << 30;
const FILL_MAX: Duration = Duration::from_secs(120);

/// Hot and cold.
pub fn scenarios() -> Vec<Scenario> {
    let scenario = |name, about, run| Scenario {
        name,
        about,
        nodes: 1,
        has_floor: true,
        is_alone: false,
        is_huge: false,
        run,
    };
    vec![
        scenario("fetch-hot", "one node, two consumers, 1 MiB a fetch, from the page cache", Box::new(hot)),
        scenario("fetch-cold", "the same with an empty page cache", Box::new(cold)),
    ]
}

fn hot(cluster: &mut Cluster<'_>, scale: &Scale) -> Result<Vec<Metric>> {
    let lanes = fill(cluster, scale)?;
    let bytes = scale.of(HOT_BYTES_EACH);
    drive(cluster, lanes.clone(), bytes / 4, scale.limit())?;
    let done = drive(cluster, lanes, bytes, scale.limit())?;
    cluster.delete_topic(TOPIC)?;
    Ok(metrics(&done, Some(2.0), Some(0.6)))
}

fn cold(cluster: &mut Cluster<'_>, scale: &Scale) -> Result<Vec<Metric>> {
    let lanes = fill(cluster, scale)?;
    for node in &cluster.nodes {
        drop_cached(&node.data)?;
    }
    let stored = lanes.first().map_or(0, |lane| lane.batches * lane.batch_bytes);
    let before = cluster.disk_read_bytes();
    let done = drive(cluster, lanes, stored, 3 * scale.limit())?;
    let from_disk = cluster.disk_read_bytes() - before;
    cluster.delete_topic(TOPIC)?;
    let share = from_disk as f64 / done.bytes as f64;
    if share < 0.5 {
        eprintln!(
            "    the page cache could not be dropped: {:.0} % came from the disk; this is no cold read",
            share * 100.0
        );
    }
    let mut metrics = metrics(&done, None, None);
    metrics.push(Metric {
        figure: "% from the disk",
        better: Better::Neither,
        value: share * 100.0,
        goal: None,
    });
    Ok(metrics)
}

/// As many batches in each partition, all alike.
fn fill(cluster: &mut Cluster<'_>, scale: &Scale) -> Result<Vec<Lane>> {
    let leaders = cluster.create_topic(TOPIC, PARTITIONS, &[])?;
    let batch = Batch::new(Fill::Bytes(64 << 10), scale.value_bytes)?;
    let batches = scale.of(BATCHES_EACH);
    let mut lanes = Vec::new();
    for (index, port) in (0..).zip(leaders) {
        let frames = vec![ProduceFrame::new(TOPIC, &[index], &batch, 1)?];
        produce(
            cluster,
            vec![ProduceLane { port, frames }],
            Work { requests: batches, limit: FILL_MAX, ..Work::default() },
        )?;
        lanes.push(Lane {
            port,
            name: TOPIC.to_owned(),
            index,
            batch_bytes: batch.bytes.len() as u64,
            batch_records: batch.records,
            batches,
        });
    }
    Ok(lanes)
}

/// Writes every file back and asks the kernel to forget its pages.
fn drop_cached(dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            drop_cached(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "log") {
            let file = File::open(&path)?;
            file.sync_all()?;
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
    }
    Ok(())
}

fn metrics(done: &Done, throughput: Option<f64>, cpu: Option<f64>) -> Vec<Metric> {
    let megabytes = done.bytes as f64 / 1e6;
    vec![
        Metric { figure: "MB/s", better: Better::Higher, value: megabytes / done.seconds, goal: throughput },
        Metric {
            figure: "CPU-s a GB",
            better: Better::Lower,
            value: done.cpu_seconds / megabytes * 1e3,
            goal: cpu,
        },
    ]
}
