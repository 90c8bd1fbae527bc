//! What becomes of partitions when a broker comes, goes, or loses data.
//!
//! A broker that goes (fenced, stopping, unregistered) leaves every in-sync set it
//! is in, and what it led is led by another. One that lost what it had not flushed
//! is no longer eligible either. One that comes back takes up what nobody leads.
//!
//! Fencing is always safe: a fenced broker that lives on only registers again.

use metadata::{Partition, Topic};
use model::{BrokerEpoch, DirectoryId, NodeId, TopicId};
use proto::metadata::{BrokerRegistrationChangeRecord, MetadataRecord};

use crate::decision::Decision;
use crate::elect::Election;
use crate::partition_change::{PartitionChange, Rules};
use crate::sessions::Contact;
use crate::view::{Place, View};

/// Marks a field of a registration change as changed to "yes".
const SET: i8 = 1;
/// Marks a field of a registration change as changed to "no".
const CLEARED: i8 = -1;

/// What happens to a broker, as far as partitions care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It leads nothing and is in sync nowhere.
    Leaves(NodeId),
    /// It may lead what has no leader.
    Returns(NodeId),
    /// What it had not flushed is lost.
    LostData(NodeId),
}

impl Fate {
    fn gone(self) -> Option<NodeId> {
        match self {
            Self::Leaves(node) | Self::LostData(node) => Some(node),
            Self::Returns(_) => None,
        }
    }
}

/// Moves leaderships away from a broker that leaves, or to one that returns.
pub fn move_partitions(
    view: &View<'_>,
    fate: Fate,
    partitions: impl IntoIterator<Item = Place>,
    records: &mut Vec<MetadataRecord>,
) {
    let gone = fate.gone();
    let acceptable =
        |node: NodeId| Some(node) != gone && (fate == Fate::Returns(node) || view.is_active(node));
    // Partitions of one topic come together: its configs are looked up once.
    let mut last: Option<(TopicId, TopicRules)> = None;
    for (id, index) in partitions {
        let Some(topic) = view.image.topic_by_id(id) else { continue };
        let Some(partition) = topic.partition(index) else { continue };
        let rules = match last {
            Some((known, rules)) if known == id => rules,
            _ => TopicRules::of(view, topic),
        };
        last = Some((id, rules));
        let mut change = PartitionChange::new(partition, rules.for_partition(partition));
        change.isr.retain(|node| Some(*node) != gone);
        if rules.unclean_allowed {
            change.election = Election::Unclean;
        }
        if let Fate::LostData(node) = fate {
            change.unclean_shutdown = Some(node);
        }
        let record = change.build((id, index), acceptable, |node| view.default_dir(node));
        records.extend(record.map(MetadataRecord::from));
    }
}

/// What a topic's configs mean to its elections.
#[derive(Clone, Copy, Debug)]
pub struct TopicRules {
    min_insync_replicas: usize,
    elr_enabled: bool,
    /// `unclean.leader.election.enable`.
    pub unclean_allowed: bool,
}

impl TopicRules {
    /// Those of that topic.
    pub fn of(view: &View<'_>, topic: &Topic) -> Self {
        let name = topic.name.as_str();
        Self {
            min_insync_replicas: view.min_insync_replicas(name),
            elr_enabled: view.elr_enabled(),
            unclean_allowed: view.unclean_allowed(name),
        }
    }

    /// A minimum above the number of replicas could never be reached.
    pub fn for_partition(&self, partition: &Partition) -> Rules {
        Rules {
            min_insync_replicas: self.min_insync_replicas.min(partition.replicas.len()),
            elr_enabled: self.elr_enabled,
        }
    }
}

/// Takes a broker out of all partitions, and says that it is fenced.
pub fn fence(view: &View<'_>, node: NodeId, records: &mut Vec<MetadataRecord>) {
    let Some(broker) = view.image.broker(node).filter(|broker| !broker.fenced) else { return };
    move_partitions(view, Fate::Leaves(node), view.in_sync_on(node), records);
    records.push(registration_change(node, broker.epoch.get(), |record| record.fenced = SET));
}

/// Lets a broker lead and be in sync again; it takes up what has no leader.
pub fn unfence(view: &View<'_>, node: NodeId, records: &mut Vec<MetadataRecord>) {
    let Some(broker) = view.image.broker(node) else { return };
    records.push(registration_change(node, broker.epoch.get(), |record| record.fenced = CLEARED));
    move_partitions(view, Fate::Returns(node), view.leaderless_on(node), records);
}

/// Begins a controlled shutdown: the broker stays in touch but leads nothing from now on.
pub fn shut_down(view: &View<'_>, node: NodeId, records: &mut Vec<MetadataRecord>) {
    let Some(broker) = view.image.broker(node) else { return };
    records.push(registration_change(node, broker.epoch.get(), |record| record.in_controlled_shutdown = SET));
    move_partitions(view, Fate::Leaves(node), view.in_sync_on(node), records);
}

/// What a broker's previous run leaves behind when a new one begins, or the broker is forgotten.
pub fn clean_up(view: &View<'_>, node: NodeId, clean: bool, records: &mut Vec<MetadataRecord>) {
    let fate = if clean { Fate::Leaves(node) } else { Fate::LostData(node) };
    move_partitions(view, fate, view.in_sync_on(node), records);
    if !clean {
        move_partitions(view, fate, view.eligible_on(node), records);
    }
}

/// Log directories of a broker failed: their partitions go elsewhere.
pub fn lose_directories(
    view: &View<'_>,
    node: NodeId,
    offline: &[DirectoryId],
    records: &mut Vec<MetadataRecord>,
) {
    let Some(broker) = view.image.broker(node) else { return };
    let (lost, left): (Vec<DirectoryId>, Vec<DirectoryId>) =
        broker.log_dirs.iter().copied().partition(|dir| offline.contains(dir));
    if lost.is_empty() {
        return;
    }
    let hit = |&(topic, index): &Place| {
        let directory = view.image.partition(topic, index).and_then(|partition| partition.directory(node));
        directory.is_some_and(|directory| lost.contains(&directory))
    };
    let partitions: Vec<Place> = view.in_sync_on(node).into_iter().filter(hit).collect();
    move_partitions(view, Fate::Leaves(node), partitions, records);
    records.push(registration_change(node, broker.epoch.get(), |record| record.log_dirs = left));
}

/// A change to that registration.
pub fn registration_change(
    node: NodeId,
    epoch: i64,
    set: impl FnOnce(&mut BrokerRegistrationChangeRecord),
) -> MetadataRecord {
    let mut record = BrokerRegistrationChangeRecord {
        broker_id: node.get(),
        broker_epoch: epoch,
        ..BrokerRegistrationChangeRecord::default()
    };
    set(&mut record);
    record.into()
}

/// A broker's process is known to be gone: it is fenced at once, and its id is free for the next.
pub fn gone(view: &View<'_>, node: NodeId, epoch: BrokerEpoch) -> Decision<()> {
    let mut records = Vec::new();
    if view.image.broker(node).is_none_or(|broker| broker.epoch != epoch) {
        return Decision::answer(());
    }
    fence(view, node, &mut records);
    Decision { records, response: (), contact: Some(Contact::Gone { broker: node, epoch }) }
}

/// Fences one broker whose session expired. To be asked again, on the image that follows, until it
/// decides nothing.
pub fn expire_one(view: &View<'_>) -> Decision<()> {
    let timeout = view.settings.session_timeout;
    let expired = view.image.brokers().find(|broker| {
        !broker.fenced && view.sessions.expires_at(broker.id, broker.epoch, timeout) <= view.now
    });
    let mut records = Vec::new();
    if let Some(broker) = expired {
        fence(view, broker.id, &mut records);
    }
    Decision::new(records, ())
}

#[cfg(test)]
mod tests;
