//! A whole request refused: this broker does not lead its id's partition, or is still loading it. And an answer
//! overruled, whose records were not appended or will not be committed.

use model::ErrorCode;
use wire::messages::{RequestKind, ResponseKind};

use super::refusal::Refusal;
use super::{end_txn, init_producer_id};

/// Whether a request is a transaction coordinator's to answer: InitProducerId without a transactional id is not.
pub fn is_ours(request: &RequestKind) -> bool {
    use RequestKind as K;
    match request {
        K::InitProducerId(request) => request.transactional_id.is_some(),
        K::AddPartitionsToTxn(_)
        | K::AddOffsetsToTxn(_)
        | K::EndTxn(_)
        | K::DescribeTransactions(_)
        | K::ListTransactions(_) => true,
        _ => false,
    }
}

/// The answer to all of `request`, sent in `version`; `None` when it is not a transaction coordinator's to answer.
pub fn refuse(request: &RequestKind, version: i16, code: ErrorCode) -> Option<ResponseKind> {
    if !is_ours(request) {
        return None;
    }
    wire::errors::respond(request, version, code, None)
}

/// What is wrong with a request wherever it is sent: Kafka says that before it looks who leads.
pub fn malformed(request: &RequestKind, timeout_max_ms: i32) -> Option<ErrorCode> {
    use RequestKind as K;
    let id = match request {
        K::InitProducerId(request) => request.transactional_id.as_ref()?,
        K::AddPartitionsToTxn(request) if request.transactions.is_empty() => {
            &request.v3_and_below_transactional_id
        }
        K::AddOffsetsToTxn(request) => &request.transactional_id,
        K::EndTxn(request) => &request.transactional_id,
        _ => return None,
    };
    let refusal = match request {
        _ if id.is_empty() => Refusal::InvalidRequest,
        K::InitProducerId(request) if !(1..=timeout_max_ms).contains(&request.transaction_timeout_ms) => {
            Refusal::InvalidTimeout { max: timeout_max_ms, got: request.transaction_timeout_ms }
        }
        _ => return None,
    };
    // Fenced producers alone have codes that older clients do not know.
    Some(refusal.code(0, 0))
}

/// Turns an answer to a request that writes into an error, in the shape of its API. What was refused anyway keeps its
/// reason.
pub(super) fn overrule(response: &mut ResponseKind, code: ErrorCode) {
    match response {
        ResponseKind::InitProducerId(response) => *response = init_producer_id::refused(code),
        ResponseKind::EndTxn(response) => *response = end_txn::refused(code),
        ResponseKind::AddOffsetsToTxn(response) => response.error_code = code.code(),
        ResponseKind::AddPartitionsToTxn(response) => {
            let many =
                response.results_by_transaction.iter_mut().flat_map(|result| &mut result.topic_results);
            let topics = response.results_by_topic_v3_and_below.iter_mut().chain(many);
            let partitions = topics.flat_map(|topic| &mut topic.results_by_partition);
            let accepted = partitions.filter(|partition| partition.partition_error_code == 0);
            accepted.for_each(|partition| partition.partition_error_code = code.code());
        }
        other => unreachable!("no answer to a request that writes: {other:?}"),
    }
}
