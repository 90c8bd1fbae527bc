//! Syncing a partition's log: one sync for everybody who waits for it.
//!
//! Whoever comes first syncs on another thread; the others wait until that ended and
//! look again. What was appended meanwhile is part of the next sync.

use std::sync::Arc;

use model::Offset;

use crate::data::partition::{Partition, Refused, Syncing};
use crate::data::plane::Plane;
use crate::data::waiters::{Awaits, Waiter};

/// Returns when everything below `end` survives a power cut.
pub async fn sync_to(plane: &Plane, partition: &Arc<Partition>, end: Offset) -> Result<(), Refused> {
    loop {
        let waiter = Waiter::new();
        partition.waiters.register(&waiter, Awaits::Commits);
        let syncing = partition.lock().begin_sync(end)?;
        match syncing {
            Syncing::Done => return Ok(()),
            Syncing::Wait => waiter.progress().await,
            Syncing::Begin(unsynced) => {
                let (owner, clock) = (partition.clone(), plane.options.clock.clone());
                // The outcome is noted even when nobody waits for it any more.
                let work = move || {
                    let synced = unsynced.sync();
                    let ended = owner.lock().end_sync(clock.now(), synced);
                    owner.waiters.wake();
                    ended
                };
                plane.options.blocking.run(work).await?;
            }
        }
    }
}
