//! Opening the store: the log joined with the snapshot it continues.
//!
//! The log itself says nothing of Raft indexes. The newest snapshot does: the batch
//! that ends where it ends has its index, and all others follow by counting. So a
//! purge is nothing but the removal of segments, done in one step, and there is no
//! second file that could disagree.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use log::Disk;
use model::{DirectoryId, LeaderEpoch, NodeId, Offset};
use net::Clock;

use super::quorum_state::{self, QuorumStateError};
use super::segments::{Segments, SegmentsError};
use super::{Shared, State, Store};
use crate::options::Blocking;
use crate::raft::types::{LogId, log_id};

/// Where a snapshot stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
    /// The next offset after it.
    pub(crate) end_offset: Offset,
    /// Epoch of the last entry in it.
    pub(crate) epoch: LeaderEpoch,
    /// Raft index of the last entry in it.
    pub(crate) index: u64,
}

impl Anchor {
    pub(crate) fn log_id(&self) -> LogId {
        log_id(self.epoch, self.index)
    }
}

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error(transparent)]
    Segments(#[from] SegmentsError),
    #[error(transparent)]
    QuorumState(#[from] QuorumStateError),
    #[error("cannot write to {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "the log in {path} starts at offset {log_start}, but no readable snapshot reaches up to it (the newest \
         ends at {}); restore the missing checkpoint file, or remove this node from the voters, format its \
         directory and add it again",
        .snapshot_end.map_or_else(|| "none".to_owned(), |end| end.to_string())
    )]
    SnapshotMissing { path: PathBuf, log_start: Offset, snapshot_end: Option<Offset> },
}

/// What a store is opened with.
pub(crate) struct StoreOptions {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) blocking: Blocking,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) node: NodeId,
    pub(crate) directory: DirectoryId,
    pub(crate) segment_bytes: u64,
}

impl Store {
    /// Opens the log in `options.dir`, which exists. `newest` is the snapshot that will be restored,
    /// `needed_from` where the oldest kept one ends. Starts the flusher: call it inside a `LocalSet`.
    pub(crate) fn open(
        options: StoreOptions,
        newest: Option<Anchor>,
        needed_from: Offset,
    ) -> Result<Self, StoreError> {
        let StoreOptions { disk, dir, blocking, clock, node, directory, segment_bytes } = options;
        let mut log = Segments::open_for_voter(disk.clone(), &dir, segment_bytes)?;
        let purged = join(&mut log, newest, &dir)?;
        let vote = quorum_state::read(disk.as_ref(), &dir)?;
        let state = State {
            log,
            vote,
            purged,
            anchor: newest,
            needed_from,
            dirty: Vec::new(),
            waiting: Vec::new(),
            syncing: false,
            poisoned: None,
            voters: Vec::new(),
        };
        let (wake, wakes) = tokio::sync::mpsc::channel(1);
        let state = Mutex::new(state);
        let shared = Shared { disk, dir, blocking, clock, node, directory, state, wake };
        let store = Self { shared: Arc::new(shared) };
        store.spawn_flusher(wakes);
        Ok(store)
    }
}

/// Numbers the log's batches after the snapshot; answers what Raft takes for purged.
pub(crate) fn join(
    log: &mut Segments,
    newest: Option<Anchor>,
    dir: &Path,
) -> Result<Option<LogId>, StoreError> {
    let log_start = log.map.start_offset();
    let missing =
        |snapshot_end| StoreError::SnapshotMissing { path: dir.to_owned(), log_start, snapshot_end };
    let Some(anchor) = newest else {
        return if log_start == Offset::ZERO { Ok(None) } else { Err(missing(None)) };
    };
    if anchor.end_offset == log_start {
        log.map.renumber(anchor.index + 1);
        return Ok(Some(anchor.log_id()));
    }
    if anchor.end_offset < log_start {
        return Err(missing(Some(anchor.end_offset)));
    }
    let joint = log.map.index_ending_at(anchor.end_offset).and_then(|at| Some((at, log.map.get(at)?)));
    match joint {
        Some((at, slot)) if slot.epoch == anchor.epoch && anchor.index >= at - log.map.first_index() => {
            let first_index = anchor.index - (at - log.map.first_index());
            log.map.renumber(first_index);
            // Of what lies before the first batch only its index is known; so the first batch itself
            // stands for what was purged.
            let first = log.map.get(first_index).filter(|_| first_index > 0);
            Ok(first.map(|slot| log_id(slot.epoch, first_index)))
        }
        // The snapshot came from the leader and this log never reached it, or ran another way. The
        // crash came between the snapshot's rename and the log's reset, which is done now.
        _ => {
            tracing::info!(snapshot_end = %anchor.end_offset, log_end = %log.map.end_offset(),
                "the metadata log does not reach the installed snapshot; starting it anew there");
            log.restart_at(anchor.index + 1, anchor.end_offset)
                .map_err(|source| StoreError::Io { path: dir.to_owned(), source })?;
            Ok(Some(anchor.log_id()))
        }
    }
}
