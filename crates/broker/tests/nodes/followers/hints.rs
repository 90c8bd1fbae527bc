//! Who leads now, told with a refusal (KIP-951): the client goes there without asking for metadata.

use std::time::Duration;

use model::ErrorCode;
use wire::messages::elect_leaders_request::TopicPartitions;
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::{
    ElectLeadersRequest, FetchRequest, ProduceRequest, ProduceResponse, ResponseKind, WireUuid, topic,
};

use crate::support::records::{batch, check_led, create_on, leader, produce_request, reassign};
use crate::support::{Client, Cluster, run};

/// The error, and the leader with its address if it is named.
async fn check_produce(client: &Client, version: i16, request: ProduceRequest, outcome: &str) {
    let ResponseKind::Produce(response) = client.ask(version, request).await else { panic!("no answer") };
    assert_eq!(tell_produce(&response), outcome, "version {version}");
}

fn tell_produce(response: &ProduceResponse) -> String {
    let it = &response.responses[0].partition_responses[0];
    let nodes = response.node_endpoints.iter().map(|it| (it.node_id.0, it.host.as_str(), it.port));
    let (leader, epoch) = (it.current_leader.leader_id.0, it.current_leader.leader_epoch);
    tell(it.error_code, leader, epoch, nodes.collect())
}

/// The same of a fetch of a consumer that believes in `epoch`.
async fn check_fetch(client: &Client, version: i16, id: WireUuid, epoch: i32, outcome: &str) {
    let data = FetchPartition::default().with_current_leader_epoch(epoch).with_partition_max_bytes(1 << 20);
    let asked = FetchTopic::default().with_partitions(vec![data]);
    let asked = if version >= 13 { asked.with_topic_id(id) } else { asked.with_topic(topic("t")) };
    let request =
        FetchRequest::default().with_session_epoch(-1).with_max_bytes(1 << 20).with_topics(vec![asked]);
    let ResponseKind::Fetch(response) = client.ask(version, request).await else { panic!("no answer") };
    let it = &response.responses[0].partitions[0];
    let nodes = response.node_endpoints.iter().map(|it| (it.node_id.0, it.host.as_str(), it.port));
    let (leader, epoch) = (it.current_leader.leader_id.0, it.current_leader.leader_epoch);
    assert_eq!(tell(it.error_code, leader, epoch, nodes.collect()), outcome, "version {version}");
}

fn tell(code: i16, leader: i32, epoch: i32, nodes: Vec<(i32, &str, i32)>) -> String {
    let code = ErrorCode::from_code(code).name();
    let nodes = nodes.into_iter().map(|(node, host, port)| format!(" {node}={host}:{port}"));
    let nodes: String = nodes.collect();
    if leader < 0 { format!("{code}{nodes}") } else { format!("{code} led by {leader} in {epoch}{nodes}") }
}

#[test]
fn who_asks_the_wrong_broker_is_told_the_right_one() {
    run(async {
        let cluster = Cluster::start_with(1, 3).await;
        let first = cluster.client(1).await;
        create_on(&first, "t", &[2, 3], &[]).await;
        check_led(&first, "t", "2 [2, 3]").await;
        let (_, id) = leader(&first, "t").await;
        let write = || produce_request("t", 1, batch(&["x"], None));
        for client in [&first, &cluster.client(3).await] {
            check_produce(client, 9, write(), "NOT_LEADER_OR_FOLLOWER").await;
            for version in 10..=12 {
                let outcome = "NOT_LEADER_OR_FOLLOWER led by 2 in 0 2=n2:9092";
                check_produce(client, version, write(), outcome).await;
            }
        }
        check_fetch(&first, 16, id, -1, "NOT_LEADER_OR_FOLLOWER led by 2 in 0 2=n2:9092").await;
        check_fetch(&first, 15, id, -1, "NOT_LEADER_OR_FOLLOWER led by 2 in 0").await;
        check_fetch(&first, 11, id, -1, "NOT_LEADER_OR_FOLLOWER").await;
        cluster.stop_all().await;
    });
}

#[test]
fn who_was_overtaken_while_it_waited_or_believes_in_a_past_epoch_is_told_the_new_leader() {
    run(async {
        let cluster = Cluster::start_with(1, 4).await;
        let first = cluster.client(1).await;
        create_on(&first, "t", &[2, 3, 4], &[]).await;
        check_led(&first, "t", "2 [2, 3, 4]").await;
        let (_, id) = leader(&first, "t").await;
        // One replica hears nothing, so that nothing is committed until it is fenced.
        cluster.network.cut("n3");
        let second = cluster.client(2).await;
        let waits = async {
            let request = produce_request("t", -1, batch(&["x"], None)).with_timeout_ms(30_000);
            let ResponseKind::Produce(response) = second.ask(11, request).await else { panic!("no answer") };
            tell_produce(&response)
        };
        let moves = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            prefer(&first, &[4, 2, 3]).await;
        };
        let (said, ()) = tokio::join!(waits, moves);
        assert_eq!(said, "NOT_LEADER_OR_FOLLOWER led by 4 in 1 4=n4:9092");
        check_fetch(&second, 16, id, 0, "FENCED_LEADER_EPOCH led by 4 in 1 4=n4:9092").await;
        check_fetch(&cluster.client(4).await, 16, id, 0, "FENCED_LEADER_EPOCH led by 4 in 1 4=n4:9092").await;
    });
}

/// Makes the first of `brokers` the leader of `t`, whose replicas they are already.
async fn prefer(client: &Client, brokers: &[i32]) {
    reassign(client, "t", brokers).await;
    let wanted = TopicPartitions::default().with_topic(topic("t")).with_partitions(vec![0]);
    let request = ElectLeadersRequest::default()
        .with_election_type(0)
        .with_topic_partitions(Some(vec![wanted]))
        .with_timeout_ms(5_000);
    let ResponseKind::ElectLeaders(response) = client.ask(2, request).await else { panic!("none") };
    assert_eq!(response.error_code, 0, "{response:?}");
}
