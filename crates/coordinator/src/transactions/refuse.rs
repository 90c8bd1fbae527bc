//! A whole request refused: this broker does not lead its id's partition, or is still loading it. And an answer
//! overruled, whose records were not appended or will not be committed.

use model::ErrorCode;
use wire::messages::add_partitions_to_txn_response::AddPartitionsToTxnResult;
use wire::messages::describe_transactions_response::TransactionState;
use wire::messages::{
    AddOffsetsToTxnResponse, AddPartitionsToTxnResponse, DescribeTransactionsResponse,
    ListTransactionsResponse, RequestKind, ResponseKind,
};

use super::add_partitions::{BATCHED, topic_results};
use super::{end_txn, init_producer_id};

/// The answer to all of `request`, sent in `version`; `None` when it is not a transaction coordinator's to answer.
pub fn refuse(request: &RequestKind, version: i16, code: ErrorCode) -> Option<ResponseKind> {
    use RequestKind as K;
    let number = code.code();
    Some(match request {
        K::InitProducerId(request) if request.transactional_id.is_some() => {
            init_producer_id::refused(code).into()
        }
        K::AddPartitionsToTxn(request) if version < BATCHED => {
            let results = topic_results(&request.v3_and_below_topics, |_| code);
            AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results).into()
        }
        K::AddPartitionsToTxn(request) => {
            let results = request.transactions.iter().map(|asked| {
                AddPartitionsToTxnResult::default()
                    .with_transactional_id(asked.transactional_id.clone())
                    .with_topic_results(topic_results(&asked.topics, |_| code))
            });
            AddPartitionsToTxnResponse::default().with_results_by_transaction(results.collect()).into()
        }
        K::AddOffsetsToTxn(_) => AddOffsetsToTxnResponse::default().with_error_code(number).into(),
        K::EndTxn(_) => end_txn::refused(code).into(),
        K::DescribeTransactions(request) => {
            let states = request.transactional_ids.iter().map(|id| {
                TransactionState::default().with_transactional_id(id.clone()).with_error_code(number)
            });
            DescribeTransactionsResponse::default().with_transaction_states(states.collect()).into()
        }
        K::ListTransactions(_) => ListTransactionsResponse::default().with_error_code(number).into(),
        _ => return None,
    })
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
