//! openraft's view of the store.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use bytes::Bytes;
use model::{Mutant, Offset};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};

use super::batch;
use super::flush::Waiter;
use super::{Store, encode, quorum_state};
use crate::raft::types::{Entry, LogId, Types, Vote};

/// What one replication request or one step of applying takes: enough to keep a disk and a
/// connection busy, small enough that a follower far behind delays no heartbeat.
const CHUNK_BYTES: usize = 1 << 20;

impl RaftLogReader<Types> for Store {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (from, to) = self.visible(range);
        let mut entries = Vec::new();
        let mut next = from;
        while next < to {
            let (more, after) = self.read_entries(next, to, usize::MAX)?;
            entries.extend(more);
            next = after;
        }
        Ok(entries)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        let (from, to) = self.visible(start..end);
        if from >= to {
            return Ok(Vec::new());
        }
        Ok(self.read_entries(from, to, CHUNK_BYTES)?.0)
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl futures_util::Stream<Item = Result<Entry, io::Error>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let (from, to) = self.visible(range);
        let store = self.clone();
        // A chunk at a time: what waits to be applied can be the whole log.
        let chunks = (store, from, to, Vec::new().into_iter());
        Box::pin(futures_util::stream::unfold(chunks, |(store, next, to, mut ready)| async move {
            if let Some(entry) = ready.next() {
                return Some((Ok(entry), (store, next, to, ready)));
            }
            if next >= to {
                return None;
            }
            match store.read_entries(next, to, CHUNK_BYTES) {
                Ok((entries, after)) => {
                    let mut ready = entries.into_iter();
                    let entry = ready.next()?;
                    Some((Ok(entry), (store, after, to, ready)))
                }
                Err(error) => Some((Err(error), (store, to, to, ready))),
            }
        }))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.lock().vote)
    }
}

impl RaftLogStorage<Types> for Store {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let state = self.lock();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last_id() })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.barrier().await?;
        self.lock().refuse_if_poisoned()?;
        let (vote, shared) = (*vote, self.shared.clone());
        let voted = quorum_state::voted_for(&vote);
        // The directory of another voter is not known here; Kafka allows it to be zero.
        let directory = if voted == shared.node { shared.directory } else { Default::default() };
        // Without the lock, which everything on the quorum's thread needs.
        let written = self
            .shared
            .blocking
            .run(move || {
                if Mutant::VoteNotPersisted.is_planted() {
                    return Ok(());
                }
                quorum_state::write(shared.disk.as_ref(), &shared.dir, &vote, directory)
            })
            .await
            .map_err(io::Error::other);
        let mut state = self.lock();
        match written {
            Ok(()) => {
                state.vote = Some(vote);
                Ok(())
            }
            Err(error) => {
                state.poison(&error);
                Err(error)
            }
        }
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let now = self.shared.clock.wall();
        {
            let mut state = self.lock();
            state.refuse_if_poisoned()?;
            // Into the page cache only, and so in place: the flusher waits for the disk.
            if let Err(error) = state.append(entries.into_iter().collect(), self.shared.node, now) {
                state.poison(&error);
                return Err(error);
            }
            state.waiting.push(Waiter::Append(callback));
        }
        self.wake_flusher();
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.map_or(0, |last| last.index() + 1);
        self.on_disk(move |state| {
            assert!(
                from >= state.purged.map_or(0, |purged| purged.index() + 1),
                "a purged entry was truncated"
            );
            state.log.truncate_from(from)
        })
        .await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.on_disk(move |state| {
            if upto.index() >= state.log.map.next_index() {
                // A snapshot was installed past the log's end: the log begins anew after it.
                let known = state.anchor.filter(|anchor| anchor.index == upto.index());
                let offset = known.map_or(state.log.map.end_offset(), |anchor| anchor.end_offset);
                if Mutant::LastPurgedDropped.is_planted() {
                    return Ok(());
                }
                state.log.restart_at(upto.index() + 1, offset)?;
            } else {
                // Raft may stream what it has not purged to a follower, even where a snapshot has it too.
                let purged_to = state.log.map.end_of(upto.index()).unwrap_or(Offset::ZERO);
                state.log.delete_before(state.needed_from.min(purged_to))?;
            }
            state.purged = state.purged.max(Some(upto));
            Ok(())
        })
        .await
    }
}

impl Store {
    /// The part of `range` that Raft can see.
    fn visible(&self, range: impl RangeBounds<u64>) -> (u64, u64) {
        let from = match range.start_bound() {
            Bound::Included(&index) => index,
            Bound::Excluded(&index) => index + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(&index) => index + 1,
            Bound::Excluded(&index) => index,
            Bound::Unbounded => u64::MAX,
        };
        let state = self.lock();
        (from.max(state.first_visible()), to.min(state.log.map.next_index()))
    }

    /// Entries from `from` on, within `bytes_max` but at least one; and the index after them.
    fn read_entries(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<(Vec<Entry>, u64)> {
        let found = self.lock().log.extent(from, to, bytes_max);
        let Some((extent, after)) = found else {
            return Err(io::Error::other(format!("entry {from} is not in the log")));
        };
        let bytes = extent.read()?;
        let entries = entries_of(from, &bytes)?;
        if entries.len() as u64 != after - from {
            let got = entries.len();
            return Err(io::Error::other(format!("expected entries {from}..{after}, read {got}")));
        }
        Ok((entries, after))
    }
}

/// The entries that `bytes`, whole batches, hold; the first has index `index`.
pub(crate) fn entries_of(mut index: u64, bytes: &Bytes) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut rest = bytes.clone();
    while !rest.is_empty() {
        let length = batch::total_length(&rest).map_err(io::Error::other)?;
        if length > rest.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let batch = rest.split_to(length);
        entries.push(encode::decode_entry(index, batch).map_err(io::Error::other)?);
        index += 1;
    }
    Ok(entries)
}
