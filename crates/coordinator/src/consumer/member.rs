//! What a member has, what it is to have, and how far it has come.

use std::collections::{BTreeMap, BTreeSet};

use model::TopicId;
use proto::offsets::*;

/// Partitions by topic; no topic without any.
pub type Parts = BTreeMap<TopicId, BTreeSet<i32>>;
/// Partitions by topic, and in which epoch each was given.
pub type Owned = BTreeMap<TopicId, BTreeMap<i32, i32>>;

/// A static member that will be back within its session timeout.
pub const LEFT_FOR_NOW: i32 = -2;
/// A member that leaves for good.
pub const LEFT: i32 = -1;

/// How far a member has come towards its target. The numbers are Kafka's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// All the way.
    #[default]
    Stable,
    /// It has to give partitions up first.
    UnrevokedPartitions,
    /// Others have to give partitions up first.
    UnreleasedPartitions,
    /// Something that a later release wrote.
    Unknown(i8),
}

impl State {
    fn from_number(number: i8) -> Self {
        match number {
            0 => Self::Stable,
            1 => Self::UnrevokedPartitions,
            2 => Self::UnreleasedPartitions,
            number => Self::Unknown(number),
        }
    }

    fn number(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::UnrevokedPartitions => 1,
            Self::UnreleasedPartitions => 2,
            Self::Unknown(number) => number,
        }
    }
}

/// Where a member stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Current {
    /// Its epoch; 0 before the first, [`LEFT_FOR_NOW`] for a static member that is away.
    pub epoch: i32,
    /// The one before: an answer may be lost.
    pub previous: i32,
    /// How far it has come.
    pub state: State,
    /// What it has.
    pub assigned: Owned,
    /// What it has to give up.
    pub revoking: Owned,
}

impl Current {
    /// As it was written.
    pub fn from_value(value: &ConsumerGroupCurrentMemberAssignmentValue) -> Self {
        let owned = |topics: &Vec<TopicPartitions>| {
            let mut owned = Owned::new();
            for topic in topics {
                // Kafka before 4.2 did not note the epochs.
                let epochs = topic.assignment_epochs.as_ref();
                let epochs = epochs.filter(|epochs| epochs.len() == topic.partitions.len());
                let own = owned.entry(topic.topic_id).or_default();
                for (at, &partition) in topic.partitions.iter().enumerate() {
                    own.insert(partition, epochs.map_or(value.member_epoch, |epochs| epochs[at]));
                }
            }
            owned.retain(|_, partitions| !partitions.is_empty());
            owned
        };
        Self {
            epoch: value.member_epoch,
            previous: value.previous_member_epoch,
            state: State::from_number(value.state),
            assigned: owned(&value.assigned_partitions),
            revoking: owned(&value.partitions_pending_revocation),
        }
    }

    /// As a record's value.
    pub fn to_value(&self) -> ConsumerGroupCurrentMemberAssignmentValue {
        let topics = |owned: &Owned| {
            let topics = owned.iter().map(|(&topic_id, partitions)| TopicPartitions {
                topic_id,
                partitions: partitions.keys().copied().collect(),
                assignment_epochs: Some(partitions.values().copied().collect()),
            });
            topics.collect()
        };
        ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: self.epoch,
            previous_member_epoch: self.previous,
            state: self.state.number(),
            assigned_partitions: topics(&self.assigned),
            partitions_pending_revocation: topics(&self.revoking),
        }
    }

    /// Whether it has come to the target of this epoch.
    pub fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.state == State::Stable && self.epoch == epoch
    }

    /// The same in the next epoch, or the same.
    pub(crate) fn advanced_to(&self, epoch: i32) -> Self {
        Self { epoch, previous: self.epoch, ..self.clone() }
    }

    /// Every partition that nobody else may have.
    pub(crate) fn places(&self) -> impl Iterator<Item = (TopicId, i32)> + '_ {
        let all = self.assigned.iter().chain(&self.revoking);
        all.flat_map(|(&topic, partitions)| partitions.keys().map(move |&partition| (topic, partition)))
    }

    /// In which epoch it was given a partition that it still has.
    pub(crate) fn since(&self, topic: TopicId, partition: i32) -> Option<i32> {
        let find = |owned: &Owned| owned.get(&topic)?.get(&partition).copied();
        find(&self.assigned).or_else(|| find(&self.revoking))
    }
}

/// A target as it was written.
pub fn parts(value: &ConsumerGroupTargetAssignmentMemberValue) -> Parts {
    let mut parts = Parts::new();
    for topic in &value.topic_partitions {
        parts.entry(topic.topic_id).or_default().extend(&topic.partitions);
    }
    parts.retain(|_, partitions| !partitions.is_empty());
    parts
}

/// A target as a record's value.
pub fn parts_value(parts: &Parts) -> ConsumerGroupTargetAssignmentMemberValue {
    let topics = parts.iter().map(|(&topic_id, partitions)| TopicPartition {
        topic_id,
        partitions: partitions.iter().copied().collect(),
    });
    ConsumerGroupTargetAssignmentMemberValue { topic_partitions: topics.collect() }
}
