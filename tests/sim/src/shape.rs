//! What is drawn for a run before it begins: how many nodes, their roles, their settings.
//!
//! Timeouts are short and snapshots small, so that a virtual minute holds many
//! elections, snapshots and in-sync changes; no setting is one that Kafka refuses.

use std::time::Duration;

use config::{NodeConfig, Properties};
use model::{NodeId, Timestamp};
use world::network::LinkQuality;

/// One seed in so many compacts.
const COMPACTS_EVERY: u64 = 5;
/// Files are begun and cleaned every few records, and tombstones are gone soon after.
const COMPACTING: &str = "log.roll.ms=1500\nlog.cleaner.backoff.ms=300\nlog.cleaner.min.cleanable.ratio=0.01\n\
                          log.cleaner.delete.retention.ms=2000\n";

/// A run's cluster.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Nodes 1 to this are controllers and brokers.
    pub voters: i32,
    /// Nodes above `voters` up to this are brokers alone.
    pub nodes: i32,
    /// `broker.session.timeout.ms`.
    pub session_ms: u64,
    /// `controller.quorum.election.timeout.ms`.
    pub election_ms: u64,
    /// `replica.lag.time.max.ms`.
    pub lag_ms: u64,
    /// `metadata.log.max.record.bytes.between.snapshots`.
    pub snapshot_bytes: u64,
    /// `leader.imbalance.check.interval.seconds`.
    pub balance_seconds: u64,
    /// Whether the logs of the coordinators are rolled and compacted all the time.
    pub compacts: bool,
    /// What the network is like without faults.
    pub links: LinkQuality,
    /// What the clocks on the walls say at first.
    pub wall_at_start: Timestamp,
}

impl Shape {
    /// Draws the one of `seed`. Only some compact: a seed that found a bug shall show it still.
    pub fn draw(seed: u64, rng: &mut fastrand::Rng) -> Self {
        let (voters, nodes) = [(3, 3), (3, 3), (3, 3), (3, 4), (3, 5), (5, 5)][rng.usize(..6)];
        let pick = |rng: &mut fastrand::Rng, of: &[u64]| of[rng.usize(..of.len())];
        Self {
            voters,
            nodes,
            session_ms: pick(rng, &[2_000, 4_000, 9_000]),
            election_ms: pick(rng, &[300, 500, 1_000]),
            lag_ms: pick(rng, &[1_500, 3_000, 10_000]),
            snapshot_bytes: pick(rng, &[2_000, 10_000, 100_000]),
            balance_seconds: pick(rng, &[3, 10, 300]),
            compacts: seed % COMPACTS_EVERY == 1,
            links: LinkQuality {
                latency_min: Duration::ZERO,
                latency_max: Duration::from_millis(pick(rng, &[1, 2, 10])),
                loss: 0.0,
            },
            wall_at_start: Timestamp::new(1_700_000_000_000),
        }
    }

    /// The ids of all nodes.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (1..=self.nodes).map(NodeId::new)
    }

    /// The ids of the nodes that vote.
    pub fn voters(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (1..=self.voters).map(NodeId::new)
    }

    /// Where a node lives.
    pub fn host(id: NodeId) -> String {
        format!("n{id}")
    }

    /// A node's configuration.
    pub fn config(&self, id: NodeId) -> NodeConfig {
        let host = Self::host(id);
        let voters: Vec<String> =
            self.voters().map(|voter| format!("{voter}@{}:9093", Self::host(voter))).collect();
        let voters = voters.join(",");
        let (roles, listeners) = if id.get() <= self.voters {
            ("broker,controller", format!("PLAINTEXT://{host}:9092,CONTROLLER://{host}:9093"))
        } else {
            ("broker", format!("PLAINTEXT://{host}:9092"))
        };
        let Self { session_ms, election_ms, lag_ms, snapshot_bytes, balance_seconds, .. } = self;
        let heartbeat_ms = session_ms / 6;
        let fetch_ms = election_ms * 2;
        let compacting = if self.compacts { COMPACTING } else { "" };
        let text = format!(
            "process.roles={roles}\nnode.id={id}\nlog.dirs=/data\nlisteners={listeners}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             controller.quorum.voters={voters}\n\
             controller.quorum.election.timeout.ms={election_ms}\n\
             controller.quorum.fetch.timeout.ms={fetch_ms}\n\
             broker.session.timeout.ms={session_ms}\nbroker.heartbeat.interval.ms={heartbeat_ms}\n\
             replica.lag.time.max.ms={lag_ms}\n\
             metadata.log.max.record.bytes.between.snapshots={snapshot_bytes}\n\
             leader.imbalance.check.interval.seconds={balance_seconds}\n\
             auto.create.topics.enable=false\nmin.insync.replicas=2\n\
             offsets.topic.num.partitions=1\noffsets.topic.replication.factor=3\n\
             transaction.state.log.num.partitions=1\ntransaction.state.log.replication.factor=3\n\
             transaction.abort.timed.out.transaction.cleanup.interval.ms=1000\n\
             group.initial.rebalance.delay.ms=100\n{compacting}"
        );
        let properties = Properties::parse("sim.properties", text.as_bytes()).expect("well-formed");
        NodeConfig::from_properties(&properties).unwrap_or_else(|error| panic!("{error}"))
    }
}
