//! How soon every partition has a leader again after its leader's node died.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use net::{ConnectOptions, Connection, TcpNetwork};
use wire::messages::MetadataResponse;

use crate::cluster::{Cluster, Shape, metadata};
use crate::work::scale::{Topics, create};

const ELECTION_MAX: Duration = Duration::from_secs(60);
const POLL_PAUSE: Duration = Duration::from_millis(5);

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Partitions that the killed node led.
    pub led: usize,
    /// From `kill -9` until the last of them had another leader, as a client sees it.
    pub took: Duration,
}

/// Creates `topics` on three nodes and kills the leader of a third of them. With
/// `kill_controller` it is the node whose controller is active.
pub async fn run(topics: Topics, kill_controller: bool) -> Result<Outcome> {
    let mut cluster = Cluster::start(Shape::of(3))?;
    create(&cluster, topics).await?;
    let before = cluster.metadata_of(1).await?;
    let controller = before.controller_id.0;
    let victim = (1..=3).find(|&id| (id == controller) == kill_controller).context("three nodes")?;
    let witness = (1..=3).find(|&id| id != victim).context("three nodes")?;
    let led = led_by(&before, victim);
    let port = cluster.node(witness).client_port;
    let connection = Connection::connect(&TcpNetwork, "127.0.0.1", port, &ConnectOptions::default()).await?;
    let begun = Instant::now();
    cluster.node(victim).kill()?;
    loop {
        let now = metadata(&connection).await?;
        let took = begun.elapsed();
        if led_by(&now, victim) == 0 && led_by(&now, -1) == 0 {
            return Ok(Outcome { led, took });
        }
        if took > ELECTION_MAX {
            bail!("after {took:?} {} partitions have no new leader", led_by(&now, victim) + led_by(&now, -1));
        }
        tokio::time::sleep(POLL_PAUSE).await;
    }
}

fn led_by(metadata: &MetadataResponse, node: i32) -> usize {
    let partitions = metadata.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.filter(|partition| partition.leader_id.0 == node).count()
}
