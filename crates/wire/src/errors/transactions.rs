//! Errors of the APIs about producers and transactions.
//!
//! Most have one code at the head; partitions that are added have one each, and a
//! client waits for all of them. No producer is -1, not 0, which is somebody's id.

use crate::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use crate::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use crate::messages::describe_transactions_response::TransactionState;
use crate::messages::*;

/// From which version on AddPartitionsToTxn is about many transactions.
const ADD_BATCHED_FROM: i16 = 4;
const NO_PRODUCER: ProducerId = ProducerId(-1);

/// The answer to a request about producers or transactions; `None` to any other.
pub(super) fn respond(request: &RequestKind, version: i16, code: i16) -> Option<ResponseKind> {
    use RequestKind as K;
    Some(match request {
        K::InitProducerId(_) => InitProducerIdResponse::default()
            .with_error_code(code)
            .with_producer_id(NO_PRODUCER)
            .with_producer_epoch(-1)
            .into(),
        K::AddPartitionsToTxn(request) => add_partitions(request, version, code).into(),
        K::AddOffsetsToTxn(_) => AddOffsetsToTxnResponse::default().with_error_code(code).into(),
        K::EndTxn(_) => EndTxnResponse::default()
            .with_error_code(code)
            .with_producer_id(NO_PRODUCER)
            .with_producer_epoch(-1)
            .into(),
        K::DescribeTransactions(request) => {
            let refused = |id: &TransactionalId| {
                TransactionState::default().with_transactional_id(id.clone()).with_error_code(code)
            };
            let states = request.transactional_ids.iter().map(refused).collect();
            DescribeTransactionsResponse::default().with_transaction_states(states).into()
        }
        K::ListTransactions(_) => ListTransactionsResponse::default().with_error_code(code).into(),
        _ => return None,
    })
}

fn add_partitions(
    request: &AddPartitionsToTxnRequest,
    version: i16,
    code: i16,
) -> AddPartitionsToTxnResponse {
    let refused = |topics: &[AddPartitionsToTxnTopic]| {
        let topics = topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|&index| {
                let result = AddPartitionsToTxnPartitionResult::default();
                result.with_partition_index(index).with_partition_error_code(code)
            });
            AddPartitionsToTxnTopicResult::default()
                .with_name(topic.name.clone())
                .with_results_by_partition(partitions.collect())
        });
        topics.collect()
    };
    if version < ADD_BATCHED_FROM {
        let topics = refused(&request.v3_and_below_topics);
        return AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(topics);
    }
    let results = request.transactions.iter().map(|asked| {
        AddPartitionsToTxnResult::default()
            .with_transactional_id(asked.transactional_id.clone())
            .with_topic_results(refused(&asked.topics))
    });
    AddPartitionsToTxnResponse::default().with_results_by_transaction(results.collect())
}
