//! Committed offsets, of all groups of a shard in one ordered map: a group's lie together.

use std::sync::Arc;

use imbl::OrdMap;
use model::{LeaderEpoch, Timestamp, TopicId};
use proto::offsets::{Key, OffsetCommitValue};

/// Whose offset: a partition's within a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OffsetKey {
    /// The group.
    pub group: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
}

impl OffsetKey {
    /// Names it.
    pub fn new(group: &Arc<str>, topic: &str, partition: i32) -> Self {
        Self { group: group.clone(), topic: topic.into(), partition }
    }

    /// As a record's key.
    pub fn to_key(&self) -> Key {
        let (group, topic) = (self.group.to_string(), self.topic.to_string());
        Key::OffsetCommit { group, topic, partition: self.partition }
    }
}

/// What was committed. The offset is the client's own number, whatever it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Where to go on.
    pub offset: i64,
    /// The epoch of the last record consumed.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The client's own note.
    pub metadata: Arc<str>,
    /// When.
    pub committed_at: Timestamp,
    /// When it expires, where the client said so (OffsetCommit 2 to 4).
    pub expires_at: Option<Timestamp>,
    /// The topic's id, where it was known.
    pub topic_id: TopicId,
}

impl Committed {
    /// As a record's value.
    pub fn to_value(&self) -> OffsetCommitValue {
        OffsetCommitValue {
            offset: self.offset,
            leader_epoch: self.leader_epoch.map_or(-1, LeaderEpoch::get),
            metadata: self.metadata.to_string(),
            commit_timestamp: self.committed_at.get(),
            expire_timestamp: self.expires_at.map_or(-1, Timestamp::get),
            topic_id: self.topic_id,
        }
    }

    /// The version that carries it: only 1 has a time to expire at, only 4 an id.
    pub fn version(&self) -> i16 {
        if self.expires_at.is_some() { 1 } else { 4 }
    }

    /// Of a record's value, as much of it as the version to write will carry.
    pub fn from_value(value: OffsetCommitValue) -> Self {
        let expires_at = (value.expire_timestamp >= 0).then(|| Timestamp::new(value.expire_timestamp));
        Self {
            offset: value.offset,
            leader_epoch: LeaderEpoch::from_wire(value.leader_epoch),
            metadata: value.metadata.into(),
            committed_at: Timestamp::new(value.commit_timestamp),
            expires_at,
            topic_id: value.topic_id,
        }
    }
}

/// All committed offsets of a shard; a copy costs nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offsets {
    map: OrdMap<OffsetKey, Committed>,
}

impl Offsets {
    /// What is committed for one partition.
    pub fn get(&self, key: &OffsetKey) -> Option<&Committed> {
        self.map.get(key)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// All of them, group by group.
    pub fn iter(&self) -> impl Iterator<Item = (&OffsetKey, &Committed)> {
        self.map.iter()
    }

    /// A group's, in the order of topics and partitions.
    pub fn of<'a>(&'a self, group: &'a Arc<str>) -> impl Iterator<Item = (&'a OffsetKey, &'a Committed)> {
        let first = OffsetKey { group: group.clone(), topic: "".into(), partition: i32::MIN };
        self.map.range(first..).take_while(move |(key, _)| key.group == *group)
    }

    /// Sets or deletes one.
    pub(crate) fn put(&mut self, mut key: OffsetKey, value: Option<Committed>) {
        let Some(value) = value else {
            self.map.remove(&key);
            return;
        };
        // The names of a group's neighbours are shared: a million offsets have few names.
        if let Some((near, _)) = self.map.get_prev(&key).filter(|(near, _)| near.group == key.group) {
            key.group = near.group.clone();
            if near.topic == key.topic {
                key.topic = near.topic.clone();
            }
        }
        self.map.insert(key, value);
    }
}
