//! `kastle topics describe [NAME...]`: partitions, leaders, replicas, and configs.

use clap::Args;
use model::ErrorCode;
use serde_json::{Value, json};
use wire::messages::describe_configs_request::DescribeConfigsResource;
use wire::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use wire::messages::{DescribeConfigsRequest, from_wire_uuid, text};

use crate::client::{Cluster, Target, To, answer, converse, refused};
use crate::failure::{Outcome, say};
use crate::output::{self, list};
use crate::topics::TOPIC_RESOURCE;

/// The source of a value that was set on the topic itself.
const SET_ON_TOPIC: i8 = 1;

#[derive(Args)]
pub struct Arguments {
    /// The topics; all when absent.
    names: Vec<String>,
    /// Show every config with its value, not only those that were set.
    #[arg(long)]
    configs: bool,
    #[command(flatten)]
    target: Target,
}

pub fn run(arguments: &Arguments) -> Outcome {
    converse(&arguments.target, |cluster| describe(cluster, arguments))
}

async fn describe(mut cluster: Cluster, arguments: &Arguments) -> Outcome {
    let asked = (!arguments.names.is_empty()).then_some(arguments.names.as_slice());
    let mut topics = cluster.metadata(asked, false).await?.topics;
    topics.sort_by(|one, two| one.name.cmp(&two.name));
    let mut described = Vec::new();
    let mut outcome = Ok(());
    for topic in &topics {
        let name = topic.name.as_ref().map(|name| name.to_string()).unwrap_or_default();
        let code = ErrorCode::from_code(topic.error_code);
        if code.is_error() {
            outcome = Err(refused(&format!("describe {name}"), code, None));
            continue;
        }
        let configs = configs(&mut cluster, &name, arguments.configs).await?;
        if arguments.target.json {
            described.push(to_json(&name, topic, &configs));
        } else {
            show(&name, topic, &configs)?;
        }
    }
    if arguments.target.json {
        output::json(&Value::Array(described))?;
    }
    outcome
}

/// Keys and values of a topic.
async fn configs(cluster: &mut Cluster, name: &str, all: bool) -> Outcome<Vec<(String, String)>> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(TOPIC_RESOURCE)
        .with_resource_name(text(name))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let response = answer!(DescribeConfigs, cluster.ask(To::Any, request).await?);
    let mut configs = Vec::new();
    for result in response.results {
        let code = ErrorCode::from_code(result.error_code);
        if code.is_error() {
            return Err(refused(
                &format!("describe the configs of {name}"),
                code,
                result.error_message.as_deref(),
            ));
        }
        let shown = result.configs.into_iter().filter(|config| all || config.config_source == SET_ON_TOPIC);
        configs.extend(shown.map(|config| {
            (config.name.to_string(), config.value.map(|value| value.to_string()).unwrap_or_default())
        }));
    }
    Ok(configs)
}

fn sorted(topic: &MetadataResponseTopic) -> Vec<&MetadataResponsePartition> {
    let mut partitions: Vec<_> = topic.partitions.iter().collect();
    partitions.sort_by_key(|partition| partition.partition_index);
    partitions
}

fn to_json(name: &str, topic: &MetadataResponseTopic, configs: &[(String, String)]) -> Value {
    let ids = |nodes: &[wire::messages::BrokerId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
    let partition = |partition: &MetadataResponsePartition| {
        json!({
            "partition": partition.partition_index, "leader": partition.leader_id.0,
            "leaderEpoch": partition.leader_epoch, "replicas": ids(&partition.replica_nodes),
            "isr": ids(&partition.isr_nodes), "offline": ids(&partition.offline_replicas),
        })
    };
    let configs: serde_json::Map<String, Value> =
        configs.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    json!({
        "name": name, "id": from_wire_uuid(topic.topic_id).to_string(), "internal": topic.is_internal,
        "configs": configs, "partitions": sorted(topic).into_iter().map(partition).collect::<Vec<_>>(),
    })
}

fn show(name: &str, topic: &MetadataResponseTopic, configs: &[(String, String)]) -> Outcome {
    let id = from_wire_uuid(topic.topic_id);
    let replicas = topic.partitions.first().map_or(0, |partition| partition.replica_nodes.len());
    say(format_args!("{name}  id {id}  partitions {}  replication {replicas}", topic.partitions.len()))?;
    for (key, value) in configs {
        say(format_args!("  {key}={value}"))?;
    }
    let nodes = |nodes: &[wire::messages::BrokerId]| list(nodes.iter().map(|node| node.0));
    let row = |partition: &MetadataResponsePartition| {
        let leader =
            if partition.leader_id.0 < 0 { "none".to_owned() } else { partition.leader_id.0.to_string() };
        vec![
            partition.partition_index.to_string(),
            leader,
            partition.leader_epoch.to_string(),
            nodes(&partition.replica_nodes),
            nodes(&partition.isr_nodes),
            nodes(&partition.offline_replicas),
        ]
    };
    let rows = sorted(topic).into_iter().map(row).collect();
    output::table(&["PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "OFFLINE"], rows)
}
