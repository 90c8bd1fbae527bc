//! Whether a producer may write what it wants to write: Kafka's checks, in Kafka's order.
//!
//! A client's batch has an epoch and a sequence. A group coordinator's, offsets that
//! are part of a transaction, has no sequence. A marker is judged by the epochs of its
//! producer and of the coordinator that sends it. What came from a leader was judged
//! there.

use model::{ErrorCode, Mutant, Offset, ProducerEpoch, ProducerId};
use wire::batch::{BatchHeader, Producer as BatchProducer};

use crate::producers::{Entrant, Guard, Producer, Producers, Verifications, Written};

/// From this version of transactions on a marker's epoch is above that of the transaction it ends.
const EPOCH_BUMPED_FROM: i8 = 2;

/// Where a batch comes from, which says what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client.
    Client(Verification),
    /// This node's group coordinator: its batches have no sequences.
    Coordinator(Verification),
}

/// What is known of the transaction that a batch claims to be a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// `transaction.partition.verification.enable=false`.
    Off,
    /// What its coordinator was asked under, if it was.
    Needed(Option<Guard>),
}

/// A transaction's end as its coordinator sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionEnd {
    /// Whose transaction it is.
    pub producer: ProducerId,
    /// The epoch that the marker carries.
    pub epoch: ProducerEpoch,
    /// Whether its records count.
    pub commit: bool,
    /// The epoch of the coordinator.
    pub coordinator_epoch: i32,
    /// The version of transactions that it was made under (KIP-1228).
    pub version: i8,
}

/// Why a producer's batch is not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProducerError {
    /// A newer incarnation of the producer has written.
    #[error("producer {id} has epoch {current}, the batch has {got}")]
    StaleEpoch {
        /// The producer.
        id: ProducerId,
        /// Its epoch as known.
        current: ProducerEpoch,
        /// The epoch of the batch.
        got: ProducerEpoch,
    },
    /// Batches before this one are missing.
    #[error("producer {id} was at sequence {last}, the batch begins with {got}")]
    OutOfOrder {
        /// The producer.
        id: ProducerId,
        /// The last sequence seen; -1 when a new epoch must begin with 0.
        last: i32,
        /// The first sequence of the batch.
        got: i32,
    },
    /// Its coordinator knows nothing of the partition, or was not asked.
    #[error("Record was not part of an ongoing transaction")]
    Unverified(ProducerId),
    /// Transactional and other records of a producer do not mix.
    #[error("producer {id} has a transaction open since offset {open}, the batch is not part of one")]
    OutsideTransaction {
        /// The producer.
        id: ProducerId,
        /// Where its transaction begins.
        open: Offset,
    },
    /// A coordinator that was deposed.
    #[error("producer {id} was told of coordinator epoch {current}, the marker has {got}")]
    CoordinatorFenced {
        /// The producer.
        id: ProducerId,
        /// The coordinator epoch as known.
        current: i32,
        /// The marker's.
        got: i32,
    },
}

impl ProducerError {
    /// The code a producer sees.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::StaleEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            Self::OutOfOrder { .. } => ErrorCode::OutOfOrderSequenceNumber,
            Self::Unverified(_) | Self::OutsideTransaction { .. } => ErrorCode::InvalidTxnState,
            Self::CoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
        }
    }
}

impl Producers {
    /// Judges a batch before it is appended: `Ok(Some(_))` is one that was appended before.
    pub fn judge(
        &self,
        header: &BatchHeader,
        origin: Origin,
        verifications: &Verifications,
    ) -> Result<Option<Written>, ProducerError> {
        let Some(batch) = header.producer() else { return Ok(None) };
        let known = self.known.get(&batch.id);
        let (is_client, verification) = match origin {
            Origin::Client(verification) => (true, verification),
            Origin::Coordinator(verification) => (false, verification),
        };
        if is_client && let Some(written) = known.and_then(|known| known.find(header, &batch)) {
            return Ok(Some(written));
        }
        if header.is_transactional() && !self.is_open(&batch) {
            check_epoch(known, batch.id, batch.epoch, true)?;
            check_verified(&batch, verification, verifications)?;
        }
        check_epoch(known, batch.id, batch.epoch, header.is_transactional())?;
        if is_client && !Mutant::SequenceUnchecked.is_planted() {
            check_sequence(known, &batch, verifications)?;
        }
        match known.and_then(|known| known.transaction_start) {
            Some(open) if !header.is_transactional() => {
                Err(ProducerError::OutsideTransaction { id: batch.id, open })
            }
            _ => Ok(None),
        }
    }

    /// Judges a marker before it is appended.
    pub fn judge_end(&self, end: &TransactionEnd) -> Result<(), ProducerError> {
        let Some(known) = self.known.get(&end.producer) else { return Ok(()) };
        if Mutant::TransactionEpochUnchecked.is_planted() {
            return Ok(());
        }
        let is_stale = if end.version >= EPOCH_BUMPED_FROM {
            // The same marker again, after its transaction ended: the answer was lost, or the
            // coordinator was replaced before it knew.
            let is_repeated = end.epoch == known.epoch && known.transaction_start.is_none();
            end.epoch <= known.epoch && !is_repeated
        } else {
            end.epoch < known.epoch
        };
        let id = end.producer;
        if is_stale {
            return Err(ProducerError::StaleEpoch { id, current: known.epoch, got: end.epoch });
        }
        if end.coordinator_epoch < known.coordinator_epoch {
            let (current, got) = (known.coordinator_epoch, end.coordinator_epoch);
            return Err(ProducerError::CoordinatorFenced { id, current, got });
        }
        Ok(())
    }

    /// Whether a batch that opens a transaction needs its coordinator to be asked.
    pub fn needs_verification(&self, entrant: &Entrant) -> Result<bool, ProducerError> {
        check_epoch(self.known.get(&entrant.producer), entrant.producer, entrant.epoch, true)?;
        let (id, epoch) = (entrant.producer, entrant.epoch);
        Ok(!self.is_open(&BatchProducer { id, epoch, base_sequence: entrant.sequence }))
    }

    /// Whether the batch's producer has a transaction open in the batch's epoch.
    fn is_open(&self, batch: &BatchProducer) -> bool {
        self.known
            .get(&batch.id)
            .is_some_and(|known| known.transaction_start.is_some() && known.epoch == batch.epoch)
    }
}

impl Producer {
    /// The batch with the same sequences, if it is among those remembered.
    fn find(&self, header: &BatchHeader, batch: &BatchProducer) -> Option<Written> {
        if batch.epoch != self.epoch || Mutant::SequenceUnchecked.is_planted() {
            return None;
        }
        let same = |written: &&Written| {
            written.first_sequence == batch.base_sequence && written.last_sequence == header.last_sequence()
        };
        self.batches.iter().find(same).copied()
    }
}

fn check_epoch(
    known: Option<&Producer>,
    id: ProducerId,
    got: ProducerEpoch,
    is_transactional: bool,
) -> Result<(), ProducerError> {
    let ignored = if is_transactional {
        Mutant::TransactionEpochUnchecked.is_planted()
    } else {
        Mutant::SequenceUnchecked.is_planted()
    };
    match known {
        Some(known) if got < known.epoch && !ignored => {
            Err(ProducerError::StaleEpoch { id, current: known.epoch, got })
        }
        _ => Ok(()),
    }
}

fn check_verified(
    batch: &BatchProducer,
    verification: Verification,
    verifications: &Verifications,
) -> Result<(), ProducerError> {
    let Verification::Needed(guard) = verification else { return Ok(()) };
    match (guard, verifications.of(batch.id)) {
        (Some(guard), Some(pending)) if pending.guard == guard => Ok(()),
        _ => Err(ProducerError::Unverified(batch.id)),
    }
}

fn check_sequence(
    known: Option<&Producer>,
    batch: &BatchProducer,
    verifications: &Verifications,
) -> Result<(), ProducerError> {
    let (id, got) = (batch.id, batch.base_sequence);
    let last = known.and_then(|known| known.batches.back()).map(|last| last.last_sequence);
    if let Some(pending) = verifications.of(id) {
        let skips_first = pending.bumps_epoch && got != 0 && last.is_none();
        if skips_first || got > pending.lowest_sequence {
            return Err(ProducerError::OutOfOrder { id, last: last.unwrap_or(-1), got });
        }
    }
    // A producer of which nothing is left here may go on where it was.
    let Some(known) = known else { return Ok(()) };
    let in_order = match last.filter(|_| batch.epoch == known.epoch) {
        Some(last) => next_sequence(last) == got,
        // A new epoch, or one of which there are only markers so far.
        None => got == 0,
    };
    let last = last.filter(|_| batch.epoch == known.epoch).unwrap_or(-1);
    if in_order { Ok(()) } else { Err(ProducerError::OutOfOrder { id, last, got }) }
}

/// Sequences wrap from 2^31 - 1 to 0.
fn next_sequence(sequence: i32) -> i32 {
    sequence.checked_add(1).unwrap_or(0)
}
