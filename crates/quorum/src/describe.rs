//! The quorum's replicas and how far each is: what DescribeQuorum answers.

use model::{DirectoryId, LeaderEpoch, NodeId, Offset, Timestamp};

/// The leader's view of every replica of the metadata log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumDescription {
    /// The leader, which is the node that answers.
    pub leader: NodeId,
    /// Its epoch.
    pub epoch: LeaderEpoch,
    /// End of what is committed.
    pub high_watermark: Offset,
    /// Those who vote, the leader among them, by id.
    pub voters: Vec<ReplicaState>,
    /// Those who only fetch, by id; one that stays silent for long is dropped.
    pub observers: Vec<ReplicaState>,
}

/// How far one replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaState {
    /// The node.
    pub id: NodeId,
    /// Its metadata directory; zero when unknown.
    pub directory: DirectoryId,
    /// End of its log as the leader knows it, `None` before its first answer in this epoch.
    pub log_end: Option<Offset>,
    /// When it was last heard.
    pub last_fetch: Option<Timestamp>,
    /// When it last had everything that the leader had.
    pub last_caught_up: Option<Timestamp>,
}
