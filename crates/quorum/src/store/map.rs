//! Where each entry lies: Raft counts batches, Kafka counts records, files count bytes.
//!
//! Sixteen bytes a batch, rebuilt from batch headers when the log is opened. Indexes
//! are dense, base offsets and epochs only grow, so every question is a subtraction or
//! a binary search.

use std::collections::VecDeque;

use model::{LeaderEpoch, Offset};

/// One batch: where it starts in the log, who wrote it, where it starts in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) base_offset: Offset,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) position: u32,
}

/// Every batch of the log on disk.
#[derive(Debug)]
pub(crate) struct BatchMap {
    /// Raft index of `slots[0]`, or of the next batch when there is none.
    first_index: u64,
    slots: VecDeque<Slot>,
    /// The next offset.
    end_offset: Offset,
}

impl BatchMap {
    /// A log that will start with index `first_index` at `offset`.
    pub(crate) fn starting_at(first_index: u64, offset: Offset) -> Self {
        Self { first_index, slots: VecDeque::new(), end_offset: offset }
    }

    /// Raft index of the first batch, or of the next one in an empty log.
    pub(crate) fn first_index(&self) -> u64 {
        self.first_index
    }

    /// Raft index of the next batch.
    pub(crate) fn next_index(&self) -> u64 {
        self.first_index + self.slots.len() as u64
    }

    /// First offset of the log.
    pub(crate) fn start_offset(&self) -> Offset {
        self.slots.front().map_or(self.end_offset, |slot| slot.base_offset)
    }

    /// The next offset.
    pub(crate) fn end_offset(&self) -> Offset {
        self.end_offset
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Says which index the first batch has, once a snapshot tells.
    pub(crate) fn renumber(&mut self, first_index: u64) {
        self.first_index = first_index;
    }

    /// Takes a batch of `records` records at the end of the log.
    pub(crate) fn push(&mut self, slot: Slot, records: i32) {
        assert_eq!(slot.base_offset, self.end_offset, "a batch was appended away from the log's end");
        self.end_offset = self.end_offset.plus(i64::from(records));
        self.slots.push_back(slot);
    }

    pub(crate) fn get(&self, index: u64) -> Option<Slot> {
        let position = usize::try_from(index.checked_sub(self.first_index)?).ok()?;
        self.slots.get(position).copied()
    }

    /// The batch before the log's end.
    pub(crate) fn last(&self) -> Option<Slot> {
        self.slots.back().copied()
    }

    /// Offset after the last record of batch `index`.
    pub(crate) fn end_of(&self, index: u64) -> Option<Offset> {
        self.get(index)?;
        Some(self.get(index + 1).map_or(self.end_offset, |next| next.base_offset))
    }

    /// Index of the batch that holds `offset`.
    pub(crate) fn index_of(&self, offset: Offset) -> Option<u64> {
        if offset < self.start_offset() || offset >= self.end_offset {
            return None;
        }
        let after = self.slots.partition_point(|slot| slot.base_offset <= offset);
        Some(self.first_index + after as u64 - 1)
    }

    /// Index of the batch that ends exactly at `offset`.
    pub(crate) fn index_ending_at(&self, offset: Offset) -> Option<u64> {
        if self.slots.is_empty() || offset <= self.start_offset() || offset > self.end_offset {
            return None;
        }
        let before = self.slots.partition_point(|slot| slot.base_offset < offset);
        let index = self.first_index + before as u64 - 1;
        (self.end_of(index) == Some(offset)).then_some(index)
    }

    /// The largest epoch in the log that is at most `epoch`, and the offset after its last record.
    /// `None` when every batch is of a later epoch.
    pub(crate) fn end_of_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let after = self.slots.partition_point(|slot| slot.epoch <= epoch);
        let last = self.slots.get(after.checked_sub(1)?)?;
        let end = self.slots.get(after).map_or(self.end_offset, |next| next.base_offset);
        Some((last.epoch, end))
    }

    /// Forgets batch `index` and all after it.
    pub(crate) fn truncate_from(&mut self, index: u64) {
        let keep = index.saturating_sub(self.first_index);
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        if let Some(slot) = self.slots.get(keep) {
            self.end_offset = slot.base_offset;
            self.slots.truncate(keep);
        }
    }

    /// Forgets every batch that starts before `offset`.
    pub(crate) fn forget_before(&mut self, offset: Offset) {
        while self.slots.front().is_some_and(|slot| slot.base_offset < offset) {
            self.slots.pop_front();
            self.first_index += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{LeaderEpoch, Offset};

    use super::{BatchMap, Slot};

    /// Three batches of 2, 1 and 3 records in epochs 1, 1 and 4, the first with index 7 at offset 10.
    fn map() -> BatchMap {
        let mut map = BatchMap::starting_at(7, Offset::new(10));
        for (base, epoch, position, records) in [(10, 1, 0, 2), (12, 1, 100, 1), (13, 4, 200, 3)] {
            let (base_offset, epoch) = (Offset::new(base), LeaderEpoch::new(epoch));
            map.push(Slot { base_offset, epoch, position }, records);
        }
        map
    }

    #[test]
    fn an_offset_finds_its_batch() {
        let found: Vec<Option<u64>> = (9..17).map(|offset| map().index_of(Offset::new(offset))).collect();
        assert_eq!(found, [None, Some(7), Some(7), Some(8), Some(9), Some(9), Some(9), None]);
        let ends: Vec<Option<u64>> =
            (10..17).map(|offset| map().index_ending_at(Offset::new(offset))).collect();
        assert_eq!(ends, [None, None, Some(7), Some(8), None, None, Some(9)]);
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let end =
            |epoch| map().end_of_epoch(LeaderEpoch::new(epoch)).map(|(found, end)| (found.get(), end.get()));
        assert_eq!(
            [end(0), end(1), end(3), end(4), end(9)],
            [None, Some((1, 13)), Some((1, 13)), Some((4, 16)), Some((4, 16))]
        );
    }

    #[test]
    fn cutting_either_end_keeps_the_rest_in_place() {
        let mut map = map();
        map.truncate_from(9);
        assert_eq!((map.next_index(), map.end_offset()), (9, Offset::new(13)));
        map.forget_before(Offset::new(12));
        assert_eq!((map.first_index(), map.start_offset()), (8, Offset::new(12)));
        map.truncate_from(0);
        assert!(map.is_empty() && map.start_offset() == Offset::new(12));
    }
}
