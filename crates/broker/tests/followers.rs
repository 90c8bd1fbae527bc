//! Followers: how many connections they follow a leader on.

#[allow(dead_code, reason = "each test file uses its own part of it")]
mod support;

use std::time::Duration;

use model::ErrorCode;
use support::records::{batch, leader};
use support::{Client, Cluster, run};
use wire::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::{
    BrokerId, CreateTopicsRequest, IncrementalAlterConfigsRequest, ProduceRequest, ResponseKind, text, topic,
};

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

/// Sets a broker's key for all brokers.
async fn configure(client: &Client, key: &str, value: &str) {
    let config = AlterableConfig::default().with_name(text(key)).with_value(Some(text(value)));
    let resource = AlterConfigsResource::default().with_resource_type(4).with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    match client.ask(1, request).await {
        ResponseKind::IncrementalAlterConfigs(response) => {
            assert_eq!(response.responses[0].error_code, 0, "{response:?}");
        }
        other => panic!("{other:?}"),
    }
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
            configure(&client, "num.replica.fetchers", fetchers).await;
            for _ in 0..3 {
                assert_eq!(write_everywhere(&second, "t", 8).await, 8, "{fetchers}");
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            follows(connections);
        }
        cluster.stop_all().await;
    });
}
