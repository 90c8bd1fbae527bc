//! Routing and refusing: every API, in every version.

use std::ops::RangeInclusive;

use model::ErrorCode;
use wire::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use wire::messages::*;

use crate::Route;
use crate::testing::check_refusal;
use crate::transactions::{join, judge_partitions, list_none, malformed, refuse, route};

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

fn codes(topics: &[add_partitions_to_txn_response::AddPartitionsToTxnTopicResult]) -> Vec<ErrorCode> {
    let partitions = topics.iter().flat_map(|topic| &topic.results_by_partition);
    partitions.map(|partition| ErrorCode::from_code(partition.partition_error_code)).collect()
}

fn first_exists(_: &str, index: i32) -> ErrorCode {
    if index == 0 { ErrorCode::None } else { ErrorCode::UnknownTopicOrPartition }
}

#[test]
fn when_one_partition_does_not_exist_none_is_added() {
    let request = AddPartitionsToTxnRequest::default().with_v3_and_below_topics(topics());
    let (rest, _) = judge_partitions(request.clone(), 3, |_, _| ErrorCode::None);
    assert_eq!(rest.as_ref(), Some(&request));
    let (rest, refused) = judge_partitions(request, 3, first_exists);
    assert_eq!(rest, None);
    let expected = [ErrorCode::OperationNotAttempted, ErrorCode::UnknownTopicOrPartition];
    assert_eq!(codes(&refused.results_by_topic_v3_and_below), expected);
}

#[test]
fn a_transaction_with_an_unknown_partition_does_not_keep_others_from_being_asked_about() {
    let mut good = asked("a");
    good.topics[0].partitions = vec![0];
    let request = AddPartitionsToTxnRequest::default().with_transactions(vec![asked("b"), good.clone()]);
    let (rest, refused) = judge_partitions(request, 4, first_exists);
    assert_eq!(rest.map(|rest| rest.transactions), Some(vec![good]));
    assert_eq!(refused.results_by_transaction.len(), 1);
    let expected = [ErrorCode::OperationNotAttempted, ErrorCode::UnknownTopicOrPartition];
    assert_eq!(codes(&refused.results_by_transaction[0].topic_results), expected);
    let nothing = judge_partitions(AddPartitionsToTxnRequest::default(), 4, first_exists);
    assert!(nothing.0.is_some_and(|rest| rest.transactions.is_empty()));
}

#[test]
fn filters_that_nobody_knows_are_told_where_there_is_nothing_to_list() {
    let request = ListTransactionsRequest::default().with_state_filters(vec![text("Nope"), text("Empty")]);
    assert_eq!(list_none(&request).unknown_state_filters, [text("Nope")]);
    let request = ListTransactionsRequest::default().with_transactional_id_pattern(Some(text("(")));
    assert_eq!(list_none(&request).error_code, ErrorCode::InvalidRegularExpression.code());
}

#[test]
fn what_makes_no_sense_is_told_wherever_it_is_asked() {
    let init = |name: &str, timeout| {
        let request = InitProducerIdRequest::default().with_transactional_id(Some(id(name)));
        malformed(&request.with_transaction_timeout_ms(timeout).into(), 900)
    };
    assert_eq!(init("", 1), Some(ErrorCode::InvalidRequest));
    assert_eq!(init("x", 901), Some(ErrorCode::InvalidTransactionTimeout));
    assert_eq!(init("x", 0), Some(ErrorCode::InvalidTransactionTimeout));
    assert_eq!(init("x", 900), None);
    assert_eq!(malformed(&EndTxnRequest::default().into(), 900), Some(ErrorCode::InvalidRequest));
    assert_eq!(malformed(&ListTransactionsRequest::default().into(), 900), None);
}
