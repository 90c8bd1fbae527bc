//! What a group of the new protocol has to know of the cluster: which topics there are, and what is set for a group.
//!
//! The shell hands a view of its metadata to each shard ([`crate::Shard::set_cluster`]) before it asks anything
//! else, and again when the metadata changed. A view never changes: what a turn saw it sees to its end.
//!
//! Decisions ask; replaying records never does, or two leaders would replay the same log to different states.

use std::fmt::Debug;

use model::TopicId;

/// A topic, as far as it can be divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its id.
    pub id: TopicId,
    /// How many partitions it has; they are numbered from 0.
    pub partitions: i32,
}

/// A view of the cluster at one moment.
pub trait Cluster: Debug + Send + Sync {
    /// A number that differs from that of any view before in which a topic, its partitions, the racks of its replicas
    /// or a group's settings were different; the end of the metadata log will do. A group looks at its topics again
    /// when it sees a new number, so one that changes for other reasons too costs work and nothing else.
    fn version(&self) -> u64;

    /// The names of all topics that a regular expression may stand for, in any order.
    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_>;

    /// A topic.
    fn topic(&self, name: &str) -> Option<Topic>;

    /// The name of a topic.
    fn name_of(&self, id: TopicId) -> Option<&str>;

    /// The racks of the brokers that hold a partition, one for each replica, in any order; none for brokers without a
    /// rack.
    fn racks(&self, id: TopicId, partition: i32) -> Vec<&str>;

    /// Whether the feature `group.version` is at 1 or above: without it there is no new group protocol.
    fn has_consumer_protocol(&self) -> bool;

    /// A number set on the config resource GROUP of this name (`consumer.session.timeout.ms`); `None` when it is not.
    fn group_config(&self, group: &str, key: &str) -> Option<i64>;
}

/// A cluster without topics: what a shard sees before it was shown another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NoTopics;

impl Cluster for NoTopics {
    fn version(&self) -> u64 {
        0
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(std::iter::empty())
    }

    fn topic(&self, _: &str) -> Option<Topic> {
        None
    }

    fn name_of(&self, _: TopicId) -> Option<&str> {
        None
    }

    fn racks(&self, _: TopicId, _: i32) -> Vec<&str> {
        Vec::new()
    }

    fn has_consumer_protocol(&self) -> bool {
        false
    }

    fn group_config(&self, _: &str, _: &str) -> Option<i64> {
        None
    }
}
