//! A group of the new protocol (KIP-848), as its records say: all of it is hard state.
//!
//! Read, shown and deleted so far; its heartbeats are not decided here yet.

use std::sync::Arc;

use imbl::OrdMap;
use proto::offsets::*;

use crate::record::ConsumerEntry;
use crate::refusal::Refusal;

/// From which version on OffsetCommit knows member epochs.
const COMMIT_WITH_EPOCH: i16 = 9;

/// What the records say of one group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    epoch: Option<ConsumerGroupMetadataValue>,
    members: OrdMap<String, Arc<ConsumerGroupMemberMetadataValue>>,
    target: Option<ConsumerGroupTargetAssignmentMetadataValue>,
    targets: OrdMap<String, Arc<ConsumerGroupTargetAssignmentMemberValue>>,
    current: OrdMap<String, Arc<ConsumerGroupCurrentMemberAssignmentValue>>,
    expressions: OrdMap<String, Arc<ConsumerGroupRegularExpressionValue>>,
}

impl Group {
    /// Takes a record in.
    pub(crate) fn replay(&mut self, entry: ConsumerEntry) {
        fn put<T: Clone>(map: &mut OrdMap<String, Arc<T>>, key: String, value: Option<T>) {
            match value {
                Some(value) => map.insert(key, Arc::new(value)),
                None => map.remove(&key),
            };
        }
        match entry {
            ConsumerEntry::Group(value) => self.epoch = value,
            // Kafka 4.1 put a hash in the group's record in place of these.
            ConsumerEntry::Partitions(_) => {}
            ConsumerEntry::Member(member, value) => put(&mut self.members, member, value),
            ConsumerEntry::Target(value) => self.target = value,
            ConsumerEntry::TargetMember(member, value) => put(&mut self.targets, member, value),
            ConsumerEntry::Current(member, value) => put(&mut self.current, member, value),
            ConsumerEntry::Expression(expression, value) => put(&mut self.expressions, expression, value),
        }
    }

    /// Whether nothing is left of it.
    pub fn is_gone(&self) -> bool {
        self.epoch.is_none()
            && self.target.is_none()
            && self.members.is_empty()
            && self.targets.is_empty()
            && self.current.is_empty()
            && self.expressions.is_empty()
    }

    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Its state, in Kafka's word.
    pub fn state(&self) -> &'static str {
        let epoch = self.epoch.as_ref().map_or(0, |group| group.epoch);
        let target = self.target.as_ref().map_or(0, |target| target.assignment_epoch);
        if self.members.is_empty() {
            "Empty"
        } else if epoch > target {
            "Assigning"
        } else if self.current.values().all(|member| member.member_epoch == target && member.state == 0)
            && self.current.len() == self.members.len()
        {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    /// Whether a member is subscribed to `topic`; by an expression too, as far as it is resolved.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        let named = |member: &Arc<ConsumerGroupMemberMetadataValue>| {
            member.subscribed_topic_names.iter().any(|name| name == topic)
        };
        let resolved = |expression: &Arc<ConsumerGroupRegularExpressionValue>| {
            expression.topics.iter().any(|name| name == topic)
        };
        self.members.values().any(named) || self.expressions.values().any(resolved)
    }

    /// Whether `member` in `epoch` may commit offsets with OffsetCommit `version`.
    pub(crate) fn may_commit(&self, member: &str, epoch: i32, version: i16) -> Result<(), Refusal> {
        if epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let known = self.members.get(member).ok_or_else(|| Refusal::unknown_member(member))?;
        let had = self.current.get(member).map_or(0, |current| current.member_epoch);
        match (had == epoch, known.classic_member_metadata.is_some()) {
            (_, false) if version < COMMIT_WITH_EPOCH => Err(Refusal::TooOldForConsumerGroup),
            (true, _) => Ok(()),
            (false, true) => Err(Refusal::IllegalGeneration { had, got: epoch }),
            (false, false) => Err(Refusal::StaleMemberEpoch { had, got: epoch }),
        }
    }

    /// The records that delete it.
    pub(crate) fn tombstones(&self) -> Vec<ConsumerEntry> {
        let mut entries: Vec<ConsumerEntry> = Vec::new();
        entries.extend(self.current.keys().map(|member| ConsumerEntry::Current(member.clone(), None)));
        entries.extend(self.targets.keys().map(|member| ConsumerEntry::TargetMember(member.clone(), None)));
        entries.push(ConsumerEntry::Target(None));
        entries.extend(self.members.keys().map(|member| ConsumerEntry::Member(member.clone(), None)));
        entries.extend(self.expressions.keys().map(|text| ConsumerEntry::Expression(text.clone(), None)));
        entries.push(ConsumerEntry::Group(None));
        entries
    }
}
