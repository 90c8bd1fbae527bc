//! `kastle topics alter NAME`: more partitions, other configs.

use clap::Args;
use model::ErrorCode;
use wire::messages::create_partitions_request::CreatePartitionsTopic;
use wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use wire::messages::{CreatePartitionsRequest, IncrementalAlterConfigsRequest, text, topic};

use crate::client::{Cluster, Target, To, answer, converse, refused};
use crate::failure::{Failure, Outcome, say};
use crate::output;
use crate::topics::{TIMEOUT_MS, TOPIC_RESOURCE, split_config};

const SET: i8 = 0;
const DELETE: i8 = 1;

#[derive(Args)]
pub struct Arguments {
    /// The topic.
    name: String,
    /// Partitions it shall have; only ever more.
    #[arg(long, short)]
    partitions: Option<i32>,
    /// Set a config; repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Take a config back to its default; repeatable.
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
    #[command(flatten)]
    target: Target,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let configs = configs(arguments)?;
    if configs.is_empty() && arguments.partitions.is_none() {
        let name = &arguments.name;
        return Err(Failure::typed_wrong(format!(
            "cannot alter {name}: nothing is asked for; use --partitions, --set or --unset"
        )));
    }
    converse(&arguments.target, |cluster| alter(cluster, configs, arguments))
}

fn configs(arguments: &Arguments) -> Outcome<Vec<AlterableConfig>> {
    let mut configs = Vec::new();
    for text_of in &arguments.set {
        let (key, value) = split_config("--set", text_of)?;
        let config = AlterableConfig::default().with_name(text(key)).with_config_operation(SET);
        configs.push(config.with_value(Some(text(value))));
    }
    for key in &arguments.unset {
        configs.push(
            AlterableConfig::default().with_name(text(key)).with_config_operation(DELETE).with_value(None),
        );
    }
    Ok(configs)
}

async fn alter(mut cluster: Cluster, configs: Vec<AlterableConfig>, arguments: &Arguments) -> Outcome {
    let name = &arguments.name;
    if !configs.is_empty() {
        let resource = AlterConfigsResource::default()
            .with_resource_type(TOPIC_RESOURCE)
            .with_resource_name(text(name))
            .with_configs(configs);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let response = answer!(IncrementalAlterConfigs, cluster.ask(To::Any, request).await?);
        for result in &response.responses {
            check(name, result.error_code, result.error_message.as_deref())?;
        }
    }
    if let Some(count) = arguments.partitions {
        let wanted =
            CreatePartitionsTopic::default().with_name(topic(name)).with_count(count).with_assignments(None);
        let request =
            CreatePartitionsRequest::default().with_topics(vec![wanted]).with_timeout_ms(TIMEOUT_MS);
        let response = answer!(CreatePartitions, cluster.ask(To::Any, request).await?);
        for result in &response.results {
            check(name, result.error_code, result.error_message.as_deref())?;
        }
    }
    if arguments.target.json {
        return output::json(&serde_json::json!({"altered": name}));
    }
    say(format_args!("altered {name}"))
}

fn check(name: &str, code: i16, message: Option<&str>) -> Outcome {
    let code = ErrorCode::from_code(code);
    if code.is_error() { Err(refused(&format!("alter {name}"), code, message)) } else { Ok(()) }
}
