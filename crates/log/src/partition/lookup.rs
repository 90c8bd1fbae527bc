//! Indexes in use: an entry leads somewhere only after it was held against the log.
//!
//! An index file may be torn, old or flipped and still look well ordered. So a walk
//! that starts at an entry first checks that the batch standing there is the one that
//! the entry names; where it is not, both indexes are built anew from the batches.

use std::sync::Arc;

use crate::disk::DiskFile;
use crate::index::{OffsetEntry, TimeEntry};
use crate::partition::{Log, LogError};
use crate::segment::{Segment, Walk, WalkError};

impl Log {
    /// A walk of segment `index` from the entry that `floor` picks, or from the beginning.
    pub(super) fn walk_from(
        &mut self,
        index: usize,
        floor: impl Fn(&Segment) -> Option<OffsetEntry>,
    ) -> Result<Walk, LogError> {
        self.load_indexes(index)?;
        let file = self.file_of(index)?;
        let segment = &self.segments[index];
        let Some(entry) = floor(segment) else { return Ok(Walk::new(file, 0, segment.size)) };
        let mut walk = Walk::new(file.clone(), entry.position, segment.size);
        let expected = segment.base.plus(i64::from(entry.offset));
        match walk.peek_header() {
            Ok(header) if header.last_offset() == expected => return Ok(walk),
            Err(error @ WalkError::Io(_)) => return Err(self.damaged(segment, error)),
            _ => self.rebuild_indexes(index)?,
        }
        let segment = &self.segments[index];
        let position = floor(segment).map_or(0, |entry| entry.position);
        Ok(Walk::new(file, position, segment.size))
    }

    /// Reads the indexes of segment `index`, and anew from the log if their end is not the log's.
    pub(super) fn load_indexes(&mut self, index: usize) -> Result<(), LogError> {
        let path = self.segments[index].path(&self.dir);
        let segment = &mut self.segments[index];
        segment
            .load_indexes(self.disk.as_ref(), &self.dir)
            .map_err(LogError::io("read the index of", &path))?;
        if std::mem::replace(&mut segment.is_index_checked, true) {
            return Ok(());
        }
        // Retention goes by the last time entry, so it must be true, and the newest: every segment
        // has such a one once it was closed or rolled.
        match segment.last_timed() {
            Some(entry) if self.is_newest(index, entry)? => Ok(()),
            _ => self.rebuild_indexes(index),
        }
    }

    /// Whether the batch that a time entry names is there and has that time.
    pub(super) fn is_true(&mut self, index: usize, entry: TimeEntry) -> Result<bool, LogError> {
        Ok(self.walk_from_true(index, entry)?.is_some())
    }

    /// Whether a time entry is true and no later batch is newer. The newest record mostly stands at
    /// the end, so this is a short walk.
    fn is_newest(&mut self, index: usize, entry: TimeEntry) -> Result<bool, LogError> {
        let Some(mut walk) = self.walk_from_true(index, entry)? else { return Ok(false) };
        loop {
            match walk.next() {
                Ok(Some(placed)) if placed.header.max_timestamp > entry.timestamp => return Ok(false),
                Ok(Some(_)) => {}
                // What is wrong with the log itself is not for an index to judge.
                Ok(None) | Err(WalkError::Batch { .. }) => return Ok(true),
                Err(error) => return Err(self.damaged(&self.segments[index], error)),
            }
        }
    }

    /// A walk from behind the batch that a time entry names, if the entry is true.
    fn walk_from_true(&mut self, index: usize, entry: TimeEntry) -> Result<Option<Walk>, LogError> {
        let offset = self.segments[index].base.plus(i64::from(entry.offset));
        let mut walk = self.walk_from(index, |segment| segment.floor_of_offset(offset))?;
        loop {
            match walk.next() {
                Ok(Some(placed)) if placed.header.last_offset() < offset => {}
                Ok(Some(placed)) => {
                    let holds =
                        placed.header.base_offset <= offset && placed.header.max_timestamp == entry.timestamp;
                    return Ok(holds.then_some(walk));
                }
                Ok(None) | Err(WalkError::Batch { .. }) => return Ok(None),
                Err(error) => return Err(self.damaged(&self.segments[index], error)),
            }
        }
    }

    /// Builds both indexes of a segment from its batches, as far as they make sense.
    pub(super) fn rebuild_indexes(&mut self, index: usize) -> Result<(), LogError> {
        let file = self.file_of(index)?;
        let interval = self.options.index_interval_bytes;
        let segment = &mut self.segments[index];
        let size = segment.size;
        let begun_at = segment.begun_at;
        segment.clear_indexes();
        let mut walk = Walk::new(file, 0, size);
        let error = loop {
            match walk.next() {
                Ok(Some(placed)) => segment.note(&placed.header, placed.header.max_timestamp, interval),
                Ok(None) | Err(WalkError::Batch { .. }) => break None,
                Err(error) => break Some(error),
            }
        };
        (segment.size, segment.begun_at) = (size, begun_at);
        if let Some(error) = error {
            return Err(self.damaged(&self.segments[index], error));
        }
        if index + 1 < self.segments.len() {
            // It only saves the next one the work: a disk that takes no writes still serves reads.
            let _ = self.segments[index].persist_indexes(self.disk.as_ref(), &self.dir, true);
        }
        Ok(())
    }

    pub(super) fn file_of(&self, index: usize) -> Result<Arc<dyn DiskFile>, LogError> {
        let segment = &self.segments[index];
        segment.file(self.disk.as_ref(), &self.dir).map_err(LogError::io("open", &segment.path(&self.dir)))
    }
}
