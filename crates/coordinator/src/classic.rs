//! A group of the classic protocol: its members, and where its rebalance stands.
//!
//! ```text
//!                    first join            all joined, or time is up             the leader's SyncGroup
//!   Empty ----------------------> PreparingRebalance ---------> CompletingRebalance ---------> Stable
//!     ^                            |  ^   ^                           |                          |
//!     +------ nobody is left ------+  |   +-- a join, a leave, or     |                          |
//!                                     +------ a silent member --------+--------------------------+
//! ```
//!
//! Kafka's fifth state, Dead, is a group that is not there. Everything here but what [`Group::to_value`] writes is
//! soft: a shard that loads starts from [`Group::from_value`], stable or empty, with everybody's session fresh.

pub(crate) mod heartbeat;
pub(crate) mod join_group;
pub(crate) mod leave_group;
pub(crate) mod member;
pub(crate) mod rebalance;
mod subscription;
pub(crate) mod sync_group;

use std::sync::Arc;
use std::time::Duration;

use imbl::{OrdMap, OrdSet};
use model::{Millis, Timestamp};
use proto::offsets::{GroupMetadataValue, MemberMetadata};
use wire::messages::{Bytes, StrBytes, text};

use crate::alarm::Alarm;
use crate::cause::Causes;
use crate::refusal::Refusal;

pub use member::{Member, Protocol, Waiting};

/// The protocol type of consumers.
pub const CONSUMER: &str = "consumer";

/// How many ids may be handed out and not used yet. Each is kept for a session timeout, half an hour at most; a client
/// that asks and asks must not fill the memory.
pub(crate) const EXPECTED_MAX: usize = 10_000;
/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No members.
    Empty,
    /// Members are asked to join anew.
    PreparingRebalance(Preparing),
    /// All have joined; the leader is to say who gets what.
    CompletingRebalance,
    /// Everybody may have his assignment.
    Stable,
}

/// How a rebalance began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preparing {
    /// The group was empty: wait a little for more members, longer while they come, but not beyond that.
    First {
        /// When the wait is over in any case.
        until: Millis,
    },
    /// Members were there before.
    Again,
}

impl Phase {
    /// Kafka's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance(_) => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// A classic group.
#[derive(Clone, Debug)]
pub struct Group {
    phase: Phase,
    generation: i32,
    protocol_type: Option<StrBytes>,
    protocol: Option<StrBytes>,
    leader: Option<StrBytes>,
    phase_since: Option<Timestamp>,
    members: OrdMap<StrBytes, Arc<Member>>,
    /// Static members by their instance (KIP-345).
    instances: OrdMap<StrBytes, StrBytes>,
    /// Ids handed out whose owners have not joined yet (KIP-394).
    pending: OrdMap<StrBytes, Alarm>,
    /// How many members know each protocol.
    known_by: OrdMap<StrBytes, usize>,
    /// How many members wait for the rebalance to be prepared.
    joining: usize,
    /// Members of this generation that have not asked for their assignment yet.
    unsynced: OrdSet<StrBytes>,
    /// Why it rebalanced lately.
    pub(crate) causes: Causes,
    /// The wait for joins, or for syncs.
    pub(crate) alarm: Alarm,
}

impl Group {
    /// A group that nobody has joined.
    pub fn new(now: Timestamp) -> Self {
        Self {
            phase: Phase::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            phase_since: Some(now),
            members: OrdMap::new(),
            instances: OrdMap::new(),
            pending: OrdMap::new(),
            known_by: OrdMap::new(),
            joining: 0,
            unsynced: OrdSet::new(),
            causes: Causes::default(),
            alarm: Alarm::default(),
        }
    }

    /// A group as it was written.
    pub fn from_value(value: &GroupMetadataValue) -> Self {
        let mut group = Self::new(Timestamp::default());
        group.phase = if value.members.is_empty() { Phase::Empty } else { Phase::Stable };
        group.generation = value.generation;
        group.protocol_type = Some(value.protocol_type.as_str()).filter(|text| !text.is_empty()).map(text);
        group.protocol = value.protocol.as_deref().map(text);
        group.leader = value.leader.as_deref().map(text);
        let since = value.current_state_timestamp;
        group.phase_since = (since >= 0).then(|| Timestamp::new(since));
        if !value.members.is_empty() {
            group.protocol.get_or_insert_default();
        }
        for written in &value.members {
            let member = Member::from_value(written, value.protocol.as_deref().unwrap_or_default());
            // Twice the same member is one.
            group.remove(&member.id);
            group.insert(member);
        }
        // Half a group must not stop a load: without a leader of its own it takes the first member.
        if group.leader.as_ref().is_none_or(|leader| !group.members.contains_key(leader)) {
            group.leader = group.members.get_min().map(|(id, _)| id.clone());
        }
        group
    }

    /// A stable group of members that were in one of the new protocol; `None` when they know no protocol in common.
    pub(crate) fn downgraded(generation: i32, members: Vec<Member>, now: Timestamp) -> Option<Self> {
        let mut group = Self::new(now);
        group.generation = generation;
        group.protocol_type = Some(StrBytes::from_static_str(CONSUMER));
        for member in members {
            group.insert(member);
        }
        group.protocol = Some(group.elect_protocol()?);
        group.phase = Phase::Stable;
        Some(group)
    }

    /// The group as a record's value: members with what they told of the group's protocol, and their assignments.
    pub fn to_value(&self) -> GroupMetadataValue {
        let protocol = self.protocol.clone().unwrap_or_default();
        let member = |member: &Arc<Member>| MemberMetadata {
            member_id: member.id.to_string(),
            group_instance_id: member.instance.as_ref().map(ToString::to_string),
            client_id: member.client.id.to_string(),
            client_host: member.client.host.to_string(),
            rebalance_timeout: member.rebalance_timeout_ms,
            session_timeout: member.session_timeout_ms,
            subscription: member.metadata(&protocol).to_vec(),
            assignment: member.assignment.to_vec(),
        };
        GroupMetadataValue {
            protocol_type: self.protocol_type.as_ref().map(ToString::to_string).unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.as_ref().map(ToString::to_string),
            leader: self.leader.as_ref().map(ToString::to_string),
            current_state_timestamp: self.phase_since.map_or(-1, Timestamp::get),
            members: self.members.values().map(member).collect(),
        }
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The alarm of a member's session, or of an id that was handed out.
    pub(crate) fn session(&self, member: &StrBytes) -> Option<Alarm> {
        let pending = self.pending.get(member).copied();
        pending.or_else(|| self.members.get(member).map(|member| member.alarm))
    }

    /// Puts it back.
    pub(crate) fn set_session(&mut self, member: &StrBytes, alarm: Alarm) {
        if let Some(pending) = self.pending.get_mut(member) {
            *pending = alarm;
        } else if self.members.contains_key(member) {
            self.edit(member, |member| member.alarm = alarm);
        }
    }

    /// Counts its rebalances.
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// What its members speak; `None` for simple consumers.
    pub fn protocol_type(&self) -> Option<&StrBytes> {
        self.protocol_type.as_ref()
    }

    /// How its members divide what there is.
    pub fn protocol(&self) -> Option<&StrBytes> {
        self.protocol.as_ref()
    }

    /// Who divides it.
    pub fn leader(&self) -> Option<&StrBytes> {
        self.leader.as_ref()
    }

    /// Since when it stands there; not every old record says.
    pub fn phase_since(&self) -> Option<Timestamp> {
        self.phase_since
    }

    /// Its members, by id.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Arc<Member>> {
        self.members.values()
    }

    /// A member.
    pub fn member(&self, id: &StrBytes) -> Option<&Arc<Member>> {
        self.members.get(id)
    }

    /// Who a static member is.
    pub fn member_of_instance(&self, instance: &StrBytes) -> Option<&StrBytes> {
        self.instances.get(instance)
    }

    /// Whether an id was handed out and not used yet.
    pub fn is_pending(&self, id: &StrBytes) -> bool {
        self.pending.contains_key(id)
    }

    /// How many ids were handed out and not used yet.
    pub fn expected(&self) -> usize {
        self.pending.len()
    }

    /// Whether any id was handed out and not used yet.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// How many members wait for the others to join.
    pub fn joining(&self) -> usize {
        self.joining
    }

    /// Whether it has no members and prepares none.
    pub fn is_empty(&self) -> bool {
        self.phase == Phase::Empty
    }

    /// Whether it is a consumers' group.
    pub fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_ref().is_some_and(|kind| kind.as_str() == CONSUMER)
    }

    /// The topics that its members read; `None` when that cannot be told.
    pub fn subscribed_topics(&self) -> Option<std::collections::BTreeSet<String>> {
        if self.members.is_empty() {
            return Some(Default::default());
        }
        let protocol = self.protocol.as_ref().filter(|_| self.is_of_consumers())?;
        let mut topics = std::collections::BTreeSet::new();
        for member in self.members.values() {
            topics.extend(subscription::topics(member.metadata(protocol)).ok()?);
        }
        Some(topics)
    }

    /// Whether a member reads `topic`; consumers whose subscription is unreadable may.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscribed_topics().map_or(self.is_of_consumers(), |topics| topics.contains(topic))
    }

    /// Whether a member that knows `protocols` may be in the group.
    pub fn admits(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.members.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_ref().is_some_and(|own| own.as_str() == protocol_type)
            && protocols.iter().any(|protocol| self.is_known_by_all(&protocol.name))
    }

    fn is_known_by_all(&self, protocol: &StrBytes) -> bool {
        self.known_by.get(protocol).is_some_and(|count| *count == self.members.len())
    }

    /// That `id`, in the name of `instance`, is who it says.
    pub fn validate(&self, id: &StrBytes, instance: Option<&StrBytes>) -> Result<(), Refusal> {
        if let Some(instance) = instance {
            match self.instances.get(instance) {
                None => return Err(Refusal::unknown_member(id)),
                Some(had) if had != id => {
                    let (instance, had, got) = (instance.to_string(), had.to_string(), id.to_string());
                    return Err(Refusal::FencedInstance { instance, had, got });
                }
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(Refusal::unknown_member(id)) }
    }

    /// That, and that it speaks of this generation.
    pub fn validate_in(
        &self,
        id: &StrBytes,
        instance: Option<&StrBytes>,
        generation: i32,
    ) -> Result<(), Refusal> {
        self.validate(id, instance)?;
        if generation == self.generation {
            return Ok(());
        }
        Err(Refusal::IllegalGeneration { had: self.generation, got: generation })
    }

    /// What holds between any two turns, as far as it costs nothing to know.
    pub(crate) fn check(&self) {
        let prepares = matches!(self.phase, Phase::PreparingRebalance(_));
        assert!(self.joining <= self.members.len(), "more members wait than there are");
        assert!(self.joining == 0 || prepares, "a member joined into no rebalance");
        assert!(self.phase != Phase::Empty || self.members.is_empty(), "an empty group has members");
        assert!(
            self.is_empty() || prepares || !self.members.is_empty(),
            "nobody is left, and nothing begins"
        );
        assert_eq!(self.leader.is_some(), !self.members.is_empty(), "members have a leader");
        assert!(self.instances.len() <= self.members.len(), "a static member is a member");
    }

    /// What else holds, member by member.
    #[cfg(test)]
    pub(crate) fn check_members(&self) {
        let joining = self.members.values().filter(|member| matches!(member.waiting, Waiting::Join(_)));
        assert_eq!(joining.count(), self.joining, "the count of joining members is off");
        let syncs = self.members.values().any(|member| matches!(member.waiting, Waiting::Sync(_)));
        assert!(!syncs || self.phase == Phase::CompletingRebalance, "an assignment that never comes");
        let known = |id: &StrBytes| self.members.contains_key(id);
        assert!(self.leader.as_ref().is_none_or(known), "the leader is a member");
        assert!(self.unsynced.iter().all(known), "a member that left is still waited for");
        assert!(self.instances.values().all(known), "a static member is a member");
        assert!(self.pending.keys().all(|id| !known(id)), "a member is still expected");
        let mut counted = Self { known_by: OrdMap::new(), ..self.clone() };
        self.members.values().for_each(|member| counted.count_protocols(member, true));
        assert_eq!(counted.known_by, self.known_by, "the count of protocols is off");
        let agreed = self.phase == Phase::Stable || self.phase == Phase::CompletingRebalance;
        assert_eq!(agreed, agreed && self.protocol.is_some(), "a generation without a protocol");
    }

    fn set_phase(&mut self, phase: Phase, now: Timestamp) {
        self.phase = phase;
        self.phase_since = Some(now);
    }

    /// Adds a member; it leads when it is the first.
    pub(crate) fn insert(&mut self, member: Member) {
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), member.id.clone());
        }
        self.count_protocols(&member, true);
        self.joining += usize::from(matches!(member.waiting, Waiting::Join(_)));
        self.pending.remove(&member.id);
        self.members.insert(member.id.clone(), Arc::new(member));
    }

    /// Takes a member out, whoever it is; the next in line leads when it led.
    pub(crate) fn remove(&mut self, id: &StrBytes) -> Option<Arc<Member>> {
        self.pending.remove(id);
        let member = self.members.remove(id)?;
        self.count_protocols(&member, false);
        self.joining -= usize::from(matches!(member.waiting, Waiting::Join(_)));
        self.unsynced.remove(id);
        if let Some(instance) = &member.instance {
            self.instances.remove(instance);
        }
        if self.leader.as_ref() == Some(id) {
            self.leader = self.members.get_min().map(|(id, _)| id.clone());
        }
        Some(member)
    }

    /// Changes a member in place; gives what it waited for before.
    pub(crate) fn edit(&mut self, id: &StrBytes, change: impl FnOnce(&mut Member)) -> Waiting {
        let member = self.members.get(id).expect("the caller has found it").clone();
        let before = member.waiting;
        let mut changed = Member::clone(&member);
        change(&mut changed);
        if !Arc::ptr_eq(&member.protocols, &changed.protocols) {
            self.count_protocols(&member, false);
            self.count_protocols(&changed, true);
        }
        self.joining -= usize::from(matches!(before, Waiting::Join(_)));
        self.joining += usize::from(matches!(changed.waiting, Waiting::Join(_)));
        self.members.insert(id.clone(), Arc::new(changed));
        before
    }

    fn count_protocols(&mut self, member: &Member, more: bool) {
        let names: std::collections::BTreeSet<&StrBytes> =
            member.protocols.iter().map(|protocol| &protocol.name).collect();
        for name in names {
            let count = self.known_by.get(name).copied().unwrap_or(0);
            let count = if more { count + 1 } else { count - 1 };
            match count {
                0 => self.known_by.remove(name),
                count => self.known_by.insert(name.clone(), count),
            };
        }
    }

    /// The protocol that most members like best among those that all know; of equals the first by name.
    fn elect_protocol(&self) -> Option<StrBytes> {
        let mut votes: std::collections::BTreeMap<&StrBytes, usize> = Default::default();
        for member in self.members.values() {
            let choice = member.protocols.iter().find(|protocol| self.is_known_by_all(&protocol.name));
            *votes.entry(&choice?.name).or_default() += 1;
        }
        let most = votes.values().max().copied()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.clone())
    }

    /// The longest time that a member needs to come back.
    fn rebalance_timeout(&self) -> Duration {
        let longest = self.members.values().map(|member| member.rebalance_timeout_ms).max();
        Duration::from_millis(u64::try_from(longest.unwrap_or(0)).unwrap_or(0))
    }

    /// Gives each member its part; who is not named gets nothing.
    pub(crate) fn assign(&mut self, parts: &std::collections::BTreeMap<&StrBytes, &Bytes>) {
        let ids: Vec<StrBytes> = self.members.keys().cloned().collect();
        for id in ids {
            let part = parts.get(&id).map(|part| Bytes::copy_from_slice(part)).unwrap_or_default();
            self.edit(&id, |member| member.assignment = part);
        }
    }
}

#[cfg(test)]
mod tests;
