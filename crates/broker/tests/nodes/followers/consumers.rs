//! Followers: how many connections they follow a leader on, and consumers that read from them (KIP-392).

use std::time::Duration;

use model::ErrorCode;
use wire::batch::Batches;
use wire::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::{
    BrokerId, CreateTopicsRequest, FetchRequest, ListOffsetsRequest, ProduceRequest, ResponseKind, WireUuid,
    text, topic,
};

use crate::support::records::{batch, check_led, configure, create_on, delete_records, leader, produce};
use crate::support::{Client, Cluster, run};

const RACKS: &str = "replica.selector.class=rack-aware\nbroker.rack=r{id}\n";

/// `partitions` of them, each led by the first of `brokers`.
async fn create_led(client: &Client, name: &str, partitions: i32, brokers: &[i32]) {
    let assignments = (0..partitions).map(|index| {
        CreatableReplicaAssignment::default()
            .with_partition_index(index)
            .with_broker_ids(brokers.iter().copied().map(BrokerId).collect())
    });
    let asked = CreatableTopic::default()
        .with_name(topic(name))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(assignments.collect());
    let request = CreateTopicsRequest::default().with_topics(vec![asked]).with_timeout_ms(10_000);
    let ResponseKind::CreateTopics(response) = client.ask(7, request).await else { panic!("no topic") };
    assert_eq!(response.topics[0].error_code, 0, "{response:?}");
    leader(client, name).await;
}

/// A record to each partition, acknowledged by all replicas; how many were.
async fn write_everywhere(client: &Client, name: &str, partitions: i32) -> usize {
    let data = (0..partitions).map(|index| {
        PartitionProduceData::default().with_index(index).with_records(Some(batch(&["v"], None)))
    });
    let data = TopicProduceData::default().with_name(topic(name)).with_partition_data(data.collect());
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(2_000).with_topic_data(vec![data]);
    let ResponseKind::Produce(response) = client.ask(12, request).await else { panic!("no answer") };
    let answers = &response.responses[0].partition_responses;
    answers.iter().filter(|it| it.error_code == ErrorCode::None.code()).count()
}

#[test]
fn a_followers_connections_to_its_leader_can_be_more_and_fewer_while_it_follows() {
    run(async {
        let cluster = Cluster::start_configured(1, 3, "num.replica.fetchers=3\n").await;
        let client = cluster.client(1).await;
        create_led(&client, "t", 8, &[2, 3]).await;
        let second = cluster.client(2).await;
        let follows = |count: usize| {
            let open = cluster.network.connections("n3", "n2");
            assert_eq!(open, count, "connections from the follower to its leader");
        };
        for (fetchers, connections) in [("3", 3), ("5", 5), ("1", 1), ("2", 2)] {
            configure(&client, 4, "", "num.replica.fetchers", fetchers).await;
            for _ in 0..3 {
                assert_eq!(write_everywhere(&second, "t", 8).await, 8, "{fetchers}");
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            follows(connections);
        }
        cluster.stop_all().await;
    });
}

/// A consumer's fetch of partition 0 of `t`.
#[derive(Clone, Copy)]
struct Read<'a> {
    id: WireUuid,
    version: i16,
    rack: &'a str,
    offset: i64,
    epoch: i32,
    wait_ms: i32,
}

impl Read<'_> {
    /// The error, whom it names as leader, where it sends to, how many records came, and the watermark.
    async fn say(&self, client: &Client) -> String {
        let data = FetchPartition::default()
            .with_fetch_offset(self.offset)
            .with_current_leader_epoch(self.epoch)
            .with_partition_max_bytes(1 << 20);
        let asked = FetchTopic::default().with_partitions(vec![data]);
        let asked =
            if self.version >= 13 { asked.with_topic_id(self.id) } else { asked.with_topic(topic("t")) };
        let request = FetchRequest::default()
            .with_max_wait_ms(self.wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(1 << 20)
            .with_session_epoch(-1)
            .with_rack_id(text(if self.version >= 11 { self.rack } else { "" }))
            .with_topics(vec![asked]);
        let answer = client.ask(self.version, request).await;
        let ResponseKind::Fetch(response) = answer else { panic!("no fetch response") };
        let it = &response.responses[0].partitions[0];
        let count = |bytes: &[u8]| -> i32 {
            Batches::new(bytes).map(|batch| batch.expect("whole batches").header.count).sum()
        };
        let mut said = Vec::new();
        if it.error_code != ErrorCode::None.code() {
            said.push(ErrorCode::from_code(it.error_code).name().to_owned());
        }
        if it.current_leader.leader_id.0 >= 0 {
            let named: Vec<i32> = response.node_endpoints.iter().map(|it| it.node_id.0).collect();
            let (leader, epoch) = (it.current_leader.leader_id.0, it.current_leader.leader_epoch);
            said.push(format!("leader {leader} in {epoch} of {named:?}"));
        }
        if it.preferred_read_replica.0 >= 0 {
            said.push(format!("read at {}", it.preferred_read_replica.0));
        }
        let records = it.records.as_deref().map_or(0, count);
        said.push(format!("{records} of {}", it.high_watermark));
        said.join(", ")
    }
}

/// Three nodes in racks r1 to r3; `t` on 2 and 3, led by 2, with three records.
async fn with_racks(extra: &'static str) -> (Cluster, Client, Client, WireUuid) {
    let cluster = Cluster::start_configured(1, 3, extra).await;
    let client = cluster.client(1).await;
    create_on(&client, "t", &[2, 3], &[]).await;
    check_led(&client, "t", "2 [2, 3]").await;
    let (_, id) = leader(&client, "t").await;
    let (second, third) = (cluster.client(2).await, cluster.client(3).await);
    for value in ["a", "b", "c"] {
        assert!(produce(&second, "t", -1, batch(&[value], None)).await.is_ok());
    }
    (cluster, second, third, id)
}

#[test]
fn a_consumer_is_sent_to_the_replica_in_its_rack() {
    run(async {
        let (cluster, second, third, id) = with_racks(RACKS).await;
        let read = Read { id, version: 16, rack: "r3", offset: 0, epoch: -1, wait_ms: 5_000 };
        let begun = tokio::time::Instant::now();
        assert_eq!(read.say(&second).await, "read at 3, 0 of 3");
        assert!(begun.elapsed() < Duration::from_secs(1), "it is told at once");
        assert_eq!(Read { version: 11, ..read }.say(&second).await, "read at 3, 0 of 3");
        assert_eq!(Read { offset: 3, ..read }.say(&second).await, "read at 3, 0 of 3", "it has all there is");
        assert_eq!(Read { version: 10, ..read }.say(&second).await, "3 of 3", "it cannot be told");
        for rack in ["r2", "r1", "", "nowhere"] {
            assert_eq!(Read { rack, ..read }.say(&second).await, "3 of 3", "rack '{rack}'");
        }
        assert_eq!(read.say(&third).await, "3 of 3", "and there it reads");
        cluster.network.cut("n3");
        check_led(&cluster.client(1).await, "t", "2 [2]").await;
        assert_eq!(read.say(&second).await, "3 of 3", "who is not in sync is not sent to");
    });
}

#[test]
fn without_a_selector_consumers_read_at_the_leader_and_may_read_at_a_follower() {
    run(async {
        let (cluster, second, third, id) = with_racks("broker.rack=r{id}\n").await;
        let read = Read { id, version: 16, rack: "r3", offset: 0, epoch: -1, wait_ms: 500 };
        assert_eq!(read.say(&second).await, "3 of 3");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(read.say(&third).await, "3 of 3");
        cluster.stop_all().await;
    });
}

#[test]
fn a_follower_serves_what_is_committed_in_its_log_and_refuses_the_rest_with_kafkas_codes() {
    run(async {
        let (cluster, second, third, id) = with_racks(RACKS).await;
        let read = Read { id, version: 16, rack: "r3", offset: 1, epoch: 0, wait_ms: 0 };
        assert_eq!(read.say(&third).await, "2 of 3");
        assert_eq!(Read { offset: 3, ..read }.say(&third).await, "0 of 3");
        assert_eq!(Read { offset: 4, ..read }.say(&third).await, "OFFSET_OUT_OF_RANGE, 0 of -1");
        assert_eq!(Read { epoch: 1, ..read }.say(&third).await, "UNKNOWN_LEADER_EPOCH, 0 of -1");
        assert_eq!(Read { version: 10, ..read }.say(&third).await, "NOT_LEADER_OR_FOLLOWER, 0 of -1");
        let first = cluster.client(1).await;
        let said = read.say(&first).await;
        assert_eq!(said, "NOT_LEADER_OR_FOLLOWER, leader 2 in 0 of [2], 0 of -1", "it has no replica");
        assert_eq!(delete_records(&second, "t", 2, 5_000).await, "low 2");
        assert_eq!(Read { offset: 1, ..read }.say(&third).await, "OFFSET_OUT_OF_RANGE, 0 of -1");
        assert_eq!(Read { offset: 2, ..read }.say(&third).await, "1 of 3");
        let data = ListOffsetsPartition::default().with_timestamp(-1).with_current_leader_epoch(-1);
        let data = ListOffsetsTopic::default().with_name(topic("t")).with_partitions(vec![data]);
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![data]);
        let ResponseKind::ListOffsets(response) = third.ask(9, request).await else { panic!("no offsets") };
        let code = ErrorCode::from_code(response.topics[0].partitions[0].error_code);
        assert_eq!(code, ErrorCode::NotLeaderOrFollower, "offsets are the leader's to tell");
        cluster.stop_all().await;
    });
}

#[test]
fn a_waiting_consumer_hears_from_a_follower_as_soon_as_a_record_is_committed() {
    run(async {
        let (cluster, second, third, id) = with_racks(RACKS).await;
        for offset in 3..23 {
            let read = Read { id, version: 16, rack: "r3", offset, epoch: -1, wait_ms: 5_000 };
            let begun = tokio::time::Instant::now();
            let written = async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                produce(&second, "t", -1, batch(&["v"], None)).await
            };
            let (said, written) = tokio::join!(read.say(&third), written);
            assert_eq!((said, written), (format!("1 of {}", offset + 1), Ok(offset)));
            assert!(begun.elapsed() < Duration::from_millis(150), "{:?} after {offset}", begun.elapsed());
        }
        cluster.stop_all().await;
    });
}

#[test]
fn a_follower_that_becomes_the_leader_goes_on_serving_and_names_itself_to_the_late() {
    run(async {
        let (mut cluster, _, third, id) = with_racks(RACKS).await;
        let read = Read { id, version: 16, rack: "r3", offset: 0, epoch: 0, wait_ms: 500 };
        assert_eq!(read.say(&third).await, "3 of 3");
        cluster.kill(2);
        check_led(&cluster.client(1).await, "t", "3 [3]").await;
        assert_eq!(Read { epoch: 1, ..read }.say(&third).await, "3 of 3");
        let said = read.say(&third).await;
        assert_eq!(said, "FENCED_LEADER_EPOCH, leader 3 in 1 of [3], 0 of -1");
    });
}
