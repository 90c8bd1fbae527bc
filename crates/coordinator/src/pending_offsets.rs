//! Offsets committed in transactions that are open: nobody sees them, and they count or vanish at the end.
//!
//! A key may wait in several transactions at once. What is committed later in the log wins, as in Kafka: an offset
//! that waits is passed over at the end of its transaction when another was committed for its key behind it.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use model::ProducerId;

use crate::offsets::{Committed, OffsetKey};

/// An offset that waits.
#[derive(Clone, Debug, PartialEq)]
struct Waiting {
    /// Its place among all that were ever added, in the log's order.
    place: u64,
    /// `None` when a later one was committed meanwhile.
    committed: Option<Committed>,
}

/// All that wait, of a shard; a copy costs nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PendingOffsets {
    added: u64,
    by_producer: OrdMap<ProducerId, OrdMap<OffsetKey, Waiting>>,
    by_key: OrdMap<OffsetKey, OrdSet<ProducerId>>,
}

impl PendingOffsets {
    /// Whether an offset waits for the end of a transaction.
    pub fn contains(&self, key: &OffsetKey) -> bool {
        self.by_key.contains_key(key)
    }

    /// Whether one of the group's does.
    pub fn has_group(&self, group: &Arc<str>) -> bool {
        let first = OffsetKey { group: group.clone(), topic: "".into(), partition: i32::MIN };
        self.by_key.range(first..).next().is_some_and(|(key, _)| key.group == *group)
    }

    /// The groups of which offsets wait.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<str>> {
        let mut last: Option<&Arc<str>> = None;
        self.by_key.keys().filter_map(move |key| {
            let is_new = last != Some(&key.group);
            last = Some(&key.group);
            is_new.then_some(&key.group)
        })
    }

    /// One more that waits for its producer's transaction.
    pub(crate) fn add(&mut self, producer: ProducerId, key: OffsetKey, committed: Committed) {
        self.added += 1;
        self.by_key.entry(key.clone()).or_default().insert(producer);
        let waiting = Waiting { place: self.added, committed: Some(committed) };
        self.by_producer.entry(producer).or_default().insert(key, waiting);
    }

    /// An offset was committed behind all that wait for its key.
    pub(crate) fn pass_over(&mut self, key: &OffsetKey) {
        self.pass_over_before(key, u64::MAX);
    }

    fn pass_over_before(&mut self, key: &OffsetKey, place: u64) {
        let Some(producers) = self.by_key.get(key).cloned() else { return };
        for producer in producers {
            let waiting = self.by_producer.get_mut(&producer).and_then(|keys| keys.get_mut(key));
            if let Some(waiting) = waiting.filter(|waiting| waiting.place < place) {
                waiting.committed = None;
            }
        }
    }

    /// The producer's transaction is over; gives the offsets that count if it was committed.
    pub(crate) fn end(&mut self, producer: ProducerId, commit: bool) -> Vec<(OffsetKey, Committed)> {
        let mut counted = Vec::new();
        for (key, waiting) in self.by_producer.remove(&producer).unwrap_or_default() {
            if let Some(producers) = self.by_key.get_mut(&key) {
                producers.remove(&producer);
                if producers.is_empty() {
                    self.by_key.remove(&key);
                }
            }
            if let Some(committed) = waiting.committed.filter(|_| commit) {
                self.pass_over_before(&key, waiting.place);
                counted.push((key, committed));
            }
        }
        counted
    }
}
