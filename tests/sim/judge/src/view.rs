//! What a node holds at one moment, as plain data: the input of the invariants.
//!
//! A view is kept and brought up to date in place, and says what is new in it, since it is
//! looked at after every step of a node. Bytes of logs are not in it; a judge that needs
//! them asks [`Logs`].

use std::collections::BTreeMap;

use model::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch, PartitionIndex, TopicId};

/// What names a partition.
pub type Key = (TopicId, PartitionIndex);

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Which one.
    pub node: NodeId,
    /// The metadata that it has applied.
    pub metadata: MetadataView,
    /// Its part in the metadata quorum.
    pub quorum: QuorumView,
    /// Its registration as it knows it; `None` before the first.
    pub broker_epoch: Option<BrokerEpoch>,
    /// Whether it knows itself to be let in.
    pub unfenced: bool,
    /// Whether its logs were closed in order before this start; `None` where it is no broker.
    pub was_clean: Option<bool>,
    /// Its partitions.
    pub partitions: BTreeMap<Key, PartitionView>,
    /// What is new since the view before.
    pub news: News,
}

/// What is new in a view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The applied metadata.
    pub metadata: bool,
    /// Partitions whose assignment is another one, or gone.
    pub assignments: Vec<Key>,
    /// The part in the quorum.
    pub quorum: bool,
    /// The registration.
    pub broker: bool,
    /// Partitions of this node that differ, or are gone.
    pub partitions: Vec<Key>,
}

/// The metadata that a node has applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataView {
    /// The next offset.
    pub end: Offset,
    /// The image's digest, where it was worth computing.
    pub digest: Option<u128>,
    /// The brokers in it.
    pub brokers: BTreeMap<NodeId, BrokerView>,
    /// The partitions in it.
    pub assignments: BTreeMap<Key, AssignmentView>,
}

/// A broker as the metadata has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerView {
    /// Which of its registrations this is.
    pub epoch: BrokerEpoch,
    /// Whether it takes no part.
    pub fenced: bool,
    /// Whether it is on its way down.
    pub shutting_down: bool,
}

/// A partition as the metadata has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignmentView {
    /// The topic and the number, for people.
    pub name: String,
    /// Who holds it.
    pub replicas: Vec<NodeId>,
    /// Who has everything committed.
    pub isr: Vec<NodeId>,
    /// Who has everything committed though not in sync any more.
    pub elr: Vec<NodeId>,
    /// Who leads.
    pub leader: Option<NodeId>,
    /// Counts leaders.
    pub leader_epoch: LeaderEpoch,
    /// Counts changes.
    pub partition_epoch: PartitionEpoch,
}

/// A vote that is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ballot {
    /// The term.
    pub term: LeaderEpoch,
    /// Who got it.
    pub node: NodeId,
    /// Whether that node is known to have won.
    pub elected: bool,
}

/// A voter's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RaftLogView {
    /// The durable vote.
    pub vote: Option<Ballot>,
    /// The first offset on disk.
    pub start: Offset,
    /// The next offset, committed or not.
    pub end: Offset,
    /// Where the newest snapshot ends.
    pub snapshot: Option<Offset>,
}

/// A node's part in the metadata quorum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuorumView {
    /// The highest term that it has told of.
    pub term: LeaderEpoch,
    /// Who leads it, as far as this node knows.
    pub leader: Option<NodeId>,
    /// Everything below is committed and applied here.
    pub committed: Offset,
    /// Its log, where it votes.
    pub log: Option<RaftLogView>,
}

/// A node's part in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It leads.
    Leader,
    /// It copies that node's log.
    Follower(NodeId),
    /// Nobody leads, or its log cannot be used.
    Offline,
}

/// One partition on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionView {
    /// The topic and the number, for people.
    pub name: String,
    /// The node's part.
    pub part: Part,
    /// The newest leader epoch that it knows.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The newest partition epoch that it knows.
    pub partition_epoch: Option<PartitionEpoch>,
    /// The in-sync set that a leader believes to be committed.
    pub isr: Vec<NodeId>,
    /// `min.insync.replicas`.
    pub min_isr: usize,
    /// Everything below is committed, as far as the node knows.
    pub high_watermark: Offset,
    /// Its log, while it can be used.
    pub log: Option<LogView>,
}

/// A partition's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogView {
    /// The first offset.
    pub start: Offset,
    /// The next offset.
    pub end: Offset,
    /// Everything below survives a power cut.
    pub recovery_point: Offset,
    /// How many files it has.
    pub segments: usize,
}

impl NodeView {
    /// A node that holds nothing yet.
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            metadata: MetadataView::default(),
            quorum: QuorumView::default(),
            broker_epoch: None,
            unfenced: false,
            was_clean: None,
            partitions: BTreeMap::new(),
            news: News::default(),
        }
    }
}

impl News {
    /// Nothing is new any more.
    pub fn clear(&mut self) {
        (self.metadata, self.quorum, self.broker) = (false, false, false);
        self.assignments.clear();
        self.partitions.clear();
    }

    /// Whether nothing is new.
    pub fn is_empty(&self) -> bool {
        !(self.metadata || self.quorum || self.broker)
            && self.assignments.is_empty()
            && self.partitions.is_empty()
    }
}

/// Bytes of the logs of the node that is looked at: whole record batches from the one that holds `from`
/// up to `upto`. `None` when they cannot be read now.
pub trait Logs {
    /// Of a partition.
    fn records(&self, key: Key, from: Offset, upto: Offset) -> Option<Vec<u8>>;

    /// Of the metadata log.
    fn metadata(&self, from: Offset, upto: Offset) -> Option<Vec<u8>>;
}
