//! `kastle groups list`: every broker is asked for the groups that it coordinates.

use std::collections::BTreeMap;

use clap::Args;
use model::ErrorCode;
use serde_json::json;
use tokio::time::Instant;
use wire::messages::ListGroupsRequest;
use wire::messages::list_groups_response::ListedGroup;

use crate::client::{Cluster, PATIENCE, PAUSE, Target, To, answer, converse, refused};
use crate::failure::Outcome;
use crate::output;

#[derive(Args)]
pub struct Arguments {
    /// Only groups in one of these states, as Stable or Empty.
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    state: Vec<String>,
    /// Only groups of one of these kinds: classic, consumer.
    #[arg(long = "type", value_name = "KIND", value_delimiter = ',')]
    kind: Vec<String>,
    #[command(flatten)]
    target: Target,
}

pub fn run(arguments: &Arguments) -> Outcome {
    converse(&arguments.target, |cluster| list(cluster, arguments))
}

async fn list(mut cluster: Cluster, arguments: &Arguments) -> Outcome {
    let any = |wanted: &[String], had: &str| {
        wanted.is_empty() || wanted.iter().any(|it| it.eq_ignore_ascii_case(had))
    };
    let mut groups = all(&mut cluster).await?;
    groups.retain(|_, (_, group)| {
        any(&arguments.state, &group.group_state) && any(&arguments.kind, &group.group_type)
    });
    if arguments.target.json {
        let one = |(name, (node, group)): (&String, &(i32, ListedGroup))| {
            json!({
                "group": name, "type": group.group_type.as_str(), "state": group.group_state.as_str(),
                "protocol": group.protocol_type.as_str(), "coordinator": node,
            })
        };
        return output::json(&groups.iter().map(one).collect());
    }
    let row = |(name, (node, group)): (String, (i32, ListedGroup))| {
        let protocol =
            if group.protocol_type.is_empty() { "-".to_owned() } else { group.protocol_type.to_string() };
        vec![name, group.group_type.to_string(), group.group_state.to_string(), protocol, node.to_string()]
    };
    output::table(
        &["GROUP", "TYPE", "STATE", "PROTOCOL", "COORDINATOR"],
        groups.into_iter().map(row).collect(),
    )
}

/// The names of all groups.
pub async fn names(cluster: &mut Cluster) -> Outcome<Vec<String>> {
    Ok(all(cluster).await?.into_keys().collect())
}

/// All groups, each with its coordinator.
async fn all(cluster: &mut Cluster) -> Outcome<BTreeMap<String, (i32, ListedGroup)>> {
    cluster.metadata(Some(&[]), false).await?;
    let mut groups = BTreeMap::new();
    for node in cluster.node_ids() {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let response =
                answer!(ListGroups, cluster.ask(To::Node(node), ListGroupsRequest::default()).await?);
            let code = ErrorCode::from_code(response.error_code);
            if !code.is_error() {
                let named = response.groups.into_iter();
                groups.extend(named.map(|group| (group.group_id.to_string(), (node, group))));
                break;
            }
            if !code.is_retriable() || Instant::now() >= deadline {
                return Err(refused(&format!("list the groups of node {node}"), code, None));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(groups)
}
