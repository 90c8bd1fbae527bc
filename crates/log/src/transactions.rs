//! The transaction index of a segment: which transactions were aborted by markers in it.
//!
//! ```text
//! .txnindex  { version i16 = 0 | producer id i64 | first offset i64 | offset of the marker i64
//!            | last stable offset i64 }*
//! ```
//!
//! A reader of committed data is told of the aborted transactions in what it reads,
//! and leaves their records out. The last stable offset of an entry is where the next
//! open transaction began: no later entry begins before it. Kafka ends its searches
//! there; here nothing depends on it, as nothing in the log proves it.
//!
//! Unlike the other indexes this one decides what is read as good. So an entry is
//! held against the log before it is believed, and a file that does not hold is made
//! anew. A file has no checksum and exists only where something was aborted: one
//! that is gone, or cut between two entries, looks as if nothing had been.

use std::io;
use std::path::Path;

use model::{Offset, ProducerId};

use crate::disk::{Disk, OpenMode, read_file};
use crate::producers::Completed;

const VERSION: i16 = 0;
/// Size of an entry.
const ENTRY_BYTES: usize = 34;
/// A marker takes 78 bytes of the log and an entry 34, so no file is larger than half a segment.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// An aborted transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted {
    /// Whose it was.
    pub producer: ProducerId,
    /// Its first record.
    pub first: Offset,
    /// Its marker.
    pub last: Offset,
    /// Transactions that ended later begin here or behind.
    pub stable: Offset,
}

impl Aborted {
    /// What is noted of a transaction that ended, if it was aborted.
    pub fn of(completed: &Completed) -> Option<Self> {
        let Completed { producer, first, last, is_aborted, stable } = *completed;
        is_aborted.then_some(Self { producer, first, last, stable })
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&VERSION.to_be_bytes());
        for number in [self.producer.get(), self.first.get(), self.last.get(), self.stable.get()] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }

    /// Reads an entry; `None` where it contradicts itself.
    fn read(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| bytes.get(at..)?.first_chunk().map(|chunk| i64::from_be_bytes(*chunk));
        if bytes.first_chunk().map(|chunk| i16::from_be_bytes(*chunk)) != Some(VERSION) {
            return None;
        }
        let entry = Self {
            producer: ProducerId::from_wire(number(2)?)?,
            first: Offset::from_wire(number(10)?)?,
            last: Offset::from_wire(number(18)?)?,
            stable: Offset::from_wire(number(26)?)?,
        };
        (entry.first < entry.last && entry.stable.get() <= entry.last.get() + 1).then_some(entry)
    }
}

/// The index of one segment, and how much of it is on disk.
#[derive(Clone, Debug, Default)]
pub struct AbortedIndex {
    entries: Vec<Aborted>,
    is_loaded: bool,
    /// As many of them are in the file, and nothing else; `None` where it holds anything.
    written: Option<usize>,
    /// The file was written, or removed, and not synced since.
    is_unsynced: bool,
}

/// What writing an index came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persisted {
    /// Nothing was to be written.
    Unchanged,
    /// The file grew.
    Grown,
    /// There may be a file where there was none, or the other way round.
    Renewed,
}

impl AbortedIndex {
    /// Of a segment that begins, or is to be read anew: whatever its file holds does not count.
    pub fn empty() -> Self {
        Self { entries: Vec::new(), is_loaded: true, written: None, is_unsynced: false }
    }

    /// Whether the entries are in memory.
    pub fn is_loaded(&self) -> bool {
        self.is_loaded
    }

    /// Reads the file of the segment that begins at `base`. False when it is not whole or contradicts
    /// itself; then nothing is taken from it.
    pub fn load(&mut self, disk: &dyn Disk, path: &Path, base: Offset) -> io::Result<bool> {
        *self = Self { is_loaded: true, written: Some(0), ..Self::default() };
        if !disk.exists(path)? {
            return Ok(true);
        }
        let bytes = match disk.file_len(path)? {
            ..=FILE_BYTES_MAX => read_file(disk, path, FILE_BYTES_MAX)?,
            _ => vec![0],
        };
        let chunks = bytes.chunks_exact(ENTRY_BYTES);
        let is_whole = chunks.remainder().is_empty();
        let entries: Option<Vec<Aborted>> = chunks.map(Aborted::read).collect();
        match entries.filter(|entries| is_whole && is_ordered(entries, base)) {
            Some(entries) => {
                self.written = Some(entries.len());
                self.entries = entries;
                Ok(true)
            }
            None => {
                self.written = None;
                Ok(false)
            }
        }
    }

    /// Forgets the entries in memory, if they are on disk.
    pub fn unload(&mut self) {
        if self.written == Some(self.entries.len()) && !self.is_unsynced {
            *self = Self::default();
        }
    }

    /// Adds an entry behind all others, unless it is there.
    pub fn push(&mut self, entry: Aborted) {
        if self.entries.last().is_none_or(|last| last.last < entry.last) {
            self.entries.push(entry);
        }
    }

    /// Drops the entries of markers at or behind `end`.
    pub fn truncate(&mut self, end: Offset) {
        let kept = self.entries.partition_point(|entry| entry.last < end);
        if kept < self.entries.len() {
            self.written = None;
        }
        self.entries.truncate(kept);
    }

    /// The entries, by their markers.
    pub fn entries(&self) -> &[Aborted] {
        &self.entries
    }

    /// What was aborted of the records between `from` and `upper`.
    pub fn between(&self, from: Offset, upper: Offset) -> impl Iterator<Item = Aborted> {
        let first = self.entries.partition_point(|entry| entry.last < from);
        self.entries[first..].iter().copied().filter(move |entry| entry.first < upper)
    }

    /// Writes what the file lacks; there is none where nothing was aborted.
    pub fn persist(&mut self, disk: &dyn Disk, path: &Path) -> io::Result<Persisted> {
        let from = match self.written {
            _ if !self.is_loaded => return Ok(Persisted::Unchanged),
            None => 0,
            Some(written) if written == self.entries.len() => return Ok(Persisted::Unchanged),
            Some(written) => written,
        };
        if self.entries.is_empty() {
            if disk.exists(path)? {
                disk.remove_file(path)?;
            }
        } else {
            let mut bytes = Vec::with_capacity((self.entries.len() - from) * ENTRY_BYTES);
            self.entries[from..].iter().for_each(|entry| entry.write(&mut bytes));
            let file = disk.open(path, OpenMode::ReadWrite)?;
            file.truncate((from * ENTRY_BYTES) as u64)?;
            file.write_at(&bytes, (from * ENTRY_BYTES) as u64)?;
            self.is_unsynced = true;
        }
        self.written = Some(self.entries.len());
        Ok(if from == 0 { Persisted::Renewed } else { Persisted::Grown })
    }

    /// Whether the file must be synced before anybody relies on it.
    pub fn is_unsynced(&self) -> bool {
        self.is_unsynced
    }

    /// The same; it counts as synced from now on.
    pub fn take_unsynced(&mut self) -> bool {
        std::mem::take(&mut self.is_unsynced)
    }
}

/// Whether the markers lie in the segment, one behind the other, and each transaction begins where
/// the ones that ended before it leave it.
fn is_ordered(entries: &[Aborted], base: Offset) -> bool {
    let mut stable = Offset::ZERO;
    let mut last: Option<Offset> = None;
    for entry in entries {
        if entry.last < base || last.is_some_and(|last| entry.last <= last) || entry.first < stable {
            return false;
        }
        stable = stable.max(entry.stable);
        last = Some(entry.last);
    }
    true
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use model::{Offset, ProducerId};

    use super::{Aborted, AbortedIndex, Persisted};
    use crate::disk::{Disk, MemDisk, OpenMode, read_file};

    const PATH: &str = "/i";

    /// `producer first last stable`, one transaction after the other.
    fn index(text: &str) -> AbortedIndex {
        let mut index = AbortedIndex::empty();
        for entry in text.split(", ") {
            let numbers: Vec<i64> =
                entry.split(' ').map(|number| number.parse().expect("a number")).collect();
            let [producer, first, last, stable] = numbers[..] else { panic!("{entry}") };
            let (producer, stable) = (ProducerId::new(producer), Offset::new(stable));
            index.push(Aborted { producer, first: Offset::new(first), last: Offset::new(last), stable });
        }
        index
    }

    fn check(entries: &str, from: i64, upper: i64, outcome: &str) {
        let index = index(entries);
        let found = index.between(Offset::new(from), Offset::new(upper));
        let said: Vec<String> = found.map(|it| format!("{}@{}", it.producer.get(), it.first)).collect();
        assert_eq!(said.join(" "), outcome, "{from} to {upper} of {entries}");
    }

    #[test]
    fn what_was_aborted_of_a_range_is_found() {
        let entries = "1 0 10 5, 2 5 20 21, 3 30 40 41";
        check(entries, 0, 5, "1@0");
        check(entries, 0, 6, "1@0 2@5");
        check(entries, 11, 15, "2@5");
        check(entries, 10, 25, "1@0 2@5");
        check(entries, 21, 30, "");
        check(entries, 21, 31, "3@30");
        check(entries, 41, 50, "");
    }

    #[test]
    fn the_file_is_kafkas_and_comes_back() {
        let disk = MemDisk::new();
        let mut written = index("7 1 3 4");
        let persisted = written.persist(&disk, Path::new(PATH)).expect("no fault");
        assert_eq!((persisted, written.take_unsynced()), (Persisted::Renewed, true));
        let bytes = read_file(&disk, Path::new(PATH), 100).expect("written");
        let mut expected = vec![0, 0];
        for number in [7_i64, 1, 3, 4] {
            expected.extend_from_slice(&number.to_be_bytes());
        }
        assert_eq!(bytes, expected);
        let mut read = AbortedIndex::default();
        assert!(read.load(&disk, Path::new(PATH), Offset::ZERO).expect("no fault"));
        assert_eq!(read.entries(), written.entries());
        written.truncate(Offset::new(3));
        written.persist(&disk, Path::new(PATH)).expect("no fault");
        assert!(!disk.exists(Path::new(PATH)).expect("no fault"), "nothing was aborted any more");
    }

    #[test]
    fn a_file_cut_within_an_entry_or_contradicting_itself_is_not_believed() {
        let mut whole = Vec::new();
        index("1 0 10 5, 2 5 20 21").entries().iter().for_each(|entry| entry.write(&mut whole));
        let loads = |bytes: &[u8]| {
            let disk = MemDisk::new();
            let file = disk.open(Path::new(PATH), OpenMode::ReadWrite).expect("no fault");
            file.write_at(bytes, 0).expect("no fault");
            let mut index = AbortedIndex::default();
            let is_whole = index.load(&disk, Path::new(PATH), Offset::ZERO).expect("no fault");
            is_whole.then_some(index)
        };
        for len in 0..=whole.len() {
            assert_eq!(loads(&whole[..len]).is_some(), len % 34 == 0, "cut at {len}");
        }
        for (at, bit) in [(0, 1), (2, 0x80), (10, 0x80), (24, 0xff), (26, 0x40), (35, 1), (51, 0x04)] {
            let mut changed = whole.clone();
            changed[at] ^= bit;
            assert!(loads(&changed).is_none(), "flipped at {at}");
        }
    }
}
