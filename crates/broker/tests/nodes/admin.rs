//! What administrators' clients ask, and what Kafka's nodes answer them.

use wire::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use wire::messages::describe_configs_request::DescribeConfigsResource;
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::{
    AlterConfigsRequest, DescribeAclsRequest, DescribeConfigsRequest, ListConfigResourcesRequest,
    MetadataRequest, ResponseKind, text, topic,
};

use crate::support::records::create;
use crate::support::{Client, Cluster, run};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

async fn set(client: &Client, kind: i8, name: &str, key: &str, value: &str) {
    let config = AlterableConfig::default().with_name(text(key)).with_value(Some(text(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(vec![config]);
    match client.ask(2, AlterConfigsRequest::default().with_resources(vec![resource])).await {
        ResponseKind::AlterConfigs(response) => assert_eq!(response.responses[0].error_code, 0),
        other => panic!("{other:?}"),
    }
}

/// `32 g, 4 1`, or the error.
async fn listed(client: &Client, version: i16, kinds: &[i8]) -> String {
    let request = ListConfigResourcesRequest::default().with_resource_types(kinds.to_vec());
    let ResponseKind::ListConfigResources(response) = client.ask(version, request).await else {
        panic!("another answer");
    };
    if response.error_code != 0 {
        return format!("error {}", response.error_code);
    }
    let resources = response.config_resources.iter();
    let one =
        resources.map(|resource| format!("{} {}", resource.resource_type, resource.resource_name.as_str()));
    one.collect::<Vec<_>>().join(", ")
}

#[test]
fn what_configs_can_be_set_on_is_listed_by_kind() {
    run(async {
        let cluster = Cluster::start(1).await;
        let client = cluster.client(1).await;
        create(&client, "t", 1, 1, &[]).await;
        assert_eq!(listed(&client, 1, &[]).await, "4 1, 2 t");
        set(&client, GROUP, "g", "consumer.session.timeout.ms", "50000").await;
        set(&client, CLIENT_METRICS, "m", "interval.ms", "60000").await;
        for _ in 0..100 {
            if listed(&client, 1, &[GROUP, CLIENT_METRICS]).await == "32 g, 16 m" {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_eq!(listed(&client, 1, &[]).await, "32 g, 16 m, 4 1, 2 t");
        assert_eq!(listed(&client, 1, &[TOPIC, BROKER]).await, "4 1, 2 t");
        assert_eq!(listed(&client, 1, &[BROKER_LOGGER]).await, "");
        assert_eq!(listed(&client, 1, &[TOPIC, 99]).await, "error 35");
        assert_eq!(listed(&client, 0, &[]).await, "16 m");
        cluster.stop_all().await;
    });
}

#[test]
fn who_asks_for_lists_of_who_may_what_hears_that_nobody_authorizes() {
    run(async {
        let cluster = Cluster::start(1).await;
        let client = cluster.client(1).await;
        match client.ask(3, DescribeAclsRequest::default()).await {
            ResponseKind::DescribeAcls(response) => {
                assert_eq!(response.error_code, 54);
                assert_eq!(
                    response.error_message.as_deref(),
                    Some("No Authorizer is configured on the broker")
                );
            }
            other => panic!("{other:?}"),
        }
        cluster.stop_all().await;
    });
}

#[test]
fn a_topic_that_is_not_there_can_be_created_by_who_asks_for_it() {
    run(async {
        let cluster = Cluster::start(1).await;
        let client = cluster.client(1).await;
        let asked = MetadataRequestTopic::default().with_name(Some(topic("nope")));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![asked]))
            .with_allow_auto_topic_creation(false)
            .with_include_topic_authorized_operations(true);
        match client.ask(12, request).await {
            ResponseKind::Metadata(response) => {
                assert_eq!(response.topics[0].error_code, 3);
                assert_eq!(response.topics[0].topic_authorized_operations, 0xdf8);
            }
            other => panic!("{other:?}"),
        }
        cluster.stop_all().await;
    });
}

#[test]
fn configs_come_without_documentation_unless_it_is_asked_for() {
    run(async {
        let cluster = Cluster::start(1).await;
        let client = cluster.client(1).await;
        for wanted in [false, true] {
            let node = DescribeConfigsResource::default()
                .with_resource_type(BROKER)
                .with_resource_name(text("1"))
                .with_configuration_keys(None);
            let request = DescribeConfigsRequest::default()
                .with_resources(vec![node])
                .with_include_documentation(wanted);
            match client.ask(4, request).await {
                ResponseKind::DescribeConfigs(response) => {
                    let configs = &response.results[0].configs;
                    assert!(!configs.is_empty());
                    assert!(configs.iter().all(|config| config.documentation.is_some() == wanted));
                }
                other => panic!("{other:?}"),
            }
        }
        cluster.stop_all().await;
    });
}
