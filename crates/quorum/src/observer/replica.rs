//! An observer's copy of the log, its snapshots, and the state machine that they feed.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use log::disk::{DiskFile, is_full};
use model::{LeaderEpoch, Offset, Timestamp};
use tokio::task::JoinHandle;

use super::ObserverOptions;
use crate::level::Level;
use crate::machine::{LoadedSnapshot, StateMachine};
use crate::options::Blocking;
use crate::quorum::{OpenError, log_dir};
use crate::raft::machine::decode_batch;
use crate::raft::types::epoch_of;
use crate::snapshot::{Directory, Position, SnapshotError, SnapshotFile, SnapshotHead, SnapshotId};
use crate::store::{
    Segments, StoreError, check_batch, decode_control, join, read_batch, total_length, voters_in,
};
use crate::voters::Voters;

/// Applied at one time.
const CHUNK_BYTES: usize = 1 << 20;

/// Who votes, and the epoch and index of the entry that says so.
type LoggedVoters = (Voters, Option<(LeaderEpoch, u64)>);

/// The local copy.
pub(super) struct Replica {
    blocking: Blocking,
    log: Segments,
    pub(super) directory: Arc<Directory>,
    machine: Box<dyn StateMachine>,
    level: Arc<Level>,
    /// The next offset to apply.
    applied: Offset,
    applied_epoch: LeaderEpoch,
    timestamp: Timestamp,
    voters: Option<LoggedVoters>,
    /// Whether batches have their Raft index: not after a snapshot that Kafka wrote.
    is_numbered: bool,
    bytes_since_snapshot: u64,
    bytes_between_snapshots: u64,
    building: Option<JoinHandle<Result<SnapshotFile, SnapshotError>>>,
}

impl Replica {
    /// Opens log and snapshots and restores the newest.
    pub(super) async fn open(
        options: &ObserverOptions,
        machine: Box<dyn StateMachine>,
    ) -> Result<Self, OpenError> {
        let dir = log_dir(&options.log_dir);
        let io = |source| OpenError::Io { path: dir.clone(), source };
        options.disk.create_dir_all(&dir).map_err(io)?;
        options.disk.sync_dir(&options.log_dir).map_err(io)?;
        let directory =
            Directory::open(options.disk.clone(), &dir, options.blocking.clone(), false).map_err(io)?;
        let damaged = |cause: String| OpenError::Log { dir: dir.clone(), cause };
        let newest = directory.newest();
        let log = Segments::open(options.disk.clone(), &dir, options.tuning.segment_bytes);
        let mut log = log.map_err(|error| damaged(error.to_string()))?;
        join(&mut log, newest.as_ref().map(|file| file.anchor), &dir)
            .map_err(|error: StoreError| damaged(error.to_string()))?;
        let mut replica = Self {
            blocking: options.blocking.clone(),
            log,
            directory: Arc::new(directory),
            machine,
            level: Arc::default(),
            applied: Offset::ZERO,
            applied_epoch: LeaderEpoch::new(0),
            timestamp: Timestamp::default(),
            voters: None,
            is_numbered: true,
            bytes_since_snapshot: 0,
            bytes_between_snapshots: options.tuning.bytes_between_snapshots,
            building: None,
        };
        if let Some(newest) = newest {
            replica.restore(&newest).map_err(|error| damaged(error.to_string()))?;
        }
        Ok(replica)
    }

    /// First offset, next offset.
    pub(super) fn bounds(&self) -> (Offset, Offset) {
        (self.log.map.start_offset(), self.log.map.end_offset())
    }

    /// The next offset to apply.
    pub(super) fn applied(&self) -> Offset {
        self.applied
    }

    /// The epoch of the last record here.
    pub(super) fn last_epoch(&self) -> LeaderEpoch {
        self.log.map.last().map_or(self.applied_epoch, |slot| slot.epoch)
    }

    /// Appends whole batches and syncs them. What is cut off at the end is fetched again.
    pub(super) async fn append(&mut self, bytes: &Bytes) -> io::Result<()> {
        let mut rest = &bytes[..];
        let mut dirty: Vec<Arc<dyn DiskFile>> = Vec::new();
        while let Ok(length) = total_length(rest) {
            let Some(batch) = rest.get(..length) else { break };
            let header = check_batch(batch).map_err(io::Error::other)?;
            if header.base_offset != self.log.map.end_offset() {
                let (got, end) = (header.base_offset, self.log.map.end_offset());
                return Err(io::Error::other(format!(
                    "the leader sent offset {got}, this log ends at {end}"
                )));
            }
            let file = self.log.append(batch, &header)?;
            if !dirty.last().is_some_and(|last| Arc::ptr_eq(last, &file)) {
                dirty.push(file);
            }
            rest = &rest[length..];
        }
        self.blocking.run(move || dirty.iter().try_for_each(|file| file.sync())).await
    }

    /// Applies everything below `high_watermark` that is here.
    pub(super) fn apply_below(&mut self, high_watermark: Offset) -> io::Result<()> {
        let upper = self.log.map.index_of(high_watermark).unwrap_or(self.log.map.next_index());
        if high_watermark <= self.applied {
            return Ok(());
        }
        while let Some(next) = self.log.map.index_of(self.applied).filter(|next| *next < upper) {
            let Some((extent, _)) = self.log.extent(next, upper, CHUNK_BYTES) else { break };
            let mut rest = extent.read()?;
            while !rest.is_empty() {
                let length = total_length(&rest).map_err(io::Error::other)?;
                let batch = rest.split_to(length.min(rest.len()));
                self.apply(&batch)?;
            }
        }
        Ok(())
    }

    fn apply(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (batch, length) = decode_batch(bytes, self.applied)?;
        let at = self.log.map.index_of(self.applied).map(|index| (batch.epoch, index));
        let header = read_batch(bytes, |key, value| {
            if key.is_some()
                && let Some(voters) = voters_in(decode_control(key, value)?)?
            {
                self.voters = Some((voters, at));
            }
            Ok(())
        });
        header.map_err(io::Error::other)?;
        self.level.note(&batch.records);
        self.machine.apply(&batch);
        self.applied = batch.last_offset.next();
        self.applied_epoch = batch.epoch;
        self.timestamp = batch.timestamp;
        self.bytes_since_snapshot += length;
        Ok(())
    }

    /// Cuts the log back to where it agrees with the leader's, of which `epoch` ends at `end_offset`.
    pub(super) fn cut(&mut self, epoch: LeaderEpoch, end_offset: Offset) -> io::Result<()> {
        let to = match self.log.map.end_of_epoch(epoch) {
            Some((found, end)) if found == epoch => end.min(end_offset),
            Some((_, end)) => end,
            None => self.log.map.start_offset(),
        };
        if to < self.applied {
            let applied = self.applied;
            return Err(io::Error::other(format!(
                "the leader's log leaves this one at offset {to}, which was committed up to {applied}: one of the \
                 two belongs to another cluster or lost its disk"
            )));
        }
        match self.log.map.index_of(to) {
            Some(index) => self.log.truncate_from(index),
            None => Ok(()),
        }
    }

    /// Takes over a snapshot of the leader in place of state and log.
    pub(super) async fn install(&mut self, id: SnapshotId, path: PathBuf) -> io::Result<()> {
        let directory = self.directory.clone();
        let adopted = self.blocking.run(move || {
            let file = directory.open_file(id, path)?;
            directory.adopt(&file)
        });
        let file = adopted.await.map_err(io::Error::other)?;
        self.log.restart_at(file.anchor.index + 1, file.id.end_offset)?;
        self.restore(&file).map_err(io::Error::other)
    }

    fn restore(&mut self, file: &SnapshotFile) -> Result<(), SnapshotError> {
        let content = file.load()?;
        self.level.note(&content.records);
        self.applied = file.id.end_offset;
        self.applied_epoch = file.id.epoch;
        self.timestamp = file.timestamp;
        self.is_numbered = file.is_numbered;
        let at = file.meta.last_membership.log_id().as_ref().map(|at| (epoch_of(at), at.index()));
        self.voters = content.head.voters.map(|voters| (voters, at));
        self.bytes_since_snapshot = 0;
        let (id, timestamp) = (content.head.id, content.head.timestamp);
        self.machine.restore(&LoadedSnapshot { id, timestamp, records: content.records });
        Ok(())
    }

    /// Starts a snapshot when enough was applied, and trims the log behind one that is done.
    pub(super) async fn snapshot_when_due(&mut self) -> io::Result<()> {
        if self.building.as_ref().is_some_and(JoinHandle::is_finished) {
            match futures_util::future::OptionFuture::from(self.building.take()).await {
                Some(Ok(Err(SnapshotError::Io { path, source }))) if is_full(&source) => {
                    tracing::warn!(path = %path.display(), "no room for a snapshot of the metadata; tried again later");
                    return Ok(());
                }
                Some(Ok(Err(error))) => return Err(io::Error::other(error)),
                _ => {}
            }
            self.log.delete_before(self.directory.log_needed_from())?;
        }
        if self.building.is_some() || self.bytes_since_snapshot < self.bytes_between_snapshots {
            return Ok(());
        }
        self.bytes_since_snapshot = 0;
        let index = self.log.map.index_ending_at(self.applied).filter(|_| self.is_numbered);
        let voters_at = self.voters.as_ref().and_then(|(_, at)| *at);
        let head = SnapshotHead {
            id: SnapshotId { end_offset: self.applied, epoch: self.applied_epoch },
            timestamp: self.timestamp,
            position: index.map(|index| Position { index, voters: voters_at }),
            voters: self.voters.as_ref().map(|(voters, _)| voters.clone()),
        };
        let (picture, directory, level) =
            (self.machine.snapshot(), self.directory.clone(), self.level.clone());
        let blocking = self.blocking.clone();
        self.building = Some(tokio::task::spawn_local(blocking.run(move || {
            let records = picture();
            let level = level.for_snapshot(&records);
            directory.write(&head, &records, level)
        })));
        Ok(())
    }
}
