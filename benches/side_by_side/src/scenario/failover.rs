//! `kill -9` of a node that leads a third of the partitions: how soon each has another leader.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::client::Client;
use crate::report::{Better, Metric};
use crate::scenario::{Scale, Scenario, create_many, led_by};
use crate::server::Cluster;

const PARTITIONS: u64 = 1_000;
const ELECTED_WITHIN: Duration = Duration::from_secs(60);

/// A broker alone, and the one whose controller is active.
pub fn scenarios() -> Vec<Scenario> {
    let scenario = |name, about, with_controller| {
        Scenario::alone(name, about, 3, move |cluster, scale| run(cluster, scale, with_controller))
    };
    vec![
        scenario("failover", "three nodes, 1,000 partitions, kill -9 of a node that is no controller", false),
        scenario("failover-controller", "the same, kill -9 of the active controller", true),
    ]
}

/// The node whose controller is active, or another one; and a third.
pub fn victim_and_witness(cluster: &Cluster<'_>, with_controller: bool) -> Result<(i32, u16)> {
    let controller = cluster.client()?.controller()?;
    let ids = || cluster.nodes.iter().map(|node| node.id);
    let victim = ids().find(|&id| (id == controller) == with_controller).context("a node to stop")?;
    let witness = cluster.nodes.iter().find(|node| node.id != victim).context("a node that stays")?;
    Ok((victim, witness.port))
}

fn run(cluster: &mut Cluster<'_>, scale: &Scale, with_controller: bool) -> Result<Vec<Metric>> {
    create_many(cluster, usize::try_from(scale.of(PARTITIONS))?)?;
    let (victim, witness) = victim_and_witness(cluster, with_controller)?;
    let mut client = Client::connect(witness)?;
    ensure!(led_by(&client.metadata(None)?, victim) > 0, "node {victim} leads nothing");
    let begun = Instant::now();
    cluster.node(victim)?.kill()?;
    loop {
        let now = client.metadata(None)?;
        let without = led_by(&now, victim) + led_by(&now, -1);
        if without == 0 {
            break;
        }
        let took = begun.elapsed();
        ensure!(took < ELECTED_WITHIN, "after {took:?} {without} partitions have no new leader");
        std::thread::sleep(Duration::from_millis(2));
    }
    let value = begun.elapsed().as_secs_f64() * 1e3;
    Ok(vec![Metric { figure: "ms to the last leader", better: Better::Lower, value, goal: None }])
}
