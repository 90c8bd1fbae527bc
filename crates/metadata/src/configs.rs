//! Configs set at run time, by resource. What a key means is `config`'s to know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::OrdMap;
use model::NodeId;
use proto::metadata::{ConfigRecord, MetadataRecord};

use crate::changes::{Changes, differing};

/// Kafka's number for what kind of thing a config is set on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKind(pub i8);

impl ResourceKind {
    /// A topic, by name.
    pub const TOPIC: Self = Self(2);
    /// A node, by id; all of them by the empty name.
    pub const BROKER: Self = Self(4);
    /// A subscription to client metrics (KIP-714).
    pub const CLIENT_METRICS: Self = Self(16);
    /// A group (KIP-848).
    pub const GROUP: Self = Self(32);
}

/// What a config is set on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigResource {
    /// What kind of thing.
    pub kind: ResourceKind,
    /// Which one.
    pub name: String,
}

impl ConfigResource {
    /// One topic.
    pub fn topic(name: &str) -> Self {
        Self { kind: ResourceKind::TOPIC, name: name.to_owned() }
    }

    /// One node.
    pub fn broker(id: NodeId) -> Self {
        Self { kind: ResourceKind::BROKER, name: id.to_string() }
    }

    /// All nodes.
    pub fn all_brokers() -> Self {
        Self { kind: ResourceKind::BROKER, name: String::new() }
    }
}

/// Values by key.
pub type Configs = BTreeMap<String, String>;

/// Every config set; no resource without one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ConfigTable {
    pub(crate) resources: OrdMap<ConfigResource, Arc<Configs>>,
}

impl ConfigTable {
    /// A null value removes the key.
    pub(crate) fn set(&mut self, record: &ConfigRecord, changes: &mut Changes) {
        let kind = ResourceKind(record.resource_type);
        let resource = ConfigResource { kind, name: record.resource_name.clone() };
        let mut configs = self.resources.get(&resource).cloned().unwrap_or_default();
        match &record.value {
            Some(value) => Arc::make_mut(&mut configs).insert(record.name.clone(), value.clone()),
            None => Arc::make_mut(&mut configs).remove(&record.name),
        };
        if configs.is_empty() {
            self.resources.remove(&resource);
        } else {
            self.resources.insert(resource.clone(), configs);
        }
        changes.configs.insert(resource);
    }

    /// A topic's configs go with it: no record says so of its own.
    pub(crate) fn remove_topic(&mut self, name: &str, changes: &mut Changes) {
        let resource = ConfigResource::topic(name);
        if self.resources.remove(&resource).is_some() {
            changes.configs.insert(resource);
        }
    }

    pub(crate) fn differences(&self, new: &Self) -> BTreeSet<ConfigResource> {
        differing(&self.resources, &new.resources)
    }

    pub(crate) fn records(&self, emit: &mut dyn FnMut(MetadataRecord)) {
        for (resource, configs) in &self.resources {
            for (name, value) in configs.iter() {
                emit(
                    ConfigRecord {
                        resource_type: resource.kind.0,
                        resource_name: resource.name.clone(),
                        name: name.clone(),
                        value: Some(value.clone()),
                    }
                    .into(),
                );
            }
        }
    }
}
