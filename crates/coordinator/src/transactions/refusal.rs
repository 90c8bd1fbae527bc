//! Why a transaction coordinator says no, and the code that Kafka answers.

use model::{ErrorCode, ProducerEpoch, ProducerId};

/// Why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No transactional id, or half of a producer.
    #[error("The transactional id or the producer of the request is invalid.")]
    InvalidRequest,
    /// Outside of what the operator allows.
    #[error("The transaction timeout of {got} ms is not between 1 and {max} ms.")]
    InvalidTimeout {
        /// `transaction.max.timeout.ms`.
        max: i32,
        /// The request's.
        got: i32,
    },
    /// Another step of the same id is under way; the same may go well later.
    #[error("Another step of the transaction is under way.")]
    Concurrent,
    /// A newer producer has taken over.
    #[error("The producer is in epoch {had}, not {got}.")]
    Fenced {
        /// The id's.
        had: ProducerEpoch,
        /// The request's.
        got: ProducerEpoch,
    },
    /// Nobody with this producer id has this transactional id, as far as is known.
    #[error("The transactional id does not belong to the producer {got}.")]
    InvalidMapping {
        /// The request's.
        got: ProducerId,
    },
    /// The transaction is in no state to be ended so.
    #[error("The transaction cannot be ended so: it is in another state.")]
    InvalidState,
    /// There is no producer id to give out right now; the same may go well later.
    #[error("The controller was asked for producer ids and has not answered.")]
    NoProducerIds,
}

impl Refusal {
    /// The code that a client is told. Before `knows_fenced` clients know nothing of fenced producers.
    pub fn code(&self, version: i16, knows_fenced: i16) -> ErrorCode {
        match self {
            Self::InvalidRequest => ErrorCode::InvalidRequest,
            Self::InvalidTimeout { .. } => ErrorCode::InvalidTransactionTimeout,
            Self::Concurrent => ErrorCode::ConcurrentTransactions,
            Self::Fenced { .. } if version < knows_fenced => ErrorCode::InvalidProducerEpoch,
            Self::Fenced { .. } => ErrorCode::ProducerFenced,
            Self::InvalidMapping { .. } => ErrorCode::InvalidProducerIdMapping,
            Self::InvalidState => ErrorCode::InvalidTxnState,
            Self::NoProducerIds => ErrorCode::CoordinatorLoadInProgress,
        }
    }
}
