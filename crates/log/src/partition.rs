//! One partition's log: segments on disk, the newest of which grows.
//!
//! ```text
//!  00000000000000000000.log  00000000000000004711.log  00000000000000009000.log
//!  | oldest segment         | ...                     | active segment        |
//!  ^ log start (or within)                                    recovery point ^    ^ log end
//! ```
//!
//! A file holds whole batches or the log is cut back to where it does. What lies
//! below the recovery point was synced; what lies above may go with the power.
//! After a failed write or sync the log takes no more writes: nobody knows what
//! the disk holds then.

mod append;
mod compact;
mod cut;
mod leftovers;
mod lookup;
mod open;
mod read;
mod transactions;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::{ErrorCode, LeaderEpoch, Mutant, Offset, TopicId};
use wire::batch::{BatchError, ValidationError};

use crate::disk::{Disk, DiskFile, is_full};
use crate::epochs::Epochs;
use crate::partition_metadata;
use crate::producers::{ProducerError, Producers, Verifications};
use crate::segment::{Segment, WalkError};

pub use append::{Appended, ClientBatch, LeaderRules};
pub use cut::Retention;
pub use open::{Opening, RecoveryReport};
pub use read::{FileSlice, FoundTimestamp};

/// How a log behaves; a topic's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// `segment.bytes`: a segment that would exceed it ends.
    pub segment_bytes: u32,
    /// `segment.ms`: an older segment ends.
    pub segment_age: Duration,
    /// `index.interval.bytes`: an index entry after so many bytes.
    pub index_interval_bytes: u32,
    /// `segment.index.bytes`: a segment whose index would exceed it ends.
    pub index_bytes_max: u32,
    /// `producer.id.expiration.ms`: silent producers are forgotten.
    pub producer_expiration: Duration,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_age: Duration::from_secs(7 * 24 * 3_600),
            index_interval_bytes: 4_096,
            index_bytes_max: 10 << 20,
            producer_expiration: Duration::from_secs(24 * 3_600),
        }
    }
}

/// Why a log cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk said no.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// An earlier write or sync failed.
    #[error("{} takes no more writes since a write or sync failed; restart the node when its disk is sound", .0.display())]
    Poisoned(PathBuf),
    /// A file is not what it should be.
    #[error("{}: {reason}; the file can be removed if another replica holds the partition", .path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An offset the log does not have.
    #[error("offset {asked} is outside the log, which goes from {start} to {end}")]
    OutOfRange {
        /// What was asked for.
        asked: Offset,
        /// The first offset.
        start: Offset,
        /// The offset after the last.
        end: Offset,
    },
}

impl LogError {
    /// The code a client sees.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::Io { .. } | Self::Poisoned(_) | Self::Damaged { .. } => ErrorCode::KafkaStorageError,
        }
    }

    /// Whether the disk had no room.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }

    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, path: path.to_owned(), source }
    }
}

/// Why batches are not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// They are not what the topic accepts.
    #[error(transparent)]
    Invalid(#[from] ValidationError),
    /// Their producer may not write them now.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// A follower's batches do not continue its log.
    #[error("the batch begins at offset {got}, the log ends at {end}")]
    Gap {
        /// The batch's base offset.
        got: Offset,
        /// The log's end.
        end: Offset,
    },
    /// The log itself.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl AppendError {
    /// The code a producer sees.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid(error) => error.code(),
            Self::Producer(error) => error.code(),
            Self::Gap { .. } => ErrorCode::CorruptMessage,
            Self::Log(error) => error.code(),
        }
    }
}

impl AppendError {
    /// Whether the disk had no room; the log is as it was.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Log(error) if error.is_full())
    }
}

impl From<BatchError> for AppendError {
    fn from(error: BatchError) -> Self {
        Self::Invalid(error.into())
    }
}

/// A partition's log. One owner at a time; what must not wait for a lock is handed out as a file slice.
pub struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: LogOptions,
    topic_id: Option<TopicId>,
    /// Oldest first; never empty.
    segments: Vec<Segment>,
    /// The first offset that is served; what lies below waits for its segment to go.
    start: Offset,
    end: Offset,
    recovery_point: Offset,
    epochs: Epochs,
    producers: Producers,
    verifications: Verifications,
    poisoned: bool,
    /// A file was made or removed since the directory was last synced.
    names_unsynced: bool,
    /// `partition.metadata` is not written yet: it is durable before the first record.
    identity_unwritten: bool,
    /// Files of segments that retention let go, renamed and not removed yet.
    retired: Vec<PathBuf>,
    /// How often the log's end was cut: a sync that began before a cut proves nothing after it.
    cuts: u64,
    /// Where it was cut at the lowest since it was last cleaned.
    lowest_cut: Offset,
    /// The cleaned segment that waits to be swapped in.
    swapping: Option<Offset>,
    /// Files that were found damaged and could be done without.
    mended: Vec<String>,
}

/// A file to sync so that everything below `end` becomes durable; done without holding the log.
pub struct Unsynced {
    /// The segments' files, oldest first, and the indexes of those that do not grow any more.
    files: Vec<Arc<dyn DiskFile>>,
    /// The directory, when names in it are new.
    names: Option<(Arc<dyn Disk>, PathBuf)>,
    /// The log's end when this was taken.
    end: Offset,
    cuts: u64,
}

/// A sync that succeeded.
#[derive(Clone, Copy, Debug)]
pub struct Synced {
    end: Offset,
    cuts: u64,
}

impl Unsynced {
    /// Syncs. Tell the log about the outcome with [`Log::note_synced`].
    pub fn sync(&self) -> io::Result<Synced> {
        if !Mutant::PartitionSyncSkipped.is_planted() {
            self.files.iter().try_for_each(|file| file.sync())?;
        }
        if let Some((disk, dir)) = &self.names {
            disk.sync_dir(dir)?;
        }
        Ok(Synced { end: self.end, cuts: self.cuts })
    }
}

impl Log {
    /// The first offset that can be read.
    pub fn start(&self) -> Offset {
        self.start
    }

    /// The offset that the next record gets.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Everything below survives a power cut.
    pub fn recovery_point(&self) -> Offset {
        self.recovery_point
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The topic it belongs to, as `partition.metadata` says.
    pub fn topic_id(&self) -> Option<TopicId> {
        self.topic_id
    }

    /// Bytes of all its batches.
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| u64::from(segment.size)).sum()
    }

    /// Files that its batches lie in.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// Whether a write or sync failed, so that nothing more is taken until the log is opened anew.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Whether segments that no longer grow are not synced yet.
    pub fn has_unsynced_roll(&self) -> bool {
        self.segments.last().is_some_and(|active| self.recovery_point < active.base)
    }

    /// The producers that wrote to it.
    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    /// Files that nobody needs any more, for the caller to remove when it likes; what is left of them
    /// goes when the log is opened again.
    pub fn take_retired(&mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.retired)
    }

    /// What was found damaged and mended by itself, for the caller to tell.
    pub fn take_mended(&mut self) -> Vec<String> {
        std::mem::take(&mut self.mended)
    }

    /// Takes new settings, from the next batch on.
    pub fn set_options(&mut self, options: LogOptions) {
        self.options = options;
    }

    /// The epoch of the newest record, or of the newest leader that has begun.
    pub fn last_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.last()
    }

    /// The epoch of the last record, which a follower names in its fetches (KIP-595).
    pub fn last_fetched_epoch(&self) -> Option<LeaderEpoch> {
        (self.end > self.start).then(|| self.epochs.at(Offset::new(self.end.get() - 1))).flatten()
    }

    /// The newest epoch not above `epoch` and where it ends (KIP-101, KIP-279).
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.epochs.end_of(epoch, self.end)
    }

    /// The epoch that the record at `offset` has, or would have next.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.epochs.at(offset)
    }

    /// A leader's epoch begins at the log's end.
    pub fn begin_epoch(&mut self, epoch: LeaderEpoch) {
        self.epochs.begin(epoch, self.end);
    }

    /// What to sync so that all of the log is durable; `None` when it is. The epochs are written
    /// here, rarely and at once: no recovery looks for them below the recovery point.
    pub fn unsynced(&mut self) -> Result<Option<Unsynced>, LogError> {
        self.check_sound()?;
        let has_aborted = self.persist_aborted()?;
        if self.recovery_point >= self.end && !self.names_unsynced && !has_aborted {
            return Ok(None);
        }
        self.persist_identity()?;
        self.retry_if_full(|log| log.epochs.persist(log.disk.as_ref(), &log.dir), "write")?;
        let first = self.segment_index(self.recovery_point);
        let mut files = self.files_from(first).map_err(LogError::io("open files of", &self.dir))?;
        files.extend(self.take_unsynced_aborted()?);
        let names = std::mem::take(&mut self.names_unsynced).then(|| (self.disk.clone(), self.dir.clone()));
        Ok(Some(Unsynced { files, names, end: self.end, cuts: self.cuts }))
    }

    /// A sync has succeeded, or failed: then the log is poisoned, because a later sync may succeed
    /// without having written what this one lost.
    pub fn note_synced(&mut self, synced: io::Result<Synced>) -> Result<(), LogError> {
        let synced = synced.map_err(|source| {
            self.poisoned = true;
            LogError::Io { doing: "sync", path: self.dir.clone(), source }
        })?;
        if synced.cuts == self.cuts {
            self.recovery_point = self.recovery_point.max(synced.end);
        }
        self.check();
        Ok(())
    }

    /// The files that hold the batches from segment `first` on, and their finished indexes.
    fn files_from(&self, first: usize) -> io::Result<Vec<Arc<dyn DiskFile>>> {
        let mut files = Vec::new();
        let last = self.segments.len() - 1;
        for (index, segment) in self.segments.iter().enumerate().skip(first) {
            if segment.size > 0 {
                files.push(segment.file(self.disk.as_ref(), &self.dir)?);
            }
            if index < last {
                files.extend(segment.index_files(self.disk.as_ref(), &self.dir)?);
            }
        }
        Ok(files)
    }

    /// Makes everything durable: batches, epochs, names. Index files are written, not synced,
    /// while their segment grows: recovery builds them anew.
    pub fn flush(&mut self) -> Result<(), LogError> {
        if let Some(unsynced) = self.unsynced()? {
            let synced = unsynced.sync();
            self.note_synced(synced)?;
        }
        if self.end == Offset::ZERO {
            // Epochs of a log that never held a record say nothing; a node stops with thousands of them.
            return Ok(());
        }
        self.retry_if_full(|log| log.epochs.persist(log.disk.as_ref(), &log.dir), "write")?;
        let last = self.segments.len() - 1;
        self.retry_if_full(
            |log| log.segments[last].persist_indexes(log.disk.as_ref(), &log.dir, false),
            "write",
        )
    }

    /// Flushes and leaves everything so that the next start need not read the log.
    pub fn close(&mut self) -> Result<(), LogError> {
        self.flush()?;
        let last = self.segments.len() - 1;
        self.retry_if_full(
            |log| log.segments[last].persist_indexes(log.disk.as_ref(), &log.dir, true),
            "write",
        )?;
        if self.end > Offset::ZERO && !self.producers.is_empty() {
            self.write_producer_snapshot(self.end)?;
        }
        self.release();
        Ok(())
    }

    /// Closes files and drops indexes that can be had again: for a log that was idle for a while.
    pub fn release(&mut self) {
        for segment in &mut self.segments {
            segment.close_file();
        }
        let older = self.segments.len() - 1;
        self.segments[..older].iter_mut().for_each(Segment::unload_indexes);
    }

    /// Forgets producers that were silent for too long.
    pub fn expire_producers(&mut self, now: model::Timestamp) {
        self.producers.expire(now, self.options.producer_expiration);
        self.verifications.expire(now, self.options.producer_expiration);
    }

    /// Makes durable whose log this is. A power cut may keep records that nobody synced: without it, nobody
    /// would know whether they belong to this topic or an older one of its name.
    fn persist_identity(&mut self) -> Result<(), LogError> {
        let Some(topic) = self.topic_id.filter(|_| self.identity_unwritten) else { return Ok(()) };
        if let Err(source) = partition_metadata::write(self.disk.as_ref(), &self.dir, topic) {
            // What a full disk took is written anew the next time.
            self.poisoned |= !is_full(&source);
            let path = self.dir.join(partition_metadata::FILE_NAME);
            return Err(LogError::Io { doing: "write", path, source });
        }
        self.identity_unwritten = false;
        Ok(())
    }

    fn check_sound(&self) -> Result<(), LogError> {
        if self.poisoned { Err(LogError::Poisoned(self.dir.clone())) } else { Ok(()) }
    }

    fn poison_on<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> io::Result<T>,
        doing: &'static str,
    ) -> Result<T, LogError> {
        act(self).map_err(|source| {
            self.poisoned = true;
            LogError::Io { doing, path: self.dir.clone(), source }
        })
    }

    /// The same for what can be done again when a full disk has room.
    fn retry_if_full<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> io::Result<T>,
        doing: &'static str,
    ) -> Result<T, LogError> {
        act(self).map_err(|source| {
            self.poisoned |= !is_full(&source);
            LogError::Io { doing, path: self.dir.clone(), source }
        })
    }

    /// Writes the epochs, on a full disk with the next sync: until then a start finds them in the batches,
    /// and older ones in the file do no harm.
    fn persist_epochs(&mut self) -> Result<(), LogError> {
        match self.retry_if_full(|log| log.epochs.persist(log.disk.as_ref(), &log.dir), "write") {
            Err(error) if error.is_full() => Ok(()),
            done => done,
        }
    }

    fn active_ref(&self) -> &Segment {
        self.segments.last().expect("a log has a segment")
    }

    fn active(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("a log has a segment")
    }

    /// The segment that holds `offset`, or the first.
    fn segment_index(&self, offset: Offset) -> usize {
        self.segments.partition_point(|segment| segment.base <= offset).saturating_sub(1)
    }

    fn damaged(&self, segment: &Segment, error: WalkError) -> LogError {
        let path = segment.path(&self.dir);
        match error {
            WalkError::Io(source) => LogError::Io { doing: "read", path, source },
            error @ WalkError::Batch { .. } => LogError::Damaged { path, reason: error.to_string() },
        }
    }

    /// What holds between any two calls.
    fn check(&self) {
        let last = self.active_ref();
        assert!(self.start <= self.end, "{}: the log starts behind its end", self.dir.display());
        assert!(
            last.base <= self.end,
            "{}: the active segment begins behind the log's end",
            self.dir.display()
        );
        assert!(self.recovery_point <= self.end, "{}: more is durable than there is", self.dir.display());
        assert!(
            self.segments[0].base <= self.start,
            "{}: the log's start has no segment",
            self.dir.display()
        );
    }
}

#[cfg(test)]
mod tests;
