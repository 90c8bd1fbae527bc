//! Transactions in whole nodes, made by hand: what readers of committed data see of them, here, after a
//! restart, and where another node leads.

use std::time::Duration;

use crate::support::records::{create, leader, next_leader, produce_request};
use crate::support::{Client, Cluster, run};
use model::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use wire::batch::{BatchBuilder, Batches, NewRecord, Producer};
use wire::messages::describe_producers_request::TopicRequest;
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use wire::messages::{
    BrokerId, Bytes, DescribeProducersRequest, FetchRequest, ListOffsetsRequest, ResponseKind,
    TransactionalId, WireUuid, WriteTxnMarkersRequest, text, topic,
};

/// No coordinator is asked: there is none.
const UNVERIFIED: &str = "transaction.partition.verification.enable=false\n";

fn batch(producer: i64, base_sequence: i32, value: &str, transactional: bool) -> Bytes {
    let (id, epoch) = (ProducerId::new(producer), ProducerEpoch::new(0));
    let mut builder = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(0))
        .producer(Producer { id, epoch, base_sequence }, transactional);
    let timestamp = Timestamp::new(1_700_000_000_000 + i64::from(base_sequence));
    builder.push(&NewRecord { timestamp, value: Some(value.as_bytes()), ..NewRecord::default() });
    let mut bytes = Vec::new();
    builder.finish(&mut bytes).expect("no codec");
    bytes.into()
}

async fn send(client: &Client, records: Bytes, transactional: bool) -> ErrorCode {
    let mut request = produce_request("t", -1, records);
    request.transactional_id = transactional.then(|| TransactionalId(text("x")));
    let ResponseKind::Produce(response) = client.ask(11, request).await else { panic!("no answer") };
    ErrorCode::from_code(response.responses[0].partition_responses[0].error_code)
}

async fn mark(client: &Client, producer: i64, commit: bool) -> ErrorCode {
    let named = WritableTxnMarkerTopic::default().with_name(topic("t")).with_partition_indexes(vec![0]);
    let marker = WritableTxnMarker::default()
        .with_producer_id(producer.into())
        .with_transaction_result(commit)
        .with_coordinator_epoch(3)
        .with_topics(vec![named]);
    let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
    let ResponseKind::WriteTxnMarkers(response) = client.ask(1, request).await else { panic!("no answer") };
    ErrorCode::from_code(response.markers[0].topics[0].partitions[0].error_code)
}

/// `t P.S`, a record of a transaction, `d P.S`, one of none, with that for its value; `c P`, `a P`.
async fn act(client: &Client, steps: &str) {
    for step in steps.split(", ") {
        let (kind, words) = step.split_once(' ').expect("a kind");
        let (producer, sequence) = words.split_once('.').unwrap_or((words, "0"));
        let producer: i64 = producer.parse().expect("a number");
        let sequence: i32 = sequence.parse().expect("a number");
        let code = match kind {
            "t" | "d" => send(client, batch(producer, sequence, words, kind == "t"), kind == "t").await,
            _ => mark(client, producer, kind == "c").await,
        };
        assert_eq!(code, ErrorCode::None, "{step}");
    }
}

/// What a reader of committed data is given from `offset` on: values, aborted transactions, how far the log
/// is stable and committed.
async fn read(
    client: &Client,
    id: WireUuid,
    offset: i64,
    wait_ms: i32,
    isolation: i8,
    version: i16,
) -> String {
    let data = FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(offset)
        .with_current_leader_epoch(-1)
        .with_partition_max_bytes(1 << 20);
    let mut data = FetchTopic::default().with_partitions(vec![data]);
    if version >= 13 {
        data.topic_id = id;
    } else {
        data.topic = topic("t");
    }
    let request = FetchRequest::default()
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_isolation_level(isolation)
        .with_session_epoch(if version >= 7 { -1 } else { 0 })
        .with_topics(vec![data]);
    let ResponseKind::Fetch(response) = client.ask(version, request).await else { panic!("no answer") };
    let answer = &response.responses[0].partitions[0];
    assert_eq!(answer.error_code, 0);
    let mut said = String::new();
    for batch in Batches::new(answer.records.as_deref().unwrap_or_default()) {
        let batch = batch.expect("whole batches");
        for record in batch.records(1 << 20).expect("plain").iter() {
            let record = record.expect("whole");
            match batch.header.is_control() {
                true => said += "| ",
                false => said += &format!("{} ", String::from_utf8_lossy(record.value.expect("a value"))),
            }
        }
    }
    let aborted = answer.aborted_transactions.as_ref().map(|aborted| {
        let aborted = aborted.iter().map(|it| format!("{}@{}", it.producer_id.0, it.first_offset));
        aborted.collect::<Vec<_>>().join(" ")
    });
    format!("{said}aborted={aborted:?} lso={} hw={}", answer.last_stable_offset, answer.high_watermark)
}

async fn committed(client: &Client, id: WireUuid, offset: i64) -> String {
    read(client, id, offset, 0, 1, 16).await
}

async fn offset_at(client: &Client, timestamp: i64, isolation: i8) -> i64 {
    let data = ListOffsetsPartition::default().with_timestamp(timestamp).with_current_leader_epoch(-1);
    let data = ListOffsetsTopic::default().with_name(topic("t")).with_partitions(vec![data]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(isolation)
        .with_topics(vec![data]);
    let ResponseKind::ListOffsets(response) = client.ask(9, request).await else { panic!("no offsets") };
    response.topics[0].partitions[0].offset
}

/// After the steps, what a reader of committed data is given from the beginning on.
fn check(steps: &str, outcome: &str) {
    run(async {
        let cluster = Cluster::start_configured(1, 1, UNVERIFIED).await;
        let client = cluster.client(1).await;
        create(&client, "t", 1, 1, &[]).await;
        let (_, id) = leader(&client, "t").await;
        act(&client, steps).await;
        assert_eq!(committed(&client, id, 0).await, outcome, "after {steps}");
        cluster.stop_all().await;
    });
}

#[test]
fn readers_of_committed_data_stop_before_the_first_open_transaction() {
    check("d 9.0, t 7.0, d 9.1", "9.0 aborted=Some(\"\") lso=1 hw=3");
    check("d 9.0, t 7.0, d 9.1, c 7", "9.0 7.0 9.1 | aborted=Some(\"\") lso=4 hw=4");
    check("t 7.0, t 8.0, a 7", "7.0 aborted=Some(\"7@0\") lso=1 hw=3");
}

#[test]
fn readers_of_committed_data_are_told_what_was_aborted() {
    check("t 7.0, a 7, t 7.1, c 7", "7.0 | 7.1 | aborted=Some(\"7@0\") lso=4 hw=4");
    check("t 7.0, t 8.0, a 8, c 7", "7.0 8.0 | | aborted=Some(\"8@1\") lso=4 hw=4");
}

#[test]
fn every_version_of_fetch_tells_it() {
    run(async {
        let cluster = Cluster::start_configured(1, 1, UNVERIFIED).await;
        let client = cluster.client(1).await;
        create(&client, "t", 1, 1, &[]).await;
        let (_, id) = leader(&client, "t").await;
        act(&client, "t 7.0, a 7, t 8.0").await;
        for version in 4..=17 {
            let stable = read(&client, id, 0, 0, 1, version).await;
            assert_eq!(stable, "7.0 | aborted=Some(\"7@0\") lso=2 hw=3", "version {version}");
            let all = read(&client, id, 0, 0, 0, version).await;
            assert_eq!(all, "7.0 | 8.0 aborted=None lso=2 hw=3", "version {version}");
        }
        cluster.stop_all().await;
    });
}

#[test]
fn a_reader_that_waits_is_given_a_transaction_when_it_ends() {
    run(async {
        let cluster = Cluster::start_configured(1, 1, UNVERIFIED).await;
        let (client, other) = (cluster.client(1).await, cluster.client(1).await);
        create(&client, "t", 1, 1, &[]).await;
        let (_, id) = leader(&client, "t").await;
        act(&client, "t 7.0").await;
        let begun = tokio::time::Instant::now();
        let late = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            act(&other, "c 7").await;
        };
        let (got, ()) = tokio::join!(read(&client, id, 0, 10_000, 1, 16), late);
        assert_eq!(got, "7.0 | aborted=Some(\"\") lso=2 hw=2");
        let took = begun.elapsed();
        assert!((300..1_000).contains(&took.as_millis()), "{took:?}");
        cluster.stop_all().await;
    });
}

#[test]
fn offsets_are_listed_as_far_as_the_asker_reads() {
    run(async {
        let cluster = Cluster::start_configured(1, 1, UNVERIFIED).await;
        let client = cluster.client(1).await;
        create(&client, "t", 1, 1, &[]).await;
        leader(&client, "t").await;
        act(&client, "d 9.0, t 7.5").await;
        assert_eq!((offset_at(&client, -1, 0).await, offset_at(&client, -1, 1).await), (2, 1));
        let second = 1_700_000_000_003;
        assert_eq!((offset_at(&client, second, 0).await, offset_at(&client, second, 1).await), (1, -1));
        act(&client, "c 7").await;
        assert_eq!((offset_at(&client, -1, 0).await, offset_at(&client, -1, 1).await), (3, 3));
        assert_eq!(offset_at(&client, second, 1).await, 1);
        cluster.stop_all().await;
    });
}

/// `PRODUCER: epoch, last sequence, coordinator epoch, open transaction`, each.
async fn producers(client: &Client) -> Vec<String> {
    let asked = TopicRequest::default().with_name(topic("t")).with_partition_indexes(vec![0, 7]);
    let request = DescribeProducersRequest::default().with_topics(vec![asked]);
    let ResponseKind::DescribeProducers(response) = client.ask(0, request).await else { panic!("no answer") };
    let partitions = &response.topics[0].partitions;
    assert_eq!(ErrorCode::from_code(partitions[1].error_code), ErrorCode::UnknownTopicOrPartition);
    assert_eq!(partitions[0].error_code, 0);
    let told = partitions[0].active_producers.iter().map(|it| {
        let (epoch, sequence) = (it.producer_epoch, it.last_sequence);
        let (coordinator, open) = (it.coordinator_epoch, it.current_txn_start_offset);
        format!("{}: {epoch}, {sequence}, {coordinator}, {open}", it.producer_id.0)
    });
    told.collect()
}

#[test]
fn transactions_outlive_a_restart_and_hanging_ones_can_be_seen_and_ended() {
    run(async {
        let mut cluster = Cluster::start_configured(1, 1, UNVERIFIED).await;
        let client = cluster.client(1).await;
        create(&client, "t", 1, 1, &[]).await;
        let (_, id) = leader(&client, "t").await;
        act(&client, "t 7.0, a 7, t 8.0, d 9.0").await;
        let told = ["7: 0, 0, 3, -1", "8: 0, 0, -1, 2", "9: 0, 0, -1, -1"];
        assert_eq!(producers(&client).await, told);
        cluster.stop(1).await;
        cluster.boot(1).await;
        cluster.ready(1).await;
        let client = cluster.client(1).await;
        assert_eq!(producers(&client).await, told);
        assert_eq!(committed(&client, id, 0).await, "7.0 | aborted=Some(\"7@0\") lso=2 hw=4");
        act(&client, "a 8").await;
        let after = "8.0 9.0 | aborted=Some(\"8@2\") lso=5 hw=5";
        assert_eq!(committed(&client, id, 2).await, after);
        cluster.stop_all().await;
    });
}

#[test]
fn another_leader_knows_what_is_open_and_what_was_aborted() {
    run(async {
        let mut cluster = Cluster::start_configured(3, 3, UNVERIFIED).await;
        let client = cluster.client(1).await;
        create(&client, "t", 1, 3, &[("min.insync.replicas", "2")]).await;
        let (first, id) = leader(&client, "t").await;
        act(&cluster.client(first).await, "t 7.0, a 7, t 8.0, d 9.0").await;
        for node in 1..=3 {
            let told = producers(&cluster.client(node).await).await;
            assert_eq!(told, ["7: 0, 0, 3, -1", "8: 0, 0, -1, 2", "9: 0, 0, -1, -1"], "node {node}");
        }
        let other = first % 3 + 1;
        assert_eq!(mark(&cluster.client(other).await, 8, true).await, ErrorCode::NotLeaderOrFollower);
        cluster.kill(first);
        let survivor = cluster.client(other).await;
        let second = next_leader(&survivor, "t", first).await;
        let client = cluster.client(second).await;
        // How far the log is committed, it may not know yet.
        let open = committed(&client, id, 0).await;
        assert!(open.starts_with("7.0 | aborted=Some(\"7@0\") lso=2 "), "{open}");
        act(&client, "c 8").await;
        assert_eq!(committed(&client, id, 2).await, "8.0 9.0 | aborted=Some(\"\") lso=5 hw=5");
        cluster.stop_all().await;
    });
}

#[test]
fn what_no_client_may_write_is_refused() {
    run(async {
        let cluster = Cluster::start_configured(1, 1, UNVERIFIED).await;
        let client = cluster.client(1).await;
        create(&client, "t", 1, 1, &[]).await;
        leader(&client, "t").await;
        let nameless = send(&client, batch(7, 0, "x", true), false).await;
        assert_eq!(nameless, ErrorCode::TransactionalIdAuthorizationFailed);
        let marker = wire::batch::EndMarker { commit: true, coordinator_epoch: 1 };
        let place = (Offset::ZERO, LeaderEpoch::new(0));
        let forged = marker.batch(ProducerId::new(7), ProducerEpoch::new(0), Timestamp::new(0), place);
        assert_eq!(send(&client, forged.into(), true).await, ErrorCode::InvalidRecord);
        act(&client, "t 7.0").await;
        assert_eq!(send(&client, batch(7, 1, "x", false), false).await, ErrorCode::InvalidTxnState);
        cluster.stop_all().await;
    });
}
