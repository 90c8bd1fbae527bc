//! `kastle topics list`.

use clap::Args;
use serde_json::json;

use crate::client::{Cluster, Target, converse};
use crate::failure::{Outcome, say};
use crate::output;

#[derive(Args)]
pub struct Arguments {
    /// Leave out the cluster's own topics.
    #[arg(long)]
    exclude_internal: bool,
    #[command(flatten)]
    target: Target,
}

pub fn run(arguments: &Arguments) -> Outcome {
    converse(&arguments.target, |cluster| list(cluster, arguments))
}

async fn list(mut cluster: Cluster, arguments: &Arguments) -> Outcome {
    let response = cluster.metadata(None, false).await?;
    let listed = response.topics.iter().filter(|topic| !(arguments.exclude_internal && topic.is_internal));
    let mut names: Vec<String> = listed.filter_map(|topic| Some(topic.name.as_ref()?.to_string())).collect();
    names.sort_unstable();
    if arguments.target.json {
        return output::json(&json!(names));
    }
    for name in names {
        say(name)?;
    }
    Ok(())
}
