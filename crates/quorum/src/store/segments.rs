//! The log's files: `<first offset, 20 digits>.log`, batch after batch.
//!
//! Why not `log::Log`: Raft asks by entry, syncs outside the lock, and never needs an
//! index, a producer table or retention by time; what is left is a list of files. The
//! files are Kafka's all the same, and Kafka's tools read them.
//!
//! Everything before the last segment is synced when the next one begins, so a torn
//! tail can only be in the last, and in a voter's only after its recovery point. A batch
//! that is damaged or missing anywhere else means that the disk lost what it had promised,
//! and the log refuses to open.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use log::Disk;
use log::disk::{DiskFile, OpenMode};
use model::Offset;

use super::batch;
use super::map::{BatchMap, Slot};
use super::recovery_point::RecoveryPoint;
use super::scan::{Scan, ScanEnd};

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SegmentsError {
    #[error("cannot read {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{path} is damaged at byte {position}: {cause}; it lies before the log's end, so acknowledged \
         metadata is lost on this disk: remove this node from the voters, format its directory and add \
         it again, or restore the file"
    )]
    Damaged { path: PathBuf, position: u64, cause: String },
    #[error(
        "the log in {dir} ends at offset {end}, but was written up to offset {synced}; acknowledged metadata is \
         lost on this disk: remove this node from the voters, format its directory and add it again, or restore \
         the files"
    )]
    Short { dir: PathBuf, end: Offset, synced: Offset },
    #[error("{path} starts at offset {got}, the log before it ends at {expected}: a segment is missing")]
    Gap { path: PathBuf, expected: Offset, got: Offset },
}

/// One file of the log.
struct Segment {
    base_offset: Offset,
    file: Arc<dyn DiskFile>,
    len: u64,
}

/// All files of the log and the map of what they hold.
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    segments: VecDeque<Segment>,
    pub(crate) map: BatchMap,
    /// A voter's.
    recovery_point: Option<RecoveryPoint>,
    /// Where the log ended when the sync under way began, or where it was cut since.
    syncing_to: Offset,
}

/// Bytes of the log in one file, to be read without holding a lock.
pub(crate) struct Extent {
    file: Arc<dyn DiskFile>,
    position: u64,
    len: usize,
}

impl Extent {
    pub(crate) fn read(&self) -> io::Result<Bytes> {
        let mut buffer = vec![0; self.len];
        let count = self.file.read_at(&mut buffer, self.position)?;
        if count < self.len { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(buffer.into()) }
    }
}

impl Segments {
    /// Opens an observer's log in `dir` and reads every batch of it. Damage to the last segment is cut
    /// off, whatever did it: it is fetched again.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, segment_bytes: u64) -> Result<Self, SegmentsError> {
        Self::open_with(disk, dir, segment_bytes, None)
    }

    /// Opens a voter's log: only a torn tail is cut off, what was ever durable must be there.
    pub(crate) fn open_for_voter(
        disk: Arc<dyn Disk>,
        dir: &Path,
        segment_bytes: u64,
    ) -> Result<Self, SegmentsError> {
        let point = RecoveryPoint::open(disk.as_ref(), dir)
            .map_err(|source| SegmentsError::Io { path: dir.to_owned(), source })?;
        Self::open_with(disk, dir, segment_bytes, Some(point))
    }

    fn open_with(
        disk: Arc<dyn Disk>,
        dir: &Path,
        segment_bytes: u64,
        recovery_point: Option<RecoveryPoint>,
    ) -> Result<Self, SegmentsError> {
        let io = |source| SegmentsError::Io { path: dir.to_owned(), source };
        let bases = list(disk.as_ref(), dir)?;
        let start = bases.first().copied().unwrap_or(Offset::ZERO);
        let mut log = Self {
            disk,
            dir: dir.to_owned(),
            segment_bytes,
            segments: VecDeque::new(),
            map: BatchMap::starting_at(0, start),
            recovery_point,
            syncing_to: start,
        };
        for (position, &base) in bases.iter().enumerate() {
            log.load(base, position + 1 == bases.len())?;
        }
        let (end, synced) = (log.map.end_offset(), log.synced());
        if end < synced {
            return Err(SegmentsError::Short { dir: dir.to_owned(), end, synced });
        }
        if log.segments.is_empty() {
            log.begin_segment(start).map_err(io)?;
        }
        log.settle().map_err(io)?;
        Ok(log)
    }

    /// Makes durable what was found, names and bytes. A process that was killed may have left what it
    /// never synced, and from now on all of it counts as written.
    fn settle(&mut self) -> io::Result<()> {
        self.begin_sync();
        self.segments.back().expect("there is always a segment").file.sync()?;
        self.disk.sync_dir(&self.dir)?;
        self.end_sync()
    }

    /// Everything before this offset was durable once.
    fn synced(&self) -> Offset {
        self.recovery_point.as_ref().map_or(Offset::ZERO, RecoveryPoint::offset)
    }

    /// A sync of all that was written begins.
    pub(crate) fn begin_sync(&mut self) {
        self.syncing_to = self.map.end_offset();
    }

    /// The sync ended well: what was there when it began, and was not cut off since, is durable.
    pub(crate) fn end_sync(&mut self) -> io::Result<()> {
        match &mut self.recovery_point {
            Some(point) => point.raise(self.syncing_to),
            None => Ok(()),
        }
    }

    /// Before the log is cut at `offset`: nothing from there on is durable any longer.
    fn forget_from(&mut self, offset: Offset) -> io::Result<()> {
        self.syncing_to = self.syncing_to.min(offset);
        match &mut self.recovery_point {
            Some(point) => point.lower(offset),
            None => Ok(()),
        }
    }

    /// Reads one segment's headers into the map.
    fn load(&mut self, base: Offset, is_last: bool) -> Result<(), SegmentsError> {
        let path = segment_path(&self.dir, base);
        let io = |source| SegmentsError::Io { path: path.clone(), source };
        let expected = self.map.end_offset();
        if base != expected {
            return Err(SegmentsError::Gap { path, expected, got: base });
        }
        let file = self.disk.open(&path, OpenMode::ReadWrite).map_err(io)?;
        let mut scan = Scan::new(file.as_ref(), expected, self.map.last().map(|slot| slot.epoch));
        while let Some((header, position)) = scan.next_header().map_err(io)? {
            let position = u32::try_from(position).map_err(|_| io(io::ErrorKind::FileTooLarge.into()))?;
            let slot = Slot { base_offset: header.base_offset, epoch: header.epoch, position };
            self.map.push(slot, header.records);
        }
        let mut len = scan.position();
        match scan.end() {
            ScanEnd::Clean => {}
            ScanEnd::Bad(cause) if is_last && self.map.end_offset() >= self.synced() => {
                let end = self.map.end_offset();
                tracing::warn!(path = %path.display(), position = len, %end, cause,
                    "the metadata log's last write was torn; cutting it off");
                file.truncate(len).and_then(|()| file.sync()).map_err(io)?;
            }
            ScanEnd::Bad(cause) => {
                return Err(SegmentsError::Damaged { path, position: len, cause });
            }
        }
        len = len.min(file.len().map_err(io)?);
        self.segments.push_back(Segment { base_offset: base, file, len });
        Ok(())
    }

    /// Writes one whole batch at the end; the caller syncs. Answers the file that is now dirty.
    pub(crate) fn append(&mut self, bytes: &[u8], header: &batch::Header) -> io::Result<Arc<dyn DiskFile>> {
        let mut last = self.segments.back().expect("there is always a segment");
        if last.len > 0 && last.len + bytes.len() as u64 > self.segment_bytes {
            last.file.sync()?;
            self.begin_segment(self.map.end_offset())?;
            last = self.segments.back().expect("just begun");
        }
        let position = u32::try_from(last.len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        last.file.write_at(bytes, last.len)?;
        let file = last.file.clone();
        let slot = Slot { base_offset: header.base_offset, epoch: header.epoch, position };
        self.map.push(slot, header.records);
        self.segments.back_mut().expect("written to").len += bytes.len() as u64;
        Ok(file)
    }

    fn begin_segment(&mut self, base_offset: Offset) -> io::Result<()> {
        let path = segment_path(&self.dir, base_offset);
        let file = self.disk.open(&path, OpenMode::ReadWrite)?;
        // A leftover of the same name was never part of the log: nothing in it counts.
        file.truncate(0)?;
        file.sync()?;
        self.disk.sync_dir(&self.dir)?;
        self.segments.push_back(Segment { base_offset, file, len: 0 });
        Ok(())
    }

    /// Where batches `from..to` lie: as many as are in one file and within `bytes_max`, at least one.
    pub(crate) fn extent(&self, from: u64, to: u64, bytes_max: usize) -> Option<(Extent, u64)> {
        let first = self.map.get(from)?;
        let at = self.segments.partition_point(|segment| segment.base_offset <= first.base_offset) - 1;
        let segment = &self.segments[at];
        let file_end = self.segments.get(at + 1).map(|next| next.base_offset);
        let start = u64::from(first.position);
        let mut end = start;
        let mut next = from;
        while next < to {
            let Some(slot) = self.map.get(next) else { break };
            if file_end.is_some_and(|file_end| slot.base_offset >= file_end) {
                break;
            }
            let slot_end = match self.map.get(next + 1) {
                Some(after) if file_end.is_none_or(|file_end| after.base_offset < file_end) => {
                    u64::from(after.position)
                }
                _ => segment.len,
            };
            if next > from && slot_end - start > bytes_max as u64 {
                break;
            }
            end = slot_end;
            next += 1;
        }
        let len = usize::try_from(end - start).ok()?;
        Some((Extent { file: segment.file.clone(), position: start, len }, next))
    }

    /// Removes batch `index` and all after it; durable when this returns. Whatever is written next
    /// lands in the same place, and a crash must not leave it followed by a batch of the removed tail.
    pub(crate) fn truncate_from(&mut self, index: u64) -> io::Result<()> {
        let Some(slot) = self.map.get(index) else { return Ok(()) };
        self.forget_from(slot.base_offset)?;
        while self.segments.back().is_some_and(|last| last.base_offset > slot.base_offset) {
            let last = self.segments.pop_back().expect("just seen");
            self.disk.remove_file(&segment_path(&self.dir, last.base_offset))?;
            self.disk.sync_dir(&self.dir)?;
        }
        let last = self.segments.back_mut().expect("the batch lies in one");
        let len = u64::from(slot.position);
        last.file.truncate(len)?;
        last.file.sync()?;
        last.len = len;
        self.map.truncate_from(index);
        Ok(())
    }

    /// Deletes the segments that hold nothing at or above `offset`; the last one stays.
    pub(crate) fn delete_before(&mut self, offset: Offset) -> io::Result<()> {
        let mut deleted = false;
        while self.segments.get(1).is_some_and(|second| second.base_offset <= offset) {
            let first = self.segments.pop_front().expect("there are two");
            self.disk.remove_file(&segment_path(&self.dir, first.base_offset))?;
            deleted = true;
        }
        if deleted {
            self.disk.sync_dir(&self.dir)?;
            self.map.forget_before(self.segments[0].base_offset);
        }
        Ok(())
    }

    /// Throws everything away and starts anew with batch `index` at `offset`, after a snapshot.
    pub(crate) fn restart_at(&mut self, index: u64, offset: Offset) -> io::Result<()> {
        self.forget_from(Offset::ZERO)?;
        // From the end backwards, so that a crash leaves no hole.
        while let Some(last) = self.segments.pop_back() {
            self.disk.remove_file(&segment_path(&self.dir, last.base_offset))?;
        }
        self.disk.sync_dir(&self.dir)?;
        self.map = BatchMap::starting_at(index, offset);
        self.begin_segment(offset)
    }
}

fn segment_path(dir: &Path, base: Offset) -> PathBuf {
    dir.join(format!("{:020}.log", base.get()))
}

/// Base offsets of the segments in `dir`, ascending.
fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<Offset>, SegmentsError> {
    let entries = disk.list(dir).map_err(|source| SegmentsError::Io { path: dir.to_owned(), source })?;
    let mut bases: Vec<Offset> = entries.iter().filter_map(|entry| parse_name(&entry.name)).collect();
    bases.sort_unstable();
    Ok(bases)
}

fn parse_name(name: &str) -> Option<Offset> {
    let digits = name.strip_suffix(".log")?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(Offset::new)
}
