//! Routing and refusing: every API, in every version.

use std::ops::RangeInclusive;

use model::ErrorCode;
use wire::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use wire::messages::*;

use crate::Route;
use crate::testing::check_refusal;
use crate::transactions::{join, refuse, route, unknown_partitions};

fn id(name: &str) -> TransactionalId {
    TransactionalId(text(name))
}

fn topics() -> Vec<AddPartitionsToTxnTopic> {
    vec![AddPartitionsToTxnTopic::default().with_name(topic("t")).with_partitions(vec![0, 1])]
}

fn asked(name: &str) -> AddPartitionsToTxnTransaction {
    AddPartitionsToTxnTransaction::default().with_transactional_id(id(name)).with_topics(topics())
}

fn check(api: ApiKey, versions: RangeInclusive<i16>, request: impl Into<RequestKind>) {
    check_refusal(refuse, api, versions, &request.into());
}

#[test]
fn every_api_is_refused_in_every_version() {
    check(
        ApiKey::InitProducerId,
        0..=5,
        InitProducerIdRequest::default().with_transactional_id(Some(id("x"))),
    );
    check(ApiKey::AddOffsetsToTxn, 0..=4, AddOffsetsToTxnRequest::default());
    check(ApiKey::EndTxn, 0..=5, EndTxnRequest::default());
    check(ApiKey::ListTransactions, 0..=2, ListTransactionsRequest::default());
    let described = DescribeTransactionsRequest::default().with_transactional_ids(vec![id("x")]);
    check(ApiKey::DescribeTransactions, 0..=0, described);
    let one = AddPartitionsToTxnRequest::default().with_v3_and_below_topics(topics());
    check(ApiKey::AddPartitionsToTxn, 0..=3, one);
    let many = AddPartitionsToTxnRequest::default().with_transactions(vec![asked("x")]);
    check(ApiKey::AddPartitionsToTxn, 4..=5, many);
}

#[test]
fn what_is_not_a_coordinators_is_left_alone() {
    let others: [RequestKind; 2] = [
        ProduceRequest::default().into(),
        InitProducerIdRequest::default().with_transactional_id(None).into(),
    ];
    for request in others {
        assert_eq!(refuse(&request, 5, ErrorCode::NotCoordinator), None);
        assert_eq!(route(&request, 50), None);
    }
}

#[test]
fn requests_go_where_kafka_keeps_their_id_and_those_about_many_are_split() {
    let end = EndTxnRequest::default().with_transactional_id(id("a")).into();
    assert_eq!(route(&end, 50), Some(Route::One(47)));
    let one = AddPartitionsToTxnRequest::default().with_v3_and_below_transactional_id(id("a")).into();
    assert_eq!(route(&one, 50), Some(Route::One(47)));
    assert_eq!(route(&ListTransactionsRequest::default().into(), 50), Some(Route::All));
    let many = vec![asked("a"), asked("test-group"), asked("a")];
    let many = AddPartitionsToTxnRequest::default().with_transactions(many).into();
    let Some(Route::Parts(parts)) = route(&many, 50) else { panic!("it is split") };
    assert_eq!(parts.keys().copied().collect::<Vec<_>>(), [12, 47]);
    let mut answers = parts.values().map(|part| refuse(part, 5, ErrorCode::None).expect("it is ours"));
    let mut all = answers.next().expect("two");
    answers.for_each(|answer| join(&mut all, answer));
    let ResponseKind::AddPartitionsToTxn(all) = all else { panic!("it stays one") };
    assert_eq!(all.results_by_transaction.len(), 3);
}

#[test]
fn when_one_partition_does_not_exist_none_is_added() {
    let request = AddPartitionsToTxnRequest::default().with_v3_and_below_topics(topics());
    assert_eq!(unknown_partitions(&request, 3, |_, _| true), None);
    let refused = unknown_partitions(&request, 3, |_, index| index == 0).expect("there is no t-1");
    let partitions = &refused.results_by_topic_v3_and_below[0].results_by_partition;
    let codes = partitions.iter().map(|partition| ErrorCode::from_code(partition.partition_error_code));
    let codes: Vec<ErrorCode> = codes.collect();
    assert_eq!(codes, [ErrorCode::OperationNotAttempted, ErrorCode::UnknownTopicOrPartition]);
}
