//! Offsets that are part of transactions: appended as their producer's, and the markers that end them.
//!
//! A marker in `__consumer_offsets` is written here, under the shell's lock and in its epoch, so that
//! the shard hears of it in the log's order among its own records. Written past a shell it would come
//! too late for one that serves, and be missed by one that has loaded up to the end as it was.

use coordinator::Shard;
use log::producers::{TransactionEnd, Verification};
use model::{ErrorCode, ProducerEpoch, ProducerId};
use wire::batch::Producer;

use crate::data::Ended;
use crate::groups::shell::{Shell, Stage};

/// Offsets have no sequence.
const NO_SEQUENCE: i32 = -1;

/// In whose transaction records are appended, and what they may be appended under.
#[derive(Clone, Copy, Debug)]
pub struct Within {
    /// The producer.
    pub producer: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// What the seat said.
    pub entered: Verification,
}

impl Within {
    pub(super) fn producer(&self) -> Producer {
        Producer { id: self.producer, epoch: self.epoch, base_sequence: NO_SEQUENCE }
    }
}

impl Shell<Shard> {
    /// Ends a transaction in the partition. Where groups are not coordinated yet, or no more, the sender
    /// is to look for the leader again, as with Kafka.
    pub fn end_transaction(&self, end: &TransactionEnd) -> Result<Ended, ErrorCode> {
        let mut state = self.lock();
        let Stage::Open(open) = &mut state.stage else { return Err(ErrorCode::NotLeaderOrFollower) };
        let now = self.now();
        let placed = self.seat.end_transaction(end).map_err(|error| {
            let partition = self.seat.name();
            tracing::info!(%partition, ?end, %error, "a transaction's end was refused");
            error.code()
        })?;
        open.hosted.end_transaction(now, end.producer, end.commit, placed.last);
        open.hosted.committed(placed.high_watermark);
        self.deliver(open);
        // The task has to look when to wake, and whether to sync.
        self.poke.notify_one();
        Ok(Ended { epoch: self.seat.epoch(), last: placed.last, needs_sync: placed.sync_is_due })
    }
}
