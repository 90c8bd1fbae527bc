//! The sparse indexes of a segment: from offset to position, from time to offset.
//!
//! ```text
//! .index      { last offset of a batch - base offset: i32 | position of that batch: i32 }*
//! .timeindex  { largest timestamp so far: i64 | its record's offset - base offset: i32 }*
//! ```
//!
//! Kept in memory for the segment that is written, read on demand for the others.
//! They only save a scan: a damaged or missing file is rebuilt from the log, and
//! nothing read from one is trusted before it was held against the log.

use std::io;
use std::path::Path;

use model::Timestamp;

use crate::disk::{Disk, OpenMode, read_file};

/// Size of an entry of `.index`.
const OFFSET_ENTRY_BYTES: usize = 8;
/// Size of an entry of `.timeindex`.
const TIME_ENTRY_BYTES: usize = 12;
/// `segment.index.bytes` is 10 MiB; no index file is larger than what an operator could set.
const INDEX_BYTES_MAX: u64 = 256 << 20;

/// Where a batch lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetEntry {
    /// Last offset of the batch, relative to the segment's base.
    pub offset: u32,
    /// Where the batch begins.
    pub position: u32,
}

/// When a record was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    /// The largest timestamp so far.
    pub timestamp: Timestamp,
    /// Its record, relative to the segment's base.
    pub offset: u32,
}

/// An entry of either index.
pub trait Entry: Copy + Sized {
    /// Its size on disk.
    const BYTES: usize;
    /// Reads one; `bytes` has exactly that size.
    fn read(bytes: &[u8]) -> Self;
    /// Appends one.
    fn write(&self, out: &mut Vec<u8>);
    /// Whether it may stand behind `before`.
    fn follows(&self, before: &Self) -> bool;
}

impl Entry for OffsetEntry {
    const BYTES: usize = OFFSET_ENTRY_BYTES;

    fn read(bytes: &[u8]) -> Self {
        Self { offset: read_u32(bytes, 0), position: read_u32(bytes, 4) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.offset.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
    }

    fn follows(&self, before: &Self) -> bool {
        self.offset > before.offset && self.position > before.position
    }
}

impl Entry for TimeEntry {
    const BYTES: usize = TIME_ENTRY_BYTES;

    fn read(bytes: &[u8]) -> Self {
        let timestamp = bytes.first_chunk().map_or(0, |chunk| i64::from_be_bytes(*chunk));
        Self { timestamp: Timestamp::new(timestamp), offset: read_u32(bytes, 8) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.get().to_be_bytes());
        out.extend_from_slice(&self.offset.to_be_bytes());
    }

    fn follows(&self, before: &Self) -> bool {
        self.timestamp > before.timestamp && self.offset >= before.offset
    }
}

/// An index that grows, and how much of it is on disk.
#[derive(Clone, Debug)]
pub struct Index<E> {
    entries: Vec<E>,
    persisted: usize,
}

impl<E> Default for Index<E> {
    fn default() -> Self {
        Self { entries: Vec::new(), persisted: 0 }
    }
}

impl<E: Entry> Index<E> {
    /// Reads what a file holds, as far as the entries make sense: Kafka fills files with zeroes
    /// ahead, and a crash may leave anything. A missing file is an empty index.
    pub fn load(disk: &dyn Disk, path: &Path, valid: impl Fn(&E) -> bool) -> io::Result<Self> {
        if !disk.exists(path)? {
            return Ok(Self::default());
        }
        let bytes = read_file(disk, path, INDEX_BYTES_MAX)?;
        let mut entries: Vec<E> = Vec::new();
        for chunk in bytes.chunks_exact(E::BYTES) {
            let entry = E::read(chunk);
            let padding = !entries.is_empty() && chunk.iter().all(|&byte| byte == 0);
            if padding || !valid(&entry) || entries.last().is_some_and(|last| !entry.follows(last)) {
                break;
            }
            entries.push(entry);
        }
        entries.shrink_to_fit();
        let persisted = if bytes.len() == entries.len() * E::BYTES { entries.len() } else { 0 };
        Ok(Self { entries, persisted })
    }

    /// Adds an entry, unless it brings nothing new.
    pub fn push(&mut self, entry: E) {
        if self.entries.last().is_none_or(|last| entry.follows(last)) {
            self.entries.push(entry);
        }
    }

    /// Drops the entries from the first one that `keep` refuses.
    pub fn truncate(&mut self, keep: impl Fn(&E) -> bool) {
        let kept = self.entries.partition_point(|entry| keep(entry));
        if kept < self.entries.len() {
            self.entries.truncate(kept);
            // The file is longer than the index now: it is written anew.
            self.persisted = 0;
        }
    }

    /// The entries, in order.
    pub fn entries(&self) -> &[E] {
        &self.entries
    }

    /// The last entry for which `reached` holds; it holds for a prefix of the entries.
    pub fn floor(&self, reached: impl Fn(&E) -> bool) -> Option<E> {
        let count = self.entries.partition_point(|entry| reached(entry));
        count.checked_sub(1).map(|last| self.entries[last])
    }

    /// Writes to the file what it does not hold yet. Not synced: an index can be rebuilt. An empty
    /// index has no file unless it is `complete`: Kafka's tools want both files of a finished segment.
    pub fn persist(&mut self, disk: &dyn Disk, path: &Path, complete: bool) -> io::Result<()> {
        let is_current = self.persisted == self.entries.len();
        if is_current && (self.persisted > 0 || (!complete && !disk.exists(path)?)) {
            return Ok(());
        }
        let file = disk.open(path, OpenMode::ReadWrite)?;
        let mut bytes = Vec::new();
        for entry in &self.entries[self.persisted..] {
            entry.write(&mut bytes);
        }
        if self.persisted == 0 {
            file.truncate(0)?;
        }
        file.write_at(&bytes, (self.persisted * E::BYTES) as u64)?;
        self.persisted = self.entries.len();
        Ok(())
    }
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |chunk| u32::from_be_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Index, OffsetEntry};
    use crate::disk::{Disk, MemDisk, OpenMode};

    const PATH: &str = "/i";

    fn entry(offset: u32, position: u32) -> OffsetEntry {
        OffsetEntry { offset, position }
    }

    fn stored(entries: &[OffsetEntry]) -> MemDisk {
        let disk = MemDisk::new();
        let mut index = Index::default();
        entries.iter().for_each(|&entry| index.push(entry));
        index.persist(&disk, Path::new(PATH), false).expect("no fault");
        disk
    }

    fn load(disk: &MemDisk) -> Vec<OffsetEntry> {
        let index = Index::load(disk, Path::new(PATH), |entry: &OffsetEntry| entry.position < 1_000);
        index.expect("no fault").entries().to_vec()
    }

    #[test]
    fn what_is_persisted_piece_by_piece_is_read_back() {
        let disk = MemDisk::new();
        let mut index = Index::default();
        let entries = [entry(3, 0), entry(9, 100), entry(20, 200)];
        for one in entries {
            index.push(one);
            index.persist(&disk, Path::new(PATH), false).expect("no fault");
        }
        assert_eq!(load(&disk), entries);
        index.truncate(|entry| entry.offset < 10);
        index.persist(&disk, Path::new(PATH), false).expect("no fault");
        assert_eq!(load(&disk), entries[..2]);
    }

    #[test]
    fn reading_stops_where_entries_stop_making_sense() {
        let entries = [entry(3, 0), entry(9, 100), entry(20, 200)];
        let disk = stored(&entries);
        let file = disk.open(Path::new(PATH), OpenMode::ReadWrite).expect("no fault");
        file.truncate(100).expect("no fault");
        assert_eq!(load(&disk), entries, "zeroes ahead, as Kafka leaves them");
        for at in 0..24 {
            let disk = stored(&entries);
            disk.flip(Path::new(PATH), at, 0x80).expect("no fault");
            let found = load(&disk);
            assert!(found.len() <= 3 && found.is_sorted_by_key(|entry| entry.position), "flip at {at}");
        }
    }

    #[test]
    fn the_floor_is_the_last_entry_not_beyond() {
        let mut index = Index::default();
        [entry(3, 0), entry(9, 100)].into_iter().for_each(|entry| index.push(entry));
        let floor = |target| index.floor(|entry| entry.offset <= target).map(|entry| entry.offset);
        assert_eq!([floor(2), floor(3), floor(8), floor(50)], [None, Some(3), Some(3), Some(9)]);
    }
}
