//! What creating topics and adding partitions have in common.
//!
//! Manual assignments are checked and automatic ones placed here, in one way and in
//! Kafka's words for both requests.

use model::{ErrorCode, LeaderEpoch, NodeId, PartitionIndex, TopicId};
use proto::metadata::PartitionRecord;

use crate::partition_change::ids;
use crate::placement::{PlacementError, place};
use crate::view::View;

/// Partitions that one request may create: each is a record, all of them one batch.
pub const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;

/// Why partitions cannot be laid out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A partition on no broker.
    #[error("The manual partition assignment includes an empty replica list.")]
    Empty,
    /// Two replicas on one broker.
    #[error("The manual partition assignment includes the broker {0} more than once.")]
    Repeated(NodeId),
    /// A broker nobody knows.
    #[error("The manual partition assignment includes broker {0}, but no such broker is registered.")]
    UnknownBroker(NodeId),
    /// A partition with more or fewer replicas than its siblings.
    #[error(
        "The manual partition assignment includes a partition with {got} replica(s), but this is not consistent \
         with previous partitions, which have {expected} replica(s)."
    )]
    Uneven {
        /// Of this one.
        got: usize,
        /// Of the others.
        expected: usize,
    },
    /// Nobody could lead it.
    #[error(
        "All brokers specified in the manual partition assignment for partition {0} are fenced or in controlled \
         shutdown."
    )]
    NobodyLive(PartitionIndex),
    /// Automatic placement failed.
    #[error("Unable to replicate the partition {replicas} time(s): {cause}")]
    Placement {
        /// Replicas asked for.
        replicas: usize,
        /// Why.
        cause: PlacementError,
    },
}

impl LayoutError {
    /// What the client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Placement { .. } => ErrorCode::InvalidReplicationFactor,
            _ => ErrorCode::InvalidReplicaAssignment,
        }
    }
}

/// Checks one partition's manual assignment.
pub fn check_manual(
    view: &View<'_>,
    index: PartitionIndex,
    replicas: &[NodeId],
    expected: Option<usize>,
) -> Result<(), LayoutError> {
    if replicas.is_empty() {
        return Err(LayoutError::Empty);
    }
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    for (at, &node) in sorted.iter().enumerate() {
        if at > 0 && sorted[at - 1] == node {
            return Err(LayoutError::Repeated(node));
        }
        if view.image.broker(node).is_none() {
            return Err(LayoutError::UnknownBroker(node));
        }
    }
    if let Some(expected) = expected.filter(|expected| *expected != replicas.len()) {
        return Err(LayoutError::Uneven { got: replicas.len(), expected });
    }
    if !replicas.iter().any(|node| view.is_active(*node)) {
        return Err(LayoutError::NobodyLive(index));
    }
    Ok(())
}

/// Places `count` partitions of `replicas` replicas each.
pub fn place_automatically(
    view: &View<'_>,
    count: usize,
    replicas: usize,
    seed: u64,
) -> Result<Vec<Vec<NodeId>>, LayoutError> {
    place(&view.usable_brokers(), count, replicas, seed)
        .map_err(|cause| LayoutError::Placement { replicas, cause })
}

/// The record of a new partition: who is live is in sync, the first of them leads.
pub fn new_partition(
    view: &View<'_>,
    topic: TopicId,
    index: PartitionIndex,
    replicas: &[NodeId],
) -> PartitionRecord {
    let isr: Vec<NodeId> = replicas.iter().copied().filter(|node| view.is_active(*node)).collect();
    let leader = isr.first().expect("checked: one replica at least is live");
    PartitionRecord {
        partition_id: index.get(),
        topic_id: topic,
        replicas: ids(replicas),
        isr: ids(&isr),
        leader: leader.get(),
        leader_epoch: LeaderEpoch::default().get(),
        partition_epoch: 0,
        directories: replicas.iter().map(|node| view.default_dir(*node)).collect(),
        ..PartitionRecord::default()
    }
}

/// A partition's index from its place in a list.
pub fn index(place: usize) -> PartitionIndex {
    PartitionIndex::new(i32::try_from(place).expect("at most PARTITIONS_PER_REQUEST_MAX more than there are"))
}

/// Broker ids as a request lists them.
pub fn replica_list(ids: &[wire::messages::BrokerId]) -> Vec<NodeId> {
    ids.iter().map(|id| NodeId::new(id.0)).collect()
}
