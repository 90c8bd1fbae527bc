//! One fsync for every append that waits.
//!
//! Appends write to the page cache and leave their callback here. The flusher takes
//! all of them, syncs the files they wrote to, and answers all; whoever came in the
//! meantime is in the next round. After a failed sync the kernel may have dropped the
//! pages, and a second sync would lie: the store is poisoned and stays so.

use std::io;
use std::sync::Arc;

use model::Mutant;
use openraft::storage::IOFlushed;
use tokio::sync::{mpsc, oneshot};

use super::Store;
use crate::raft::types::Types;

/// Who hears that everything written so far is durable.
pub(super) enum Waiter {
    Append(IOFlushed<Types>),
    Barrier(oneshot::Sender<io::Result<()>>),
}

impl Waiter {
    fn answer(self, outcome: Result<(), &str>) {
        let outcome = outcome.map_err(|reason| io::Error::other(reason.to_owned()));
        match self {
            Self::Append(callback) => callback.io_completed(outcome),
            // Whoever waited may be gone.
            Self::Barrier(done) => drop(done.send(outcome)),
        }
    }
}

impl Store {
    /// Starts the task that syncs. It ends when every handle to the store is gone.
    pub(super) fn spawn_flusher(&self, mut wakes: mpsc::Receiver<()>) {
        let shared = Arc::downgrade(&self.shared);
        tokio::task::spawn_local(async move {
            while wakes.recv().await.is_some() {
                let Some(shared) = shared.upgrade() else { return };
                let store = Self { shared };
                while store.flush_once().await {}
            }
        });
    }

    /// One round; `false` when nobody waited.
    async fn flush_once(&self) -> bool {
        let (waiting, dirty) = {
            let mut state = self.lock();
            if state.waiting.is_empty() {
                return false;
            }
            state.syncing = true;
            state.log.begin_sync();
            (std::mem::take(&mut state.waiting), std::mem::take(&mut state.dirty))
        };
        let dirty = if Mutant::QuorumSyncSkipped.is_planted() { Vec::new() } else { dirty };
        let synced = self.shared.blocking.run(move || dirty.iter().try_for_each(|file| file.sync())).await;
        let poisoned = {
            let mut state = self.lock();
            state.syncing = false;
            let is_sound = !Mutant::QuorumSyncSkipped.is_planted();
            let noted = synced.and_then(|()| if is_sound { state.log.end_sync() } else { Ok(()) });
            if let Err(error) = &noted {
                state.poison(error);
            }
            state.poisoned.clone()
        };
        let outcome = poisoned.as_deref().map_or(Ok(()), Err);
        for waiter in waiting {
            waiter.answer(outcome);
        }
        true
    }

    /// Wakes the flusher. A full channel means that it is awake already and will look again.
    pub(super) fn wake_flusher(&self) {
        let _ = self.shared.wake.try_send(());
    }

    /// Returns once everything written so far is durable.
    pub(super) async fn barrier(&self) -> io::Result<()> {
        let (done, waited) = oneshot::channel();
        {
            let mut state = self.lock();
            state.refuse_if_poisoned()?;
            if state.dirty.is_empty() && !state.syncing {
                return Ok(());
            }
            state.waiting.push(Waiter::Barrier(done));
        }
        self.wake_flusher();
        waited.await.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
    }
}
