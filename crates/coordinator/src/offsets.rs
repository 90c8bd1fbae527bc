//! Committed offsets, of all groups of a shard in one ordered map: a group's lie together.

use std::cmp::Ordering;
use std::sync::{Arc, LazyLock};

use imbl::OrdMap;
use model::{LeaderEpoch, Timestamp, TopicId};
use proto::EncodeError;
use proto::offsets::{OffsetCommitValue, offset_key_bytes};

/// Whose offset: a partition's within a group.
#[derive(Clone, Debug, Eq)]
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

impl PartialEq for OffsetKey {
    fn eq(&self, other: &Self) -> bool {
        self.partition == other.partition && self.cmp(other).is_eq()
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

/// So many neighbouring partitions, at most, share an entry of the map: a million offsets are mostly of topics that are
/// read whole, and take a quarter of the memory, and of the time to load, of as many entries.
const NEIGHBOURS: i32 = 16;

/// What is committed for neighbouring partitions, by partition.
type Neighbours = Vec<(i32, Committed)>;

/// All committed offsets of a shard; a copy costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Offsets {
    /// By the first partition that may be among the neighbours.
    map: OrdMap<OffsetKey, Arc<Neighbours>>,
    /// The neighbours written last, and newer than what the map has of them: the next write is most often theirs too,
    /// and has nothing to search for.
    open: Option<(OffsetKey, Arc<Neighbours>)>,
    count: usize,
}

impl PartialEq for Offsets {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.iter().eq(other.iter())
    }
}

impl Offsets {
    /// What is committed for one partition.
    pub fn get(&self, key: &OffsetKey) -> Option<&Committed> {
        let (first, neighbours) = self.map.get_key_value(&first_neighbour(key.clone()))?;
        let neighbours = self.newest(first, neighbours);
        let place = place_of(neighbours, key.partition).ok()?;
        Some(&neighbours[place].1)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All of them, group by group.
    pub fn iter(&self) -> impl Iterator<Item = (OffsetKey, &Committed)> {
        self.map.iter().flat_map(|entry| self.each(entry))
    }

    /// A group's, in the order of topics and partitions.
    pub fn of<'a>(&'a self, group: &'a Arc<str>) -> impl Iterator<Item = (OffsetKey, &'a Committed)> {
        let first = OffsetKey { group: group.clone(), topic: "".into(), partition: i32::MIN };
        let of_group = self.map.range(first..).take_while(move |(key, _)| key.group == *group);
        of_group.flat_map(|entry| self.each(entry))
    }

    /// A topic's, of all groups.
    pub fn of_topic(&self, topic: &str) -> impl Iterator<Item = (OffsetKey, &Committed)> {
        let of_topic = self.map.iter().filter(move |(key, _)| key.topic.as_ref() == topic);
        of_topic.flat_map(|entry| self.each(entry))
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
        let (known_group, known_topic) = self.open.as_ref().map(|(key, _)| (&key.group, &key.topic)).unzip();
        let name = |known: Option<&Arc<str>>, name: &str| {
            known.filter(|known| known.as_ref() == name).cloned().unwrap_or_else(|| name.into())
        };
        OffsetKey { group: name(known_group, group), topic: name(known_topic, topic), partition }
    }

    /// Sets or deletes one.
    pub(crate) fn put(&mut self, key: OffsetKey, value: Option<Committed>) {
        match value {
            Some(value) => self.set(key, value),
            None => self.remove(key),
        }
    }

    fn set(&mut self, key: OffsetKey, value: Committed) {
        let partition = key.partition;
        let neighbours = self.open(first_neighbour(key));
        match place_of(neighbours, partition) {
            Ok(place) => neighbours[place].1 = value,
            Err(place) => {
                neighbours.insert(place, (partition, value));
                self.count += 1;
            }
        }
    }

    fn remove(&mut self, key: OffsetKey) {
        if self.get(&key).is_none() {
            return;
        }
        let partition = key.partition;
        let first = first_neighbour(key);
        let neighbours = self.open(first.clone());
        neighbours.retain(|(other, _)| *other != partition);
        if neighbours.is_empty() {
            self.open = None;
            self.map.remove(&first);
        }
        self.count -= 1;
    }

    /// Neighbours to be changed, those that lie open before put back into the map.
    fn open(&mut self, first: OffsetKey) -> &mut Neighbours {
        if self.open.as_ref().is_none_or(|(key, _)| *key != first) {
            if let Some((key, neighbours)) = self.open.take() {
                self.map.insert(key, neighbours);
            }
            self.open = Some(match self.map.get(&first).cloned() {
                Some(known) => (first, known),
                None => self.begin(first),
            });
        }
        let (_, neighbours) = self.open.as_mut().expect("they were opened");
        Arc::make_mut(neighbours)
    }

    /// The first of some neighbours is about to be set. Groups and topics share their names: a million offsets have
    /// few.
    fn begin(&mut self, mut first: OffsetKey) -> (OffsetKey, Arc<Neighbours>) {
        if let Some((near, _)) = self.map.get_prev(&first).filter(|(near, _)| near.group == first.group) {
            first.group = near.group.clone();
            if near.topic == first.topic {
                first.topic = near.topic.clone();
            }
        }
        self.map.insert(first.clone(), Arc::default());
        (first, Arc::default())
    }

    /// The neighbours of an entry of the map as they are now.
    fn newest<'a>(&'a self, key: &OffsetKey, neighbours: &'a Arc<Neighbours>) -> &'a Neighbours {
        let open = self.open.as_ref().filter(|(open, _)| open == key);
        open.map_or(neighbours, |(_, newer)| newer)
    }

    fn each<'a>(
        &'a self,
        (key, neighbours): (&'a OffsetKey, &'a Arc<Neighbours>),
    ) -> impl Iterator<Item = (OffsetKey, &'a Committed)> {
        let named = |&partition: &i32| OffsetKey { partition, ..key.clone() };
        self.newest(key, neighbours).iter().map(move |(partition, committed)| (named(partition), committed))
    }
}

/// The key of the entry that holds a partition's offset.
fn first_neighbour(key: OffsetKey) -> OffsetKey {
    OffsetKey { partition: key.partition - key.partition.rem_euclid(NEIGHBOURS), ..key }
}

/// Where a partition is among its neighbours, or would be.
fn place_of(neighbours: &Neighbours, partition: i32) -> Result<usize, usize> {
    // A load brings them in their order.
    match neighbours.last() {
        Some((last, _)) if *last < partition => Err(neighbours.len()),
        _ => neighbours.binary_search_by_key(&partition, |(partition, _)| *partition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept of offsets committed (`g/t/3`) and deleted (`-g/t/3`) in turn.
    fn check(script: &str, kept: &str) {
        let mut offsets = Offsets::default();
        for (place, word) in (0..).zip(script.split_whitespace()) {
            let (name, is_kept) = word.strip_prefix('-').map_or((word, true), |name| (name, false));
            let parts: Vec<&str> = name.split('/').collect();
            let key = offsets.key(parts[0], parts[1], parts[2].parse().expect("a partition"));
            let committed = Committed {
                offset: place,
                leader_epoch: None,
                metadata: note(""),
                committed_at: Timestamp::new(0),
                expires_at: None,
                topic_id: TopicId::default(),
            };
            offsets.put(key.clone(), is_kept.then_some(committed));
            assert_eq!(offsets.get(&key).map(|it| it.offset), is_kept.then_some(place), "{word}");
        }
        let told = |(key, it): (OffsetKey, &Committed)| {
            format!("{}/{}/{}={}", key.group, key.topic, key.partition, it.offset)
        };
        let all: Vec<String> = offsets.iter().map(told).collect();
        assert_eq!(all.join(" "), kept);
        assert_eq!((offsets.len(), offsets.is_empty()), (all.len(), all.is_empty()), "{script}");
        assert!(
            offsets.map.iter().all(|entry| offsets.each(entry).next().is_some()),
            "an entry without offsets"
        );
        let by_group: usize = offsets.groups().map(|group| offsets.of(group).count()).sum();
        assert_eq!(by_group, all.len(), "{script}");
        let of_topic = offsets.of_topic("t").count();
        assert_eq!(of_topic, all.iter().filter(|line| line.contains("/t/")).count(), "{script}");
    }

    #[test]
    fn offsets_are_told_in_the_order_of_group_topic_and_partition() {
        check(
            "g/t/3 g/t/1 g/s/40 f/t/17 g/t/16 g/t/15",
            "f/t/17=3 g/s/40=2 g/t/1=1 g/t/3=0 g/t/15=5 g/t/16=4",
        );
    }

    #[test]
    fn the_last_commit_of_a_partition_counts() {
        check("g/t/3 g/t/4 g/t/3", "g/t/3=2 g/t/4=1");
    }

    #[test]
    fn what_is_deleted_is_gone_and_its_neighbours_are_not() {
        check("g/t/3 g/t/4 -g/t/3 -g/t/9 -g/s/3", "g/t/4=1");
        check("g/t/3 -g/t/3", "");
        check("g/t/3 -g/t/3 g/t/3", "g/t/3=2");
        check("g/t/3 g/t/40 -g/t/3 -g/t/40", "");
        check("g/t/3 g/t/40 g/t/4 -g/t/3 -g/t/41", "g/t/4=2 g/t/40=1");
    }

    /// A client's own number, which nobody has looked at: not every one is a partition's.
    #[test]
    fn the_smallest_and_the_largest_partitions_have_their_places() {
        check(
            "g/t/-1 g/t/2147483647 g/t/-2147483648 g/t/0",
            "g/t/-2147483648=2 g/t/-1=0 g/t/0=3 g/t/2147483647=1",
        );
    }
}
