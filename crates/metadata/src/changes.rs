//! What a run of records changed, so that the data plane acts on just that.
//!
//! It names things and holds no values: those are in the image after the run. A thing
//! may be named though it ended as it was; a thing that differs is always named.

use std::collections::{BTreeMap, BTreeSet};

use model::{NodeId, PartitionIndex, TopicId, TopicName, Uuid};

use crate::configs::ConfigResource;
use crate::image::Image;
use crate::quotas::QuotaEntity;

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Topics that are new, still there at the end.
    pub topics_created: BTreeMap<TopicId, TopicName>,
    /// Topics that are gone. One that came and went within the run is here and nowhere else.
    pub topics_deleted: BTreeMap<TopicId, TopicName>,
    /// Partitions that are new or differ; none of a deleted topic.
    pub partitions: BTreeSet<(TopicId, PartitionIndex)>,
    /// Brokers that registered, changed or are gone.
    pub brokers: BTreeSet<NodeId>,
    /// Controllers that registered.
    pub controllers: BTreeSet<NodeId>,
    /// Resources of which a config was set or removed.
    pub configs: BTreeSet<ConfigResource>,
    /// Features whose level was set or removed.
    pub features: BTreeSet<String>,
    /// Client quotas that were set or removed.
    pub quotas: BTreeSet<QuotaEntity>,
    /// ACLs that were added or removed.
    pub acls: BTreeSet<Uuid>,
    /// Users (and mechanisms) whose SCRAM credential was set or removed.
    pub scram: BTreeSet<(i8, String)>,
    /// Delegation tokens that were set or removed, by token id.
    pub delegation_tokens: BTreeSet<String>,
    /// A block of producer ids was handed out.
    pub producer_ids: bool,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Takes in what the run after this one changed.
    pub fn merge(&mut self, later: Self) {
        for (id, name) in later.topics_deleted {
            self.note_deleted(id, name);
        }
        self.topics_created.extend(later.topics_created);
        self.partitions.extend(later.partitions);
        self.brokers.extend(later.brokers);
        self.controllers.extend(later.controllers);
        self.configs.extend(later.configs);
        self.features.extend(later.features);
        self.quotas.extend(later.quotas);
        self.acls.extend(later.acls);
        self.scram.extend(later.scram);
        self.delegation_tokens.extend(later.delegation_tokens);
        self.producer_ids |= later.producer_ids;
    }

    /// What differs from one image to another: for a node that loads a snapshot while it serves.
    pub fn between(old: &Image, new: &Image) -> Self {
        let mut changes = Self::default();
        old.topics.differences(&new.topics, &mut changes);
        old.cluster.differences(&new.cluster, &mut changes);
        changes.configs = old.configs.differences(&new.configs);
        changes.features = differing(&old.features.levels, &new.features.levels);
        changes.quotas = differing(&old.quotas.entities, &new.quotas.entities);
        changes.acls = differing(&old.security.acls, &new.security.acls);
        changes.scram = differing(&old.security.scram, &new.security.scram);
        changes.delegation_tokens = differing(&old.security.tokens, &new.security.tokens);
        changes.producer_ids = old.producer_ids != new.producer_ids;
        changes
    }

    /// The partitions of one topic that changed.
    pub fn partitions_of(&self, topic: TopicId) -> impl Iterator<Item = PartitionIndex> {
        let all = (topic, PartitionIndex::new(i32::MIN))..=(topic, PartitionIndex::new(i32::MAX));
        self.partitions.range(all).map(|(_, partition)| *partition)
    }

    pub(crate) fn note_deleted(&mut self, id: TopicId, name: TopicName) {
        self.topics_created.remove(&id);
        let partitions: Vec<PartitionIndex> = self.partitions_of(id).collect();
        for partition in partitions {
            self.partitions.remove(&(id, partition));
        }
        self.topics_deleted.insert(id, name);
    }
}

/// The keys of which two maps hold different values, or only one holds any.
pub(crate) fn differing<K: Ord + Clone, V: PartialEq + Clone>(
    old: &imbl::OrdMap<K, V>,
    new: &imbl::OrdMap<K, V>,
) -> BTreeSet<K> {
    use imbl::ordmap::DiffItem;
    let key = |item| match item {
        DiffItem::Add(key, _) | DiffItem::Remove(key, _) | DiffItem::Update { new: (key, _), .. } => key,
    };
    old.diff(new).map(|item| K::clone(key(item))).collect()
}
