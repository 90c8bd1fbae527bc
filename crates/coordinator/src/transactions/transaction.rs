//! What is known of a transactional id, and the steps it can take.
//!
//! Each step is a function from what is to what would be, with the numbers that Kafka 4.3 gives it. None asks
//! whether it may be taken: that is decided by who calls it.

use std::sync::Arc;

use imbl::OrdSet;
use model::{ProducerEpoch, ProducerId, Timestamp};

use super::refusal::Refusal;
use super::state::State;

/// The last epoch that there is. A client never gets it: the coordinator can always fence one time more.
const EPOCH_MAX: i16 = i16::MAX;

/// A partition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
}

impl Place {
    /// Names it.
    pub fn new(topic: &str, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

/// A transactional id's producer, and its transaction; a copy costs nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its state.
    pub state: State,
    /// The producer's id.
    pub producer_id: ProducerId,
    /// Its id before the last step, which may be the same.
    pub previous_producer_id: Option<ProducerId>,
    /// The id to go on with once this transaction is complete: the epochs of the present one are used up.
    pub next_producer_id: Option<ProducerId>,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// The epoch before the last bump that a client knows of. No record says it: it is unknown after a load.
    pub last_epoch: Option<ProducerEpoch>,
    /// How long a transaction may be open.
    pub timeout_ms: i32,
    /// The partitions that are part of the transaction.
    pub partitions: OrdSet<Place>,
    /// When the transaction began.
    pub started_at: Option<Timestamp>,
    /// When the last step was taken.
    pub updated_at: Timestamp,
    /// The `transaction.version` that the client speaks: 0, or 2 with KIP-890.
    pub version: i16,
}

/// From which `transaction.version` on each end of a transaction bumps the epoch (KIP-890).
const BUMPS_EPOCHS: i16 = 2;

/// Whether transactions of this `transaction.version` bump the epoch at each end.
pub(super) fn bumps_epochs(version: i16) -> bool {
    version >= BUMPS_EPOCHS
}

/// Whether a producer with this epoch has to get a new id before it may have another epoch.
pub(super) fn is_exhausted(epoch: ProducerEpoch) -> bool {
    epoch.get() >= EPOCH_MAX - 1
}

fn next(epoch: ProducerEpoch) -> ProducerEpoch {
    ProducerEpoch::new(epoch.get().saturating_add(1))
}

impl Transaction {
    /// Of a producer that nobody knew.
    pub fn begin(producer_id: ProducerId, timeout_ms: i32, now: Timestamp) -> Self {
        Self {
            state: State::Empty,
            producer_id,
            previous_producer_id: Some(producer_id),
            next_producer_id: None,
            epoch: ProducerEpoch::new(0),
            last_epoch: None,
            timeout_ms,
            partitions: OrdSet::new(),
            started_at: None,
            updated_at: now,
            version: 0,
        }
    }

    /// Whether the producer has to get a new id before it may have another epoch.
    pub fn is_exhausted(&self) -> bool {
        is_exhausted(self.epoch)
    }

    /// The next epoch, for who shows the present one or none at all. The one before shows that the answer was lost:
    /// it is given again (KIP-360).
    pub(super) fn bumped(
        &self,
        expected: Option<ProducerEpoch>,
        timeout_ms: i32,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        let (epoch, last_epoch) = match expected {
            None => (next(self.epoch), None),
            Some(expected) if expected == self.epoch => (next(self.epoch), Some(self.epoch)),
            Some(expected) if Some(expected) == self.last_epoch => (self.epoch, self.last_epoch),
            Some(expected) => return Err(Refusal::Fenced { had: self.epoch, got: expected }),
        };
        Ok(Self { epoch, last_epoch, ..self.emptied(timeout_ms, now) })
    }

    /// A new id, whose epochs begin again.
    pub(super) fn rotated(&self, id: ProducerId, keep_last: bool, timeout_ms: i32, now: Timestamp) -> Self {
        Self {
            producer_id: id,
            epoch: ProducerEpoch::new(0),
            last_epoch: keep_last.then_some(self.epoch),
            ..self.emptied(timeout_ms, now)
        }
    }

    /// With more partitions; a transaction begins with the first.
    pub(super) fn extended(
        &self,
        added: impl IntoIterator<Item = Place>,
        version: i16,
        now: Timestamp,
    ) -> Self {
        let begins = self.state.is_idle();
        let mut partitions = self.partitions.clone();
        partitions.extend(added);
        Self {
            partitions,
            started_at: if begins { Some(now) } else { self.started_at },
            version,
            ..self.stepped(State::Ongoing, now)
        }
    }

    /// The epoch that shuts the present producer out.
    pub(super) fn fenced(&self) -> Self {
        Self { epoch: next(self.epoch), last_epoch: None, ..self.clone() }
    }

    /// Decided.
    pub(super) fn prepared(
        &self,
        commit: bool,
        version: i16,
        next_producer_id: Option<ProducerId>,
        now: Timestamp,
    ) -> Self {
        let (epoch, last_epoch) = match bumps_epochs(version) {
            true => (next(self.epoch), Some(self.epoch)),
            false => (self.epoch, self.last_epoch),
        };
        let state = if commit { State::PrepareCommit } else { State::PrepareAbort };
        // One that was never begun has to have begun at some time.
        let started_at = if self.state.is_idle() { Some(now) } else { self.started_at };
        Self { epoch, last_epoch, next_producer_id, started_at, version, ..self.stepped(state, now) }
    }

    /// Told to all partitions.
    pub(super) fn completed(&self, now: Timestamp) -> Self {
        let commit = self.state.prepared().expect("only what was prepared is completed");
        let state = if commit { State::CompleteCommit } else { State::CompleteAbort };
        let (producer_id, epoch) = match self.next_producer_id {
            Some(next) if bumps_epochs(self.version) => (next, ProducerEpoch::new(0)),
            _ => (self.producer_id, self.epoch),
        };
        Self {
            producer_id,
            epoch,
            next_producer_id: None,
            partitions: OrdSet::new(),
            ..self.stepped(state, now)
        }
    }

    fn stepped(&self, state: State, now: Timestamp) -> Self {
        assert!(self.state.may_become(state), "{:?} never becomes {state:?}", self.state);
        Self { state, previous_producer_id: Some(self.producer_id), updated_at: now, ..self.clone() }
    }

    fn emptied(&self, timeout_ms: i32, now: Timestamp) -> Self {
        Self { timeout_ms, partitions: OrdSet::new(), started_at: None, ..self.stepped(State::Empty, now) }
    }

    /// When it was opened, while it is open.
    pub(super) fn opened_at(&self) -> Option<Timestamp> {
        self.started_at.filter(|_| self.state == State::Ongoing)
    }
}
