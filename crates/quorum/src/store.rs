//! The log store: entries, vote and purge point, as openraft and observers see them.
//!
//! ```text
//! append ──> page cache ──> [flusher: one fsync for all that wait] ──> callbacks
//! vote   ──> waits for the flusher, then replaces `quorum-state`
//! ```
//!
//! Vote and entries reach the disk in the order in which they were given. What Raft
//! has purged may still lie in the files, for observers and for an older snapshot;
//! Raft does not see it. After a failed write or sync nothing is written any more.

mod batch;
mod encode;
mod flush;
mod map;
mod open;
mod quorum_state;
mod raft_storage;
mod read;
mod recovery_point;
mod scan;
mod segments;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use log::Disk;
use log::disk::DiskFile;
use model::{DirectoryId, NodeId, Offset, Timestamp};
use net::Clock;

pub(crate) use batch::{BatchError, Stamp, check as check_batch, read as read_batch, total_length};
pub(crate) use encode::{
    control_pair, decode_control, encode_control, encode_pairs, encode_records, ids_of, voters_in,
    voters_records,
};
pub(crate) use open::{Anchor, StoreError, StoreOptions, join};
pub(crate) use raft_storage::entries_of;
pub(crate) use read::LogRead;
pub(crate) use scan::{Scan, ScanEnd};
pub(crate) use segments::Segments;

use crate::inspect::{Ballot, RaftLogInspection};
use crate::options::Blocking;
use crate::raft::types::{Entry, LogId, Payload, Vote, epoch_of};
use flush::Waiter;

/// A handle to the log; clones share it.
#[derive(Clone)]
pub(crate) struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    blocking: Blocking,
    clock: Arc<dyn Clock>,
    node: NodeId,
    directory: DirectoryId,
    state: Mutex<State>,
    /// Tells the flusher that something waits; one token is enough for all.
    wake: tokio::sync::mpsc::Sender<()>,
}

struct State {
    log: Segments,
    vote: Option<Vote>,
    /// The last entry that Raft no longer sees.
    purged: Option<LogId>,
    /// The newest snapshot: where the log may start anew.
    anchor: Option<Anchor>,
    /// Offset before which no snapshot needs the log.
    needed_from: Offset,
    /// Files written to since the last sync.
    dirty: Vec<Arc<dyn DiskFile>>,
    waiting: Vec<Waiter>,
    /// A sync is under way.
    syncing: bool,
    /// Why nothing may be written any more.
    poisoned: Option<String>,
    /// Who votes, for the leader-change message.
    voters: Vec<NodeId>,
}

impl Store {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("no holder of this lock panics")
    }

    /// Runs `work` on the state, where disk work runs.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let store = self.clone();
        self.shared
            .blocking
            .run(move || {
                let mut state = store.lock();
                state.refuse_if_poisoned()?;
                let done = work(&mut state);
                if let Err(error) = &done {
                    state.poison(error);
                }
                done
            })
            .await
    }

    /// First offset on disk, and the next offset.
    pub(crate) fn bounds(&self) -> (Offset, Offset) {
        let state = self.lock();
        (state.log.map.start_offset(), state.log.map.end_offset())
    }

    /// The vote and the log, as they are now.
    pub(crate) fn inspect(&self) -> RaftLogInspection {
        let state = self.lock();
        let last = state.last_id();
        let vote = state.vote.as_ref().map(|vote| Ballot {
            epoch: model::LeaderEpoch::new(vote.leader_id().term.0),
            node: quorum_state::voted_for(vote),
            elected: vote.is_committed(),
        });
        RaftLogInspection {
            vote,
            last_index: last.as_ref().map(LogId::index),
            last_epoch: last.as_ref().map(epoch_of),
            start: state.log.map.start_offset(),
            end: state.log.map.end_offset(),
            snapshot: None,
        }
    }

    /// Offset after entry `index`, when it is in the log.
    pub(crate) fn end_of(&self, index: u64) -> Option<Offset> {
        self.lock().log.map.end_of(index)
    }

    /// A snapshot now stands for everything up to `anchor`; the log is still needed from `needed_from`,
    /// where the oldest kept snapshot ends.
    pub(crate) fn note_snapshot(&self, anchor: Anchor, needed_from: Offset) {
        let mut state = self.lock();
        if state.anchor.is_none_or(|known| known.end_offset < anchor.end_offset) {
            state.anchor = Some(anchor);
        }
        state.needed_from = needed_from;
    }

    /// Who votes from now on.
    pub(crate) fn note_voters(&self, voters: Vec<NodeId>) {
        self.lock().voters = voters;
    }
}

impl State {
    fn refuse_if_poisoned(&self) -> io::Result<()> {
        match &self.poisoned {
            None => Ok(()),
            Some(reason) => {
                Err(io::Error::other(format!("the metadata log takes no more writes since: {reason}")))
            }
        }
    }

    fn poison(&mut self, error: &io::Error) {
        self.poisoned.get_or_insert_with(|| error.to_string());
    }

    /// Index of the first entry that Raft sees.
    fn first_visible(&self) -> u64 {
        let after_purged = self.purged.as_ref().map_or(0, |purged| purged.index() + 1);
        after_purged.max(self.log.map.first_index())
    }

    fn last_id(&self) -> Option<LogId> {
        let map = &self.log.map;
        if map.next_index() <= self.first_visible() {
            return self.purged;
        }
        let slot = map.last()?;
        Some(crate::raft::types::log_id(slot.epoch, map.next_index() - 1))
    }

    /// Writes `entries` at the log's end; answers with nothing, the flusher does.
    fn append(&mut self, entries: Vec<Entry>, node: NodeId, now: Timestamp) -> io::Result<()> {
        for entry in entries {
            let bytes = self.batch_of(&entry, node, now)?;
            let header = batch::check(&bytes).map_err(io::Error::other)?;
            let map = &mut self.log.map;
            if map.is_empty() && self.purged.is_none() {
                map.renumber(entry.id.index());
            }
            if entry.id.index() != map.next_index()
                || header.base_offset != map.end_offset()
                || header.epoch != epoch_of(&entry.id)
            {
                return Err(io::Error::other(format!(
                    "entry {} brings a batch of offset {} and epoch {}, the log ends at index {} and offset {}",
                    entry.id,
                    header.base_offset,
                    header.epoch,
                    map.next_index(),
                    map.end_offset()
                )));
            }
            let file = self.log.append(&bytes, &header)?;
            if let Payload::Voters(membership) = &entry.payload {
                // Raft's rule: voters count from where they stand in the log, committed or not.
                self.voters = ids_of(membership);
            }
            if !self.dirty.last().is_some_and(|last| Arc::ptr_eq(last, &file)) {
                self.dirty.push(file);
            }
        }
        Ok(())
    }

    fn batch_of(&self, entry: &Entry, node: NodeId, now: Timestamp) -> io::Result<Bytes> {
        match &entry.batch {
            Some(bytes) => Ok(bytes.clone()),
            None => encode::encode_entry(entry, self.log.map.end_offset(), node, &self.voters, now),
        }
    }
}
