//! `kastle topics delete NAME...`.

use clap::Args;
use model::ErrorCode;
use serde_json::json;
use wire::messages::delete_topics_request::DeleteTopicState;
use wire::messages::{DeleteTopicsRequest, topic};

use crate::client::{Cluster, Target, To, answer, converse, refused};
use crate::failure::{Outcome, say};
use crate::output;
use crate::topics::TIMEOUT_MS;

#[derive(Args)]
pub struct Arguments {
    /// The topics' names.
    #[arg(required = true)]
    names: Vec<String>,
    /// Be content when a topic is not there.
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    target: Target,
}

pub fn run(arguments: &Arguments) -> Outcome {
    converse(&arguments.target, |cluster| delete(cluster, arguments))
}

async fn delete(mut cluster: Cluster, arguments: &Arguments) -> Outcome {
    // Both forms of the names: versions up to 5 read the one, later ones the other.
    let request = DeleteTopicsRequest::default().with_timeout_ms(TIMEOUT_MS);
    let version = cluster.version_at(To::Any, &request.clone().into()).await?;
    let request = if version >= 6 {
        let one = |name: &String| DeleteTopicState::default().with_name(Some(topic(name)));
        request.with_topics(arguments.names.iter().map(one).collect())
    } else {
        request.with_topic_names(arguments.names.iter().map(|name| topic(name)).collect())
    };
    let response = answer!(DeleteTopics, cluster.ask(To::Any, request).await?);
    let mut outcome = Ok(());
    let mut deleted = Vec::new();
    for result in response.responses {
        let name = result.name.map(|name| name.to_string()).unwrap_or_default();
        match ErrorCode::from_code(result.error_code) {
            ErrorCode::None => deleted.push(name),
            ErrorCode::UnknownTopicOrPartition if arguments.if_exists => {}
            code => outcome = Err(refused(&format!("delete {name}"), code, result.error_message.as_deref())),
        }
    }
    if arguments.target.json {
        output::json(&json!({"deleted": deleted}))?;
    } else {
        for name in deleted {
            say(format_args!("deleted {name}"))?;
        }
    }
    outcome
}
