//! Where a log is cut: its end by truncation, its beginning by retention.

use std::time::Duration;

use model::{Offset, Timestamp};

use crate::partition::{Log, LogError};
use crate::segment::{Segment, file_name};

/// What is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// `retention.ms`: a segment whose newest record is older goes.
    pub age: Option<Duration>,
    /// `retention.bytes`: the oldest segments go while the rest is at least as large.
    pub bytes: Option<u64>,
}

/// The suffix of a producer snapshot.
pub(super) const SNAPSHOT_SUFFIX: &str = ".snapshot";

impl Log {
    /// Cuts the log so that it ends at `end`, or at the start of the batch that holds `end`.
    /// Cutting behind the end changes nothing. The recovery point may go back: the caller writes
    /// its checkpoint before it appends again, or a crash would trust bytes that were never synced.
    pub fn truncate_to(&mut self, end: Offset) -> Result<(), LogError> {
        self.check_sound()?;
        if end >= self.end {
            return self.forget_empty_epochs();
        }
        if end <= self.segments[0].base {
            return self.restart_at(end.max(self.start));
        }
        self.abandon_swap()?;
        let index = self.segment_index(end);
        // Where the cut will be is known once the segment was walked through.
        let durable = self.recovery_point;
        self.recovery_point = durable.min(self.segments[index].base);
        let removed = self.segments.split_off(index + 1);
        // Newest first: a crash in between leaves a log without a gap.
        for segment in removed.iter().rev() {
            self.poison_on(|log| segment.remove_files(log.disk.as_ref(), &log.dir), "remove a segment of")?;
        }
        if !removed.is_empty() {
            self.poison_on(|log| log.disk.sync_dir(&log.dir), "sync")?;
        }
        self.cuts += 1;
        self.lowest_cut = self.lowest_cut.min(end);
        self.truncate_active(end)?;
        self.recovery_point = durable.min(self.end);
        self.start = self.start.min(self.end);
        self.epochs.truncate_end(self.end);
        self.persist_epochs()?;
        self.remove_snapshots(|snapshot, log_end| snapshot > log_end)?;
        self.reload_producers(self.end)?;
        self.check();
        Ok(())
    }

    /// A leader that was deposed before its first record left an epoch at the log's end that nobody
    /// else may know: it would be told to cut there for ever.
    fn forget_empty_epochs(&mut self) -> Result<(), LogError> {
        if self.epochs.truncate_end(self.end) {
            self.persist_epochs()?;
        }
        Ok(())
    }

    /// Throws everything away and begins again at `start`: a follower so far behind that the
    /// leader has no record of where it was.
    pub fn restart_at(&mut self, start: Offset) -> Result<(), LogError> {
        self.check_sound()?;
        self.abandon_swap()?;
        self.persist_identity()?;
        let old = std::mem::replace(&mut self.segments, vec![Segment::new(start, 0)]);
        // Until the old segments are gone for good, nothing is known to be durable.
        (self.start, self.end, self.recovery_point) = (start, start, Offset::ZERO);
        self.cuts += 1;
        self.lowest_cut = self.lowest_cut.min(start);
        self.epochs.clear();
        self.producers = Default::default();
        // Newest first: a crash in between leaves a log without a gap.
        for segment in old.iter().rev() {
            self.poison_on(|log| segment.remove_files(log.disk.as_ref(), &log.dir), "remove a segment of")?;
        }
        self.poison_on(
            |log| {
                log.active_ref().file(log.disk.as_ref(), &log.dir)?;
                log.epochs.persist(log.disk.as_ref(), &log.dir)
            },
            "begin again in",
        )?;
        self.remove_snapshots(|_, _| true)?;
        // A power cut must not bring the old segments back below a gap.
        self.poison_on(|log| log.disk.sync_dir(&log.dir), "sync")?;
        self.recovery_point = start;
        self.check();
        Ok(())
    }

    /// The log serves nothing below `start` any more (DeleteRecords, or the leader said so).
    pub fn advance_start(&mut self, start: Offset) -> Result<(), LogError> {
        if start <= self.start {
            return Ok(());
        }
        if start > self.end {
            return Err(LogError::OutOfRange { asked: start, start: self.start, end: self.end });
        }
        // After a removal that failed, removing the next one would leave a hole.
        self.check_sound()?;
        self.start = start;
        self.epochs.truncate_start(start);
        self.remove_segments_before_start()
    }

    /// Deletes whole segments that retention lets go, none that reaches above `committed`.
    /// Says how many.
    pub fn retain(
        &mut self,
        retention: &Retention,
        now: Timestamp,
        committed: Offset,
    ) -> Result<usize, LogError> {
        self.check_sound()?;
        let mut start = self.start;
        let mut size = self.size_bytes();
        for index in 0..self.segments.len() {
            self.load_indexes(index)?;
            let segment = &self.segments[index];
            let end = self.segments.get(index + 1).map_or(self.end, |next| next.base);
            let too_large =
                retention.bytes.is_some_and(|bytes| size.saturating_sub(u64::from(segment.size)) >= bytes);
            if segment.size == 0 || end > committed || !(too_large || is_older(segment, retention, now)) {
                break;
            }
            size -= u64::from(segment.size);
            start = end;
        }
        let before = self.segments.len();
        if start > self.start {
            if start == self.end && self.segments[before - 1].size > 0 {
                self.roll(self.end)?;
            }
            let rolled = self.segments.len();
            self.advance_start(start)?;
            return Ok(rolled - self.segments.len());
        }
        Ok(0)
    }

    /// Removes the segments that lie below the log's start, the newest among them. The start of a
    /// follower moves before its segments end where the leader's do.
    pub fn remove_deleted(&mut self) -> Result<usize, LogError> {
        let is_all_deleted = self.start == self.end && self.active_ref().size > 0;
        let is_next_deleted = self.segments.get(1).is_some_and(|next| next.base <= self.start);
        if !is_all_deleted && !is_next_deleted {
            return Ok(0);
        }
        self.check_sound()?;
        if is_all_deleted {
            self.roll(self.end)?;
        }
        let before = self.segments.len();
        self.remove_segments_before_start()?;
        Ok(before - self.segments.len())
    }

    fn remove_segments_before_start(&mut self) -> Result<(), LogError> {
        self.abandon_swap()?;
        while self.segments.len() > 1 && self.segments[1].base <= self.start {
            let segment = self.segments.remove(0);
            self.names_unsynced = true;
            let retired =
                self.poison_on(|log| segment.retire(log.disk.as_ref(), &log.dir), "rename a segment of")?;
            self.retired.extend(retired);
            let snapshot = self.dir.join(file_name(segment.base, SNAPSHOT_SUFFIX));
            self.poison_on(
                |log| if log.disk.exists(&snapshot)? { log.disk.remove_file(&snapshot) } else { Ok(()) },
                "remove a snapshot of",
            )?;
        }
        self.recovery_point = self.recovery_point.max(self.segments[0].base.min(self.end));
        self.persist_epochs()?;
        self.check();
        Ok(())
    }

    /// Cuts the last segment before the first batch that reaches `end`.
    fn truncate_active(&mut self, end: Offset) -> Result<(), LogError> {
        let index = self.segments.len() - 1;
        self.load_aborted(index)?;
        let mut walk = self.walk_from(index, |segment| segment.floor_of_offset(end))?;
        let file = self.file_of(index)?;
        let segment = &self.segments[index];
        let mut cut = segment.size;
        // Behind the last batch there may be a gap: the log ends where it was told.
        let mut new_end = end;
        while let Some(placed) = walk.next().map_err(|error| self.damaged(segment, error))? {
            if placed.header.next_offset() > end {
                cut = placed.position;
                new_end = end.min(placed.header.base_offset);
                break;
            }
        }
        if cut < segment.size {
            // What follows may go to another file, and reach the disk without this one: a power cut would bring
            // back what was cut beside what was written in its place.
            self.poison_on(|_| file.truncate(u64::from(cut)).and_then(|()| file.sync()), "truncate")?;
        }
        let segment = self.active();
        segment.truncate_indexes(cut);
        segment.aborted.truncate(new_end);
        segment.size = cut;
        self.end = new_end;
        self.rescan_newest(index)
    }

    /// Looks up the newest timestamp again behind the last index entry.
    pub(super) fn rescan_newest(&mut self, index: usize) -> Result<(), LogError> {
        let mut walk = self.walk_from(index, Segment::last_indexed)?;
        let segment = &self.segments[index];
        let mut newest = segment.newest;
        while let Some(placed) = walk.next().map_err(|error| self.damaged(segment, error))? {
            let timestamp = placed.header.max_timestamp;
            if newest.is_none_or(|known| timestamp > known.timestamp) {
                let offset =
                    u32::try_from(placed.header.last_offset().since(segment.base)).unwrap_or(u32::MAX);
                newest = Some(crate::index::TimeEntry { timestamp, offset });
            }
        }
        self.segments[index].newest = newest;
        Ok(())
    }
}

fn is_older(segment: &Segment, retention: &Retention, now: Timestamp) -> bool {
    let (Some(age), Some(newest)) = (retention.age, segment.newest) else { return false };
    let age_max = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    now.get().saturating_sub(newest.timestamp.get()) > age_max
}
