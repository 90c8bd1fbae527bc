//! AllocateProducerIds: a broker asks for a block of ids for idempotent producers.
//!
//! A block is the broker's for good; what it does not hand out is lost, and never
//! handed out by another.

use model::ErrorCode;
use proto::metadata::{MetadataRecord, ProducerIdsRecord};
use wire::messages::{AllocateProducerIdsRequest, AllocateProducerIdsResponse, ProducerId};

use crate::decision::Decision;
use crate::heartbeat::{StaleBroker, speaker};
use crate::view::View;

/// Ids in a block, as in Kafka: few enough to be lost with a broker, enough to ask rarely.
pub const BLOCK_SIZE: i32 = 1_000;

/// Why a broker gets no block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocateProducerIdsError {
    /// Not a registered run.
    #[error(transparent)]
    Stale(#[from] StaleBroker),
    /// All 2^63 are given away.
    #[error("Exhausted all producerIds as the next block's end producerId has exceeded the int64 type limit")]
    Exhausted,
}

impl AllocateProducerIdsError {
    /// What the broker is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Stale(error) => error.code(),
            Self::Exhausted => ErrorCode::UnknownServerError,
        }
    }
}

/// Gives the broker the next block.
pub fn decide(
    view: &View<'_>,
    request: &AllocateProducerIdsRequest,
) -> Result<Decision<AllocateProducerIdsResponse>, AllocateProducerIdsError> {
    let broker = speaker(view, *request.broker_id, request.broker_epoch)?;
    let first = view.image.next_producer_id().get();
    let next = first.checked_add(BLOCK_SIZE.into()).ok_or(AllocateProducerIdsError::Exhausted)?;
    let record = ProducerIdsRecord {
        broker_id: broker.id.get(),
        broker_epoch: broker.epoch.get(),
        next_producer_id: next,
    };
    let response = AllocateProducerIdsResponse::default()
        .with_producer_id_start(ProducerId(first))
        .with_producer_id_len(BLOCK_SIZE);
    Ok(Decision::new(vec![MetadataRecord::from(record)], response))
}

/// The answer without a block.
pub fn refuse(error: &AllocateProducerIdsError) -> AllocateProducerIdsResponse {
    AllocateProducerIdsResponse::default().with_error_code(error.code().code())
}

#[cfg(test)]
mod tests;
