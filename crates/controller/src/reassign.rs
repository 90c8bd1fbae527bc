//! AlterPartitionReassignments and ListPartitionReassignments (KIP-455).
//!
//! A reassignment first adds: the partition's replicas are the new ones and, behind
//! them, those to be removed. When all that is added is in sync, the change that
//! brings it about (AlterPartition's, most often) takes the rest away. Cancelling
//! goes back to the replicas from before.

use std::collections::BTreeSet;

use metadata::{Partition, Topic};
use model::{ErrorCode, NodeId, PartitionIndex};
use proto::metadata::MetadataRecord;
use wire::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use wire::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use wire::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, BrokerId,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse, topic as topic_name,
};

use crate::decision::{Decision, Refusal};
use crate::elect::Election;
use crate::fence::TopicRules;
use crate::partition_change::PartitionChange;
use crate::topics::{LayoutError, check_manual, replica_list};
use crate::view::View;

/// Why a partition is not reassigned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReassignError {
    /// No such topic.
    #[error("Unable to find a topic named {0}.")]
    UnknownTopic(String),
    /// No such partition.
    #[error("Unable to find partition {0}:{1}.")]
    UnknownPartition(String, i32),
    /// Nothing to cancel.
    #[error("No partition reassignment is in progress.")]
    NotReassigning,
    /// Nobody in sync would remain.
    #[error(
        "Unable to revert partition assignment for {0}:{1} because it would require an unclean leader election."
    )]
    Unclean(String, i32),
    /// More or fewer replicas, where that was not allowed.
    #[error("The replication factor is changed from {had} to {asked}")]
    ReplicationFactor {
        /// How many there are.
        had: usize,
        /// How many there would be.
        asked: usize,
    },
    /// Replicas that cannot be.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl ReassignError {
    /// What the client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownTopic(_) | Self::UnknownPartition(..) => ErrorCode::UnknownTopicOrPartition,
            Self::NotReassigning => ErrorCode::NoReassignmentInProgress,
            Self::Unclean(..) | Self::Layout(_) => ErrorCode::InvalidReplicaAssignment,
            Self::ReplicationFactor { .. } => ErrorCode::InvalidReplicationFactor,
        }
    }
}

/// Begins or cancels reassignments, each on its own.
pub fn decide(
    view: &View<'_>,
    request: &AlterPartitionReassignmentsRequest,
) -> Decision<AlterPartitionReassignmentsResponse> {
    let mut records: Vec<MetadataRecord> = Vec::new();
    let mut answers = Vec::with_capacity(request.topics.len());
    for asked in &request.topics {
        let partitions = asked.partitions.iter().map(|partition| {
            let target = partition.replicas.as_deref().map(replica_list);
            let flexible = request.allow_replication_factor_change;
            let answer = ReassignablePartitionResponse::default()
                .with_partition_index(partition.partition_index)
                .with_error_message(None);
            match reassign(view, &asked.name, partition.partition_index, target, flexible) {
                Ok(record) => {
                    records.extend(record);
                    answer
                }
                Err(error) => {
                    let refusal = Refusal::new(error.code(), error);
                    answer.with_error_code(refusal.code.code()).with_error_message(refusal.text())
                }
            }
        });
        let partitions = partitions.collect();
        let answer = ReassignableTopicResponse::default().with_name(asked.name.clone());
        answers.push(answer.with_partitions(partitions));
    }
    let response = AlterPartitionReassignmentsResponse::default()
        .with_error_message(None)
        .with_allow_replication_factor_change(request.allow_replication_factor_change)
        .with_responses(answers);
    Decision::new(records, response)
}

fn reassign(
    view: &View<'_>,
    name: &str,
    index: i32,
    target: Option<Vec<NodeId>>,
    flexible: bool,
) -> Result<Option<MetadataRecord>, ReassignError> {
    let topic = view.image.topic(name).ok_or_else(|| ReassignError::UnknownTopic(name.to_owned()))?;
    let at = PartitionIndex::new(index);
    let partition =
        topic.partition(at).ok_or_else(|| ReassignError::UnknownPartition(name.to_owned(), index))?;
    let rules = TopicRules::of(view, topic);
    let mut change = PartitionChange::new(partition, rules.for_partition(partition));
    match target {
        None => {
            if !partition.is_reassigning() {
                return Err(ReassignError::NotReassigning);
            }
            let stays = |node: &NodeId| !partition.adding.contains(node);
            change.replicas.retain(stays);
            change.isr.retain(stays);
            if change.isr.is_empty() && !rules.unclean_allowed {
                return Err(ReassignError::Unclean(name.to_owned(), index));
            }
            if change.isr.is_empty() {
                change.election = Election::Unclean;
            }
            change.removing.clear();
            change.adding.clear();
        }
        Some(target) => {
            check_target(view, at, partition, &target, flexible)?;
            aim(&mut change, partition, target);
        }
    }
    let record = change.build((topic.id, at), |node| view.is_active(node), |node| view.default_dir(node));
    Ok(record.map(MetadataRecord::from))
}

fn check_target(
    view: &View<'_>,
    at: PartitionIndex,
    partition: &Partition,
    target: &[NodeId],
    flexible: bool,
) -> Result<(), ReassignError> {
    match check_manual(view, at, target, None) {
        // Replicas may be moved to brokers that are down for the moment.
        Ok(()) | Err(LayoutError::NobodyLive(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let had = partition.replicas.iter().filter(|node| !partition.adding.contains(node)).count();
    if !flexible && had != target.len() {
        return Err(ReassignError::ReplicationFactor { had, asked: target.len() });
    }
    Ok(())
}

/// Aims at `target`: replicas that it lacks stay, at the end, until the new ones are in sync. What an
/// earlier reassignment was bringing in and this one does not want leaves the same way, for it may lead.
fn aim(change: &mut PartitionChange<'_>, partition: &Partition, target: Vec<NodeId>) {
    let is_new = |node: &NodeId| !partition.replicas.contains(node) || partition.adding.contains(node);
    change.removing = partition.replicas.iter().copied().filter(|node| !target.contains(node)).collect();
    change.removing.sort_unstable();
    change.adding = target.iter().copied().filter(is_new).collect();
    change.adding.sort_unstable();
    let leaving = change.removing.clone();
    change.replicas = target.into_iter().chain(leaving).collect();
}

/// What is under way, of the partitions asked for or of all.
pub fn list(
    view: &View<'_>,
    request: &ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let asked: Option<BTreeSet<(&str, i32)>> =
        request.topics.as_ref().map(|topics| topics.iter().flat_map(indexes).collect());
    let wanted = |topic: &Topic, index: PartitionIndex| {
        asked.as_ref().is_none_or(|asked| asked.contains(&(topic.name.as_str(), index.get())))
    };
    let mut topics: Vec<OngoingTopicReassignment> = Vec::new();
    for (topic, index, partition) in view.partitions() {
        if !partition.is_reassigning() || !wanted(topic, index) {
            continue;
        }
        if topics.last().is_none_or(|last| last.name.as_str() != topic.name.as_str()) {
            topics.push(OngoingTopicReassignment::default().with_name(topic_name(topic.name.as_str())));
        }
        let ids = |nodes: &[NodeId]| nodes.iter().map(|node| BrokerId(node.get())).collect();
        let ongoing = OngoingPartitionReassignment::default()
            .with_partition_index(index.get())
            .with_replicas(ids(&partition.replicas))
            .with_adding_replicas(ids(&partition.adding))
            .with_removing_replicas(ids(&partition.removing));
        topics.last_mut().expect("pushed above").partitions.push(ongoing);
    }
    ListPartitionReassignmentsResponse::default().with_error_message(None).with_topics(topics)
}

fn indexes(
    topic: &wire::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics,
) -> Vec<(&str, i32)> {
    topic.partition_indexes.iter().map(|index| (topic.name.as_str(), *index)).collect()
}

#[cfg(test)]
mod tests;
