//! A node with a thousand partitions and a gigabyte of records is stopped or killed and started again.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::load::frames::{Batch, Fill, ProduceFrame};
use crate::load::produce::{Lane, Work, drive};
use crate::report::{Better, Metric};
use crate::scenario::{Scale, Scenario, create_many, first_acknowledged};
use crate::server::Cluster;

const PARTITIONS: u64 = 1_000;
const TOPIC: &str = "work";
const BATCHES: u64 = 16_384;
const FILL_MAX: Duration = Duration::from_secs(120);
const SERVES_WITHIN: Duration = Duration::from_secs(180);

/// In order, and by `kill -9`.
pub fn scenarios() -> Vec<Scenario> {
    let scenario = |name, about, is_clean| {
        Scenario::alone(name, about, 1, move |cluster, scale| run(cluster, scale, is_clean))
    };
    vec![
        scenario("restart-clean", "one node, 1,000 partitions and 1 GiB: SIGTERM, then started again", true),
        scenario("restart-unclean", "the same after kill -9", false),
    ]
}

fn run(cluster: &mut Cluster<'_>, scale: &Scale, is_clean: bool) -> Result<Vec<Metric>> {
    create_many(cluster, usize::try_from(scale.of(PARTITIONS))?)?;
    let port = cluster.create_topic(TOPIC, 1, &[])?[0];
    let batch = Batch::new(Fill::Bytes(64 << 10), scale.value_bytes)?;
    let lane = Lane { port, frames: vec![ProduceFrame::new(TOPIC, &[0], &batch, 1)?] };
    drive(cluster, vec![lane], Work { requests: scale.of(BATCHES), limit: FILL_MAX, ..Work::default() })?;
    let mut metrics = Vec::new();
    let mut note = |figure, took: Duration| {
        let value = took.as_secs_f64() * 1e3;
        metrics.push(Metric { figure, better: Better::Lower, value, goal: None });
    };
    if is_clean {
        let begun = Instant::now();
        cluster.node(1)?.stop()?;
        note("ms to the end", begun.elapsed());
    } else {
        cluster.node(1)?.kill()?;
    }
    cluster.spawn(1)?;
    note("ms to the first record", first_acknowledged(port, TOPIC, 0, SERVES_WITHIN)?);
    Ok(metrics)
}
