//! ElectLeaders, and the two elections nobody asks for: the periodic return of
//! leaderships to preferred replicas, and unclean elections where a topic allows them.

use std::collections::BTreeMap;

use metadata::{Partition, Topic};
use model::{ErrorCode, NodeId, PartitionIndex};
use proto::metadata::MetadataRecord;
use wire::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use wire::messages::{ElectLeadersRequest, ElectLeadersResponse, topic};

use crate::decision::{Decision, Refusal};
use crate::elect::Election;
use crate::fence::TopicRules;
use crate::partition_change::PartitionChange;
use crate::view::View;

/// Elections that one round of balancing holds: more would be a batch that others wait for.
pub const ELECTIONS_PER_ROUND_MAX: usize = 1_000;

/// Why no leader was elected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElectLeaderError {
    /// No such topic.
    #[error("No such topic as {0}")]
    UnknownTopic(String),
    /// No such partition.
    #[error("No such partition as {0}-{1}")]
    UnknownPartition(String, i32),
    /// It is as it should be.
    #[error("Leader election not needed for topic partition.")]
    NotNeeded,
    /// The first replica is not in sync, or not there.
    #[error("The preferred leader was not available.")]
    PreferredNotAvailable,
    /// Nobody is there.
    #[error("Eligible topic partition leaders are not available.")]
    NobodyEligible,
    /// Neither preferred (0) nor unclean (1).
    #[error("Unknown election type {0}")]
    Type(i8),
}

impl ElectLeaderError {
    /// What the client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::UnknownTopic(_) | Self::UnknownPartition(..) => ErrorCode::UnknownTopicOrPartition,
            Self::NotNeeded => ErrorCode::ElectionNotNeeded,
            Self::PreferredNotAvailable => ErrorCode::PreferredLeaderNotAvailable,
            Self::NobodyEligible => ErrorCode::EligibleLeadersNotAvailable,
            Self::Type(_) => ErrorCode::InvalidRequest,
        }
    }
}

/// Elects the leaders asked for, or all where there is need.
pub fn decide(view: &View<'_>, request: &ElectLeadersRequest) -> Decision<ElectLeadersResponse> {
    let election = match request.election_type {
        0 => Election::Preferred,
        1 => Election::Unclean,
        other => {
            let code = ElectLeaderError::Type(other).code().code();
            return Decision::answer(ElectLeadersResponse::default().with_error_code(code));
        }
    };
    let mut records = Vec::new();
    let mut results: BTreeMap<String, Vec<PartitionResult>> = BTreeMap::new();
    let mut elect = |name: &str, index: i32, tell_when_not_needed: bool| {
        let outcome = elect_one(view, name, index, election);
        if outcome == Err(ElectLeaderError::NotNeeded) && !tell_when_not_needed {
            return;
        }
        let mut result = PartitionResult::default().with_partition_id(index).with_error_message(None);
        match outcome {
            Ok(record) => records.push(record),
            Err(error) => {
                let refusal = Refusal::new(error.code(), error);
                result = result.with_error_code(refusal.code.code()).with_error_message(refusal.text());
            }
        }
        results.entry(name.to_owned()).or_default().push(result);
    };
    match &request.topic_partitions {
        Some(asked) => asked.iter().for_each(|topic| {
            topic.partitions.iter().for_each(|&index| elect(&topic.topic, index, true));
        }),
        None => {
            view.partitions().for_each(|(topic, index, _)| elect(topic.name.as_str(), index.get(), false))
        }
    }
    let results = results.into_iter().map(|(name, partitions)| {
        ReplicaElectionResult::default().with_topic(topic(&name)).with_partition_result(partitions)
    });
    let response = ElectLeadersResponse::default().with_replica_election_results(results.collect());
    Decision::new(records, response)
}

fn elect_one(
    view: &View<'_>,
    name: &str,
    index: i32,
    election: Election,
) -> Result<MetadataRecord, ElectLeaderError> {
    let topic = view.image.topic(name).ok_or_else(|| ElectLeaderError::UnknownTopic(name.to_owned()))?;
    let at = PartitionIndex::new(index);
    let state =
        topic.partition(at).ok_or_else(|| ElectLeaderError::UnknownPartition(name.to_owned(), index))?;
    let needed = match election {
        Election::Preferred => state.leader != state.preferred_leader(),
        Election::Unclean | Election::Online => state.leader.is_none(),
    };
    if !needed {
        return Err(ElectLeaderError::NotNeeded);
    }
    hold(view, (topic, at, state), election).ok_or(match election {
        Election::Preferred => ElectLeaderError::PreferredNotAvailable,
        Election::Unclean | Election::Online => ElectLeaderError::NobodyEligible,
    })
}

/// Holds one election; `None` when it changes nothing.
fn hold(
    view: &View<'_>,
    (topic, index, partition): (&Topic, PartitionIndex, &Partition),
    election: Election,
) -> Option<MetadataRecord> {
    let mut change = PartitionChange::new(partition, TopicRules::of(view, topic).for_partition(partition));
    change.election = election;
    let record = change.build((topic.id, index), |node| view.is_active(node), |node| view.default_dir(node));
    record.map(MetadataRecord::from)
}

/// Gives leaderships back to preferred replicas, for brokers of whose partitions more than
/// `leader.imbalance.per.broker.percentage` are led by others. Says whether more remain to be done.
pub fn balance(view: &View<'_>) -> Decision<bool> {
    let mut preferred: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut displaced: BTreeMap<NodeId, Vec<(&Topic, PartitionIndex, &Partition)>> = BTreeMap::new();
    for (topic, index, partition) in view.partitions() {
        let Some(first) = partition.preferred_leader() else { continue };
        *preferred.entry(first).or_default() += 1;
        if partition.leader != Some(first) {
            displaced.entry(first).or_default().push((topic, index, partition));
        }
    }
    let allowed = usize::try_from(view.settings.leader_imbalance_percent).unwrap_or(usize::MAX);
    displaced.retain(|node, partitions| {
        view.is_active(*node) && partitions.len() * 100 > preferred[node].saturating_mul(allowed)
    });
    let elections =
        displaced.into_values().flatten().filter_map(|place| hold(view, place, Election::Preferred));
    let records: Vec<MetadataRecord> = elections.take(ELECTIONS_PER_ROUND_MAX).collect();
    let more = records.len() == ELECTIONS_PER_ROUND_MAX;
    Decision::new(records, more)
}

/// Elects leaders at any price where nobody leads and the topic's configuration wants that.
pub fn elect_unclean(view: &View<'_>) -> Decision<bool> {
    let leaderless = view.partitions().filter(|(_, _, partition)| partition.leader.is_none());
    let allowed = leaderless.filter(|(topic, _, _)| view.unclean_allowed(topic.name.as_str()));
    let elections = allowed.filter_map(|place| hold(view, place, Election::Unclean));
    let records: Vec<MetadataRecord> = elections.take(ELECTIONS_PER_ROUND_MAX).collect();
    let more = records.len() == ELECTIONS_PER_ROUND_MAX;
    Decision::new(records, more)
}

#[cfg(test)]
mod tests;
