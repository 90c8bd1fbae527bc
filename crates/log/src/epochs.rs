//! Which leader epoch began where: the history that truncation goes by (KIP-101).
//!
//! Kept in memory, written to `leader-epoch-checkpoint` before anything relies on
//! it being durable; what a crash takes from the file is found again in the
//! batches behind the recovery point, each of which carries its epoch.

use std::io;
use std::path::Path;

use model::{LeaderEpoch, Offset};

use crate::checkpoint::unfinished;
use crate::disk::{Disk, read_file, write_atomically};

/// The file's name, in the partition's directory.
pub const FILE_NAME: &str = "leader-epoch-checkpoint";
/// A partition would need a million elections to exceed it.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The epochs of a log, ascending in epoch and start offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Epochs {
    starts: Vec<(LeaderEpoch, Offset)>,
    dirty: bool,
}

/// Why the checkpoint cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EpochsError {
    /// The disk.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not the format: a version line `0`, a count, and lines of epoch and start offset.
    #[error("line {line} of the leader epoch checkpoint is malformed: '{text}'")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
}

impl Epochs {
    /// Reads the checkpoint in `dir`; none is an empty history.
    pub fn load(disk: &dyn Disk, dir: &Path) -> Result<Self, EpochsError> {
        let path = dir.join(FILE_NAME);
        if !disk.exists(&path)? {
            return Ok(Self::default());
        }
        let bytes = read_file(disk, &path, FILE_BYTES_MAX)?;
        let text = String::from_utf8_lossy(&bytes);
        let malformed = |line: usize, text: &str| EpochsError::Malformed { line, text: text.to_owned() };
        let mut lines = (1..).zip(text.lines());
        let version = lines.next().map_or("", |(_, text)| text);
        if version != "0" {
            return Err(malformed(1, version));
        }
        let count = lines.next().map_or("", |(_, text)| text);
        let mut epochs = Self::default();
        let mut found = 0;
        for (number, line) in lines {
            let malformed = || malformed(number, line);
            let (epoch, start) = line.split_once(' ').ok_or_else(malformed)?;
            let epoch = LeaderEpoch::new(epoch.parse().map_err(|_| malformed())?);
            let start = start.parse().ok().and_then(Offset::from_wire).ok_or_else(malformed)?;
            found += 1;
            epochs.begin(epoch, start);
            if epochs.starts.len() != found {
                // One that is not above those before it.
                return Err(malformed());
            }
        }
        if count.parse() != Ok(found) {
            return Err(malformed(2, count));
        }
        if let Some((line, last)) = unfinished(&text) {
            return Err(malformed(line, last));
        }
        epochs.dirty = false;
        Ok(epochs)
    }

    /// A history that cannot be read: nothing is known, and what will be is written in place of it.
    pub fn lost() -> Self {
        Self { starts: Vec::new(), dirty: true }
    }

    /// Writes the checkpoint if it changed.
    pub fn persist(&mut self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        if !self.dirty {
            return Ok(());
        }
        let mut text = format!("0\n{}\n", self.starts.len());
        for (epoch, start) in &self.starts {
            text.push_str(&format!("{epoch} {start}\n"));
        }
        write_atomically(disk, &dir.join(FILE_NAME), text.as_bytes())?;
        self.dirty = false;
        Ok(())
    }

    /// Notes that a record of `epoch` is at `start`. An epoch known already changes nothing.
    pub fn begin(&mut self, epoch: LeaderEpoch, start: Offset) {
        // Epochs that begin here or later wrote nothing that is still there: this one takes their place,
        // also when it is older. A leader that was deposed before its first record leaves such a one.
        let kept = self.starts.partition_point(|&(_, begun)| begun < start);
        let stands = self.starts.get(kept..) == Some(&[(epoch, start)]);
        if stands || (kept == self.starts.len() && self.last().is_some_and(|last| last >= epoch)) {
            return;
        }
        self.starts.truncate(kept);
        if self.last().is_none_or(|last| last < epoch) {
            self.starts.push((epoch, start));
        }
        self.dirty = true;
    }

    /// The newest epoch.
    pub fn last(&self) -> Option<LeaderEpoch> {
        self.starts.last().map(|&(epoch, _)| epoch)
    }

    /// The newest epoch not above `epoch` and where it ends; `None` when all are above.
    pub fn end_of(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let after = self.starts.partition_point(|&(known, _)| known <= epoch);
        let (known, _) = *self.starts.get(after.checked_sub(1)?)?;
        let end = self.starts.get(after).map_or(log_end, |&(_, start)| start);
        Some((known, end))
    }

    /// The epoch of the record at `offset`.
    pub fn at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.starts.partition_point(|&(_, start)| start <= offset);
        after.checked_sub(1).map(|index| self.starts[index].0)
    }

    /// The log was cut to end at `end`; whether an epoch began there or behind it.
    pub fn truncate_end(&mut self, end: Offset) -> bool {
        let kept = self.starts.partition_point(|&(_, start)| start < end);
        let cuts = kept < self.starts.len();
        self.dirty |= cuts;
        self.starts.truncate(kept);
        cuts
    }

    /// The log begins at `start` now; the epoch that it begins in, begins there too.
    pub fn truncate_start(&mut self, start: Offset) {
        let begun = self.starts.partition_point(|&(_, begins)| begins <= start);
        if begun == 0 {
            return;
        }
        self.dirty |= begun > 1 || self.starts[0].1 != start;
        self.starts.drain(..begun - 1);
        self.starts[0].1 = start;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.dirty |= !self.starts.is_empty();
        self.starts.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use model::{LeaderEpoch, Offset};

    use super::Epochs;
    use crate::disk::{Disk, MemDisk, OpenMode};

    fn epochs(starts: &[(i32, i64)]) -> Epochs {
        let mut epochs = Epochs::default();
        starts.iter().for_each(|&(epoch, start)| epochs.begin(LeaderEpoch::new(epoch), Offset::new(start)));
        epochs
    }

    fn end_of(epochs: &Epochs, epoch: i32) -> Option<(i32, i64)> {
        let end = epochs.end_of(LeaderEpoch::new(epoch), Offset::new(100))?;
        Some((end.0.get(), end.1.get()))
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins_and_the_last_at_the_logs_end() {
        let epochs = epochs(&[(2, 0), (5, 10), (7, 40)]);
        let ends = [1, 2, 3, 5, 6, 7, 9].map(|epoch| end_of(&epochs, epoch));
        assert_eq!(
            ends,
            [
                None,
                Some((2, 10)),
                Some((2, 10)),
                Some((5, 40)),
                Some((5, 40)),
                Some((7, 100)),
                Some((7, 100))
            ]
        );
    }

    #[test]
    fn an_epoch_without_records_gives_way() {
        assert_eq!(epochs(&[(1, 0), (2, 10), (3, 10)]), epochs(&[(1, 0), (3, 10)]));
        assert_eq!(epochs(&[(1, 0), (1, 5), (0, 7)]), epochs(&[(1, 0)]));
    }

    #[test]
    fn a_deposed_leaders_empty_epoch_gives_way_to_older_records() {
        assert_eq!(epochs(&[(3, 0), (1, 0), (1, 4)]), epochs(&[(1, 0)]));
        assert_eq!(epochs(&[(0, 0), (5, 10), (2, 10)]), epochs(&[(0, 0), (2, 10)]));
    }

    #[test]
    fn cutting_either_end_keeps_what_is_between() {
        let mut cut = epochs(&[(2, 0), (5, 10), (7, 40)]);
        cut.truncate_end(Offset::new(40));
        assert_eq!(cut.last(), Some(LeaderEpoch::new(5)));
        cut.truncate_start(Offset::new(20));
        assert_eq!(end_of(&cut, 4), None);
        assert_eq!(end_of(&cut, 5), Some((5, 100)));
        assert_eq!(cut.at(Offset::new(25)), Some(LeaderEpoch::new(5)));
    }

    #[test]
    fn the_checkpoint_is_kafkas_and_survives() {
        let disk = MemDisk::new();
        disk.create_dir_all(Path::new("/p")).expect("no fault");
        let mut written = epochs(&[(2, 0), (5, 10)]);
        written.persist(&disk, Path::new("/p")).expect("no fault");
        let path = Path::new("/p/leader-epoch-checkpoint");
        assert_eq!(crate::disk::read_file(&disk, path, 100).expect("written"), b"0\n2\n2 0\n5 10\n");
        assert_eq!(Epochs::load(&disk, Path::new("/p")).expect("readable"), written);
        let file = disk.open(path, OpenMode::ReadWrite).expect("exists");
        file.write_at(b"x", 4).expect("no fault");
        assert!(Epochs::load(&disk, Path::new("/p")).is_err());
    }

    #[test]
    fn a_checkpoint_that_was_cut_anywhere_is_none() {
        let disk = MemDisk::new();
        disk.create_dir_all(Path::new("/p")).expect("no fault");
        epochs(&[(2, 0), (5, 1042)]).persist(&disk, Path::new("/p")).expect("no fault");
        let file = disk.open(Path::new("/p/leader-epoch-checkpoint"), OpenMode::ReadWrite).expect("exists");
        for len in (0.."0\n2\n2 0\n5 1042\n".len()).rev() {
            file.truncate(len as u64).expect("no fault");
            assert!(Epochs::load(&disk, Path::new("/p")).is_err(), "cut at {len}");
        }
    }
}
