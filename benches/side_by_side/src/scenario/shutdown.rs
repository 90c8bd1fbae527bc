//! An orderly stop of one of three nodes: its leaders move first.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::client::Client;
use crate::report::{Better, Metric};
use crate::scenario::failover::victim_and_witness;
use crate::scenario::{Scale, Scenario, create_many, led_by};
use crate::server::Cluster;

const PARTITIONS: u64 = 1_000;
/// The witness may learn of the last move a moment after the process ended.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// The one.
pub fn scenarios() -> Vec<Scenario> {
    vec![Scenario::alone(
        "shutdown",
        "three nodes, 1,000 partitions, SIGTERM to a node that is no controller",
        3,
        run,
    )]
}

fn run(cluster: &mut Cluster<'_>, scale: &Scale) -> Result<Vec<Metric>> {
    create_many(cluster, usize::try_from(scale.of(PARTITIONS))?)?;
    let (victim, witness) = victim_and_witness(cluster, false)?;
    let mut client = Client::connect(witness)?;
    ensure!(led_by(&client.metadata(None)?, victim) > 0, "node {victim} leads nothing");
    let begun = Instant::now();
    cluster.node(victim)?.stop()?;
    let value = begun.elapsed().as_secs_f64() * 1e3;
    let ended = Instant::now();
    loop {
        let now = client.metadata(None)?;
        let left = led_by(&now, victim) + led_by(&now, -1);
        if left == 0 {
            break;
        }
        ensure!(ended.elapsed() < TOLD_WITHIN, "{left} partitions were left without a leader");
    }
    Ok(vec![Metric { figure: "ms to the end", better: Better::Lower, value, goal: None }])
}
