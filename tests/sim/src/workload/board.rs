//! What the clients of one workload share: topics, values, and what is still to be seen.
//!
//! A value is a number that no two records of a run have. Everything else in a record
//! follows from it and its partition, so whoever reads it knows it whole: a record that
//! strayed, or was put together from two, does not pass for another.

use std::collections::{BTreeMap, BTreeSet};

use crate::workload::client::Key;

/// A value's share of a record's value field.
const VALUE_BYTES: usize = 8;
/// Padding goes up to here.
const PADDING_MAX: u64 = 200;

/// One topic of the workload.
#[derive(Clone, Debug)]
pub struct TopicEntry {
    /// How many partitions it was asked to have.
    pub partitions: i32,
    /// How many replicas each partition was asked to have.
    pub replicas: i16,
    /// Deletion was asked for: nobody writes to it any more, and what it held may be gone.
    pub is_doomed: bool,
    /// It may be deleted in the middle of a run; others must be there at the end.
    pub is_passing: bool,
}

/// Shared by all clients of a run.
#[derive(Debug, Default)]
pub struct Board {
    topics: BTreeMap<String, TopicEntry>,
    last_value: u64,
    /// Acknowledged and not read by anyone yet.
    unseen: BTreeMap<Key, BTreeSet<u64>>,
    /// Read so far.
    seen: BTreeMap<Key, BTreeSet<u64>>,
    /// Where the log of each partition ends at least: behind what was acknowledged or read.
    ends: BTreeMap<Key, i64>,
}

impl Board {
    /// Topic `name` exists, or soon does.
    pub fn add(&mut self, name: &str, entry: TopicEntry) {
        self.topics.insert(name.to_owned(), entry);
    }

    /// Whether a topic of that name was ever asked for.
    pub fn knows(&self, name: &str) -> bool {
        self.topics.contains_key(name)
    }

    /// The topics that nobody asked to delete.
    pub fn living(&self) -> impl Iterator<Item = (&String, &TopicEntry)> {
        self.topics.iter().filter(|(_, entry)| !entry.is_doomed)
    }

    /// Every partition of those.
    pub fn partitions(&self) -> Vec<Key> {
        let of = |(name, entry): (&String, &TopicEntry)| -> Vec<Key> {
            (0..entry.partitions).map(|index| (name.clone(), index)).collect()
        };
        self.living().flat_map(of).collect()
    }

    /// Every partition of the topics that must be there at the end.
    pub fn lasting(&self) -> Vec<Key> {
        let of = |(name, entry): (&String, &TopicEntry)| -> Vec<Key> {
            (0..entry.partitions).map(|index| (name.clone(), index)).collect()
        };
        self.living().filter(|(_, entry)| !entry.is_passing).flat_map(of).collect()
    }

    /// Whether the partition's topic may be gone.
    pub fn is_doomed(&self, topic: &str) -> bool {
        self.topics.get(topic).is_none_or(|entry| entry.is_doomed)
    }

    /// Deletion was asked for.
    pub fn doom(&mut self, name: &str) {
        if let Some(entry) = self.topics.get_mut(name) {
            entry.is_doomed = true;
        }
    }

    /// The topic was asked to grow.
    pub fn grow(&mut self, name: &str, partitions: i32) {
        if let Some(entry) = self.topics.get_mut(name) {
            entry.partitions = entry.partitions.max(partitions);
        }
    }

    /// A value that was never used.
    pub fn next_value(&mut self) -> u64 {
        self.last_value += 1;
        self.last_value
    }

    /// The cluster promised to keep these, of which the first lies at `base` if that was told.
    pub fn acked(&mut self, key: &Key, base: Option<i64>, values: &[u64]) {
        if let Some(base) = base {
            self.reaches(key, base.saturating_add(values.len() as i64));
        }
        let seen = self.seen.get(key);
        let unseen = values.iter().copied().filter(|value| seen.is_none_or(|seen| !seen.contains(value)));
        self.unseen.entry(key.clone()).or_default().extend(unseen);
    }

    /// Somebody read this.
    pub fn saw(&mut self, key: &Key, offset: i64, value: u64) {
        self.reaches(key, offset.saturating_add(1));
        self.seen.entry(key.clone()).or_default().insert(value);
        if let Some(unseen) = self.unseen.get_mut(key) {
            unseen.remove(&value);
        }
    }

    /// Where the partition's log ends at least.
    pub fn end(&self, key: &Key) -> i64 {
        self.ends.get(key).copied().unwrap_or(0)
    }

    fn reaches(&mut self, key: &Key, end: i64) {
        let known = self.ends.entry(key.clone()).or_insert(0);
        *known = end.max(*known);
    }

    /// How many acknowledged values of living topics nobody has read.
    pub fn unseen(&self) -> usize {
        let living = self.unseen.iter().filter(|((topic, _), _)| !self.is_doomed(topic));
        living.map(|(_, values)| values.len()).sum()
    }

    /// Those values.
    pub fn unseen_values(&self) -> BTreeMap<Key, Vec<u64>> {
        let kept = |(key, values): &(&Key, &BTreeSet<u64>)| !values.is_empty() && !self.is_doomed(&key.0);
        let unseen = self.unseen.iter().filter(kept);
        unseen.map(|(key, values)| (key.clone(), values.iter().copied().collect())).collect()
    }
}

/// A record's key, value and headers, all of which follow from its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Null for a third of them.
    pub key: Option<Vec<u8>>,
    /// The number, then padding.
    pub value: Vec<u8>,
    /// The value of the only header; `None` when there is no header.
    pub header: Option<Vec<u8>>,
}

impl Content {
    /// The content of record `value` of the partition.
    pub fn of(key: &Key, value: u64) -> Self {
        let mut mixed = mix(value ^ place(key));
        let padding = (mixed % PADDING_MAX) as usize;
        let mut bytes = Vec::with_capacity(VALUE_BYTES + padding);
        bytes.extend_from_slice(&value.to_be_bytes());
        while bytes.len() < VALUE_BYTES + padding {
            mixed = mix(mixed);
            bytes.push(b'a' + (mixed % 26) as u8);
        }
        Self {
            key: (!value.is_multiple_of(3)).then(|| value.to_string().into_bytes()),
            value: bytes,
            header: value.is_multiple_of(4).then(|| vec![b'h'; (value % 7) as usize]),
        }
    }

    /// The number in a record's value field.
    pub fn number(value: &[u8]) -> Option<u64> {
        value.first_chunk::<VALUE_BYTES>().map(|bytes| u64::from_be_bytes(*bytes))
    }
}

/// A number of the partition (FNV-1a).
fn place(key: &Key) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ u64::from(key.1.unsigned_abs());
    key.0.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// The finaliser of splitmix64.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::{Board, Content, TopicEntry};

    #[test]
    fn the_content_of_a_record_names_its_number_and_its_partition() {
        let key = ("t".to_owned(), 0);
        for value in 1..500 {
            let content = Content::of(&key, value);
            assert_eq!(Content::number(&content.value), Some(value));
            assert_eq!(content, Content::of(&key, value));
            assert!(content.value.len() < 8 + 200);
        }
        let other = |index| Content::of(&("t".to_owned(), index), 7).value;
        assert_ne!(other(0), other(1), "a record that strayed is noticed");
    }

    #[test]
    fn what_was_acknowledged_is_unseen_until_somebody_reads_it() {
        let mut board = Board::default();
        let entry = TopicEntry { partitions: 2, replicas: 3, is_doomed: false, is_passing: true };
        board.add("t", entry);
        let key = ("t".to_owned(), 1);
        board.saw(&key, 4, 1);
        board.acked(&key, Some(4), &[1, 2, 3]);
        assert_eq!((board.end(&key), board.end(&("t".to_owned(), 0))), (7, 0));
        assert_eq!(board.unseen(), 2, "one was read before its answer came");
        board.saw(&key, 6, 3);
        assert_eq!(board.unseen(), 1);
        board.doom("t");
        assert_eq!(
            (board.unseen(), board.partitions().len()),
            (0, 0),
            "nothing is promised of a deleted topic"
        );
    }
}
