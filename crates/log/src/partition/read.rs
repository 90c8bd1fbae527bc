//! Reads: by offset, as a range of a file that can leave by `sendfile`, and by time.

use std::io;
use std::sync::Arc;

use model::{LeaderEpoch, Offset, Timestamp};
use wire::batch::BatchRef;

use crate::disk::DiskFile;
use crate::partition::{Log, LogError};
use crate::segment::{Placed, Segment, Walk};

/// As much of one batch is decompressed to find a record by its time.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

/// Whole batches in a file.
#[derive(Clone)]
pub struct FileSlice {
    /// The file; stays readable when its segment is deleted.
    pub file: Arc<dyn DiskFile>,
    /// Where the first batch begins.
    pub position: u64,
    /// How many bytes the batches take.
    pub len: usize,
}

impl FileSlice {
    /// Reads it into memory.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.len];
        let read = self.file.read_at(&mut bytes, self.position)?;
        if read < self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }
}

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundTimestamp {
    /// Its offset.
    pub offset: Offset,
    /// Its time.
    pub timestamp: Timestamp,
    /// The epoch of its leader.
    pub epoch: LeaderEpoch,
}

impl Log {
    /// The batches from the one that holds `from` on, up to `max_bytes` and to those that end at
    /// or below `upper`. With `at_least_one` the first comes even if it is larger than `max_bytes`.
    /// `None` when there is nothing between `from` and `upper`.
    pub fn read(
        &mut self,
        from: Offset,
        max_bytes: usize,
        upper: Offset,
        at_least_one: bool,
    ) -> Result<Option<FileSlice>, LogError> {
        Ok(self.locate(from, max_bytes, upper, at_least_one)?.map(|(_, slice)| slice))
    }

    /// As [`Log::read`], and the segment that the batches lie in.
    pub(super) fn locate(
        &mut self,
        from: Offset,
        max_bytes: usize,
        upper: Offset,
        at_least_one: bool,
    ) -> Result<Option<(usize, FileSlice)>, LogError> {
        if from < self.start || from > self.end {
            return Err(LogError::OutOfRange { asked: from, start: self.start, end: self.end });
        }
        let upper = upper.min(self.end);
        let mut index = self.segment_index(from);
        while from < upper && index < self.segments.len() && self.segments[index].base < upper {
            let (first, file) = match self.find(index, from)? {
                (Some(first), file) => (first, file),
                // Compaction may have emptied the rest of the segment.
                (None, _) => {
                    index += 1;
                    continue;
                }
            };
            if first.header.next_offset() > upper {
                return Ok(None);
            }
            let end = self.last_end(index, &first, max_bytes, upper)?;
            let len = match end - first.position {
                0 if at_least_one => first.header.size_bytes,
                len => len as usize,
            };
            let slice = FileSlice { file, position: u64::from(first.position), len };
            return Ok((len > 0).then_some((index, slice)));
        }
        Ok(None)
    }

    /// The first record at or after `timestamp`, by the records' own times.
    pub fn find_timestamp(&mut self, timestamp: Timestamp) -> Result<Option<FoundTimestamp>, LogError> {
        for index in 0..self.segments.len() {
            self.load_indexes(index)?;
            let segment = &self.segments[index];
            if segment.size == 0 || segment.newest.is_some_and(|newest| newest.timestamp < timestamp) {
                continue;
            }
            let mut walk = self.walk_from_time(index, timestamp)?;
            let file = self.file_of(index)?;
            let segment = &self.segments[index];
            while let Some(placed) = walk.next().map_err(|error| self.damaged(segment, error))? {
                if placed.header.max_timestamp >= timestamp
                    && placed.header.last_offset() >= self.start
                    && let Some(found) =
                        self.find_in_batch(segment, &file, &placed, |time| time >= timestamp)?
                {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// The first record with the largest timestamp of the log (KIP-734).
    pub fn find_newest(&mut self) -> Result<Option<FoundTimestamp>, LogError> {
        for index in 0..self.segments.len() {
            self.load_indexes(index)?;
        }
        let newest =
            self.segments.iter().filter_map(|segment| segment.newest).map(|entry| entry.timestamp).max();
        match newest {
            Some(newest) => self.find_timestamp(newest),
            None => Ok(None),
        }
    }

    /// The batch of segment `index` that holds `from` or comes after it.
    pub(super) fn find(
        &mut self,
        index: usize,
        from: Offset,
    ) -> Result<(Option<Placed>, Arc<dyn DiskFile>), LogError> {
        let mut walk = self.walk_from(index, |segment| segment.floor_of_offset(from))?;
        let file = self.file_of(index)?;
        let segment = &self.segments[index];
        loop {
            match walk.next().map_err(|error| self.damaged(segment, error))? {
                Some(placed) if placed.header.last_offset() < from => {}
                found => return Ok((found, file)),
            }
        }
    }

    /// The end of the last batch that fits behind `first`.
    fn last_end(
        &mut self,
        index: usize,
        first: &Placed,
        max_bytes: usize,
        upper: Offset,
    ) -> Result<u32, LogError> {
        let segment = &self.segments[index];
        let limit = u32::try_from(max_bytes).unwrap_or(u32::MAX).saturating_add(first.position);
        let segment_end = self.segments.get(index + 1).map_or(self.end, |next| next.base);
        if segment.size <= limit && segment_end <= upper {
            return Ok(segment.size);
        }
        // An index entry names the last offset of a batch that begins at its position: all
        // before it lies below both bounds when the entry does.
        let mut walk = self.walk_from(index, |segment| {
            let (by_size, by_offset) = (segment.floor_of_position(limit)?, segment.floor_of_offset(upper)?);
            Some(if by_size.position < by_offset.position { by_size } else { by_offset })
        })?;
        let segment = &self.segments[index];
        if walk.position() < first.position {
            walk = Walk::new(self.file_of(index)?, first.position, segment.size);
        }
        let mut end = walk.position();
        while let Some(placed) = walk.next().map_err(|error| self.damaged(segment, error))? {
            if placed.end() > limit || placed.header.next_offset() > upper {
                break;
            }
            end = placed.end();
        }
        Ok(end)
    }

    fn find_in_batch(
        &self,
        segment: &Segment,
        file: &Arc<dyn DiskFile>,
        placed: &Placed,
        wanted: impl Fn(Timestamp) -> bool,
    ) -> Result<Option<FoundTimestamp>, LogError> {
        let path = segment.path(&self.dir);
        let slice = FileSlice {
            file: file.clone(),
            position: u64::from(placed.position),
            len: placed.header.size_bytes,
        };
        let bytes = slice.read().map_err(LogError::io("read", &path))?;
        let damaged = |reason: String| LogError::Damaged { path: path.clone(), reason };
        let batch = BatchRef::parse(&bytes).map_err(|error| damaged(error.to_string()))?;
        let records = batch.records(DECOMPRESSED_BYTES_MAX).map_err(|error| damaged(error.to_string()))?;
        for record in records.iter() {
            let record = record.map_err(|error| damaged(error.to_string()))?;
            if wanted(record.timestamp) && record.offset >= self.start {
                let epoch = batch.header.leader_epoch;
                return Ok(Some(FoundTimestamp {
                    offset: record.offset,
                    timestamp: record.timestamp,
                    epoch,
                }));
            }
        }
        Ok(None)
    }

    /// A walk that begins before the first record at or after `timestamp`.
    fn walk_from_time(&mut self, index: usize, timestamp: Timestamp) -> Result<Walk, LogError> {
        let mut entry = self.segments[index].floor_of_time(timestamp);
        if let Some(found) = entry
            && !self.is_true(index, found)?
        {
            self.rebuild_indexes(index)?;
            entry = self.segments[index].floor_of_time(timestamp);
        }
        let offset = entry.map_or(0, |entry| entry.offset);
        let offset = self.segments[index].base.plus(i64::from(offset));
        self.walk_from(index, |segment| segment.floor_of_offset(offset).filter(|_| entry.is_some()))
    }
}
