//! AlterPartition: a leader asks to change the in-sync set of what it leads.
//!
//! The leader proposes, the controller decides: only the leader of the present epoch
//! is heard, only about the present partition epoch, and only replicas that live
//! with the broker epoch that the leader saw may join (KIP-903): one that restarted
//! in between may have lost what it had.
//!
//! A request that knows more than this image comes from a leader that a newer
//! controller made, so it is sent on to look for that one.

use metadata::{Changes, Image, LeaderRecoveryState, Partition, Topic};
use model::{ErrorCode, Mutant, NodeId, Offset, PartitionIndex};
use proto::metadata::{MetadataRecord, PartitionChangeRecord};
use wire::messages::alter_partition_request::{BrokerState, PartitionData as Asked};
use wire::messages::alter_partition_response::{PartitionData, TopicData};
use wire::messages::{AlterPartitionRequest, AlterPartitionResponse, BrokerId, from_wire_uuid};

use crate::decision::Decision;
use crate::elect::Election;
use crate::fence::TopicRules;
use crate::heartbeat::{StaleBroker, speaker};
use crate::partition_change::PartitionChange;
use crate::view::View;

/// The broker epoch of a member whose leader does not know it.
const NO_EPOCH: i64 = -1;
const NO_LEADER_CHANGE: i32 = -2;

/// Why one partition's set does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlterPartitionError {
    /// No such topic.
    #[error("the topic is unknown")]
    UnknownTopic,
    /// No such partition.
    #[error("the partition is unknown")]
    UnknownPartition,
    /// The leader knows of a later epoch than this controller.
    #[error("the leader knows of a later epoch")]
    Behind,
    /// There is a newer leader.
    #[error("there is a newer leader epoch")]
    FencedLeader,
    /// The broker does not lead it.
    #[error("the broker does not lead the partition")]
    NotLeader,
    /// The partition has changed since.
    #[error("the partition has changed since")]
    Changed,
    /// A set that cannot be.
    #[error("the set has repetitions, strangers, or lacks the leader")]
    InvalidSet,
    /// A recovering leader has no company, and a recovered one does not fall back.
    #[error("the recovery state does not fit")]
    InvalidRecovery,
    /// A member that is fenced, stopping, gone, or of another epoch.
    #[error("a member may not be in sync")]
    Ineligible,
    /// The change made somebody else the leader.
    #[error("the change completed a reassignment, which elected a new leader")]
    NewLeader,
}

impl AlterPartitionError {
    /// What the leader is told.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::UnknownTopic => ErrorCode::UnknownTopicId,
            Self::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
            Self::Behind => ErrorCode::NotController,
            Self::FencedLeader => ErrorCode::FencedLeaderEpoch,
            Self::NotLeader | Self::InvalidSet | Self::InvalidRecovery => ErrorCode::InvalidRequest,
            Self::Changed => ErrorCode::InvalidUpdateVersion,
            Self::Ineligible => ErrorCode::IneligibleReplica,
            Self::NewLeader => ErrorCode::NewLeaderElected,
        }
    }
}

/// Changes what may change.
pub fn decide(
    view: &View<'_>,
    request: &AlterPartitionRequest,
) -> Result<Decision<AlterPartitionResponse>, StaleBroker> {
    let leader = speaker(view, *request.broker_id, request.broker_epoch)?.id;
    let mut records: Vec<MetadataRecord> = Vec::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in &request.topics {
        let topic = view.image.topic_by_id(from_wire_uuid(asked.topic_id));
        let answers = asked.partitions.iter().map(|partition| {
            let altered = match topic {
                Some(topic) => alter(view, topic, leader, partition),
                None => Err(AlterPartitionError::UnknownTopic),
            };
            answer(view, partition.partition_index, altered, &mut records)
        });
        let answers = answers.collect();
        topics.push(TopicData::default().with_topic_id(asked.topic_id).with_partitions(answers));
    }
    Ok(Decision::new(records, AlterPartitionResponse::default().with_topics(topics)))
}

/// The answer to a broker that must register again.
pub fn refuse(error: &StaleBroker) -> AlterPartitionResponse {
    AlterPartitionResponse::default().with_error_code(error.code().code())
}

/// The partition as it stands, and the record that changes it, if anything does.
type Altered<'a> = (&'a Partition, Option<PartitionChangeRecord>);

fn alter<'a>(
    view: &View<'a>,
    topic: &'a Topic,
    leader: NodeId,
    asked: &Asked,
) -> Result<Altered<'a>, AlterPartitionError> {
    let index = PartitionIndex::new(asked.partition_index);
    let partition = topic.partition(index).ok_or(AlterPartitionError::UnknownPartition)?;
    let members = members(asked);
    check(view, partition, leader, asked, &members)?;
    let rules = TopicRules::of(view, topic);
    let mut change = PartitionChange::new(partition, rules.for_partition(partition));
    change.isr = members.iter().map(|member| NodeId::new(member.broker_id.0)).collect();
    change.recovering = asked.leader_recovery_state == LeaderRecoveryState::Recovering.to_wire();
    if rules.unclean_allowed {
        change.election = Election::Unclean;
    }
    let record = change.build((topic.id, index), |node| view.is_active(node), |node| view.default_dir(node));
    Ok((partition, record))
}

/// The proposed set: with broker epochs from version 3 on, bare ids before.
fn members(asked: &Asked) -> Vec<BrokerState> {
    if !asked.new_isr_with_epochs.is_empty() {
        return asked.new_isr_with_epochs.clone();
    }
    let bare = |id: &BrokerId| BrokerState::default().with_broker_id(*id).with_broker_epoch(NO_EPOCH);
    asked.new_isr.iter().map(bare).collect()
}

fn check(
    view: &View<'_>,
    partition: &Partition,
    leader: NodeId,
    asked: &Asked,
    members: &[BrokerState],
) -> Result<(), AlterPartitionError> {
    if !Mutant::LeaderEpochUnchecked.is_planted() {
        check_epochs(partition, leader, asked)?;
    }
    let ids: Vec<NodeId> = members.iter().map(|member| NodeId::new(member.broker_id.0)).collect();
    let repeats = ids.iter().enumerate().any(|(at, id)| ids[..at].contains(id));
    if repeats || !ids.contains(&leader) || !ids.iter().all(|id| partition.replicas.contains(id)) {
        return Err(AlterPartitionError::InvalidSet);
    }
    let recovering = match asked.leader_recovery_state {
        0 => false,
        1 => true,
        _ => return Err(AlterPartitionError::InvalidRecovery),
    };
    let was_recovering = partition.leader_recovery_state == LeaderRecoveryState::Recovering;
    if recovering && (ids.len() > 1 || !was_recovering) {
        return Err(AlterPartitionError::InvalidRecovery);
    }
    if members.iter().all(|member| is_eligible(view, member)) || Mutant::FenceIgnored.is_planted() {
        Ok(())
    } else {
        Err(AlterPartitionError::Ineligible)
    }
}

/// Whether it is the present leader that speaks, and of the present state.
fn check_epochs(partition: &Partition, leader: NodeId, asked: &Asked) -> Result<(), AlterPartitionError> {
    let (leader_epoch, epoch) = (partition.leader_epoch.get(), partition.partition_epoch.get());
    if asked.leader_epoch > leader_epoch || asked.partition_epoch > epoch {
        return Err(AlterPartitionError::Behind);
    }
    if asked.leader_epoch < leader_epoch {
        return Err(AlterPartitionError::FencedLeader);
    }
    if partition.leader != Some(leader) {
        return Err(AlterPartitionError::NotLeader);
    }
    if asked.partition_epoch < epoch {
        return Err(AlterPartitionError::Changed);
    }
    Ok(())
}

fn is_eligible(view: &View<'_>, member: &BrokerState) -> bool {
    let node = NodeId::new(member.broker_id.0);
    let same_run = |epoch: i64| member.broker_epoch == NO_EPOCH || member.broker_epoch == epoch;
    view.is_active(node) && view.image.broker(node).is_some_and(|broker| same_run(broker.epoch.get()))
}

/// The partition's new state, or why it has none. A change that elected another leader is kept, but
/// the asker is told that it leads no more.
fn answer(
    view: &View<'_>,
    index: i32,
    altered: Result<Altered<'_>, AlterPartitionError>,
    records: &mut Vec<MetadataRecord>,
) -> PartitionData {
    let answer = PartitionData::default().with_partition_index(index);
    let (before, record) = match altered {
        Ok(altered) => altered,
        Err(error) => return answer.with_error_code(error.code().code()),
    };
    let Some(record) = record else { return described(answer, before) };
    let leader = before.leader.map_or(-1, NodeId::get);
    let changes_leader = record.leader != NO_LEADER_CHANGE && record.leader != leader;
    let record = MetadataRecord::from(record);
    let answer = if changes_leader {
        answer.with_error_code(AlterPartitionError::NewLeader.code().code())
    } else {
        described(answer, &after(view.image, &record))
    };
    records.push(record);
    answer
}

/// The partition as the record leaves it.
fn after(image: &Image, record: &MetadataRecord) -> Partition {
    let MetadataRecord::PartitionChange(change) = record else { unreachable!("made by this file") };
    let mut image = image.clone();
    image
        .replay(Offset::ZERO, record, &mut Changes::default())
        .expect("what is decided on an image can be replayed on it");
    let place = (change.topic_id, PartitionIndex::new(change.partition_id));
    image.partition(place.0, place.1).expect("a change keeps its partition").clone()
}

fn described(answer: PartitionData, partition: &Partition) -> PartitionData {
    answer
        .with_leader_id(BrokerId(partition.leader.map_or(-1, NodeId::get)))
        .with_leader_epoch(partition.leader_epoch.get())
        .with_isr(partition.isr.iter().map(|node| BrokerId(node.get())).collect())
        .with_leader_recovery_state(partition.leader_recovery_state.to_wire())
        .with_partition_epoch(partition.partition_epoch.get())
}

#[cfg(test)]
mod tests;
