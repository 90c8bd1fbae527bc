//! How each kind strikes, and how it is healed.

use std::path::Path;
use std::time::Duration;

use judge::promise::Harm;
use model::{NodeId, PartitionIndex, TopicName, TopicPartition};
use tokio::time::{Instant, sleep};
use world::disk::Torn;
use world::network::LinkQuality;

use super::{Kind, Nemesis, STOP_PATIENCE, Wound};
use crate::cluster::{Cluster, DATA_DIR, Standing};
use crate::shape::Shape;

/// What the network is like when a fault makes it slow.
const SLOW: LinkQuality = LinkQuality {
    latency_min: Duration::from_millis(20),
    latency_max: Duration::from_millis(200),
    loss: 0.0,
};
/// What it is like when it loses segments.
const LOSSY: LinkQuality =
    LinkQuality { latency_min: Duration::from_millis(0), latency_max: Duration::from_millis(5), loss: 0.1 };
/// An hour.
const HOUR_MS: i64 = 3_600_000;

impl Nemesis {
    /// Strikes; `None` when there was nobody to strike.
    pub(super) async fn strike(&mut self, kind: Kind) -> Option<Wound> {
        let nodes = self.victims(kind)?;
        let mut struck = Vec::new();
        for node in nodes {
            if let Some(detail) = self.strike_node(kind, node).await {
                self.note(kind, Some(node), true, detail);
                struck.push(node);
            }
        }
        if struck.is_empty() {
            let detail = self.strike_network(kind)?;
            self.note(kind, None, true, detail);
        }
        Some(Wound { kind, nodes: struck })
    }

    /// Whom a kind strikes: nobody in particular where it is the network.
    fn victims(&mut self, kind: Kind) -> Option<Vec<NodeId>> {
        let one = |found: Option<NodeId>| found.map(|node| vec![node]);
        match kind {
            Kind::KillMajority => Some(self.majority()),
            Kind::KillAll => Some(self.running()),
            Kind::PowerOne | Kind::SyncFails => {
                self.forgive();
                // A second one before the first has its records back may lose what was acknowledged.
                if self.deficient.is_empty() && !self.flipped { one(self.one()) } else { None }
            }
            Kind::PowerMany => {
                let mut running = self.running();
                self.rng.shuffle(&mut running);
                let count = self.rng.usize(1..=running.len().max(1));
                running.truncate(count);
                Some(running)
            }
            Kind::RollingRestart => Some(self.running()),
            Kind::PartitionRing | Kind::Delay | Kind::Loss => Some(Vec::new()),
            _ => one(self.one()),
        }
    }

    /// From now on, until it is in sync everywhere, `node` may lack what it was given.
    fn harms(&mut self, node: NodeId, harm: Harm, partition: Option<TopicPartition>) {
        self.forgive();
        self.deficient.insert(node);
        self.flipped |= harm == Harm::BitsFlipped;
        self.watch.borrow_mut().harmed(node, harm, partition);
    }

    /// Nodes that are in sync wherever they should be have their records back.
    pub(super) fn forgive(&mut self) {
        let cluster = &self.cluster;
        let is_whole = |node: &&NodeId| {
            // Before it serves again, others may still believe it to be what it was.
            let is_back = cluster.machine(**node).is_serving() && !self.failing.contains(node);
            is_back && cluster.is_in_sync_everywhere(**node)
        };
        let whole: Vec<NodeId> = self.deficient.iter().filter(is_whole).copied().collect();
        for node in whole {
            self.watch.borrow_mut().restored(node);
            self.deficient.remove(&node);
        }
    }

    async fn strike_node(&mut self, kind: Kind, node: NodeId) -> Option<String> {
        let cluster = self.cluster.clone();
        let machine = cluster.machine(node);
        if machine.standing() != Standing::Running {
            return None;
        }
        let detail = match kind {
            Kind::KillOne | Kind::KillMajority | Kind::KillAll => {
                cluster.kill(node);
                String::new()
            }
            Kind::PowerOne | Kind::PowerMany => {
                let torn = [Torn::No, Torn::Prefix, Torn::Any][self.rng.usize(..3)];
                self.harms(node, Harm::PowerLost, None);
                cluster.cut_power(node, torn);
                format!("{torn:?}")
            }
            Kind::LongAway => {
                cluster.kill(node);
                self.live_without(node).await;
                String::new()
            }
            Kind::Pause => {
                cluster.pause(node);
                String::new()
            }
            Kind::PartitionOne => {
                self.cut_between(&[node], true, true);
                String::new()
            }
            Kind::PartitionOneWay => {
                self.cut_between(&[node], true, false);
                String::new()
            }
            Kind::PartitionClients => {
                for client in Cluster::clients() {
                    self.cluster.network.cut(&client, &machine.name);
                    self.cluster.network.cut(&machine.name, &client);
                }
                String::new()
            }
            Kind::ClockJump => {
                let jump = self.rng.i64(-HOUR_MS..=HOUR_MS);
                machine.clock.jump(jump);
                format!("{jump} ms")
            }
            Kind::ClockDrift => {
                let millionths = self.rng.i64(-20_000..=20_000);
                machine.clock.drift(millionths);
                format!("{millionths} millionths")
            }
            Kind::DiskSlow => {
                let most = Duration::from_millis([20, 200, 2_000][self.rng.usize(..3)]);
                machine.disk.slow(Some((most / 4, most)));
                format!("up to {} ms", most.as_millis())
            }
            Kind::DiskFull => {
                machine.disk.set_full(true);
                String::new()
            }
            Kind::DiskReadOnly => {
                machine.disk.set_read_only(true);
                String::new()
            }
            Kind::SyncFails => {
                self.failing.insert(node);
                self.harms(node, Harm::SyncFailed, None);
                machine.disk.fail_next_sync(Path::new(DATA_DIR));
                String::new()
            }
            Kind::BitFlip => {
                let flip = machine.disk.flip_bit(|path| {
                    let path = path.to_string_lossy();
                    path.ends_with(".log") && !path.contains("__cluster_metadata")
                })?;
                self.harms(node, Harm::BitsFlipped, partition_of(&flip.path));
                format!("{flip:?}")
            }
            Kind::RollingRestart => {
                let stopped = self.restart(node).await;
                if stopped { String::new() } else { "killed, as it did not stop".to_owned() }
            }
            Kind::PartitionRing | Kind::Delay | Kind::Loss => return None,
        };
        Some(detail)
    }

    /// Stops a node in order and boots it again. Answers whether it stopped by itself.
    async fn restart(&mut self, node: NodeId) -> bool {
        let stopped = self.cluster.stop(node, STOP_PATIENCE).await;
        sleep(Duration::from_millis(self.rng.u64(10..500))).await;
        self.cluster.boot(node);
        self.wait_until_serving(node).await;
        stopped
    }

    /// Time passes while `away` is gone; whoever leads the quorum is another one at its end.
    async fn live_without(&mut self, away: NodeId) {
        sleep(Duration::from_millis(self.rng.u64(3_000..8_000))).await;
        for node in self.running() {
            if node != away && self.cluster.machine(node).standing() == Standing::Running {
                self.restart(node).await;
                sleep(Duration::from_millis(self.rng.u64(200..2_000))).await;
            }
        }
    }

    fn strike_network(&mut self, kind: Kind) -> Option<String> {
        match kind {
            Kind::Delay => self.cluster.network.quality_all(SLOW),
            Kind::Loss => self.cluster.network.quality_all(LOSSY),
            Kind::PartitionRing => {
                let hosts: Vec<String> = self.cluster.shape.nodes().map(Shape::host).collect();
                if hosts.len() < 4 {
                    // Three in a ring reach each other: cut one of the three links.
                    self.cluster.network.cut(&hosts[0], &hosts[1]);
                    self.cluster.network.cut(&hosts[1], &hosts[0]);
                    return Some("one link of three".to_owned());
                }
                let reach = (hosts.len() / 2).div_ceil(2);
                for (at, host) in hosts.iter().enumerate() {
                    for (other, peer) in hosts.iter().enumerate() {
                        let apart = at.abs_diff(other);
                        if apart.min(hosts.len() - apart) > reach {
                            self.cluster.network.cut(host, peer);
                        }
                    }
                }
            }
            _ => return None,
        }
        Some(String::new())
    }

    /// Cuts what goes out of `nodes` to all others, and what comes in.
    fn cut_between(&self, nodes: &[NodeId], out: bool, into: bool) {
        for &node in nodes {
            let host = Shape::host(node);
            for other in self.cluster.shape.nodes().filter(|other| !nodes.contains(other)).map(Shape::host) {
                if out {
                    self.cluster.network.cut(&host, &other);
                }
                if into {
                    self.cluster.network.cut(&other, &host);
                }
            }
        }
    }

    /// Undoes it.
    pub(super) fn heal(&mut self, wound: Wound) {
        let Wound { kind, nodes } = wound;
        for &node in &nodes {
            self.heal_node(kind, node);
            self.note(kind, Some(node), false, String::new());
        }
        if nodes.is_empty() {
            self.note(kind, None, false, String::new());
        }
        match kind {
            Kind::PartitionOne | Kind::PartitionOneWay | Kind::PartitionClients | Kind::PartitionRing => {
                self.cluster.network.heal_links();
            }
            Kind::Delay | Kind::Loss => self.cluster.network.reset_quality(),
            _ => {}
        }
    }

    fn heal_node(&mut self, kind: Kind, node: NodeId) {
        let cluster = self.cluster.clone();
        let machine = cluster.machine(node);
        match kind {
            Kind::SyncFails => {
                machine.disk.heal();
                self.failing.remove(&node);
            }
            Kind::KillOne
            | Kind::KillMajority
            | Kind::KillAll
            | Kind::LongAway
            | Kind::PowerOne
            | Kind::PowerMany => {
                if matches!(machine.standing(), Standing::Down | Standing::Off) {
                    self.cluster.boot(node);
                }
            }
            Kind::Pause => self.cluster.resume(node),
            Kind::ClockJump | Kind::ClockDrift => self.cluster.set_clock_right(node),
            Kind::DiskSlow => machine.disk.slow(None),
            Kind::DiskFull => machine.disk.set_full(false),
            Kind::DiskReadOnly => machine.disk.set_read_only(false),
            _ => {}
        }
    }

    /// Waits for a restarted node to serve, but not for ever.
    async fn wait_until_serving(&self, node: NodeId) {
        let deadline = Instant::now() + STOP_PATIENCE;
        while Instant::now() < deadline && !self.cluster.machine(node).is_serving() {
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Whose log a file below `/data/topic-0` is.
fn partition_of(path: &Path) -> Option<TopicPartition> {
    let dir = path.parent()?.file_name()?.to_str()?;
    let (topic, index) = dir.rsplit_once('-')?;
    let partition = PartitionIndex::new(index.parse().ok()?);
    Some(TopicPartition { topic: TopicName::new(topic).ok()?, partition })
}
