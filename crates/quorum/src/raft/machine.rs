//! The state machine as openraft sees it: applies, snapshots, restores.
//!
//! It keeps nothing on disk but snapshots. After a restart openraft restores the newest
//! and applies what follows once it knows that it is committed.

use std::io;
use std::sync::{Arc, Mutex};

use futures_util::{Stream, StreamExt};
use model::{Offset, Timestamp};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use proto::metadata::MetadataRecord;
use tokio::sync::watch;

use super::types::{Entry, LogId, SnapshotMeta, StoredMembership, Types, epoch_of, voters_of};
use crate::level::Level;
use crate::machine::{CommittedBatch, LoadedSnapshot, StateMachine};
use crate::snapshot::{Directory, Position, SnapshotFile, SnapshotHead, SnapshotId};
use crate::store::{BatchError, Store, ids_of, read_batch};
use crate::transport::Peers;

/// How far the state machine is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) last: Option<LogId>,
    /// The next offset.
    pub(crate) end_offset: Offset,
    /// Bytes applied since the newest snapshot.
    pub(crate) bytes_since_snapshot: u64,
}

/// The user's state machine and where it stands.
pub(crate) struct Machine {
    /// Only ever used through `&mut`; the lock makes the whole shareable.
    inner: Mutex<Box<dyn StateMachine>>,
    store: Store,
    directory: Arc<Directory>,
    peers: Arc<Peers>,
    level: Arc<Level>,
    applied: watch::Sender<Applied>,
    timestamp: Timestamp,
    membership: StoredMembership,
}

impl Machine {
    pub(crate) fn new(
        inner: Box<dyn StateMachine>,
        store: Store,
        directory: Arc<Directory>,
        peers: Arc<Peers>,
        level: Arc<Level>,
    ) -> (Self, watch::Receiver<Applied>) {
        let (applied, watched) = watch::channel(Applied::default());
        let (timestamp, membership) = (Timestamp::default(), StoredMembership::default());
        let inner = Mutex::new(inner);
        (Self { inner, store, directory, peers, level, applied, timestamp, membership }, watched)
    }

    fn inner(&mut self) -> &mut Box<dyn StateMachine> {
        self.inner.get_mut().expect("the state machine does not panic")
    }

    fn set_membership(&mut self, membership: StoredMembership) {
        self.store.note_voters(ids_of(membership.membership()));
        self.peers.set_voters(voters_of(membership.membership()));
        self.membership = membership;
    }

    /// Applies one entry; answers the offset of its first record.
    fn apply_entry(&mut self, entry: &Entry) -> io::Result<Offset> {
        let base_offset = self.applied.borrow().end_offset;
        let (batch, bytes) = committed_batch(entry, base_offset)?;
        if let Some(membership) = openraft::entry::RaftEntry::get_membership(entry) {
            self.set_membership(StoredMembership::new(Some(entry.id), membership));
        }
        self.level.note(&batch.records);
        self.inner().apply(&batch);
        self.timestamp = batch.timestamp;
        self.applied.send_modify(|applied| {
            applied.last = Some(entry.id);
            applied.end_offset = batch.last_offset.next();
            applied.bytes_since_snapshot += bytes;
        });
        Ok(batch.base_offset)
    }

    fn restored(&mut self, file: &SnapshotFile, content: LoadedSnapshot) {
        self.level.note(&content.records);
        self.timestamp = content.timestamp;
        self.inner().restore(&content);
        self.set_membership(file.meta.last_membership.clone());
        self.store.note_snapshot(file.anchor, self.directory.log_needed_from());
        self.applied.send_modify(|applied| {
            *applied = Applied {
                last: file.meta.last_log_id,
                end_offset: file.id.end_offset,
                bytes_since_snapshot: 0,
            };
        });
    }
}

/// What the user's state machine gets of `entry`, and how many bytes it took.
fn committed_batch(entry: &Entry, base_offset: Offset) -> io::Result<(CommittedBatch, u64)> {
    let epoch = epoch_of(&entry.id);
    let Some(bytes) = &entry.batch else {
        // Only openraft's test suite applies entries that no log ever held.
        let (last_offset, timestamp) = (base_offset, Timestamp::default());
        return Ok((CommittedBatch { base_offset, last_offset, epoch, timestamp, records: Vec::new() }, 0));
    };
    let (batch, bytes) = decode_batch(bytes, base_offset)?;
    if batch.epoch == epoch {
        Ok((batch, bytes))
    } else {
        Err(io::Error::other("an entry's batch has another epoch"))
    }
}

/// What the user's state machine gets of one batch, and how many bytes it took.
pub(crate) fn decode_batch(bytes: &[u8], base_offset: Offset) -> io::Result<(CommittedBatch, u64)> {
    let mut records = Vec::new();
    let mut refused = None;
    let header = read_batch(bytes, |key, value| {
        // Control records have keys, and are not for the state machine.
        if key.is_none() {
            match MetadataRecord::from_value(value) {
                Ok(record) => records.push(record),
                Err(error) => {
                    let offset = base_offset.plus(records.len() as i64);
                    refused = Some(format!("the metadata record at offset {offset} cannot be read: {error}"));
                    return Err(BatchError::Value(error.to_string()));
                }
            }
        }
        Ok(())
    });
    let header = header.map_err(|error| io::Error::other(refused.unwrap_or_else(|| error.to_string())))?;
    if header.base_offset != base_offset {
        let at = header.base_offset;
        return Err(io::Error::other(format!(
            "a batch of offset {at} comes where {base_offset} is expected"
        )));
    }
    let last_offset = base_offset.plus(i64::from(header.records) - 1);
    let (timestamp, epoch) = (header.timestamp, header.epoch);
    Ok((CommittedBatch { base_offset, last_offset, epoch, timestamp, records }, header.length as u64))
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied.borrow().last, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + Send,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let base_offset = self.apply_entry(&entry)?;
            if let Some(responder) = responder {
                responder.send(base_offset);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let applied = self.applied.borrow().clone();
        let picture = self.inner().snapshot();
        // Growth counts from here on, not from when the file is written.
        self.applied.send_modify(|applied| applied.bytes_since_snapshot = 0);
        Builder {
            picture: Mutex::new(Some(picture)),
            applied,
            timestamp: self.timestamp,
            membership: self.membership.clone(),
            store: self.store.clone(),
            directory: self.directory.clone(),
            level: self.level.clone(),
        }
    }

    async fn install_snapshot(&mut self, _meta: &SnapshotMeta, file: SnapshotFile) -> Result<(), io::Error> {
        let directory = self.directory.clone();
        let blocking = directory.blocking.clone();
        let loaded = blocking.run(move || {
            let file = directory.adopt(&file)?;
            let content = file.load()?;
            Ok((file, content))
        });
        let (file, content) =
            loaded.await.map_err(|error: crate::snapshot::SnapshotError| io::Error::other(error))?;
        let head = content.head;
        let loaded = LoadedSnapshot { id: head.id, timestamp: head.timestamp, records: content.records };
        self.restored(&file, loaded);
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> Result<Option<openraft::type_config::alias::SnapshotOf<Types, SnapshotFile>>, io::Error> {
        let newest = self.directory.newest();
        Ok(newest.map(|file| Snapshot { meta: file.meta.clone(), snapshot: file }))
    }
}

type Picture = Box<dyn FnOnce() -> Vec<MetadataRecord> + Send>;

/// Writes one snapshot.
pub(crate) struct Builder {
    /// Taken once; the lock makes the whole shareable.
    picture: Mutex<Option<Picture>>,
    applied: Applied,
    timestamp: Timestamp,
    membership: StoredMembership,
    store: Store,
    directory: Arc<Directory>,
    level: Arc<Level>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(
        &mut self,
    ) -> Result<openraft::type_config::alias::SnapshotOf<Types, SnapshotFile>, io::Error> {
        let picture = self.picture.get_mut().expect("nobody panics while holding it").take();
        let Some(picture) = picture else {
            return Err(io::Error::other("a snapshot's picture was used twice"));
        };
        let Some(last) = self.applied.last else {
            // openraft asks for one when a log was purged and has no snapshot, which only its tests bring
            // about. There is nothing to write.
            let file = self.directory.nothing();
            return Ok(Snapshot { meta: file.meta.clone(), snapshot: file });
        };
        let id = SnapshotId { end_offset: self.applied.end_offset, epoch: epoch_of(&last) };
        let at = self.membership.log_id().as_ref().map(|at| (epoch_of(at), at.index()));
        let voters = voters_of(self.membership.membership());
        let head = SnapshotHead {
            id,
            timestamp: self.timestamp,
            position: Some(Position { index: last.index(), voters: at }),
            voters: (!voters.0.is_empty()).then_some(voters),
        };
        let (directory, level) = (self.directory.clone(), self.level.clone());
        let blocking = directory.blocking.clone();
        let written = blocking.run(move || {
            let records = picture();
            let level = level.for_snapshot(&records);
            directory.write(&head, &records, level)
        });
        let file = written.await.map_err(io::Error::other)?;
        self.store.note_snapshot(file.anchor, self.directory.log_needed_from());
        tracing::info!(snapshot = %file.id, bytes = file.size, "wrote a snapshot of the metadata");
        Ok(Snapshot { meta: file.meta.clone(), snapshot: file })
    }
}
