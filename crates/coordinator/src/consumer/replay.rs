//! Takes a group's records in, and keeps count of what its members say.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::OrdMap;
use model::Timestamp;
use proto::offsets::ConsumerGroupRegularExpressionValue;

use super::member::{self, Current};
use super::{Expression, Group, Id, Member, Target};
use crate::record::ConsumerEntry;

impl Group {
    /// Takes a record in.
    pub(crate) fn replay(&mut self, entry: ConsumerEntry) {
        match entry {
            ConsumerEntry::Group(value) => {
                self.metadata_hash = value.as_ref().map_or(0, |value| value.metadata_hash);
                self.epoch = value.map(|value| value.epoch);
            }
            // Kafka 4.1 put a hash in the group's record in place of these.
            ConsumerEntry::Partitions(value) => self.has_topics = value.is_some(),
            ConsumerEntry::Member(id, value) => self.put_member(id.into(), value),
            ConsumerEntry::Target(value) => {
                self.target = value.map(|value| Target {
                    epoch: value.assignment_epoch,
                    at: Timestamp::new(value.assignment_timestamp),
                });
            }
            ConsumerEntry::TargetMember(id, value) => {
                put(&mut self.targets, id.into(), value.as_ref().map(member::parts));
            }
            ConsumerEntry::Current(id, value) => {
                self.put_current(id.into(), value.as_ref().map(Current::from_value));
            }
            ConsumerEntry::Expression(text, value) => {
                put(&mut self.expressions, text, value.map(Expression::from_value));
            }
        }
    }

    fn put_member(&mut self, id: Id, value: Option<Member>) {
        if let Some(before) = self.members.get(&id).cloned() {
            self.count(&before, false);
            if let Some(instance) = &before.instance_id
                && self.instances.get(instance) == Some(&id)
            {
                self.instances.remove(instance);
            }
        }
        let Some(mut value) = value else {
            self.members.remove(&id);
            return;
        };
        let names: BTreeSet<String> = std::mem::take(&mut value.subscribed_topic_names).into_iter().collect();
        value.subscribed_topic_names = names.into_iter().collect();
        self.count(&value, true);
        if let Some(instance) = &value.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.members.insert(id, Arc::new(value));
    }

    fn count(&mut self, member: &Member, more: bool) {
        for name in &member.subscribed_topic_names {
            count(&mut self.names, name, more);
        }
        let pattern = member.subscribed_topic_regex.as_deref().unwrap_or_default();
        if !pattern.is_empty() {
            count(&mut self.patterns, pattern, more);
        }
        if let Some(assignor) = &member.server_assignor {
            count(&mut self.assignors, assignor, more);
        }
        if let Some(classic) = &member.classic_member_metadata {
            if more {
                self.classics += 1
            } else {
                self.classics -= 1
            }
            let names: BTreeSet<&str> =
                classic.supported_protocols.iter().map(|protocol| protocol.name.as_str()).collect();
            for name in names {
                count(&mut self.protocols, name, more);
            }
        }
    }

    fn put_current(&mut self, id: Id, value: Option<Current>) {
        if let Some(before) = self.current.get(&id).cloned() {
            for place in before.places() {
                if self.owners.get(&place) == Some(&id) {
                    self.owners.remove(&place);
                }
            }
        }
        for place in value.iter().flat_map(Current::places) {
            self.owners.insert(place, id.clone());
        }
        put(&mut self.current, id, value);
    }
}

fn put<K: Ord + Clone, V>(map: &mut OrdMap<K, Arc<V>>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, Arc::new(value)),
        None => map.remove(&key),
    };
}

fn count(counts: &mut OrdMap<String, usize>, name: &str, more: bool) {
    let count = counts.get(name).copied().unwrap_or(0);
    match if more { count + 1 } else { count.saturating_sub(1) } {
        0 => counts.remove(name),
        count => counts.insert(name.to_owned(), count),
    };
}

impl Expression {
    fn from_value(value: ConsumerGroupRegularExpressionValue) -> Self {
        let at = Timestamp::new(value.timestamp);
        Self { topics: value.topics.into_iter().collect(), version: value.version, at }
    }

    /// As a record's value.
    pub(crate) fn to_value(&self) -> ConsumerGroupRegularExpressionValue {
        let topics = self.topics.iter().cloned().collect();
        ConsumerGroupRegularExpressionValue { topics, version: self.version, timestamp: self.at.get() }
    }
}
