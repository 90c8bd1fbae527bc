//! What always holds of an image, asserted where a batch touched it.
//!
//! Replay refuses records that would break these, so a failure here is a bug of ours.

use model::{NodeId, TopicId};

use crate::changes::Changes;
use crate::image::Image;
use crate::partition::{Partition, has_repetition};
use crate::topics::Topic;

impl Image {
    /// Asserts what must hold of everything named in `changes`: to be run after each batch.
    pub fn check(&self, changes: &Changes) {
        assert_eq!(self.topics.names.len(), self.topics.by_id.len(), "topics by name and by id disagree");
        changes.topics_created.keys().for_each(|id| self.check_topic(*id));
        for (id, name) in &changes.topics_deleted {
            let is_back = changes.topics_created.contains_key(id);
            assert!(is_back || self.topic_by_id(*id).is_none(), "a deleted topic is still there");
            assert!(is_back || self.topics.names.get(name) != Some(id), "a deleted topic kept its name");
        }
        for (id, index) in &changes.partitions {
            let topic = self.topic_by_id(*id).expect("a changed partition has its topic");
            let partition = topic.partition(*index).expect("a changed partition is there");
            self.check_partition(topic, partition);
        }
        for id in &changes.brokers {
            assert!(self.broker(*id).is_none_or(|broker| broker.id == *id), "a broker under another's id");
        }
    }

    fn check_topic(&self, id: TopicId) {
        let topic = self.topic_by_id(id).expect("a created topic is there");
        assert_eq!(topic.id, id, "a topic under another's id");
        assert_eq!(self.topics.names.get(&topic.name), Some(&id), "a topic's name leads elsewhere");
    }

    fn check_partition(&self, topic: &Topic, partition: &Partition) {
        let Partition { replicas, directories, isr, leader, .. } = partition;
        assert!(leader.is_none_or(|leader| replicas.contains(&leader)), "a leader that is no replica");
        assert!(isr.iter().all(|node| replicas.contains(node)), "in sync, and no replica");
        assert!(!has_repetition(replicas) && !has_repetition(isr), "a node twice in one set");
        assert_eq!(directories.len(), replicas.len(), "directories and replicas are not paired");
        let counted =
            |node: &NodeId| self.topics.by_broker.get(node).and_then(|topics| topics.get(&topic.id));
        assert!(replicas.iter().all(|node| counted(node).is_some()), "a replica that is not counted");
    }
}
