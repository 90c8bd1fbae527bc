//! The metadata as the group coordinator asks for it.

use std::fmt;
use std::sync::Arc;

use coordinator::Cluster;
use coordinator::cluster::Topic;
use metadata::{ConfigResource, ResourceKind};
use model::{PartitionIndex, TopicId};

use crate::publish::Picture;

/// The feature that brings the new protocol (KIP-848).
const GROUP_VERSION: &str = "group.version";

/// The one key that may be set at run time for one group and for all.
const ASSIGNMENT_INTERVAL: &str = "consumer.assignment.interval.ms";
const ASSIGNMENT_INTERVAL_OF_ALL: &str = "group.consumer.assignment.interval.ms";
/// The name of what is set for every broker.
const ALL_BROKERS: &str = "";

/// A picture of the metadata, which never changes.
pub struct View(pub Arc<Picture>);

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({})", self.0.end)
    }
}

impl Cluster for View {
    fn version(&self) -> u64 {
        self.0.end.get().unsigned_abs()
    }

    fn has_consumer_protocol(&self) -> bool {
        self.0.image.feature(GROUP_VERSION).is_some_and(|level| level >= 1)
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.0.image.topics().map(|topic| topic.name.as_str()))
    }

    fn topic(&self, name: &str) -> Option<Topic> {
        let topic = self.0.image.topic(name)?;
        let partitions = i32::try_from(topic.partitions().count()).unwrap_or(i32::MAX);
        Some(Topic { id: topic.id, partitions })
    }

    fn name_of(&self, id: TopicId) -> Option<&str> {
        self.0.image.topic_by_id(id).map(|topic| topic.name.as_str())
    }

    fn racks(&self, id: TopicId, partition: i32) -> Vec<&str> {
        let Some(partition) = self.0.image.partition(id, PartitionIndex::new(partition)) else {
            return Vec::new();
        };
        let brokers = partition.replicas.iter().filter_map(|node| self.0.image.broker(*node));
        brokers.filter_map(|broker| broker.rack.as_deref()).collect()
    }

    fn group_config(&self, group: &str, key: &str) -> Option<i64> {
        let set = |kind: ResourceKind, name: &str, key: &str| -> Option<i64> {
            let resource = ConfigResource { kind, name: name.into() };
            self.0.image.configs(&resource)?.get(key)?.trim().parse().ok()
        };
        let of_all = || set(ResourceKind::BROKER, ALL_BROKERS, ASSIGNMENT_INTERVAL_OF_ALL);
        set(ResourceKind::GROUP, group, key).or_else(|| of_all().filter(|_| key == ASSIGNMENT_INTERVAL))
    }
}
