//! What observers read: record batches, by offset, below the high watermark.

use std::io;

use bytes::Bytes;
use model::{LeaderEpoch, Offset};

use super::Store;

/// What the log answers to a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogRead {
    /// Whole batches, beginning with the one that holds the offset asked for; empty at the end.
    Batches(Bytes),
    /// The reader's log is another one from some point on: the largest epoch here that is at most
    /// the reader's, and where it ends.
    Diverging { epoch: LeaderEpoch, end_offset: Offset },
    /// The offset lies before the log.
    BelowStart,
    /// The offset lies after the log's end, with no epoch to say more.
    AboveEnd,
}

impl Store {
    /// Batches from `from` on, below `upper`, within `bytes_max` but at least one. `fetched_epoch` is
    /// the epoch of the reader's last record, when it has one: it tells a diverged log (KIP-595).
    pub(crate) fn read(
        &self,
        from: Offset,
        fetched_epoch: Option<LeaderEpoch>,
        upper: Offset,
        bytes_max: usize,
    ) -> io::Result<LogRead> {
        let extent = {
            let state = self.lock();
            let map = &state.log.map;
            if from < map.start_offset() {
                return Ok(LogRead::BelowStart);
            }
            if let Some(diverged) = state.diverged(from, fetched_epoch) {
                return Ok(diverged);
            }
            if from > map.end_offset() {
                return Ok(LogRead::AboveEnd);
            }
            let upper_index = map.index_of(upper).unwrap_or(map.next_index());
            match map.index_of(from) {
                Some(first) if first < upper_index => state.log.extent(first, upper_index, bytes_max),
                _ => None,
            }
        };
        extent.map_or(Ok(LogRead::Batches(Bytes::new())), |(extent, _)| extent.read().map(LogRead::Batches))
    }
}

impl super::State {
    fn diverged(&self, from: Offset, fetched_epoch: Option<LeaderEpoch>) -> Option<LogRead> {
        let map = &self.log.map;
        let before_log = self.anchor.filter(|anchor| anchor.end_offset == map.start_offset());
        // At the log's very start the record before is in the snapshot.
        if from == map.start_offset() && before_log.is_none_or(|anchor| Some(anchor.epoch) == fetched_epoch) {
            return None;
        }
        let fetched = fetched_epoch?;
        let found = map.end_of_epoch(fetched);
        let (epoch, end_offset) = match (found, before_log) {
            (Some(found), _) => found,
            (None, Some(anchor)) => (anchor.epoch, anchor.end_offset),
            (None, None) => return Some(LogRead::BelowStart),
        };
        let same = epoch == fetched && from <= end_offset;
        (!same).then_some(LogRead::Diverging { epoch, end_offset })
    }
}
