//! What a log remembers of its idempotent and transactional producers (KIP-98, KIP-360, KIP-890).
//!
//! For each producer the last five batches: enough to recognise a batch that was
//! sent again, and to refuse one that leaves a gap. And its transaction: open from its
//! first record here to the marker that ends it, then unstable until that marker is
//! committed. Readers of committed data stop before the first unstable record.
//!
//! The state follows from the log alone, so every replica has the same; snapshots
//! only save reading it all again. What is being looked up at a coordinator
//! ([`Verifications`]) is this leader's own.

mod judge;
mod snapshot;
mod verification;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use model::{Mutant, Offset, ProducerEpoch, ProducerId, Timestamp};
use wire::batch::{BatchHeader, EndMarker, Producer as BatchProducer};

pub use judge::{Origin, ProducerError, TransactionEnd, Verification};
pub use snapshot::SnapshotError;
pub use verification::{Entrant, Guard, Verifications};

/// As many batches of a producer are remembered as it may have in flight.
const BATCHES_REMEMBERED: usize = 5;
/// As many ended transactions are told apart while their markers are not known to be committed. A log
/// that is replayed has them all; further ones are taken together, which only makes readers wait.
const UNCOMMITTED_MAX: usize = 4_096;

/// A batch that a producer wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Offset of its first record.
    pub first_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Its largest timestamp.
    pub timestamp: Timestamp,
    first_sequence: i32,
    last_sequence: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: ProducerEpoch,
    batches: VecDeque<Written>,
    /// The last time it wrote, control batches included.
    timestamp: Timestamp,
    /// The coordinator that ended its last transaction; -1 when none did.
    coordinator_epoch: i32,
    transaction_start: Option<Offset>,
}

/// The producers of one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers {
    known: BTreeMap<ProducerId, Producer>,
    /// Open transactions: where each begins, and whose it is.
    open: BTreeMap<Offset, ProducerId>,
    /// Ended transactions: where each begins, and where its marker is.
    ended: BTreeMap<Offset, Offset>,
}

/// A transaction whose marker is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    /// Whose it was.
    pub producer: ProducerId,
    /// Its first record here.
    pub first: Offset,
    /// Its marker.
    pub last: Offset,
    /// Whether its records do not count.
    pub is_aborted: bool,
    /// Where the next open transaction begins, or behind the marker.
    pub stable: Offset,
}

/// What is known of one producer, for those who ask (KIP-664).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// The producer.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// Sequence of its last record; -1 when it wrote none in this epoch.
    pub last_sequence: i32,
    /// When it last wrote.
    pub timestamp: Timestamp,
    /// The coordinator that ended its last transaction; -1 when none did.
    pub coordinator_epoch: i32,
    /// Where its open transaction begins.
    pub transaction_start: Option<Offset>,
}

/// Where a producer's last batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastBatch {
    /// Its last offset; `None` when only markers of the epoch are known.
    pub offset: Option<Offset>,
    /// The producer's epoch.
    pub epoch: ProducerEpoch,
}

impl Producers {
    /// The last batches of all, which compaction leaves.
    pub fn last_batches(&self) -> BTreeMap<ProducerId, LastBatch> {
        let last = |known: &Producer| known.batches.back().map(|last| last.last_offset);
        let each = self.known.iter();
        each.map(|(id, known)| (*id, LastBatch { offset: last(known), epoch: known.epoch })).collect()
    }

    /// Takes note of a batch that is in the log now; `marker` is what a control batch holds. Says which
    /// transaction it ended.
    pub fn note(&mut self, header: &BatchHeader, marker: Option<EndMarker>) -> Option<Completed> {
        let batch = header.producer()?;
        if header.is_control() {
            // A control batch that compaction emptied says nothing any more.
            return self.note_marker(header, &batch, marker?);
        }
        let known = self.known_at(header, &batch);
        if known.batches.len() == BATCHES_REMEMBERED {
            known.batches.pop_front();
        }
        known.batches.push_back(Written {
            first_offset: header.base_offset,
            last_offset: header.last_offset(),
            timestamp: header.max_timestamp,
            first_sequence: batch.base_sequence,
            last_sequence: header.last_sequence(),
        });
        if header.is_transactional() && known.transaction_start.is_none() {
            known.transaction_start = Some(header.base_offset);
            self.open.insert(header.base_offset, batch.id);
        }
        None
    }

    fn note_marker(
        &mut self,
        header: &BatchHeader,
        batch: &BatchProducer,
        marker: EndMarker,
    ) -> Option<Completed> {
        let known = self.known_at(header, batch);
        known.coordinator_epoch = marker.coordinator_epoch;
        let first = known.transaction_start.take()?;
        self.open.remove(&first);
        let last = header.base_offset;
        self.ended.insert(first, last);
        self.bound_ended();
        let stable = self.first_open_transaction().unwrap_or(last.next());
        Some(Completed { producer: batch.id, first, last, is_aborted: !marker.commit, stable })
    }

    /// The producer as of this batch, in its epoch.
    fn known_at(&mut self, header: &BatchHeader, batch: &BatchProducer) -> &mut Producer {
        let known = self.known.entry(batch.id).or_insert_with(|| Producer {
            epoch: batch.epoch,
            batches: VecDeque::new(),
            timestamp: header.max_timestamp,
            coordinator_epoch: -1,
            transaction_start: None,
        });
        if batch.epoch > known.epoch {
            known.epoch = batch.epoch;
            known.batches.clear();
        }
        known.timestamp = header.max_timestamp;
        known
    }

    fn bound_ended(&mut self) {
        while self.ended.len() > UNCOMMITTED_MAX {
            let (Some((first, one)), Some((_, other))) = (self.ended.pop_first(), self.ended.pop_first())
            else {
                return;
            };
            self.ended.insert(first, one.max(other));
        }
    }

    /// The first record that readers of committed data must not see while all below `high_watermark` is
    /// committed: of a transaction that is open, or whose marker may be lost again.
    pub fn first_unstable(&mut self, high_watermark: Offset) -> Option<Offset> {
        if Mutant::StableAheadOfTransaction.is_planted() {
            return None;
        }
        self.ended.retain(|_, marker| *marker >= high_watermark);
        let ended = self.ended.first_key_value().map(|(first, _)| *first);
        ended.into_iter().chain(self.first_open_transaction()).min()
    }

    /// Where the oldest open transaction begins.
    pub fn first_open_transaction(&self) -> Option<Offset> {
        self.open.first_key_value().map(|(first, _)| *first)
    }

    /// Where this producer's open transaction begins.
    pub fn transaction_of(&self, producer: ProducerId) -> Option<Offset> {
        self.known.get(&producer)?.transaction_start
    }

    /// All of them, by id.
    pub fn states(&self) -> impl Iterator<Item = ProducerState> {
        self.known.iter().map(|(id, known)| ProducerState {
            id: *id,
            epoch: known.epoch,
            last_sequence: known.batches.back().map_or(-1, |last| last.last_sequence),
            timestamp: known.timestamp,
            coordinator_epoch: known.coordinator_epoch,
            transaction_start: known.transaction_start,
        })
    }

    /// Forgets producers that were silent for `expiration` and have no transaction open.
    pub fn expire(&mut self, now: Timestamp, expiration: Duration) {
        let expiration = i64::try_from(expiration.as_millis()).unwrap_or(i64::MAX);
        let oldest = now.get().saturating_sub(expiration);
        self.known.retain(|_, known| known.transaction_start.is_some() || known.timestamp.get() > oldest);
    }

    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

impl Written {
    fn offset_delta(&self) -> i32 {
        i32::try_from(self.last_offset.since(self.first_offset)).expect("one batch")
    }
}

#[cfg(test)]
mod tests;
