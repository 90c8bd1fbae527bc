//! What the tests do with records: topics made, batches written, read back and looked for.

use std::time::Duration;

use model::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use wire::batch::{BatchBuilder, Batches, NewRecord, Producer};
use wire::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use wire::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use wire::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, Bytes, CreateTopicsRequest, DeleteRecordsRequest,
    FetchRequest, IncrementalAlterConfigsRequest, ListOffsetsRequest, MetadataRequest, ProduceRequest,
    ResponseKind, WireUuid, text, topic,
};

use super::Client;

pub async fn create(client: &Client, name: &str, partitions: i32, replicas: i16, configs: &[(&str, &str)]) {
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
pub async fn leader(client: &Client, name: &str) -> (i32, WireUuid) {
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

/// Leader of partition 0, as soon as it is another than `first`.
pub async fn next_leader(client: &Client, name: &str, first: i32) -> i32 {
    loop {
        let (second, _) = leader(client, name).await;
        if second != first {
            return second;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

pub fn batch(values: &[&str], producer: Option<(i64, i32)>) -> Bytes {
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

pub fn produce_request(name: &str, acks: i16, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(0).with_records(Some(records));
    let data = TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(5_000).with_topic_data(vec![data])
}

/// The error, or the offset of the first record.
pub async fn produce(client: &Client, name: &str, acks: i16, records: Bytes) -> Result<i64, ErrorCode> {
    let ResponseKind::Produce(response) = client.ask(12, produce_request(name, acks, records)).await else {
        panic!("no produce response")
    };
    let answer = &response.responses[0].partition_responses[0];
    match ErrorCode::from_code(answer.error_code) {
        ErrorCode::None => Ok(answer.base_offset),
        code => Err(code),
    }
}

/// The same of a node that may be gone: whether it acknowledged.
pub async fn is_acknowledged(client: &Client, name: &str, records: Bytes) -> bool {
    match client.try_ask(12, produce_request(name, 1, records)).await {
        Some(ResponseKind::Produce(response)) => {
            response.responses[0].partition_responses[0].error_code == ErrorCode::None.code()
        }
        _ => false,
    }
}

/// `low OFFSET`, or the error.
pub async fn delete_records(client: &Client, name: &str, offset: i64, timeout_ms: i32) -> String {
    let data = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
    let data = DeleteRecordsTopic::default().with_name(topic(name)).with_partitions(vec![data]);
    let request = DeleteRecordsRequest::default().with_topics(vec![data]).with_timeout_ms(timeout_ms);
    let ResponseKind::DeleteRecords(response) = client.ask(2, request).await else { panic!("no answer") };
    let result = &response.topics[0].partitions[0];
    match ErrorCode::from_code(result.error_code) {
        ErrorCode::None => format!("low {}", result.low_watermark),
        code => code.name().to_owned(),
    }
}

/// Values from `offset` on, `@offset` before each batch, and the high watermark.
pub async fn fetch(client: &Client, id: WireUuid, offset: i64, wait_ms: i32) -> String {
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

pub async fn offset_at(client: &Client, name: &str, timestamp: i64) -> i64 {
    let data = ListOffsetsPartition::default().with_timestamp(timestamp).with_current_leader_epoch(-1);
    let data = ListOffsetsTopic::default().with_name(topic(name)).with_partitions(vec![data]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![data]);
    let ResponseKind::ListOffsets(response) = client.ask(9, request).await else { panic!("no offsets") };
    response.topics[0].partitions[0].offset
}

/// Sets a key of a broker (kind 4, no name for all of them) or a topic (kind 2).
pub async fn configure(client: &Client, kind: i8, resource: &str, key: &str, value: &str) {
    let config = AlterableConfig::default().with_name(text(key)).with_value(Some(text(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(resource))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    match client.ask(1, request).await {
        ResponseKind::IncrementalAlterConfigs(response) => {
            assert_eq!(response.responses[0].error_code, 0, "{response:?}");
        }
        other => panic!("{other:?}"),
    }
}

/// Gives partition 0 other replicas; it is not waited for.
pub async fn reassign(client: &Client, name: &str, brokers: &[i32]) {
    let brokers = brokers.iter().copied().map(BrokerId).collect();
    let to = ReassignablePartition::default().with_partition_index(0).with_replicas(Some(brokers));
    let to = ReassignableTopic::default().with_name(topic(name)).with_partitions(vec![to]);
    let request = AlterPartitionReassignmentsRequest::default().with_topics(vec![to]).with_timeout_ms(10_000);
    let ResponseKind::AlterPartitionReassignments(response) = client.ask(0, request).await else {
        panic!("no answer")
    };
    let code = response.responses[0].partitions[0].error_code;
    assert_eq!((response.error_code, code), (0, 0), "{response:?}");
}

/// Replicas 2, 3 and 4; broker 1 has none.
pub async fn create_beside_1(client: &Client, name: &str, configs: &[(&str, &str)]) {
    create_on(client, name, &[2, 3, 4], configs).await;
}

/// One partition on these brokers, the first of which leads.
pub async fn create_on(client: &Client, name: &str, brokers: &[i32], configs: &[(&str, &str)]) {
    let config = |(name, value): &(&str, &str)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    };
    let brokers = brokers.iter().copied().map(BrokerId).collect();
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

/// Leader and in-sync set: `2 [2, 3]`.
pub async fn led(client: &Client, name: &str) -> String {
    let asked = MetadataRequestTopic::default().with_name(Some(topic(name)));
    let request =
        MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(false);
    let ResponseKind::Metadata(response) = client.ask(12, request).await else { panic!("no metadata") };
    let partition = &response.topics[0].partitions[0];
    let mut isr: Vec<i32> = partition.isr_nodes.iter().map(|node| node.0).collect();
    isr.sort_unstable();
    format!("{} {isr:?}", partition.leader_id.0)
}

/// Waits until they are as expected.
pub async fn check_led(client: &Client, name: &str, expected: &str) {
    let mut seen = String::new();
    for _ in 0..800 {
        seen = led(client, name).await;
        if seen == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("saw {seen}, expected {expected}");
}
