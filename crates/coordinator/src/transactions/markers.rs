//! Markers: a prepared transaction tells its partitions how it ended.
//!
//! Each marker goes out once and comes back with what became of it for each partition; what may go well later is sent
//! again. When no partition is left the transaction is complete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use model::{ErrorCode, LeaderEpoch, Millis, ProducerEpoch, ProducerId};

use super::transaction::{Place, Transaction};

/// How a transaction ended, for its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    /// The transaction.
    pub transactional_id: Arc<str>,
    /// Its producer.
    pub producer_id: ProducerId,
    /// The epoch that the marker carries.
    pub epoch: ProducerEpoch,
    /// The leader epoch of the coordinator's partition.
    pub coordinator_epoch: LeaderEpoch,
    /// Commit, or abort.
    pub commit: bool,
    /// The `transaction.version` that the transaction was made in.
    pub version: i16,
    /// Whom to tell.
    pub places: Vec<Place>,
}

/// What became of a marker for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the log, and committed.
    Done,
    /// There is no such partition any more, or none that can hold markers.
    Gone,
    /// Not now.
    Retry,
    /// A newer producer or coordinator was there: this one has no more say.
    Fenced,
}

impl Outcome {
    /// By the code that WriteTxnMarkers answers for a partition.
    pub fn of(code: ErrorCode) -> Self {
        match code {
            ErrorCode::None => Self::Done,
            ErrorCode::InvalidProducerEpoch | ErrorCode::TransactionCoordinatorFenced => Self::Fenced,
            ErrorCode::UnsupportedForMessageFormat | ErrorCode::UnsupportedVersion => Self::Gone,
            // Kafka stops its coordinator at a code that it does not expect; to try again cannot be wrong.
            _ => Self::Retry,
        }
    }
}

/// A report about one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// The marker's transaction.
    pub transactional_id: Arc<str>,
    /// Its producer.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// Which partition.
    pub place: Place,
    /// What became of it.
    pub outcome: Outcome,
}

/// A transaction that ends.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    producer_id: ProducerId,
    epoch: ProducerEpoch,
    /// Sent, and not heard of.
    sent: BTreeSet<Place>,
    /// To be sent again.
    waiting: BTreeSet<Place>,
    again_at: Millis,
    /// Somebody newer is at work: nothing more is sent, and it is not completed here.
    fenced: bool,
    /// Its record is being written.
    completing: bool,
}

impl Ending {
    /// Of a transaction that was prepared; all its partitions are to be told now.
    pub fn begin(transaction: &Transaction) -> Self {
        Self {
            producer_id: transaction.producer_id,
            epoch: transaction.epoch,
            sent: BTreeSet::new(),
            waiting: transaction.partitions.iter().cloned().collect(),
            again_at: Millis::default(),
            fenced: false,
            completing: false,
        }
    }

    /// The partitions that do not know yet.
    pub fn remaining(&self) -> impl Iterator<Item = &Place> {
        self.sent.union(&self.waiting)
    }

    /// Whether all partitions know and it is to be completed.
    pub fn is_ready(&self) -> bool {
        self.sent.is_empty() && self.waiting.is_empty() && !self.fenced && !self.completing
    }

    /// Its record is being written, or could not be.
    pub fn set_completing(&mut self, completing: bool) {
        self.completing = completing;
    }

    /// When there is something to send.
    pub fn due(&self) -> Option<Millis> {
        (!self.waiting.is_empty() && !self.fenced).then_some(self.again_at)
    }

    /// The partitions to tell now.
    pub fn take_due(&mut self, now: Millis) -> Vec<Place> {
        if self.due().is_none_or(|due| due > now) {
            return Vec::new();
        }
        let due = std::mem::take(&mut self.waiting);
        self.sent.extend(due.iter().cloned());
        due.into_iter().collect()
    }

    /// Hears of one partition. What is not about a marker of this ending is not heard.
    pub fn hear(&mut self, now: Millis, retry: Duration, marked: &Marked) {
        let own = self.producer_id == marked.producer_id && self.epoch == marked.epoch;
        if !own || !self.sent.remove(&marked.place) {
            return;
        }
        match marked.outcome {
            Outcome::Done | Outcome::Gone => {}
            Outcome::Fenced => {
                self.fenced = true;
                self.waiting.insert(marked.place.clone());
            }
            Outcome::Retry => {
                self.waiting.insert(marked.place.clone());
                self.again_at = now.after(retry);
            }
        }
    }
}

/// The endings with something to send at `now`, as markers.
pub(super) fn due(
    endings: &mut BTreeMap<Arc<str>, Ending>,
    known: impl Fn(&str) -> Option<Arc<Transaction>>,
    coordinator_epoch: LeaderEpoch,
    now: Millis,
    markers: &mut Vec<Marker>,
) {
    for (id, ending) in endings {
        let places = ending.take_due(now);
        let Some(transaction) = known(id).filter(|_| !places.is_empty()) else { continue };
        markers.push(Marker {
            transactional_id: id.clone(),
            producer_id: ending.producer_id,
            epoch: ending.epoch,
            coordinator_epoch,
            commit: transaction.state.prepared().expect("only what is prepared ends"),
            version: transaction.version,
            places,
        });
    }
}
