//! Records through whole nodes: written, copied, read back, and not lost with a node.

#[allow(dead_code, reason = "each test file uses its own part of it")]
mod support;

use std::time::Duration;

use model::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use support::{Client, Cluster, run};
use wire::batch::{BatchBuilder, Batches, NewRecord, Producer};
use wire::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::{
    BrokerId, Bytes, CreateTopicsRequest, FetchRequest, InitProducerIdRequest, ListOffsetsRequest,
    MetadataRequest, ProduceRequest, ResponseKind, WireUuid, text, topic,
};

async fn create(client: &Client, name: &str, partitions: i32, replicas: i16, configs: &[(&str, &str)]) {
    let config = |(name, value): &(&str, &str)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    };
    let asked = CreatableTopic::default()
        .with_name(topic(name))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
        .with_configs(configs.iter().map(config).collect());
    let request = CreateTopicsRequest::default().with_topics(vec![asked]).with_timeout_ms(10_000);
    match client.ask(7, request).await {
        ResponseKind::CreateTopics(response) => assert_eq!(response.topics[0].error_code, 0, "{response:?}"),
        other => panic!("{other:?}"),
    }
}

/// Leader and id of partition 0, as soon as there is one.
async fn leader(client: &Client, name: &str) -> (i32, WireUuid) {
    for _ in 0..400 {
        let asked = MetadataRequestTopic::default().with_name(Some(topic(name)));
        let request =
            MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false);
        let ResponseKind::Metadata(response) = client.ask(12, request).await else { panic!("no metadata") };
        let found = &response.topics[0];
        if let Some(partition) = found.partitions.first().filter(|it| it.leader_id.0 >= 0) {
            return (partition.leader_id.0, found.topic_id);
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{name} has no leader");
}

fn batch(values: &[&str], producer: Option<(i64, i32)>) -> Bytes {
    let mut builder = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(0));
    if let Some((id, base_sequence)) = producer {
        let producer = Producer { id: ProducerId::new(id), epoch: ProducerEpoch::new(0), base_sequence };
        builder = builder.producer(producer, false);
    }
    for value in values {
        let timestamp = Timestamp::new(1_700_000_000_000);
        builder.push(&NewRecord { timestamp, value: Some(value.as_bytes()), ..NewRecord::default() });
    }
    let mut bytes = Vec::new();
    builder.finish(&mut bytes).expect("no codec");
    bytes.into()
}

fn produce_request(name: &str, acks: i16, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(0).with_records(Some(records));
    let data = TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(5_000).with_topic_data(vec![data])
}

/// The error, or the offset of the first record.
async fn produce(client: &Client, name: &str, acks: i16, records: Bytes) -> Result<i64, ErrorCode> {
    let ResponseKind::Produce(response) = client.ask(12, produce_request(name, acks, records)).await else {
        panic!("no produce response")
    };
    let answer = &response.responses[0].partition_responses[0];
    match ErrorCode::from_code(answer.error_code) {
        ErrorCode::None => Ok(answer.base_offset),
        code => Err(code),
    }
}

/// Values from `offset` on, `@offset` before each batch, and the high watermark.
async fn fetch(client: &Client, id: WireUuid, offset: i64, wait_ms: i32) -> String {
    let data = FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(offset)
        .with_current_leader_epoch(-1)
        .with_partition_max_bytes(1 << 20);
    let data = FetchTopic::default().with_topic_id(id).with_partitions(vec![data]);
    let request = FetchRequest::default()
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![data]);
    let ResponseKind::Fetch(response) = client.ask(16, request).await else { panic!("no fetch response") };
    let answer = &response.responses[0].partitions[0];
    let mut said = match ErrorCode::from_code(answer.error_code) {
        ErrorCode::None => String::new(),
        code => code.name().to_owned(),
    };
    for batch in Batches::new(answer.records.as_deref().unwrap_or_default()) {
        let batch = batch.expect("whole batches");
        batch.check_crc().expect("unharmed");
        said += &format!("@{} ", batch.header.base_offset);
        for record in batch.records(1 << 20).expect("plain").iter() {
            said += &format!("{} ", String::from_utf8_lossy(record.expect("whole").value.expect("a value")));
        }
    }
    format!("{said}hw={}", answer.high_watermark)
}

async fn offset_at(client: &Client, name: &str, timestamp: i64) -> i64 {
    let data = ListOffsetsPartition::default().with_timestamp(timestamp).with_current_leader_epoch(-1);
    let data = ListOffsetsTopic::default().with_name(topic(name)).with_partitions(vec![data]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![data]);
    let ResponseKind::ListOffsets(response) = client.ask(9, request).await else { panic!("no offsets") };
    response.topics[0].partitions[0].offset
}

#[test]
fn one_node_takes_records_and_gives_them_back_after_a_restart() {
    run(async {
        let mut cluster = Cluster::start(1).await;
        let client = cluster.client(1).await;
        create(&client, "t", 1, 1, &[]).await;
        let (_, id) = leader(&client, "t").await;
        assert_eq!(produce(&client, "t", -1, batch(&["a", "b"], None)).await, Ok(0));
        assert_eq!(produce(&client, "t", 1, batch(&["c"], None)).await, Ok(2));
        assert_eq!(fetch(&client, id, 0, 0).await, "@0 a b @2 c hw=3");
        assert_eq!(fetch(&client, id, 1, 0).await, "@0 a b @2 c hw=3");
        assert_eq!(fetch(&client, id, 3, 100).await, "hw=3");
        assert_eq!(fetch(&client, id, 4, 100).await, "OFFSET_OUT_OF_RANGEhw=-1");
        cluster.stop(1).await;
        cluster.boot(1).await;
        cluster.ready(1).await;
        let client = cluster.client(1).await;
        assert_eq!(fetch(&client, id, 0, 0).await, "@0 a b @2 c hw=3");
        assert_eq!(produce(&client, "t", -1, batch(&["d"], None)).await, Ok(3));
        assert_eq!((offset_at(&client, "t", -2).await, offset_at(&client, "t", -1).await), (0, 4));
        assert_eq!(offset_at(&client, "t", 1).await, 0);
        assert_eq!(offset_at(&client, "t", i64::MAX).await, -1);
        cluster.stop_all().await;
    });
}

#[test]
fn refusals_say_what_is_wrong() {
    run(async {
        let cluster = Cluster::start(1).await;
        let client = cluster.client(1).await;
        create(&client, "t", 1, 1, &[("max.message.bytes", "200")]).await;
        leader(&client, "t").await;
        assert_eq!(produce(&client, "t", 2, batch(&["a"], None)).await, Err(ErrorCode::InvalidRequiredAcks));
        let missing = produce(&client, "missing", 1, batch(&["a"], None)).await;
        assert_eq!(missing, Err(ErrorCode::UnknownTopicOrPartition));
        let metadata = produce(&client, "__cluster_metadata", 1, batch(&["a"], None)).await;
        assert_eq!(metadata, Err(ErrorCode::InvalidTopicException));
        let large = "x".repeat(300);
        assert_eq!(produce(&client, "t", 1, batch(&[&large], None)).await, Err(ErrorCode::MessageTooLarge));
        let mut torn = batch(&["a"], None).to_vec();
        let last = torn.len() - 1;
        torn[last] ^= 1;
        assert_eq!(produce(&client, "t", 1, torn.into()).await, Err(ErrorCode::CorruptMessage));
        assert_eq!(produce(&client, "t", 1, Bytes::new()).await, Err(ErrorCode::InvalidRecord));
        let mut placed = batch(&["a"], None).to_vec();
        placed[..8].copy_from_slice(&7_i64.to_be_bytes());
        assert_eq!(produce(&client, "t", 1, placed.into()).await, Err(ErrorCode::InvalidRecord));
        cluster.stop_all().await;
    });
}

#[test]
fn an_idempotent_producers_batch_is_taken_once() {
    run(async {
        let cluster = Cluster::start(1).await;
        let client = cluster.client(1).await;
        create(&client, "t", 1, 1, &[]).await;
        let (_, topic_id) = leader(&client, "t").await;
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let ResponseKind::InitProducerId(response) = client.ask(4, request).await else { panic!("no id") };
        assert_eq!(response.error_code, 0);
        let id = response.producer_id.0;
        assert_eq!(produce(&client, "t", -1, batch(&["a", "b"], Some((id, 0)))).await, Ok(0));
        assert_eq!(produce(&client, "t", -1, batch(&["a", "b"], Some((id, 0)))).await, Ok(0));
        let gap = produce(&client, "t", -1, batch(&["d"], Some((id, 3)))).await;
        assert_eq!(gap, Err(ErrorCode::OutOfOrderSequenceNumber));
        assert_eq!(produce(&client, "t", -1, batch(&["c"], Some((id, 2)))).await, Ok(2));
        assert_eq!(fetch(&client, topic_id, 0, 0).await, "@0 a b @2 c hw=3");
        cluster.stop_all().await;
    });
}

#[test]
fn a_long_poll_ends_when_a_record_comes() {
    run(async {
        let cluster = Cluster::start(1).await;
        let (client, other) = (cluster.client(1).await, cluster.client(1).await);
        create(&client, "t", 1, 1, &[("flush.messages", "1")]).await;
        let (_, id) = leader(&client, "t").await;
        let begun = tokio::time::Instant::now();
        let late = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            produce(&other, "t", -1, batch(&["late"], None)).await
        };
        let (got, written) = tokio::join!(fetch(&client, id, 0, 10_000), late);
        assert_eq!((got.as_str(), written), ("@0 late hw=1", Ok(0)));
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        cluster.stop_all().await;
    });
}

#[test]
fn what_was_acknowledged_by_all_outlives_its_leader() {
    run(async {
        let mut cluster = Cluster::start(3).await;
        let client = cluster.client(1).await;
        create(&client, "t", 1, 3, &[("min.insync.replicas", "2")]).await;
        let (first, id) = leader(&client, "t").await;
        let to_first = cluster.client(first).await;
        for (offset, value) in (0..).zip(["a", "b", "c"]) {
            assert_eq!(produce(&to_first, "t", -1, batch(&[value], None)).await, Ok(offset));
        }
        let other = first % 3 + 1;
        let refused = produce(&cluster.client(other).await, "t", -1, batch(&["x"], None)).await;
        assert_eq!(refused, Err(ErrorCode::NotLeaderOrFollower));
        cluster.kill(first);
        let survivor = cluster.client(other).await;
        let second = loop {
            let (second, _) = leader(&survivor, "t").await;
            if second != first {
                break second;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        };
        let to_second = cluster.client(second).await;
        assert_eq!(produce(&to_second, "t", -1, batch(&["d"], None)).await, Ok(3));
        assert_eq!(fetch(&to_second, id, 0, 0).await, "@0 a @1 b @2 c @3 d hw=4");
        cluster.stop_all().await;
    });
}

/// Replicas 2, 3 and 4; broker 1 has none.
async fn create_beside_1(client: &Client, name: &str, configs: &[(&str, &str)]) {
    let config = |(name, value): &(&str, &str)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    };
    let brokers = [2, 3, 4].map(BrokerId).to_vec();
    let assignment = CreatableReplicaAssignment::default().with_partition_index(0).with_broker_ids(brokers);
    let asked = CreatableTopic::default()
        .with_name(topic(name))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(vec![assignment])
        .with_configs(configs.iter().map(config).collect());
    let request = CreateTopicsRequest::default().with_topics(vec![asked]).with_timeout_ms(10_000);
    let ResponseKind::CreateTopics(response) = client.ask(7, request).await else { panic!("no topic") };
    assert_eq!(response.topics[0].error_code, 0, "{response:?}");
}

/// Waits until leader and in-sync set are as expected: `2 [2, 3]`.
async fn check_led(client: &Client, name: &str, expected: &str) {
    let mut seen = String::new();
    for _ in 0..800 {
        let asked = MetadataRequestTopic::default().with_name(Some(topic(name)));
        let request =
            MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false);
        let ResponseKind::Metadata(response) = client.ask(12, request).await else { panic!("no metadata") };
        let partition = &response.topics[0].partitions[0];
        let mut isr: Vec<i32> = partition.isr_nodes.iter().map(|node| node.0).collect();
        isr.sort_unstable();
        seen = format!("{} {isr:?}", partition.leader_id.0);
        if seen == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("saw {seen}, expected {expected}");
}

#[test]
fn after_an_unclean_election_the_partition_serves_and_its_in_sync_set_grows_again() {
    run(async {
        let mut cluster = Cluster::start_with(1, 4).await;
        let client = cluster.client(1).await;
        create_beside_1(&client, "t", &[("unclean.leader.election.enable", "true")]).await;
        check_led(&client, "t", "2 [2, 3, 4]").await;
        cluster.stop(2).await;
        cluster.stop(3).await;
        check_led(&client, "t", "4 [4]").await;
        assert_eq!(produce(&cluster.client(4).await, "t", -1, batch(&["lost"], None)).await, Ok(0));
        cluster.kill(4);
        check_led(&client, "t", "-1 []").await;
        cluster.boot(2).await;
        cluster.ready(2).await;
        check_led(&client, "t", "2 [2]").await;
        cluster.boot(3).await;
        cluster.ready(3).await;
        check_led(&client, "t", "2 [2, 3]").await;
        assert_eq!(produce(&cluster.client(2).await, "t", -1, batch(&["kept"], None)).await, Ok(0));
        cluster.stop_all().await;
    });
}

#[test]
fn a_broker_whose_only_disk_fails_gives_up_and_others_lead() {
    run(async {
        let cluster = Cluster::start_with(1, 4).await;
        let client = cluster.client(1).await;
        create_beside_1(&client, "t", &[("flush.messages", "1")]).await;
        check_led(&client, "t", "2 [2, 3, 4]").await;
        let second = cluster.client(2).await;
        let writing = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            produce(&second, "t", 1, batch(&["a"], None)).await
        };
        let (reason, written) = tokio::join!(cluster.fail_next_sync(2), writing);
        assert_eq!(written, Err(ErrorCode::KafkaStorageError));
        assert!(reason.contains("/data failed"), "{reason}");
        check_led(&client, "t", "3 [3, 4]").await;
    });
}
