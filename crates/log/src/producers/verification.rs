//! Which transactional producers are being looked up at their coordinator (KIP-890).
//!
//! The first batch of a transaction in a partition is appended only after the
//! coordinator said that the partition is a part of it. A guard is drawn before the
//! coordinator is asked and must be the same when its answer is there: a marker that
//! was written in between took it away, and the late batch would open a transaction
//! that nobody ends.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{ProducerEpoch, ProducerId, Timestamp};
use wire::batch::BatchHeader;

/// As many lookups are remembered. A producer whose own makes way is refused, and asks again.
const PENDING_MAX: usize = 100_000;

/// Proves that nothing happened since the coordinator was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard(u64);

/// A batch about to open a transaction in this partition.
#[derive(Clone, Copy, Debug)]
pub struct Entrant {
    /// Its producer.
    pub producer: ProducerId,
    /// The producer's epoch.
    pub epoch: ProducerEpoch,
    /// The batch's first sequence.
    pub sequence: i32,
    /// Transactions of version 2: each has an epoch of its own, and so begins with sequence 0.
    pub bumps_epoch: bool,
}

/// A producer whose coordinator is being asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    pub(crate) guard: Guard,
    pub(crate) lowest_sequence: i32,
    pub(crate) epoch: ProducerEpoch,
    pub(crate) bumps_epoch: bool,
    since: Timestamp,
}

/// The lookups of one log.
#[derive(Clone, Debug, Default)]
pub struct Verifications {
    pending: BTreeMap<ProducerId, Pending>,
    drawn: u64,
}

impl Verifications {
    /// The guard of a producer's lookup, a new one unless it has one.
    pub fn begin(&mut self, entrant: &Entrant, now: Timestamp) -> Guard {
        if let Some(known) = self.pending.get_mut(&entrant.producer) {
            if entrant.epoch > known.epoch {
                (known.epoch, known.lowest_sequence) = (entrant.epoch, entrant.sequence);
            } else if entrant.epoch == known.epoch {
                known.lowest_sequence = known.lowest_sequence.min(entrant.sequence);
            }
            return known.guard;
        }
        if self.pending.len() >= PENDING_MAX {
            self.pending.pop_first();
        }
        self.drawn += 1;
        let Entrant { producer, epoch, sequence, bumps_epoch } = *entrant;
        let guard = Guard(self.drawn);
        let pending = Pending { guard, lowest_sequence: sequence, epoch, bumps_epoch, since: now };
        self.pending.insert(producer, pending);
        guard
    }

    pub(crate) fn of(&self, producer: ProducerId) -> Option<&Pending> {
        self.pending.get(&producer)
    }

    /// A transactional batch is in the log: it opened the transaction, or ended it. A marker of version
    /// 2 carries the epoch of the next transaction, whose first batch may be on its way.
    pub fn note(&mut self, header: &BatchHeader) {
        let Some(batch) = header.producer().filter(|_| header.is_transactional()) else { return };
        let is_of_next =
            |pending: &Pending| pending.bumps_epoch && header.is_control() && pending.epoch == batch.epoch;
        if self.pending.get(&batch.id).is_some_and(|pending| !is_of_next(pending)) {
            self.pending.remove(&batch.id);
        }
    }

    /// Forgets lookups that nobody has come back from.
    pub fn expire(&mut self, now: Timestamp, expiration: Duration) {
        let expiration = i64::try_from(expiration.as_millis()).unwrap_or(i64::MAX);
        let oldest = now.get().saturating_sub(expiration);
        self.pending.retain(|_, pending| pending.since.get() > oldest);
    }
}
