//! CreatePartitions: more partitions for topics that are there.

use std::collections::BTreeSet;

use model::{ErrorCode, NodeId};
use proto::metadata::MetadataRecord;
use wire::messages::create_partitions_request::CreatePartitionsTopic;
use wire::messages::create_partitions_response::CreatePartitionsTopicResult;
use wire::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use crate::chance::Chance;
use crate::create_topics::repeated;
use crate::decision::{Decision, Refusal};
use crate::topics::{
    LayoutError, PARTITIONS_PER_REQUEST_MAX, check_manual, index, new_partition, place_automatically,
    replica_list,
};
use crate::view::View;

/// Why a topic gets no more partitions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreatePartitionsError {
    /// No such topic.
    #[error("This server does not host this topic-partition.")]
    UnknownTopic,
    /// It is named twice.
    #[error("Duplicate topic name.")]
    Duplicate,
    /// As many as there are.
    #[error("Topic already has {0} partition(s).")]
    Same(usize),
    /// Fewer than there are.
    #[error("The topic {name} currently has {have} partition(s); {asked} would not be an increase.")]
    Fewer {
        /// The topic.
        name: String,
        /// How many there are.
        have: usize,
        /// How many were asked for.
        asked: i32,
    },
    /// Not one assignment for each.
    #[error(
        "Attempted to add {added} additional partition(s), but only {assigned} assignment(s) were specified."
    )]
    Assignments {
        /// Partitions to be added.
        added: usize,
        /// Assignments given.
        assigned: usize,
    },
    /// Replicas that cannot be placed.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// More than one batch may hold.
    #[error("Excessively large number of partitions per request.")]
    TooMany,
}

impl CreatePartitionsError {
    /// What the client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownTopic => ErrorCode::UnknownTopicOrPartition,
            Self::Duplicate => ErrorCode::InvalidRequest,
            Self::Same(_) | Self::Fewer { .. } => ErrorCode::InvalidPartitions,
            Self::Assignments { .. } => ErrorCode::InvalidReplicaAssignment,
            Self::Layout(error) => error.code(),
            Self::TooMany => ErrorCode::PolicyViolation,
        }
    }
}

/// Adds the partitions that can be added.
pub fn decide(view: &View<'_>, request: &CreatePartitionsRequest) -> Decision<CreatePartitionsResponse> {
    let mut chance = Chance::new(view.seed);
    let repeated = repeated(request.topics.iter().map(|topic| topic.name.as_str()));
    let mut answered = BTreeSet::new();
    let mut records: Vec<MetadataRecord> = Vec::new();
    let mut results = Vec::new();
    for topic in &request.topics {
        if !answered.insert(topic.name.as_str()) {
            continue;
        }
        let added = if repeated.contains(topic.name.as_str()) {
            Err(CreatePartitionsError::Duplicate)
        } else {
            add(view, topic, records.len(), chance.next_u64())
        };
        let result =
            CreatePartitionsTopicResult::default().with_name(topic.name.clone()).with_error_message(None);
        results.push(match added {
            Ok(added) => {
                records.extend(added);
                result
            }
            Err(error) => {
                let refusal = Refusal::new(error.code(), error);
                result.with_error_code(refusal.code.code()).with_error_message(refusal.text())
            }
        });
    }
    if request.validate_only {
        records.clear();
    }
    Decision::new(records, CreatePartitionsResponse::default().with_results(results))
}

fn add(
    view: &View<'_>,
    topic: &CreatePartitionsTopic,
    before: usize,
    seed: u64,
) -> Result<Vec<MetadataRecord>, CreatePartitionsError> {
    let known = view.image.topic(&topic.name).ok_or(CreatePartitionsError::UnknownTopic)?;
    let have = known.partition_count();
    let asked = usize::try_from(topic.count).unwrap_or(0);
    if asked == have {
        return Err(CreatePartitionsError::Same(have));
    }
    if asked < have {
        let name = topic.name.to_string();
        return Err(CreatePartitionsError::Fewer { name, have, asked: topic.count });
    }
    let added = asked - have;
    if before.saturating_add(added) > PARTITIONS_PER_REQUEST_MAX {
        return Err(CreatePartitionsError::TooMany);
    }
    let replicas = known.partition(index(0)).map_or(1, |first| first.replicas.len());
    let laid = match &topic.assignments {
        Some(assignments) => {
            let lists = assignments.iter().map(|assignment| replica_list(&assignment.broker_ids));
            manual(view, lists.collect(), have, added, replicas)?
        }
        None => place_automatically(view, added, replicas, seed)?,
    };
    let numbered = laid.iter().enumerate().map(|(at, replicas)| (index(have + at), replicas));
    Ok(numbered.map(|(index, replicas)| new_partition(view, known.id, index, replicas).into()).collect())
}

fn manual(
    view: &View<'_>,
    lists: Vec<Vec<NodeId>>,
    have: usize,
    added: usize,
    replicas: usize,
) -> Result<Vec<Vec<NodeId>>, CreatePartitionsError> {
    if lists.len() != added {
        return Err(CreatePartitionsError::Assignments { added, assigned: lists.len() });
    }
    for (at, list) in lists.iter().enumerate() {
        check_manual(view, index(have + at), list, Some(replicas))?;
    }
    Ok(lists)
}

#[cfg(test)]
mod tests;
