//! The snapshots on disk: which there are, which is newest, which may go.
//!
//! A snapshot is written under a temporary name, synced, and renamed: what has its
//! final name is whole. The two newest are kept, so that a damaged one does not cost
//! the log; the log is kept from where the older one ends.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use log::Disk;
use log::disk::OpenMode;
use model::{LeaderEpoch, Offset, Timestamp};
use proto::metadata::MetadataRecord;

use super::SnapshotId;
use super::file::{self, Position, SnapshotContent, SnapshotError, SnapshotHead};
use crate::options::Blocking;
use crate::raft::types::{SnapshotMeta, StoredMembership, log_id, membership_of};
use crate::store::Anchor;

/// How many are kept.
const KEPT: usize = 2;
/// Read at one time when a file is copied.
const COPY_BYTES: usize = 1 << 20;

/// The directory that holds log and snapshots.
pub(crate) struct Directory {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) blocking: Blocking,
    dir: PathBuf,
    /// A voter's log is numbered by its snapshots, so it can use only those that say their Raft position.
    for_voter: bool,
    /// By rising id: those that were found whole.
    known: Mutex<Vec<SnapshotFile>>,
}

/// A whole snapshot on disk, with what it says of itself.
#[derive(Clone)]
pub(crate) struct SnapshotFile {
    pub(crate) id: SnapshotId,
    pub(crate) size: u64,
    pub(crate) meta: SnapshotMeta,
    pub(crate) anchor: Anchor,
    pub(crate) timestamp: Timestamp,
    /// Whether it says its Raft position.
    pub(crate) is_numbered: bool,
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl std::fmt::Debug for SnapshotFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} bytes", self.id, self.size)
    }
}

impl SnapshotFile {
    /// Up to `bytes_max` bytes from `position` on; empty at the end.
    pub(crate) fn read(&self, position: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        let rest = usize::try_from(self.size.saturating_sub(position)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; rest.min(bytes_max)];
        let file = self.disk.open(&self.path, OpenMode::Read)?;
        let count = file.read_at(&mut bytes, position)?;
        if count < bytes.len() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
    }

    /// Its records and all.
    pub(crate) fn load(&self) -> Result<SnapshotContent, SnapshotError> {
        file::read(self.disk.as_ref(), &self.path, self.id, true)
    }
}

impl Directory {
    /// Looks through `dir`: removes what was never finished, checks every snapshot from its first
    /// byte to its last. One that is damaged is left where it is, named in the log, and not used.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        blocking: Blocking,
        for_voter: bool,
    ) -> io::Result<Self> {
        let this = Self { disk, blocking, dir: dir.to_owned(), for_voter, known: Mutex::default() };
        let mut known = Vec::new();
        for entry in this.disk.list(dir)? {
            if entry.name.ends_with(".part") {
                this.disk.remove_file(&dir.join(&entry.name))?;
            } else if let Some(id) = SnapshotId::from_file_name(&entry.name) {
                // The one that was formatted holds the first voters and no part of the log.
                if id.end_offset > Offset::ZERO {
                    match this.open_file(id, dir.join(&entry.name)) {
                        Ok(file) => known.push(file),
                        Err(error) => tracing::error!(%error, "not using a snapshot of the metadata"),
                    }
                }
            }
        }
        known.sort_by_key(|file| file.id);
        *this.known.lock().expect("just made") = known;
        Ok(this)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Vec<SnapshotFile>> {
        self.known.lock().expect("no holder of this lock panics")
    }

    /// The newest snapshot.
    pub(crate) fn newest(&self) -> Option<SnapshotFile> {
        self.known().last().cloned()
    }

    /// The newest snapshot's id.
    pub(crate) fn newest_id(&self) -> Option<SnapshotId> {
        self.known().last().map(|file| file.id)
    }

    /// A snapshot by its id.
    pub(crate) fn get(&self, id: SnapshotId) -> Option<SnapshotFile> {
        self.known().iter().find(|file| file.id == id).cloned()
    }

    /// The snapshot of an empty log, which has no file.
    pub(crate) fn nothing(&self) -> SnapshotFile {
        let id = SnapshotId { end_offset: Offset::ZERO, epoch: LeaderEpoch::new(0) };
        let anchor = Anchor { end_offset: id.end_offset, epoch: id.epoch, index: 0 };
        let (disk, path) = (self.disk.clone(), self.dir.join("nothing"));
        SnapshotFile {
            id,
            size: 0,
            meta: SnapshotMeta::default(),
            anchor,
            timestamp: Timestamp::new(0),
            is_numbered: true,
            disk,
            path,
        }
    }

    /// Where the oldest kept snapshot ends: the log is needed from there.
    pub(crate) fn log_needed_from(&self) -> Offset {
        self.known().first().map_or(Offset::ZERO, |file| file.id.end_offset)
    }

    /// Where a snapshot of the leader is collected.
    pub(crate) fn received_path(&self, id: SnapshotId) -> PathBuf {
        self.dir.join(format!("{id}.received.part"))
    }

    /// Checks the file at `path` and learns what it says of itself.
    pub(crate) fn open_file(&self, id: SnapshotId, path: PathBuf) -> Result<SnapshotFile, SnapshotError> {
        let content = file::read(self.disk.as_ref(), &path, id, false)?;
        let size = self.disk.file_len(&path);
        let size = size.map_err(|source| SnapshotError::Io { path: path.clone(), source })?;
        let incomplete = |missing| SnapshotError::Incomplete { path: path.clone(), missing };
        let position = match content.head.position {
            Some(position) => position,
            None if self.for_voter => return Err(incomplete("Raft position: Kafka wrote it")),
            // No batch before it can have a higher number than this.
            None => Position { index: id.end_offset.get() as u64, voters: None },
        };
        let is_numbered = content.head.position.is_some();
        let timestamp = content.head.timestamp;
        let voters_at = position.voters.map(|(epoch, index)| log_id(epoch, index));
        let membership = content.head.voters.as_ref().map(membership_of);
        let membership =
            membership.map(|membership| StoredMembership::new(voters_at, membership)).unwrap_or_default();
        let anchor = Anchor { end_offset: id.end_offset, epoch: id.epoch, index: position.index };
        let meta = SnapshotMeta { last_log_id: Some(anchor.log_id()), last_membership: membership };
        Ok(SnapshotFile { id, size, meta, anchor, timestamp, is_numbered, disk: self.disk.clone(), path })
    }

    /// Writes a snapshot and makes it the newest.
    pub(crate) fn write(
        &self,
        head: &SnapshotHead,
        records: &[MetadataRecord],
        level: i16,
    ) -> Result<SnapshotFile, SnapshotError> {
        let part = self.dir.join(format!("{}.part", head.id.file_name()));
        let io = |source| SnapshotError::Io { path: part.clone(), source };
        let mut values = Vec::with_capacity(records.len());
        for record in records {
            let mut value = Vec::new();
            record.to_value(level, &mut value).map_err(|error| io(io::Error::other(error)))?;
            values.push(value);
        }
        file::write(self.disk.as_ref(), &part, head, values.into_iter())?;
        self.adopt_path(head.id, &part)
    }

    /// Makes a snapshot that was received, or that another directory holds, this directory's newest.
    pub(crate) fn adopt(&self, file: &SnapshotFile) -> Result<SnapshotFile, SnapshotError> {
        let place = self.dir.join(file.id.file_name());
        if file.path == place {
            return Ok(file.clone());
        }
        if file.path.parent() == Some(self.dir.as_path()) {
            return self.adopt_path(file.id, &file.path);
        }
        let part = self.received_path(file.id);
        self.copy(file, &part).map_err(|source| SnapshotError::Io { path: part.clone(), source })?;
        self.adopt_path(file.id, &part)
    }

    fn copy(&self, file: &SnapshotFile, part: &Path) -> io::Result<()> {
        let to = self.disk.open(part, OpenMode::ReadWrite)?;
        to.truncate(0)?;
        let mut position = 0;
        while position < file.size {
            let bytes = file.read(position, COPY_BYTES)?;
            to.write_at(&bytes, position)?;
            position += bytes.len() as u64;
        }
        to.sync()
    }

    fn adopt_path(&self, id: SnapshotId, part: &Path) -> Result<SnapshotFile, SnapshotError> {
        let place = self.dir.join(id.file_name());
        let renamed = self.disk.rename(part, &place).and_then(|()| self.disk.sync_dir(&self.dir));
        renamed.map_err(|source| SnapshotError::Io { path: place.clone(), source })?;
        let file = self.open_file(id, place)?;
        let surplus = {
            let mut known = self.known();
            known.retain(|other| other.id != id);
            known.push(file.clone());
            known.sort_by_key(|file| file.id);
            let surplus = known.len().saturating_sub(KEPT);
            known.drain(..surplus).collect::<Vec<_>>()
        };
        for old in surplus {
            if let Err(error) = self.disk.remove_file(&old.path) {
                tracing::warn!(%error, path = %old.path.display(), "cannot remove an old snapshot");
            }
        }
        Ok(file)
    }
}
