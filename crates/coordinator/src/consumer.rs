//! A group of the new protocol (KIP-848), as its records say: all of it is hard state.
//!
//! ```text
//!   group epoch    counts changes: members, subscriptions, topics        (the group's record)
//!   target epoch   the group epoch that the target was divided for       (the target's records)
//!   member epoch   the target epoch that a member has come to            (the current assignments)
//! ```
//!
//! A member heartbeats ([`heartbeat`]); whatever changed raises the group epoch, a new target is divided ([`target`])
//! and each member is led towards its own part of it, one heartbeat at a time ([`reconcile`]). Who was heard when,
//! and who has to hurry, is soft ([`watch`]). Members of the classic protocol live in such a group too while it is
//! upgraded or downgraded ([`classic`], [`upgrade`], [`downgrade`]).
//!
//! The records of one group may come in any order, as compaction leaves them; what is counted over them here is
//! counted again with each.

pub mod assignor;
pub(crate) mod classic;
pub(crate) mod describe;
pub(crate) mod downgrade;
pub(crate) mod embedded;
pub(crate) mod expression;
mod hash;
pub(crate) mod heartbeat;
pub(crate) mod leave;
pub(crate) mod member;
pub(crate) mod reconcile;
mod replay;
pub(crate) mod target;
#[cfg(test)]
mod tests;
pub(crate) mod upgrade;
pub(crate) mod watch;

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;
use model::{Timestamp, TopicId};
use proto::offsets::ConsumerGroupMemberMetadataValue;

use crate::record::ConsumerEntry;
use crate::refusal::Refusal;

pub use member::{Current, Owned, Parts, State};
pub use watch::Watched;

/// What a member says of itself.
pub type Member = ConsumerGroupMemberMetadataValue;

/// A member's id.
pub type Id = Arc<str>;

/// From which version on OffsetCommit knows member epochs.
const COMMIT_WITH_EPOCH: i16 = 9;

/// Which epoch was divided, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The group epoch it is for.
    pub epoch: i32,
    /// When it was divided; 0 before Kafka 4.3.
    pub at: Timestamp,
}

/// The topics that a regular expression stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    /// Their names.
    pub topics: BTreeSet<String>,
    /// The metadata in which they were found.
    pub version: i64,
    /// When.
    pub at: Timestamp,
}

/// What the records say of one group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    epoch: Option<i32>,
    metadata_hash: i64,
    /// It has the record of topics that Kafka wrote before 4.1.
    has_topics: bool,
    members: OrdMap<Id, Arc<Member>>,
    target: Option<Target>,
    targets: OrdMap<Id, Arc<Parts>>,
    current: OrdMap<Id, Arc<Current>>,
    expressions: OrdMap<String, Arc<Expression>>,
    /// Static members by their instance.
    instances: OrdMap<String, Id>,
    /// How many members name each topic, write each expression, ask for each assignor.
    names: OrdMap<String, usize>,
    patterns: OrdMap<String, usize>,
    assignors: OrdMap<String, usize>,
    /// Who has each partition, or still has to give it up.
    owners: OrdMap<(TopicId, i32), Id>,
    /// How many members speak the classic protocol, and how many of them know each way to divide.
    classics: usize,
    protocols: OrdMap<String, usize>,
}

impl Group {
    /// Counts its changes; 0 before the first.
    pub fn epoch(&self) -> i32 {
        self.epoch.unwrap_or(0)
    }

    /// Stands for the topics as they were when its epoch was raised last.
    pub fn metadata_hash(&self) -> i64 {
        self.metadata_hash
    }

    /// Which epoch was divided last; 0 before the first.
    pub fn target_epoch(&self) -> i32 {
        self.target.map_or(0, |target| target.epoch)
    }

    /// When that was.
    pub fn target_at(&self) -> Timestamp {
        self.target.map_or(Timestamp::default(), |target| target.at)
    }

    /// Its members, by id.
    pub fn members(&self) -> impl ExactSizeIterator<Item = (&Id, &Arc<Member>)> {
        self.members.iter()
    }

    /// A member.
    pub fn member(&self, id: &str) -> Option<&Arc<Member>> {
        self.members.get(id)
    }

    /// Who a static member is.
    pub fn member_of_instance(&self, instance: &str) -> Option<&Id> {
        self.instances.get(instance)
    }

    /// Where a member stands; at the beginning when nothing is written.
    pub fn current(&self, id: &str) -> Arc<Current> {
        self.current.get(id).cloned().unwrap_or_default()
    }

    /// Among how many members it was divided.
    pub fn targets(&self) -> usize {
        self.targets.len()
    }

    /// What a member is to have.
    pub fn target_of(&self, id: &str) -> Option<&Arc<Parts>> {
        self.targets.get(id)
    }

    /// What expressions stand for.
    pub fn expressions(&self) -> impl ExactSizeIterator<Item = (&String, &Arc<Expression>)> {
        self.expressions.iter()
    }

    /// What an expression stands for.
    pub fn expression(&self, text: &str) -> Option<&Arc<Expression>> {
        self.expressions.get(text)
    }

    /// The expressions that members write.
    pub fn patterns(&self) -> impl ExactSizeIterator<Item = &String> {
        self.patterns.keys()
    }

    /// Whether a member writes this expression.
    pub fn uses(&self, pattern: &str) -> bool {
        self.patterns.contains_key(pattern)
    }

    /// Who has a partition, or still has to give it up.
    pub fn owner(&self, topic: TopicId, partition: i32) -> Option<&Id> {
        self.owners.get(&(topic, partition))
    }

    /// How many of its members speak the classic protocol.
    pub fn classics(&self) -> usize {
        self.classics
    }

    /// Whether all members of the classic protocol know this way to divide.
    pub fn is_known_by_classics(&self, protocol: &str) -> bool {
        self.protocols.get(protocol).copied().unwrap_or(0) == self.classics
    }

    /// The assignor that most members ask for; of equals the first by name.
    pub fn preferred_assignor(&self) -> Option<&str> {
        let most = self.assignors.values().max()?;
        self.assignors.iter().find(|(_, count)| *count == most).map(|(name, _)| name.as_str())
    }

    /// Every topic that a member reads, by its name or an expression.
    pub fn topics(&self) -> BTreeSet<&str> {
        let named = self.names.keys().map(String::as_str);
        let found = self.expressions.values().flat_map(|found| found.topics.iter().map(String::as_str));
        named.chain(found).collect()
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

    /// Whether a member has come to the target.
    pub fn is_reconciled(&self, id: &str) -> bool {
        let current = self.current.get(id);
        current.is_some_and(|current| current.is_reconciled_to(self.target_epoch()))
    }

    /// Its state, in Kafka's word.
    pub fn state(&self) -> &'static str {
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch() > self.target_epoch() {
            "Assigning"
        } else if self.members.keys().all(|id| self.is_reconciled(id)) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    /// Whether a member is subscribed to `topic`; by an expression too, as far as it is resolved.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.names.contains_key(topic) || self.expressions.values().any(|found| found.topics.contains(topic))
    }

    /// Whether `id` in `epoch` may commit offsets with OffsetCommit `version`. `Some` when it may for those partitions
    /// alone that it has had since that epoch or before (KIP-1251).
    pub(crate) fn may_commit(
        &self,
        id: &str,
        epoch: i32,
        version: i16,
    ) -> Result<Option<LateCommit>, Refusal> {
        if epoch < 0 && self.members.is_empty() {
            return Ok(None);
        }
        let member = self.members.get(id).ok_or_else(|| Refusal::unknown_member(id))?;
        let classic = member.classic_member_metadata.is_some();
        if !classic && version < COMMIT_WITH_EPOCH {
            return Err(Refusal::TooOldForConsumerGroup);
        }
        let current = self.current(id);
        if epoch == current.epoch {
            return Ok(None);
        }
        let late = LateCommit { current, classic, epoch };
        if epoch > late.current.epoch { Err(late.refusal()) } else { Ok(Some(late)) }
    }

    /// Whether `id` in `epoch` may ask for offsets; administrators name nobody.
    pub(crate) fn may_fetch(&self, id: Option<&str>, epoch: i32) -> Result<(), Refusal> {
        let Some(id) = id else {
            return if epoch < 0 { Ok(()) } else { Err(Refusal::unknown_member("")) };
        };
        let member = self.members.get(id).ok_or_else(|| Refusal::unknown_member(id))?;
        let current = self.current(id);
        if current.epoch == epoch {
            return Ok(());
        }
        Err(LateCommit { current, classic: member.classic_member_metadata.is_some(), epoch }.refusal())
    }

    /// The records that delete it.
    pub(crate) fn tombstones(&self) -> Vec<ConsumerEntry> {
        let mut entries: Vec<ConsumerEntry> = Vec::new();
        entries.extend(self.current.keys().map(|id| ConsumerEntry::Current(id.to_string(), None)));
        entries.extend(self.targets.keys().map(|id| ConsumerEntry::TargetMember(id.to_string(), None)));
        entries.push(ConsumerEntry::Target(None));
        entries.extend(self.members.keys().map(|id| ConsumerEntry::Member(id.to_string(), None)));
        entries.extend(self.expressions.keys().map(|text| ConsumerEntry::Expression(text.clone(), None)));
        // Whether or not there is one: Kafka does not ask either.
        entries.push(ConsumerEntry::Partitions(None));
        entries.push(ConsumerEntry::Group(None));
        entries
    }
}

/// A commit of a member that has gone on to a later epoch.
#[derive(Clone, Debug)]
pub(crate) struct LateCommit {
    current: Arc<Current>,
    classic: bool,
    epoch: i32,
}

impl LateCommit {
    /// Whether it may commit for this partition: it must have had it in the epoch that it names.
    pub fn admit(&self, topic: TopicId, partition: i32) -> Result<(), Refusal> {
        match self.current.since(topic, partition) {
            Some(since) if since <= self.epoch => Ok(()),
            _ => Err(self.refusal()),
        }
    }

    fn refusal(&self) -> Refusal {
        let (had, got) = (self.current.epoch, self.epoch);
        if self.classic {
            Refusal::IllegalGeneration { had, got }
        } else {
            Refusal::StaleMemberEpoch { had, got }
        }
    }
}
