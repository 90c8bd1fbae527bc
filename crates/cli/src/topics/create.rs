//! `kastle topics create NAME...`.

use clap::Args;
use model::ErrorCode;
use serde_json::json;
use wire::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use wire::messages::{CreateTopicsRequest, from_wire_uuid, text, topic};

use crate::client::{Cluster, Target, To, answer, converse, refused};
use crate::failure::{Outcome, say};
use crate::output;
use crate::topics::{TIMEOUT_MS, split_config};

#[derive(Args)]
pub struct Arguments {
    /// The topics' names.
    #[arg(required = true)]
    names: Vec<String>,
    /// Partitions; the broker's num.partitions when absent.
    #[arg(long, short)]
    partitions: Option<i32>,
    /// Replicas; the broker's default.replication.factor when absent.
    #[arg(long, short)]
    replication_factor: Option<i16>,
    /// Set a config; repeatable.
    #[arg(long, short, value_name = "KEY=VALUE")]
    config: Vec<String>,
    /// Be content when a topic is there already.
    #[arg(long)]
    if_not_exists: bool,
    /// Only ask whether it could be done.
    #[arg(long)]
    validate_only: bool,
    #[command(flatten)]
    target: Target,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let request = request(arguments)?;
    converse(&arguments.target, |cluster| create(cluster, request, arguments))
}

fn request(arguments: &Arguments) -> Outcome<CreateTopicsRequest> {
    let mut configs = Vec::new();
    for text_of in &arguments.config {
        let (key, value) = split_config("--config", text_of)?;
        configs.push(CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value))));
    }
    let one = |name: &String| {
        CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(arguments.partitions.unwrap_or(-1))
            .with_replication_factor(arguments.replication_factor.unwrap_or(-1))
            .with_configs(configs.clone())
    };
    Ok(CreateTopicsRequest::default()
        .with_topics(arguments.names.iter().map(one).collect())
        .with_timeout_ms(TIMEOUT_MS)
        .with_validate_only(arguments.validate_only))
}

async fn create(mut cluster: Cluster, request: CreateTopicsRequest, arguments: &Arguments) -> Outcome {
    let response = answer!(CreateTopics, cluster.ask(To::Any, request).await?);
    let mut outcome = Ok(());
    let mut created = Vec::new();
    for result in response.topics {
        let (name, code) = (result.name.to_string(), ErrorCode::from_code(result.error_code));
        match code {
            ErrorCode::None => created.push(json!({
                "name": name, "id": from_wire_uuid(result.topic_id).to_string(), "partitions": result.num_partitions,
                "replicationFactor": result.replication_factor,
            })),
            ErrorCode::TopicAlreadyExists if arguments.if_not_exists => {}
            _ => outcome = Err(refused(&format!("create {name}"), code, result.error_message.as_deref())),
        }
    }
    if arguments.target.json {
        output::json(&json!({"created": created}))?;
    } else {
        for topic in &created {
            let verb = if arguments.validate_only { "can create" } else { "created" };
            say(format_args!("{verb} {}", topic["name"].as_str().unwrap_or_default()))?;
        }
    }
    outcome
}
