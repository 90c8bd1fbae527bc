//! How a log is opened: trusted after a clean stop, looked through after any other.
//!
//! After an unclean stop everything behind the recovery point is read and its CRCs
//! are checked; at the first thing that is no whole batch the log is cut, and
//! later segments go. Indexes, epochs and producers behind that point are built anew.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{LeaderEpoch, Mutant, Offset, TopicId};
use wire::batch::{BatchError, BatchRef};

use crate::disk::{DirEntry, Disk, OpenMode};
use crate::epochs::{self, Epochs, EpochsError};
use crate::partition::cut::SNAPSHOT_SUFFIX;
use crate::partition::leftovers;
use crate::partition::read::FileSlice;
use crate::partition::{Log, LogError, LogOptions};
use crate::partition_metadata;
use crate::producers::{Producers, Verifications};
use crate::segment::{LOG_SUFFIX, Placed, Segment, Walk, file_name, parse_name};
use crate::transactions::AbortedIndex;

/// What is known before the log is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opening {
    /// The node stopped in order: sizes and indexes can be trusted.
    pub is_clean: bool,
    /// `recovery-point-offset-checkpoint`: everything below was synced.
    pub recovery_point: Offset,
    /// `log-start-offset-checkpoint`: nothing below is served.
    pub start: Offset,
    /// `cleaner-offset-checkpoint`: what lies below was compacted, and may have gaps.
    pub cleaned: Offset,
}

/// What recovery cut away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The file that was cut.
    pub path: PathBuf,
    /// Where.
    pub position: u64,
    /// How many bytes went, those of later segments included.
    pub bytes: u64,
    /// What was wrong there.
    pub reason: String,
    /// Only the last write was cut, which was broken off and never answered. Otherwise records may be
    /// gone that were whole once.
    pub is_torn: bool,
}

/// Where a segment stops making sense, and why.
struct Damage {
    position: u32,
    reason: String,
    /// A batch begins there, and the file ends within it.
    is_torn: bool,
    /// A whole batch of that epoch begins there, and reaches into the next segment.
    overlaps: Option<LeaderEpoch>,
}

impl Damage {
    fn at(position: u32, reason: String) -> Self {
        Self { position, reason, is_torn: false, overlaps: None }
    }
}

/// A partition has at most as many producers as fit; an entry takes 46 bytes.
pub(super) const SNAPSHOT_BYTES_MAX: u64 = 256 << 20;

impl Log {
    /// Makes the log of a new replica. Nothing is written but its directory: until the first record it can
    /// be made again.
    pub fn create(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        options: LogOptions,
        topic_id: Option<TopicId>,
    ) -> Result<Self, LogError> {
        disk.create_dir_all(&dir).map_err(LogError::io("create", &dir))?;
        let mut log = Self::empty(disk, dir, options, None);
        if let Some(id) = topic_id {
            log.adopt(id);
        }
        Ok(log)
    }

    /// Says which topic this log belongs to. It is written down before its next records.
    pub fn adopt(&mut self, topic: TopicId) {
        self.topic_id = Some(topic);
        self.identity_unwritten = true;
    }

    /// Opens the log in `dir`.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        options: LogOptions,
        opening: Opening,
    ) -> Result<(Self, Option<RecoveryReport>), LogError> {
        let names = leftovers::settle(disk.as_ref(), &dir)?;
        let topic_id = partition_metadata::read(disk.as_ref(), &dir, &names)?;
        let mut log = Self::empty(disk, dir, options, topic_id);
        let knows_epochs = log.load_epochs()?;
        let mut segments = Vec::new();
        for entry in names.iter().filter(|entry| !entry.is_dir) {
            if let Some(base) = parse_name(&entry.name, LOG_SUFFIX) {
                segments.push(log.found(base)?);
            }
        }
        if segments.is_empty() {
            log.start_at(opening.start);
            log.epochs.truncate_end(log.end);
            return Ok((log, None));
        }
        segments.sort_by_key(|segment: &Segment| segment.base);
        log.segments = segments;
        let (report, rescanned) = log.settle(opening, knows_epochs)?;
        log.start = opening.start.clamp(log.segments[0].base, log.end);
        log.remove_stale_snapshots(&names)?;
        if !Mutant::ProducersForgotten.is_planted() {
            log.reload_producers(rescanned)?;
        }
        // A node may have more logs than files may be open: each opens its own again in use.
        log.release();
        log.check();
        Ok((log, report))
    }

    /// Whether the epochs could be read. Where not, the batches have them.
    fn load_epochs(&mut self) -> Result<bool, LogError> {
        match Epochs::load(self.disk.as_ref(), &self.dir) {
            Ok(epochs) => self.epochs = epochs,
            Err(EpochsError::Io(source)) => {
                return Err(LogError::io("read the leader epochs of", &self.dir)(source));
            }
            Err(error @ EpochsError::Malformed { .. }) => {
                let path = self.dir.join(epochs::FILE_NAME);
                self.mended.push(format!("{}: {error}; it is made anew from the batches", path.display()));
                self.epochs = Epochs::lost();
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn empty(disk: Arc<dyn Disk>, dir: PathBuf, options: LogOptions, topic_id: Option<TopicId>) -> Self {
        Self {
            disk,
            dir,
            options,
            topic_id,
            segments: vec![Segment::new(Offset::ZERO, 0)],
            start: Offset::ZERO,
            end: Offset::ZERO,
            recovery_point: Offset::ZERO,
            epochs: Epochs::default(),
            producers: Producers::default(),
            verifications: Verifications::default(),
            poisoned: false,
            names_unsynced: true,
            identity_unwritten: false,
            retired: Vec::new(),
            cuts: 0,
            lowest_cut: Offset::new(i64::MAX),
            swapping: None,
            mended: Vec::new(),
        }
    }

    fn start_at(&mut self, start: Offset) {
        self.segments = vec![Segment::new(start, 0)];
        (self.start, self.end, self.recovery_point) = (start, start, start);
    }

    fn found(&self, base: Offset) -> Result<Segment, LogError> {
        let path = self.dir.join(file_name(base, LOG_SUFFIX));
        let len = self.disk.file_len(&path).map_err(LogError::io("look at", &path))?;
        let size = u32::try_from(len).ok().filter(|&size| size <= i32::MAX as u32);
        let size = size.ok_or_else(|| LogError::Damaged {
            path,
            reason: format!("it has {len} bytes, a segment has at most 2 GiB"),
        })?;
        Ok(Segment::new(base, size))
    }

    /// Finds the log's end, cutting what is no whole batch. Says also from where on segments were read
    /// anew: their transaction indexes are empty.
    fn settle(
        &mut self,
        opening: Opening,
        knows_epochs: bool,
    ) -> Result<(Option<RecoveryReport>, Offset), LogError> {
        let last = self.segments.len() - 1;
        if opening.is_clean && knows_epochs && self.scan_tail(last)? {
            self.recovery_point = self.end;
            self.epochs.truncate_end(self.end);
            return Ok((None, self.end));
        }
        let mut report = None;
        let first = if knows_epochs { self.segment_index(opening.recovery_point) } else { 0 };
        let rescanned = self.segments[first].base;
        for segment in &mut self.segments[first..] {
            segment.aborted = AbortedIndex::empty();
        }
        for index in first..=last {
            if index > first
                && let Some(reason) = self.hole_before(index, &opening)
            {
                let position = self.segments[index - 1].size;
                report = Some(self.cut_damage(index - 1, Damage::at(position, reason))?);
                break;
            }
            if let Some(mut damage) = self.scan(index, 0, Some(opening.recovery_point))? {
                if self.came_back(index, &damage)? {
                    self.cut_tail(index, &damage)?;
                    continue;
                }
                damage.is_torn &= index == last;
                report = Some(self.cut_damage(index, damage)?);
                break;
            }
        }
        self.recovery_point = opening.recovery_point.min(self.end);
        self.epochs.truncate_end(self.end);
        Ok((report, rescanned))
    }

    /// Says which records are missing between segment `index` and the one before. The page cache
    /// may have written a later segment and not the end of an earlier one, and served as it is such
    /// a log would have a hole for ever. Kafka's cleaner leaves holes there too: below what was synced
    /// or cleaned all are its own, and so is one behind a segment that shows its work elsewhere.
    fn hole_before(&self, index: usize, opening: &Opening) -> Option<String> {
        let base = self.segments[index].base;
        let is_known = base <= opening.recovery_point.max(opening.cleaned);
        let is_lost = self.end < base && !is_known && !self.segments[index - 1].has_gaps;
        is_lost.then(|| format!("the next segment begins at offset {base}, this one ends at {}", self.end))
    }

    /// Trusts the last segment but for its end, which is looked up from the last index entry on.
    /// Says whether that made sense.
    fn scan_tail(&mut self, last: usize) -> Result<bool, LogError> {
        let position = self.walk_from(last, Segment::last_indexed)?.position();
        let size = self.segments[last].size;
        if self.scan(last, position, None)?.is_none() {
            return Ok(true);
        }
        self.segments[last].size = size;
        self.end = Offset::ZERO;
        Ok(false)
    }

    /// Reads segment `index` from `position` on, 0 or that of its last index entry, and builds what
    /// follows from its batches; those that end behind `unsynced_from` have their CRC checked. Says
    /// where it stops making sense, if it does.
    fn scan(
        &mut self,
        index: usize,
        position: u32,
        unsynced_from: Option<Offset>,
    ) -> Result<Option<Damage>, LogError> {
        let segment = &mut self.segments[index];
        let size = segment.size;
        if size == 0 {
            self.end = self.end.max(segment.base);
            return Ok(None);
        }
        if position == 0 {
            segment.clear_indexes()
        } else {
            segment.rewind(position)
        }
        let base = segment.base;
        let file = self.file_of(index)?;
        let mut walk = Walk::new(file.clone(), position, size);
        let mut end = if position == 0 { base } else { self.end.max(base) };
        loop {
            let placed = match walk.next() {
                Ok(Some(placed)) => placed,
                Ok(None) => break,
                Err(crate::segment::WalkError::Io(source)) => {
                    let path = self.segments[index].path(&self.dir);
                    return Err(LogError::Io { doing: "read", path, source });
                }
                Err(crate::segment::WalkError::Batch { position, error }) => {
                    let is_torn = matches!(error, BatchError::Partial { .. });
                    return Ok(Some(Damage { is_torn, ..Damage::at(position, error.to_string()) }));
                }
            };
            if let Some(reason) = self.doubt(&file, &placed, base, end, unsynced_from)? {
                return Ok(Some(Damage::at(placed.position, reason)));
            }
            if let Some(next) = self.segments.get(index + 1).map(|next| next.base)
                && placed.header.next_offset() > next
            {
                let end = placed.header.next_offset();
                let reason = format!("a batch ends at {end}, the next segment begins at offset {next}");
                let overlaps = Some(placed.header.leader_epoch);
                return Ok(Some(Damage { overlaps, ..Damage::at(placed.position, reason) }));
            }
            let is_thinned = placed.header.count <= placed.header.last_offset_delta;
            self.segments[index].has_gaps |= is_thinned || placed.header.base_offset > end;
            let interval = self.options.index_interval_bytes;
            let (epoch, first) = (placed.header.leader_epoch, placed.header.base_offset);
            // Compaction may have taken the batch with which an epoch began: where the known history
            // agrees with what is there, it stays.
            if [first, placed.header.last_offset()].iter().any(|&at| self.epochs.at(at) != Some(epoch)) {
                self.epochs.begin(epoch, first);
            }
            self.segments[index].note(&placed.header, placed.header.max_timestamp, interval);
            end = placed.header.next_offset();
            self.end = end;
        }
        self.end = end.max(self.end);
        Ok(None)
    }

    /// Why a batch should not be where it was found.
    fn doubt(
        &self,
        file: &Arc<dyn crate::disk::DiskFile>,
        placed: &Placed,
        base: Offset,
        end: Offset,
        unsynced_from: Option<Offset>,
    ) -> Result<Option<String>, LogError> {
        if placed.header.last_offset().since(base) > i64::from(i32::MAX) {
            let last = placed.header.last_offset();
            return Ok(Some(format!("a batch ends at offset {last}, out of reach of its segment's index")));
        }
        if placed.header.base_offset < end {
            return Ok(Some(format!("a batch begins at offset {} below {end}", placed.header.base_offset)));
        }
        if unsynced_from.is_none_or(|from| placed.header.next_offset() <= from) {
            return Ok(None);
        }
        let slice = FileSlice {
            file: file.clone(),
            position: u64::from(placed.position),
            len: placed.header.size_bytes,
        };
        let bytes = slice.read().map_err(LogError::io("read", &self.dir))?;
        let checked = BatchRef::parse(&bytes).and_then(|batch| batch.check_crc());
        Ok(checked.err().map(|error| error.to_string()))
    }

    /// Whether what reaches into the next segment was cut off before that one was begun, and came back with a
    /// power cut: the batches that took its place are not of an older epoch.
    fn came_back(&self, index: usize, damage: &Damage) -> Result<bool, LogError> {
        let Some(epoch) = damage.overlaps else { return Ok(false) };
        let next = &self.segments[index + 1];
        let mut walk = Walk::new(self.file_of(index + 1)?, 0, next.size);
        let first = walk.next().ok().flatten();
        Ok(next.size == 0 || first.is_some_and(|placed| placed.header.leader_epoch >= epoch))
    }

    /// Cuts the end of segment `index`, which the next one continues.
    fn cut_tail(&mut self, index: usize, damage: &Damage) -> Result<(), LogError> {
        self.cut_segment(index, damage.position)?;
        let path = self.segments[index].path(&self.dir);
        let (path, at, reason) = (path.display(), damage.position, &damage.reason);
        self.mended.push(format!("{path}: cut at {at}: {reason}; an earlier cut had not reached the disk"));
        Ok(())
    }

    /// Cuts one segment for good: what follows may go to another file, whose sync would leave this one out.
    fn cut_segment(&mut self, index: usize, position: u32) -> Result<(), LogError> {
        let path = self.segments[index].path(&self.dir);
        let file = self.file_of(index)?;
        file.truncate(u64::from(position))
            .and_then(|()| file.sync())
            .map_err(LogError::io("truncate", &path))?;
        self.segments[index].size = position;
        Ok(())
    }

    /// Cuts segment `index` at `position` and removes the later ones.
    fn cut_damage(&mut self, index: usize, damage: Damage) -> Result<RecoveryReport, LogError> {
        let Damage { position, reason, is_torn, overlaps: _ } = damage;
        let path = self.segments[index].path(&self.dir);
        let file = self.file_of(index)?;
        let mut bytes =
            file.len().map_err(LogError::io("look at", &path))?.saturating_sub(u64::from(position));
        let removed = self.segments.split_off(index + 1);
        for later in removed.iter().rev() {
            bytes += u64::from(later.size);
            later.remove_files(self.disk.as_ref(), &self.dir).map_err(LogError::io("remove", &path))?;
        }
        if !removed.is_empty() {
            self.disk.sync_dir(&self.dir).map_err(LogError::io("sync", &self.dir))?;
        }
        self.cut_segment(index, position)?;
        self.end = self.end.max(self.segments[index].base);
        self.remove_snapshots(|snapshot, log_end| snapshot > log_end)?;
        Ok(RecoveryReport { path, position: u64::from(position), bytes, reason, is_torn })
    }

    /// Of what crashes and stops left, only the snapshots where a segment begins are of use, and
    /// the newest one. One above the end would come true, and wrong, when the log grows past it.
    fn remove_stale_snapshots(&mut self, names: &[DirEntry]) -> Result<(), LogError> {
        let mut newest = true;
        for name in names.iter().rev() {
            let Some(offset) = parse_name(&name.name, SNAPSHOT_SUFFIX) else { continue };
            let is_base = self.segments.iter().any(|segment| segment.base == offset);
            if offset <= self.end && (is_base || newest) {
                newest = false;
                continue;
            }
            let path = self.dir.join(&name.name);
            match self.disk.remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(LogError::io("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes the producers' state as of the log's end, under the name of the offset that comes next.
    pub(super) fn write_producer_snapshot(&mut self, at: Offset) -> Result<(), LogError> {
        let path = self.dir.join(file_name(at, SNAPSHOT_SUFFIX));
        let bytes = self.producers.encode();
        self.retry_if_full(
            |log| {
                let file = log.disk.open(&path, OpenMode::ReadWrite)?;
                let written = file.truncate(0).and_then(|()| file.write_at(&bytes, 0));
                // Half a snapshot says nothing.
                written.inspect_err(|_| drop(log.disk.remove_file(&path)))
            },
            "write a producer snapshot of",
        )
    }

    /// Removes the producer snapshots that `unwanted` names, given the log's end.
    pub(super) fn remove_snapshots(
        &mut self,
        unwanted: impl Fn(Offset, Offset) -> bool,
    ) -> Result<(), LogError> {
        for snapshot in self.snapshots()?.into_iter().filter(|&snapshot| unwanted(snapshot, self.end)) {
            let path = self.dir.join(file_name(snapshot, SNAPSHOT_SUFFIX));
            self.disk.remove_file(&path).map_err(LogError::io("remove", &path))?;
        }
        Ok(())
    }

    pub(super) fn snapshots(&self) -> Result<Vec<Offset>, LogError> {
        list_snapshots(self.disk.as_ref(), &self.dir).map_err(LogError::io("list", &self.dir))
    }
}

fn list_snapshots(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<Offset>> {
    let names = disk.list(dir)?;
    Ok(names.iter().filter_map(|entry| parse_name(&entry.name, SNAPSHOT_SUFFIX)).collect())
}
