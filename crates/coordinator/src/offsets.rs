//! Committed offsets, of all groups of a shard in one ordered map: a group's lie together.

use std::cmp::Ordering;
use std::sync::{Arc, LazyLock};

use imbl::OrdMap;
use model::{LeaderEpoch, Timestamp, TopicId};
use proto::EncodeError;
use proto::offsets::{OffsetCommitValue, offset_key_bytes};

/// Whose offset: a partition's within a group.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    pub fn to_bytes(&self) -> Result<Vec<u8>, EncodeError> {
        offset_key_bytes(&self.group, &self.topic, self.partition)
    }
}

impl Ord for OffsetKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let topic = || by_name(&self.topic, &other.topic);
        by_name(&self.group, &other.group).then_with(topic).then_with(|| self.partition.cmp(&other.partition))
    }
}

impl PartialOrd for OffsetKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Most neighbours share their names.
fn by_name(one: &Arc<str>, other: &Arc<str>) -> Ordering {
    if Arc::ptr_eq(one, other) { Ordering::Equal } else { one.cmp(other) }
}

/// A client's note; most have none, and share it.
pub(crate) fn note(text: &str) -> Arc<str> {
    static NOTHING: LazyLock<Arc<str>> = LazyLock::new(|| "".into());
    if text.is_empty() { NOTHING.clone() } else { text.into() }
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
            metadata: note(&value.metadata),
            committed_at: Timestamp::new(value.commit_timestamp),
            expires_at,
            topic_id: value.topic_id,
        }
    }
}

/// All committed offsets of a shard; a copy costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Offsets {
    map: OrdMap<OffsetKey, Committed>,
    /// The names of the last one that was set: the next is most often its neighbour.
    last: Option<(Arc<str>, Arc<str>)>,
}

impl PartialEq for Offsets {
    fn eq(&self, other: &Self) -> bool {
        self.map == other.map
    }
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

    /// The groups that have any, each once.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<str>> {
        let mut last: Option<&Arc<str>> = None;
        self.map.keys().map(|key| &key.group).filter(move |group| {
            let is_new = last.is_none_or(|last| by_name(last, group) != Ordering::Equal);
            last = Some(group);
            is_new
        })
    }

    /// Names a partition's offset, in the names of the last one that was set where they are the same.
    pub(crate) fn key(&self, group: &str, topic: &str, partition: i32) -> OffsetKey {
        let (known_group, known_topic) = self.last.as_ref().map(|(group, topic)| (group, topic)).unzip();
        let name = |known: Option<&Arc<str>>, name: &str| {
            known.filter(|known| known.as_ref() == name).cloned().unwrap_or_else(|| name.into())
        };
        OffsetKey { group: name(known_group, group), topic: name(known_topic, topic), partition }
    }

    /// Sets or deletes one.
    pub(crate) fn put(&mut self, mut key: OffsetKey, value: Option<Committed>) {
        let Some(value) = value else {
            self.map.remove(&key);
            return;
        };
        self.share_names(&mut key);
        self.map.insert(key, value);
    }

    /// The names of a group's neighbours are shared: a million offsets have few names.
    fn share_names(&mut self, key: &mut OffsetKey) {
        let is_last = |(group, topic): &(Arc<str>, Arc<str>)| {
            Arc::ptr_eq(group, &key.group) && Arc::ptr_eq(topic, &key.topic)
        };
        if self.last.as_ref().is_some_and(is_last) {
            return;
        }
        if let Some((near, _)) = self.map.get_prev(key).filter(|(near, _)| near.group == key.group) {
            key.group = near.group.clone();
            if near.topic == key.topic {
                key.topic = near.topic.clone();
            }
        }
        self.last = Some((key.group.clone(), key.topic.clone()));
    }
}
