//! Whole nodes in one process: what a client sees of one, of three, and of two out of three.

use std::time::Duration;

use crate::support::{Client, Cluster, run};
use wire::messages::create_topics_request::CreatableTopic;
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DescribeQuorumRequest, MetadataRequest, MetadataResponse,
    ResponseKind, WireUuid, describe_quorum_request, topic,
};

async fn create(client: &Client, name: &str, partitions: i32, replicas: i16) -> i16 {
    let asked = CreatableTopic::default()
        .with_name(topic(name))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas);
    let request = CreateTopicsRequest::default().with_topics(vec![asked]).with_timeout_ms(10_000);
    match client.ask(7, request).await {
        ResponseKind::CreateTopics(response) => response.topics[0].error_code,
        other => panic!("{other:?}"),
    }
}

async fn metadata(client: &Client, names: &[&str]) -> MetadataResponse {
    let asked = |name: &&str| MetadataRequestTopic::default().with_name(Some(topic(name)));
    let request = MetadataRequest::default()
        .with_topics(Some(names.iter().map(asked).collect()))
        .with_allow_auto_topic_creation(false);
    match client.ask(12, request).await {
        ResponseKind::Metadata(response) => response,
        other => panic!("{other:?}"),
    }
}

/// `brokers=1,2,3 t[0 leader=1 replicas=1,2,3]`
fn text(response: &MetadataResponse) -> String {
    let ids = |ids: &[wire::messages::BrokerId]| {
        ids.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(",")
    };
    let brokers: Vec<_> = response.brokers.iter().map(|broker| broker.node_id).collect();
    let mut text = format!("brokers={}", ids(&brokers));
    for topic in &response.topics {
        let name = topic.name.as_ref().map(|name| name.to_string()).unwrap_or_default();
        text += &format!(" {name}");
        if topic.error_code != 0 {
            text += &format!(" error={}", topic.error_code);
        }
        for part in &topic.partitions {
            let leader = if part.leader_id.0 < 0 { "none" } else { "some" };
            text += &format!(" [{} leader={leader} isr={}]", part.partition_index, part.isr_nodes.len());
        }
    }
    text
}

/// Asks until the answer is `expected`: a node other than the controller learns a moment later.
async fn check_shows(client: &Client, names: &[&str], expected: &str) {
    let mut seen = String::new();
    for _ in 0..100 {
        seen = text(&metadata(client, names).await);
        if seen == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("saw '{seen}', expected '{expected}'");
}

#[test]
fn one_node_registers_creates_a_topic_and_shows_it() {
    run(async {
        let cluster = Cluster::start(1).await;
        let client = cluster.client(1).await;
        match client.ask(3, ApiVersionsRequest::default()).await {
            ResponseKind::ApiVersions(response) => assert!(response.finalized_features_epoch >= 0),
            other => panic!("{other:?}"),
        }
        assert_eq!(create(&client, "t", 2, 1).await, 0);
        assert_eq!(create(&client, "t", 2, 1).await, 36, "it exists");
        let expected = "brokers=1 t [0 leader=some isr=1] [1 leader=some isr=1] u error=3";
        check_shows(&client, &["t", "u"], expected).await;
        drop(client);
        cluster.stop_all().await;
    });
}

#[test]
fn a_request_to_any_of_three_nodes_reaches_the_controller() {
    run(async {
        let cluster = Cluster::start(3).await;
        for id in 1..=3 {
            let client = cluster.client(id).await;
            let name = format!("t{id}");
            assert_eq!(create(&client, &name, 1, 3).await, 0);
            let expected = format!("brokers=1,2,3 {name} [0 leader=some isr=3]");
            check_shows(&client, &[&name], &expected).await;
        }
        cluster.stop_all().await;
    });
}

#[test]
fn a_stopped_node_hands_over_and_comes_back() {
    run(async {
        let mut cluster = Cluster::start(3).await;
        let client = cluster.client(1).await;
        assert_eq!(create(&client, "t", 6, 3).await, 0);
        for id in [2, 3] {
            cluster.stop(id).await;
            let seen = text(&metadata(&client, &["t"]).await);
            assert!(!seen.contains("leader=none"), "{seen}");
            cluster.boot(id).await;
            cluster.ready(id).await;
        }
        cluster.stop_all().await;
    });
}

#[test]
fn a_killed_process_is_fenced_and_its_partitions_are_led_by_others_within_a_second() {
    run(async {
        let mut cluster = Cluster::start(3).await;
        let client = cluster.client(1).await;
        assert_eq!(create(&client, "t", 6, 3).await, 0);
        let before = tokio::time::Instant::now();
        cluster.kill(3);
        loop {
            let seen = text(&metadata(&client, &["t"]).await);
            if seen.starts_with("brokers=1,2 t") && !seen.contains("leader=none") {
                break;
            }
            assert!(before.elapsed() < Duration::from_secs(1), "{seen}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn the_death_of_the_controller_costs_less_than_a_second() {
    run(async {
        let mut cluster = Cluster::start(3).await;
        let controller = cluster.controller().await;
        let other = controller % 3 + 1;
        let client = cluster.client(other).await;
        assert_eq!(create(&client, "t", 6, 3).await, 0);
        let before = tokio::time::Instant::now();
        cluster.kill(controller);
        assert_eq!(create(&client, "u", 1, 2).await, 0);
        loop {
            let seen = text(&metadata(&client, &["t"]).await);
            if !seen.contains("leader=none") && !seen.contains("isr=3") {
                break;
            }
            assert!(before.elapsed() < Duration::from_secs(1), "{seen}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

#[test]
fn bytes_that_are_no_request_close_the_connection_and_harm_nobody() {
    run(async {
        let cluster = Cluster::start(1).await;
        let client = cluster.client(1).await;
        let claims_too_much = [0x7f, 0xff, 0xff, 0xff];
        let unknown_api = [0, 0, 0, 10, 0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
        let truncated_header = [0, 0, 0, 2, 0, 3];
        for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &claims_too_much, &unknown_api, &truncated_header] {
            for port in [9092, 9093] {
                assert_eq!(cluster.throw(1, port, bytes).await, 0, "nothing is answered to {bytes:?}");
            }
        }
        assert_eq!(create(&client, "t", 1, 1).await, 0, "others are served on");
        drop(client);
        cluster.stop_all().await;
    });
}

#[test]
fn a_broker_that_does_not_vote_follows_serves_and_is_fenced_when_it_dies() {
    run(async {
        let mut cluster = Cluster::start_with(1, 3).await;
        let client = cluster.client(3).await;
        assert_eq!(create(&client, "t", 2, 3).await, 0);
        check_shows(&client, &["t"], "brokers=1,2,3 t [0 leader=some isr=3] [1 leader=some isr=3]").await;
        cluster.kill(2);
        check_shows(&client, &["t"], "brokers=1,3 t [0 leader=some isr=2] [1 leader=some isr=2]").await;
        cluster.stop(3).await;
        cluster.boot(3).await;
        cluster.ready(3).await;
        drop(client);
        cluster.stop_all().await;
    });
}

#[test]
fn a_broker_that_no_controller_takes_in_gives_up_in_time_and_says_why() {
    run(async {
        let patience = "initial.broker.registration.timeout.ms=5000\n";
        let mut cluster = Cluster::start_configured(2, 2, patience).await;
        cluster.stop(1).await;
        cluster.stop(2).await;
        // One of two voters is no majority.
        cluster.boot(1).await;
        let began = tokio::time::Instant::now();
        let failure = tokio::time::timeout(Duration::from_secs(60), cluster.node(1).failed()).await;
        let said = failure.expect("it gives up").0;
        assert!(said.contains("was not registered within 5000 ms"), "{said}");
        assert!((5..12).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
        cluster.stop_all().await;
    });
}

#[test]
fn the_quorum_is_described_in_every_version() {
    run(async {
        let cluster = Cluster::start(1).await;
        let client = cluster.client(1).await;
        for version in 0..=2 {
            let partition = describe_quorum_request::PartitionData::default();
            let asked = describe_quorum_request::TopicData::default()
                .with_topic_name(topic("__cluster_metadata"))
                .with_partitions(vec![partition]);
            let request = DescribeQuorumRequest::default().with_topics(vec![asked]);
            let ResponseKind::DescribeQuorum(answer) = client.ask(version, request).await else {
                panic!("version {version} has another answer");
            };
            let described = &answer.topics[0].partitions[0];
            assert_eq!((described.error_code, described.current_voters.len()), (0, 1), "version {version}");
            let voter = &described.current_voters[0];
            assert_eq!(voter.replica_directory_id, WireUuid::nil(), "static voters have no directories");
            assert_eq!(answer.nodes.is_empty(), version < 2, "version {version} and the voters' addresses");
        }
        cluster.stop_all().await;
    });
}
