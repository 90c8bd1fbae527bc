//! Transactional batches and a coordinator that says what the test wants.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};

use futures_util::future::BoxFuture;
use log::producers::TransactionEnd;
use model::{
    ErrorCode, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Timestamp, TopicPartition,
};
use tokio::time::Instant;
use wire::api::ListenerKind;
use wire::batch::{BatchBuilder, NewRecord, Producer};
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use wire::messages::{ProduceRequest, ResponseKind, TransactionalId, WriteTxnMarkersRequest, text, topic};

use super::{Lookup, TxnVerifier, Verified, told};
use crate::data::tests::{Fed, TOPIC, disk, partition, run, topic as topic_record};
use crate::data::{Data, Ended, MarkerWriter};
use crate::dispatch::RequestContext;
use crate::server::{Answer, ListenerSpec, Reply};

fn check(code: ErrorCode, by_version: [ErrorCode; 3]) {
    assert_eq!([10, 11, 12].map(|version| told(code, version)), by_version, "{code}");
}

#[test]
fn a_producer_is_told_what_its_version_makes_the_best_of() {
    use ErrorCode as E;
    check(E::InvalidTxnState, [E::InvalidTxnState; 3]);
    check(E::ProducerFenced, [E::InvalidProducerEpoch; 3]);
    check(E::TransactionAbortable, [E::InvalidTxnState, E::TransactionAbortable, E::TransactionAbortable]);
    check(E::ConcurrentTransactions, [E::NotEnoughReplicas, E::NotEnoughReplicas, E::ConcurrentTransactions]);
    check(E::NotCoordinator, [E::NotEnoughReplicas; 3]);
    check(E::NetworkException, [E::NotEnoughReplicas; 3]);
}

/// A coordinator, and what it was asked.
#[derive(Default)]
struct Double {
    answers: Mutex<VecDeque<ErrorCode>>,
    asked: Mutex<Vec<Lookup>>,
    /// Ends the transaction here before it answers.
    ends: Option<Weak<Data>>,
}

impl TxnVerifier for Double {
    fn verify(&self, lookup: Lookup, _deadline: Instant) -> BoxFuture<'static, Verified> {
        let code = self.answers.lock().expect("no panic").pop_front().unwrap_or(ErrorCode::None);
        let each = lookup.partitions.iter().map(|name| (name.clone(), code));
        let refused: BTreeMap<TopicPartition, ErrorCode> =
            each.filter(|(_, code)| *code != ErrorCode::None).collect();
        self.asked.lock().expect("no panic").push(lookup);
        let ends = self.ends.clone();
        Box::pin(async move {
            if let Some(data) = ends.and_then(|data| data.upgrade()) {
                assert_eq!(mark(&data, "t", "a 7.0").await, ErrorCode::None);
            }
            Ok(refused)
        })
    }
}

/// A group coordinator that ends transactions at offset 0, of producer 7 alone.
#[derive(Default)]
struct Ends(Mutex<Vec<(PartitionIndex, TransactionEnd)>>);

impl MarkerWriter for Ends {
    fn write(&self, partition: PartitionIndex, end: &TransactionEnd) -> Result<Ended, ErrorCode> {
        if end.producer != ProducerId::new(7) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        self.0.lock().expect("no panic").push((partition, *end));
        Ok(Ended { epoch: LeaderEpoch::new(0), last: Offset::ZERO, needs_sync: false })
    }
}

fn asker(version: i16) -> RequestContext {
    let spec = ListenerSpec {
        name: "PLAINTEXT".to_owned(),
        kind: ListenerKind::Broker,
        address: "n1:9092".to_owned(),
    };
    RequestContext {
        api_key: 0,
        version,
        client_id: None,
        peer: "127.0.0.1:1".parse().expect("an address"),
        listener: Arc::new(spec),
    }
}

async fn settle(answer: Answer) -> ResponseKind {
    let reply = match answer {
        Answer::Now(reply) => reply,
        Answer::Later(later) => later.await,
    };
    match reply {
        Reply::Message(message) => *message,
        _ => panic!("no message"),
    }
}

/// `PRODUCER.EPOCH`, then maybe `.SEQUENCE`.
fn numbers(text: &str) -> (i64, i16, i32) {
    let mut numbers = text.split('.').map(|number| number.parse::<i32>().expect("a number"));
    let mut next = || numbers.next().unwrap_or(0);
    (i64::from(next()), i16::try_from(next()).expect("an epoch"), next())
}

/// Produces a record of a transaction to partition 0 of `t`.
async fn produce(data: &Data, version: i16, words: &str) -> ErrorCode {
    let (id, epoch, base_sequence) = numbers(words);
    let producer = Producer { id: ProducerId::new(id), epoch: ProducerEpoch::new(epoch), base_sequence };
    let mut builder = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(0)).producer(producer, true);
    let timestamp = Timestamp::new(1_700_000_000_000);
    builder.push(&NewRecord { timestamp, ..NewRecord::default() });
    let mut bytes = Vec::new();
    builder.finish(&mut bytes).expect("no codec");
    let part = PartitionProduceData::default().with_index(0).with_records(Some(bytes.into()));
    let part = TopicProduceData::default().with_name(topic("t")).with_partition_data(vec![part]);
    let request = ProduceRequest::default()
        .with_transactional_id(Some(TransactionalId(text("x"))))
        .with_acks(1)
        .with_timeout_ms(1_000)
        .with_topic_data(vec![part]);
    let ResponseKind::Produce(response) = settle(data.produce(&asker(version), request).await).await else {
        panic!("no answer")
    };
    ErrorCode::from_code(response.responses[0].partition_responses[0].error_code)
}

/// `c` or `a` and the producer: sends the marker to partition 0.
async fn mark(data: &Data, name: &str, words: &str) -> ErrorCode {
    let (result, words) = words.split_once(' ').expect("a result and a producer");
    let (id, epoch, coordinator_epoch) = numbers(words);
    let named = WritableTxnMarkerTopic::default().with_name(topic(name)).with_partition_indexes(vec![0]);
    let marker = WritableTxnMarker::default()
        .with_producer_id(id.into())
        .with_producer_epoch(epoch)
        .with_transaction_result(result == "c")
        .with_coordinator_epoch(coordinator_epoch)
        .with_topics(vec![named]);
    let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
    let ResponseKind::WriteTxnMarkers(response) = settle(data.write_txn_markers(request).await).await else {
        panic!("no answer")
    };
    ErrorCode::from_code(response.markers[0].topics[0].partitions[0].error_code)
}

async fn fed() -> Fed {
    let mut fed = Fed::open(&disk(), true).await;
    fed.feed(vec![topic_record(TOPIC, "t"), partition(TOPIC, 0, &[1], 1)]).await;
    fed
}

/// Runs `produce` and marker steps in a version of Produce; `!CODE` behind a step is what the coordinator
/// says if it is asked. Each step says its code, and whether the coordinator was asked: `?` to verify, `+`
/// to add.
fn check_steps(version: i16, steps: &str, outcome: &str) {
    run(async {
        let fed = fed().await;
        let double = Arc::new(Double::default());
        fed.data.verify_with(double.clone());
        let mut said = Vec::new();
        for step in steps.split(", ") {
            let (step, answer) = step.split_once('!').unwrap_or((step, "NONE"));
            let answer = ErrorCode::ALL.iter().find(|code| code.name() == answer).expect("a code");
            *double.answers.lock().expect("no panic") = VecDeque::from([*answer]);
            let (kind, words) = step.trim().split_once(' ').expect("a kind");
            let code = match kind {
                "t" => produce(&fed.data, version, words).await,
                _ => mark(&fed.data, "t", step.trim()).await,
            };
            let asked = std::mem::take(&mut *double.asked.lock().expect("no panic"));
            let asked: String = asked.iter().map(|lookup| if lookup.adds { '+' } else { '?' }).collect();
            said.push(format!("{}{asked}", code.name()));
        }
        assert_eq!(said.join(", "), outcome, "of {steps}");
        assert!(fed.data.stop().await);
    });
}

#[test]
fn the_first_batch_of_a_transaction_is_verified_and_no_other() {
    check_steps(11, "t 7.0.0, t 7.0.1, c 7.0, t 7.0.2", "NONE?, NONE, NONE, NONE?");
    check_steps(12, "t 7.0.0, t 7.0.1, c 7.1, t 7.1.0", "NONE+, NONE, NONE, NONE+");
}

#[test]
fn what_the_coordinator_does_not_know_is_not_appended() {
    check_steps(11, "t 7.0.0 !INVALID_TXN_STATE, t 7.0.0", "INVALID_TXN_STATE?, NONE?");
    check_steps(11, "t 7.0.0 !PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH?");
    check_steps(11, "t 7.0.0 !CONCURRENT_TRANSACTIONS, t 7.0.0", "NOT_ENOUGH_REPLICAS?, NONE?");
    check_steps(12, "t 7.0.0 !CONCURRENT_TRANSACTIONS, t 7.0.1", "NONE++, NONE");
    check_steps(9, "t 7.0.0 !TRANSACTION_ABORTABLE", "INVALID_TXN_STATE?");
}

#[test]
fn an_old_producer_is_refused_without_asking() {
    check_steps(11, "c 7.3, t 7.2.0, t 7.3.0", "NONE, INVALID_PRODUCER_EPOCH, NONE?");
    check_steps(12, "t 7.0.1", "OUT_OF_ORDER_SEQUENCE_NUMBER+");
}

#[test]
fn without_a_coordinator_a_producer_is_told_to_try_again() {
    run(async {
        let fed = fed().await;
        assert_eq!(produce(&fed.data, 11, "7.0.0").await, ErrorCode::NotEnoughReplicas);
        assert!(fed.data.stop().await);
    });
}

#[test]
fn a_producer_whose_last_transaction_takes_long_to_end_is_told_so() {
    run(async {
        let fed = fed().await;
        let double = Arc::new(Double::default());
        double.answers.lock().expect("no panic").extend([ErrorCode::ConcurrentTransactions; 50]);
        fed.data.verify_with(double.clone());
        let begun = Instant::now();
        assert_eq!(produce(&fed.data, 12, "7.0.0").await, ErrorCode::ConcurrentTransactions);
        assert!(begun.elapsed() <= std::time::Duration::from_millis(100));
        assert!((5..20).contains(&double.asked.lock().expect("no panic").len()));
        assert!(fed.data.stop().await);
    });
}

#[test]
fn a_marker_that_comes_while_the_coordinator_is_asked_keeps_the_late_batch_out() {
    run(async {
        let fed = fed().await;
        let ends = Some(Arc::downgrade(&fed.data));
        fed.data.verify_with(Arc::new(Double { ends, ..Double::default() }));
        assert_eq!(produce(&fed.data, 11, "7.0.0").await, ErrorCode::InvalidTxnState);
        assert!(fed.data.stop().await);
    });
}

#[test]
fn a_group_coordinator_ends_the_transactions_of_its_topic_alone() {
    run(async {
        let mut fed = fed().await;
        let offsets = model::Uuid::from_u128(78);
        fed.feed(vec![topic_record(offsets, "__consumer_offsets"), partition(offsets, 0, &[1], 1)]).await;
        assert_eq!(mark(&fed.data, "__consumer_offsets", "c 6.0").await, ErrorCode::None);
        let ends = Arc::new(Ends::default());
        fed.data.write_markers_with(ends.clone());
        assert_eq!(mark(&fed.data, "t", "c 7.0").await, ErrorCode::None);
        assert_eq!(mark(&fed.data, "__consumer_offsets", "a 7.2").await, ErrorCode::None);
        assert_eq!(mark(&fed.data, "__consumer_offsets", "a 8.2").await, ErrorCode::NotLeaderOrFollower);
        assert_eq!(mark(&fed.data, "missing", "a 7.2").await, ErrorCode::UnknownTopicOrPartition);
        let ended = ends.0.lock().expect("no panic").clone();
        let told: Vec<_> =
            ended.iter().map(|(index, end)| (index.get(), end.epoch.get(), end.commit)).collect();
        assert_eq!(told, [(0, 2, false)]);
        assert!(fed.data.stop().await);
    });
}
