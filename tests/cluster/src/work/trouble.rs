//! What befalls a cluster while records are written: processes die, freeze or restart, disks lack room,
//! replicas move.
//!
//! Each kind strikes a number of times, evenly spread, and heals before the next. One that
//! leaves no trace proves nothing: where it can be told from outside that it struck, that
//! is checked.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use net::{ConnectOptions, Connection, TcpNetwork};
use wire::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use wire::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, IncrementalAlterConfigsRequest, RequestKind, ResponseKind,
    text, topic,
};

use crate::cluster::{Cluster, Shape};

/// A broker, as the kind of a resource with configs.
const BROKER: i8 = 4;
/// More than any disk has.
const MORE_THAN_ALL: &str = "4611686018427387904";
const RESERVE: &str = "log.dir.reserve.bytes";
/// How long an answer is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// A node that was just killed may be asked first; others are asked then.
const TRIES: usize = 40;
/// Between two looks at whether a node was fenced.
const FENCED_PAUSE: Duration = Duration::from_millis(500);

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Trouble {
    /// `kill -9` of one node after the other.
    Kill,
    /// `kill -9` of all nodes at once.
    KillAll,
    /// One node after the other is stopped by SIGSTOP for longer than its session lasts, and goes on.
    Pause,
    /// One node after the other is stopped in order and started again.
    Restart,
    /// One node after the other finds its disk below its reserve for a while.
    NoRoom,
    /// Every partition moves on by one node, while one node after the other is killed.
    Reassign,
}

impl Trouble {
    /// The cluster that it befalls.
    pub fn shape(self) -> Shape {
        match self {
            Self::Pause => {
                Shape::of(3).with("broker.session.timeout.ms=1500").with("broker.heartbeat.interval.ms=300")
            }
            Self::Reassign => Shape::of(4),
            _ => Shape::of(3),
        }
    }

    /// Strikes for the `round`th time, within about `interval`.
    pub(super) fn strike(
        self,
        cluster: &mut Cluster,
        (name, partitions): (&str, i32),
        round: usize,
        interval: Duration,
    ) -> Result<()> {
        let at = round % cluster.nodes.len();
        std::thread::sleep(interval / 4);
        match self {
            Self::Kill => kill(cluster, at, interval / 2)?,
            Self::KillAll => {
                cluster.nodes.iter_mut().try_for_each(|node| node.kill())?;
                std::thread::sleep(interval / 4);
                cluster.spawn_all()?;
            }
            Self::Pause => pause(cluster, at, interval / 2)?,
            Self::Restart => {
                let status = cluster.nodes[at].stop()?;
                ensure!(status.success(), "a node that was asked to stop ended with {status}");
                cluster.nodes[at].start()?;
            }
            Self::NoRoom => lack_room(cluster, at, interval / 2)?,
            Self::Reassign => {
                move_on(cluster, name, partitions, round)?;
                kill(cluster, at, interval / 2)?;
            }
        }
        std::thread::sleep(interval / 4);
        Ok(())
    }
}

/// `kill -9` of a node, which comes back after as long.
pub(super) fn kill(cluster: &mut Cluster, at: usize, away: Duration) -> Result<()> {
    cluster.nodes[at].kill()?;
    std::thread::sleep(away);
    cluster.nodes[at].start()?;
    Ok(())
}

/// Stops a node's process for as long, and until the others have noticed: where it was the active controller,
/// its sessions begin anew with the next one.
fn pause(cluster: &mut Cluster, at: usize, away: Duration) -> Result<()> {
    let witness = cluster.nodes[(at + 1) % cluster.nodes.len()].id;
    let id = cluster.nodes[at].id;
    cluster.nodes[at].pause()?;
    std::thread::sleep(away);
    let fenced = await_fenced(cluster, witness, id);
    cluster.nodes[at].resume()?;
    fenced
}

fn await_fenced(cluster: &Cluster, witness: i32, id: i32) -> Result<()> {
    for _ in 0..TRIES {
        let seen = block_on(cluster.metadata_of(witness))?;
        if !seen.brokers.iter().any(|broker| broker.node_id.0 == id) {
            return Ok(());
        }
        std::thread::sleep(FENCED_PAUSE);
    }
    bail!("node {id} stands still, and nobody fenced it");
}

fn lack_room(cluster: &mut Cluster, at: usize, long: Duration) -> Result<()> {
    let node = cluster.nodes[at].id;
    let told = |cluster: &Cluster| cluster.nodes[at].log().matches("half the reserve").count();
    let before = told(cluster);
    reserve(cluster, node, MORE_THAN_ALL)?;
    std::thread::sleep(long);
    let after = told(cluster);
    reserve(cluster, node, "0")?;
    ensure!(after > before, "node {node} did not notice that its disk has no room");
    Ok(())
}

/// Sets how much of its disk a node keeps back.
fn reserve(cluster: &Cluster, node: i32, bytes: &str) -> Result<()> {
    let config = AlterableConfig::default().with_name(text(RESERVE)).with_value(Some(text(bytes)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(BROKER)
        .with_resource_name(text(&node.to_string()))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    match ask(cluster, 1, request)? {
        ResponseKind::IncrementalAlterConfigs(response) if response.responses[0].error_code == 0 => Ok(()),
        other => bail!("{RESERVE} cannot be set: {other:?}"),
    }
}

/// Gives each partition the next three nodes.
fn move_on(cluster: &Cluster, name: &str, partitions: i32, round: usize) -> Result<()> {
    let nodes = cluster.nodes.len();
    let replicas = |partition: i32| {
        let first = partition as usize + round + 1;
        (first..first + 3).map(|place| BrokerId(cluster.nodes[place % nodes].id)).collect()
    };
    let to = |partition| {
        let to = ReassignablePartition::default().with_partition_index(partition);
        to.with_replicas(Some(replicas(partition)))
    };
    let moved = ReassignableTopic::default()
        .with_name(topic(name))
        .with_partitions((0..partitions).map(to).collect());
    let request =
        AlterPartitionReassignmentsRequest::default().with_topics(vec![moved]).with_timeout_ms(10_000);
    // The topic is made with its first record, which may be on its way.
    let mut refused = String::new();
    for _ in 0..TRIES {
        let answer = ask(cluster, 0, request.clone())?;
        let ResponseKind::AlterPartitionReassignments(response) = &answer else { bail!("{answer:?}") };
        let mut partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
        if response.error_code == 0 && partitions.all(|it| it.error_code == 0) {
            return Ok(());
        }
        refused = format!("{answer:?}");
        std::thread::sleep(Duration::from_millis(250));
    }
    bail!("replicas cannot be moved: {refused}")
}

/// Asks the first node that answers without an error of its own.
pub(super) fn ask(cluster: &Cluster, version: i16, request: impl Into<RequestKind>) -> Result<ResponseKind> {
    let request = request.into();
    let mut last = None;
    for round in 0..TRIES {
        let port = cluster.nodes[round % cluster.nodes.len()].client_port;
        let asked = async {
            let connection =
                Connection::connect(&TcpNetwork, "127.0.0.1", port, &ConnectOptions::default()).await?;
            anyhow::Ok(connection.send(version, request.clone(), ANSWER_MAX).await?)
        };
        match block_on(asked) {
            Ok(response) => return Ok(response),
            Err(error) => last = Some(error),
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    Err(last.context("no node was asked")?)
}

/// The work runs on threads of its own, without a runtime.
fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}
