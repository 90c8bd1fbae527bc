//! What must hold inside the cluster after every step of a node.
//!
//! ```text
//! NodeView ──┐                    ┌─> leadership  images  raft  brokers
//! acks ──────┼──> [Invariants] ───┤
//! restarts ──┘                    └─> watermark   in_sync acks  committed
//! ```
//!
//! Each invariant is a file that says what it promises and when that is suspended. Two
//! things suspend: a partition is *lossy* while its records may be lost legally (power was
//! lost on too many of its replicas, see the promises), and a node is *damaged* while
//! bits of its files were changed. Metadata is never lossy. Views are to be fed in the
//! order in which the steps happened.

mod acks;
mod brokers;
mod committed;
mod images;
mod in_sync;
mod leadership;
mod raft;
#[cfg(test)]
mod tests;
mod watermark;

use std::collections::BTreeSet;
use std::fmt;

use model::{Millis, NodeId, Offset};

use crate::view::{Key, Logs, NodeView};
use acks::Acks;
use brokers::Brokers;
use committed::Committed;
use images::Images;
use in_sync::InSync;
use leadership::Leadership;
use raft::Raft;
use watermark::Watermark;

/// Violations that are kept: after the first ones a cluster tells nothing new.
const VIOLATIONS_MAX: usize = 50;

/// What was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// A leader epoch of a partition has one leader, the one that the metadata names.
    OneLeaderPerEpoch,
    /// A node's leader epoch of a partition does not go back.
    LeaderEpochGrows,
    /// The high watermark does not go back within an epoch.
    WatermarkGrows,
    /// The log's start, the watermark and the log's end come in this order.
    WatermarkWithinLog,
    /// The watermark moves only with `min.insync.replicas` in sync.
    EnoughInSync,
    /// A leader's in-sync set is the committed one, out of the replicas.
    InSyncIsCommitted,
    /// Below the watermark all logs are the same, for ever.
    LogsAgree,
    /// What was acknowledged is in the log of the newest leader.
    AckedIsKept,
    /// At equal offsets images are equal.
    ImagesAgree,
    /// What a living node has applied does not go back.
    AppliedGrows,
    /// A committed batch of the metadata log is never another one.
    MetadataAgrees,
    /// A term has one leader.
    OneLeaderPerTerm,
    /// A node's term does not go back, not even by a restart.
    TermGrows,
    /// A node votes once in a term.
    OneVotePerTerm,
    /// A leader of the quorum has everything committed.
    LeaderIsComplete,
    /// A broker's epochs only grow.
    BrokerEpochGrows,
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When it was seen.
    pub at: Millis,
    /// On which node.
    pub node: Option<NodeId>,
    /// On which partition, if it is about one.
    pub partition: Option<Key>,
    /// What was broken.
    pub rule: Rule,
    /// How.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>8} ms  ", self.at.get())?;
        if let Some(node) = self.node {
            write!(f, "node {node}  ")?;
        }
        write!(f, "{:?}: {}", self.rule, self.what)
    }
}

/// How a node came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Its process ended or was killed; the machine ran on.
    Process,
    /// Its machine lost power.
    Power,
}

/// What the invariants share.
#[derive(Debug)]
struct Bench {
    at: Millis,
    node: Option<NodeId>,
    lossy: BTreeSet<Key>,
    damaged: BTreeSet<NodeId>,
    found: Vec<Violation>,
}

impl Bench {
    fn break_of(&mut self, rule: Rule, partition: Option<Key>, what: String) {
        let is_new = |seen: &Violation| seen.rule != rule || seen.partition != partition || seen.what != what;
        if self.found.len() < VIOLATIONS_MAX && self.found.iter().all(is_new) {
            self.found.push(Violation { at: self.at, node: self.node, partition, rule, what });
        }
    }

    fn is_lossy(&self, key: Key) -> bool {
        self.lossy.contains(&key)
    }
}

/// All invariants of a run.
#[derive(Debug)]
pub struct Invariants {
    bench: Bench,
    leadership: Leadership,
    watermark: Watermark,
    in_sync: InSync,
    committed: Committed,
    acks: Acks,
    images: Images,
    raft: Raft,
    brokers: Brokers,
}

impl Default for Invariants {
    fn default() -> Self {
        Self::new()
    }
}

impl Invariants {
    /// Of a run that begins.
    pub fn new() -> Self {
        let bench = Bench {
            at: Millis::new(0),
            node: None,
            lossy: BTreeSet::new(),
            damaged: BTreeSet::new(),
            found: Vec::new(),
        };
        Self {
            bench,
            leadership: Leadership::default(),
            watermark: Watermark::default(),
            in_sync: InSync::default(),
            committed: Committed::default(),
            acks: Acks::default(),
            images: Images::default(),
            raft: Raft::default(),
            brokers: Brokers::default(),
        }
    }

    /// A node took a step and now holds `view`. `logs` are this node's.
    pub fn observe(&mut self, at: Millis, view: &NodeView, logs: &dyn Logs) {
        let bench = &mut self.bench;
        (bench.at, bench.node) = (at, Some(view.node));
        self.images.observe(view, bench);
        self.brokers.observe(view, bench);
        self.raft.observe(view, bench);
        self.leadership.observe(view, bench);
        self.in_sync.observe(view, bench);
        self.watermark.observe(view, bench);
        self.committed.observe(view, logs, bench);
        self.acks.observe(view, bench);
    }

    /// The process of `node` ended; views of it come from another one from now on.
    pub fn restarted(&mut self, at: Millis, node: NodeId, how: Restart) {
        (self.bench.at, self.bench.node) = (at, Some(node));
        self.images.restarted(node);
        self.brokers.restarted(node);
        self.leadership.restarted(node);
        self.in_sync.restarted(node);
        self.watermark.restarted(node);
        self.committed.restarted(node);
        // Neither way of ending excuses a lost vote: it was synced before it counted.
        let (Restart::Process | Restart::Power) = how;
    }

    /// A producer was told with `acks=all` that its batch, whose last record is at `offset`, is written.
    /// Writes with fewer acks promise nothing and do not belong here.
    pub fn acked(&mut self, at: Millis, partition: Key, offset: Offset) {
        (self.bench.at, self.bench.node) = (at, None);
        self.acks.acked(partition, offset, &mut self.bench);
    }

    /// Says whether records of `partition` may be lost legally from now on.
    pub fn set_lossy(&mut self, partition: Key, lossy: bool) {
        if lossy {
            self.bench.lossy.insert(partition);
        } else if self.bench.lossy.remove(&partition) {
            self.committed.loss_ended(partition);
            self.acks.loss_ended(partition);
        }
    }

    /// Says whether bits of `node`'s files were changed: its logs are not compared then.
    pub fn set_damaged(&mut self, node: NodeId, damaged: bool) {
        if damaged {
            self.bench.damaged.insert(node);
        } else {
            self.bench.damaged.remove(&node);
        }
    }

    /// What was broken so far.
    pub fn violations(&self) -> &[Violation] {
        &self.bench.found
    }

    /// Batches that were compared with another node's copy; a run without any proves nothing.
    pub fn compared(&self) -> u64 {
        self.committed.compared()
    }

    /// Records that a node did not have any more because its log was compacted.
    pub fn compacted(&self) -> u64 {
        self.committed.compacted()
    }
}
