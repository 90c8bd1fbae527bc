//! One segment of a log: a file of batches and its indexes.
//!
//! Only the newest segment grows. Files are opened when they are used and closed
//! when idle, or when too many are open; the indexes of a segment that no longer grows are read on demand.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Offset, Timestamp};
use wire::batch::{BatchError, BatchHeader, HEADER_BYTES};

use crate::disk::{Disk, DiskFile, OpenMode};
use crate::index::{Entry, Index, OffsetEntry, TimeEntry};
use crate::open_files::Slot;
use crate::transactions::AbortedIndex;

/// What a file's name ends with that is about to be removed.
pub const DELETED_SUFFIX: &str = ".deleted";
/// The suffix of the batches' file.
pub const LOG_SUFFIX: &str = ".log";
const INDEX_SUFFIX: &str = ".index";
const TIME_INDEX_SUFFIX: &str = ".timeindex";
const TRANSACTION_INDEX_SUFFIX: &str = ".txnindex";
/// All files of a segment, the batches first.
pub const SEGMENT_SUFFIXES: [&str; 4] =
    [LOG_SUFFIX, INDEX_SUFFIX, TIME_INDEX_SUFFIX, TRANSACTION_INDEX_SUFFIX];
/// What the name of a segment's file ends with that the cleaner is writing.
pub const CLEANED_SUFFIX: &str = ".cleaned";
/// What the name of a cleaned file ends with that is whole and about to take its place.
pub const SWAP_SUFFIX: &str = ".swap";

/// A segment.
pub struct Segment {
    /// Offset of its first record, its name.
    pub base: Offset,
    /// Bytes of whole batches.
    pub size: u32,
    /// The largest timestamp and its record; `None` when it has none, or it was not looked up.
    pub newest: Option<TimeEntry>,
    /// When its first batch was appended, by the leader's clock; `None` when not known.
    pub begun_at: Option<Timestamp>,
    file: Arc<Slot>,
    offsets: Index<OffsetEntry>,
    times: Index<TimeEntry>,
    bytes_since_entry: u32,
    indexes_loaded: bool,
    /// A scan found offsets missing between its batches: compaction was here.
    pub has_gaps: bool,
    /// The time index's end was held against the log.
    pub is_index_checked: bool,
    /// The transactions that were aborted by markers in it.
    pub aborted: AbortedIndex,
    /// The transaction index was held against the log, or made by this process.
    pub is_aborted_checked: bool,
}

/// A batch's header and where it stands in its segment.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// Where the batch begins.
    pub position: u32,
    /// Its header.
    pub header: BatchHeader,
}

impl Placed {
    /// Where the next batch begins.
    pub fn end(&self) -> u32 {
        self.position + self.header.size_bytes as u32
    }
}

/// A segment's files, named by its base offset.
pub fn file_name(base: Offset, suffix: &str) -> String {
    format!("{:020}{suffix}", base.get())
}

/// The base offset that a file name begins with, if it has `suffix`.
pub fn parse_name(name: &str, suffix: &str) -> Option<Offset> {
    let digits = name.strip_suffix(suffix)?;
    let is_base = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_base.then(|| digits.parse().ok().map(Offset::new)).flatten()
}

impl Segment {
    /// A segment that may have a file of `size` bytes already.
    pub fn new(base: Offset, size: u32) -> Self {
        Self {
            base,
            size,
            newest: None,
            begun_at: None,
            file: Arc::default(),
            offsets: Index::default(),
            times: Index::default(),
            bytes_since_entry: 0,
            indexes_loaded: size == 0,
            has_gaps: false,
            is_index_checked: size == 0,
            aborted: if size == 0 { AbortedIndex::empty() } else { AbortedIndex::default() },
            is_aborted_checked: size == 0,
        }
    }

    /// Its file, opened if need be.
    pub fn file(&self, disk: &dyn Disk, dir: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.file.get(disk.open_files(), || disk.open(&self.path(dir), OpenMode::ReadWrite))
    }

    /// Closes the file until it is used again.
    pub fn close_file(&self) {
        self.file.close();
    }

    /// The path of its batches.
    pub fn path(&self, dir: &Path) -> PathBuf {
        dir.join(file_name(self.base, LOG_SUFFIX))
    }

    /// Takes note of a batch that was written at the segment's end.
    pub fn note(&mut self, header: &BatchHeader, newest: Timestamp, index_interval: u32) {
        let position = self.size;
        let offset = self.relative(header.last_offset());
        if self.newest.is_none_or(|known| newest > known.timestamp) {
            self.newest = Some(TimeEntry { timestamp: newest, offset });
        }
        if self.bytes_since_entry > index_interval {
            self.offsets.push(OffsetEntry { offset, position });
            if let Some(newest) = self.newest {
                self.times.push(newest);
            }
            self.bytes_since_entry = 0;
        }
        let bytes = header.size_bytes as u32;
        self.bytes_since_entry += bytes;
        self.size += bytes;
    }

    /// Reads the indexes, which must fit a segment of this size.
    pub fn load_indexes(&mut self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        if self.indexes_loaded {
            return Ok(());
        }
        let size = self.size;
        self.offsets = Index::load(disk, &self.index_path(dir), |entry: &OffsetEntry| entry.position < size)?;
        self.times = Index::load(disk, &self.time_index_path(dir), |entry: &TimeEntry| {
            entry.offset <= i32::MAX as u32
        })?;
        self.newest = self.times.entries().last().copied().max_by_newest(self.newest);
        self.indexes_loaded = true;
        Ok(())
    }

    /// Forgets the indexes in memory; they are on disk.
    pub fn unload_indexes(&mut self) {
        if self.size > 0 {
            self.offsets = Index::default();
            self.times = Index::default();
            self.indexes_loaded = false;
            self.is_index_checked = false;
            self.aborted.unload();
        }
    }

    /// Writes what the index files lack. `last` when the segment will not grow any more: the
    /// time index then ends with the segment's newest record, as Kafka's does.
    pub fn persist_indexes(&mut self, disk: &dyn Disk, dir: &Path, last: bool) -> io::Result<()> {
        if let Some(newest) = self.newest.filter(|_| last) {
            self.times.push(newest);
        }
        let complete = last && self.size > 0;
        self.offsets.persist(disk, &self.index_path(dir), complete)?;
        self.times.persist(disk, &self.time_index_path(dir), complete)?;
        self.aborted.persist(disk, &self.transaction_index_path(dir)).map(drop)
    }

    /// Writes its finished indexes, durably, to files whose names have one more suffix: it is to take
    /// another segment's place.
    pub fn write_indexes_as(&mut self, disk: &dyn Disk, dir: &Path, suffix: &str) -> io::Result<()> {
        if let Some(newest) = self.newest {
            self.times.push(newest);
        }
        let with = |name: &str| dir.join(file_name(self.base, name) + suffix);
        let (offsets, times) = (with(INDEX_SUFFIX), with(TIME_INDEX_SUFFIX));
        let aborted = with(TRANSACTION_INDEX_SUFFIX);
        self.offsets.persist(disk, &offsets, true)?;
        self.times.persist(disk, &times, true)?;
        self.aborted.persist(disk, &aborted)?;
        for path in [offsets, times, aborted] {
            if disk.exists(&path)? {
                disk.open(&path, OpenMode::ReadWrite)?.sync()?;
            }
        }
        Ok(())
    }

    /// Forgets the indexes, the size and the newest record: all are to be found again by a scan from 0.
    pub fn clear_indexes(&mut self) {
        self.offsets.truncate(|_| false);
        self.times.truncate(|_| false);
        self.newest = None;
        self.size = 0;
        self.bytes_since_entry = 0;
        self.indexes_loaded = true;
        self.is_index_checked = true;
    }

    /// Goes back to the batch of the last index entry, at `position`: what follows is noted again.
    pub fn rewind(&mut self, position: u32) {
        self.size = position;
        self.bytes_since_entry = 0;
    }

    /// Drops index entries at and behind `position`, before the segment is cut there or scanned anew.
    pub fn truncate_indexes(&mut self, position: u32) {
        self.offsets.truncate(|entry| entry.position < position);
        let last = self.offsets.entries().last().map_or(0, |entry| entry.offset);
        self.times.truncate(|entry| entry.offset <= last);
        self.newest = self.times.entries().last().copied();
        self.bytes_since_entry = 0;
    }

    /// Where the search for `offset` begins; `None` is the segment's beginning.
    pub fn floor_of_offset(&self, offset: Offset) -> Option<OffsetEntry> {
        let target = self.relative(offset);
        self.offsets.floor(|entry| entry.offset <= target)
    }

    /// The last indexed batch that begins at `position` or before.
    pub fn floor_of_position(&self, position: u32) -> Option<OffsetEntry> {
        self.offsets.floor(|entry| entry.position <= position)
    }

    /// An offset behind which nothing lies that begins before `position`, if the index knows one.
    pub fn ceiling_of_position(&self, position: u32) -> Option<Offset> {
        let entries = self.offsets.entries();
        let at = entries.partition_point(|entry| entry.position < position);
        entries.get(at).map(|entry| self.base.plus(i64::from(entry.offset)))
    }

    /// What the time index knows of the records before `timestamp`.
    pub fn floor_of_time(&self, timestamp: Timestamp) -> Option<TimeEntry> {
        self.times.floor(|entry| entry.timestamp < timestamp)
    }

    /// The last indexed batch, behind which a segment's tail is read.
    pub fn last_indexed(&self) -> Option<OffsetEntry> {
        self.offsets.entries().last().copied()
    }

    /// The last entry of the time index.
    pub fn last_timed(&self) -> Option<TimeEntry> {
        self.times.entries().last().copied()
    }

    /// Bytes of the larger of its index files.
    pub fn index_bytes(&self) -> usize {
        (self.offsets.entries().len() * OffsetEntry::BYTES).max(self.times.entries().len() * TimeEntry::BYTES)
    }

    /// The batch's last offset, or another within the segment, as an index entry has it.
    pub fn relative(&self, offset: Offset) -> u32 {
        u32::try_from(offset.since(self.base)).unwrap_or(if offset < self.base { 0 } else { u32::MAX })
    }

    /// The files of its offset and time indexes, as far as there are any, for syncing.
    pub fn index_files(&self, disk: &dyn Disk, dir: &Path) -> io::Result<Vec<Arc<dyn DiskFile>>> {
        let mut files = Vec::new();
        for path in [self.index_path(dir), self.time_index_path(dir)] {
            if disk.exists(&path)? {
                files.push(disk.open(&path, OpenMode::ReadWrite)?);
            }
        }
        Ok(files)
    }

    /// Gives its files names that say that they are gone; says which. Removing them can wait.
    pub fn retire(&self, disk: &dyn Disk, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.close_file();
        let mut retired = Vec::new();
        for path in self.paths(dir) {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(DELETED_SUFFIX);
            let to = path.with_file_name(name);
            match disk.rename(&path, &to) {
                Ok(()) => retired.push(to),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(retired)
    }

    /// Deletes its files.
    pub fn remove_files(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        self.close_file();
        for path in self.paths(dir) {
            match disk.remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn index_path(&self, dir: &Path) -> PathBuf {
        dir.join(file_name(self.base, INDEX_SUFFIX))
    }

    fn time_index_path(&self, dir: &Path) -> PathBuf {
        dir.join(file_name(self.base, TIME_INDEX_SUFFIX))
    }

    /// The path of its transaction index.
    pub fn transaction_index_path(&self, dir: &Path) -> PathBuf {
        dir.join(file_name(self.base, TRANSACTION_INDEX_SUFFIX))
    }

    fn paths(&self, dir: &Path) -> [PathBuf; 4] {
        [self.path(dir), self.index_path(dir), self.time_index_path(dir), self.transaction_index_path(dir)]
    }
}

/// The newer of two, where both are there.
trait MaxByNewest {
    fn max_by_newest(self, other: Self) -> Self;
}

impl MaxByNewest for Option<TimeEntry> {
    fn max_by_newest(self, other: Self) -> Self {
        match (self, other) {
            (Some(a), Some(b)) => Some(if b.timestamp > a.timestamp { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}

/// As much is read ahead when headers are walked.
const WALK_BYTES: usize = 8 << 10;

/// Walks the headers of a file's batches from a position on; bodies are skipped, not read.
pub struct Walk {
    file: Arc<dyn DiskFile>,
    position: u32,
    end: u32,
    buffer: Vec<u8>,
    buffer_at: u32,
}

/// Why a walk cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// The disk.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What stands there is no whole batch.
    #[error("at position {position}: {error}")]
    Batch {
        /// Where.
        position: u32,
        /// What is wrong.
        error: BatchError,
    },
}

impl Walk {
    /// Walks from `position`, where a batch begins, to `end`.
    pub fn new(file: Arc<dyn DiskFile>, position: u32, end: u32) -> Self {
        Self { file, position, end, buffer: Vec::new(), buffer_at: 0 }
    }

    /// The next batch's header, `None` at the end. After an error the walk stands still.
    pub fn next(&mut self) -> Result<Option<Placed>, WalkError> {
        if self.position >= self.end {
            return Ok(None);
        }
        let position = self.position;
        let end = self.end;
        let header = self.peek_header()?;
        let left = (end - position) as usize;
        if header.size_bytes > left {
            let error = BatchError::Partial { needed: header.size_bytes, got: left };
            return Err(WalkError::Batch { position, error });
        }
        self.position += header.size_bytes as u32;
        Ok(Some(Placed { position, header }))
    }

    /// The header of the batch that comes next; the walk does not move.
    pub fn peek_header(&mut self) -> Result<BatchHeader, WalkError> {
        let position = self.position;
        BatchHeader::parse(self.peek()?).map_err(|error| WalkError::Batch { position, error })
    }

    /// Where the next batch begins.
    pub fn position(&self) -> u32 {
        self.position
    }

    /// The bytes of the header at the current position, as many as there are.
    fn peek(&mut self) -> io::Result<&[u8]> {
        let buffered = self.buffer_at..self.buffer_at + self.buffer.len() as u32;
        let wanted = HEADER_BYTES.min((self.end - self.position) as usize) as u32;
        if !(buffered.contains(&self.position) && self.position + wanted <= buffered.end) {
            let len = WALK_BYTES.min((self.end - self.position) as usize);
            self.buffer.resize(len, 0);
            let read = self.file.read_at(&mut self.buffer, u64::from(self.position))?;
            self.buffer.truncate(read);
            self.buffer_at = self.position;
        }
        let from = (self.position - self.buffer_at) as usize;
        Ok(&self.buffer[from..self.buffer.len().min(from + HEADER_BYTES)])
    }
}
