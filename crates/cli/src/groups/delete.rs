//! `kastle groups delete GROUP...`.

use clap::Args;
use model::ErrorCode;
use serde_json::json;
use wire::messages::{DeleteGroupsRequest, GroupId, ResponseKind, text};

use crate::client::{Cluster, Target, answer, converse, refused, unexpected};
use crate::failure::{Outcome, note, say};
use crate::groups::coordinator;
use crate::output;

#[derive(Args)]
pub struct Arguments {
    /// The groups; they must have no members.
    #[arg(required = true)]
    groups: Vec<String>,
    /// Be content when a group is not there.
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    target: Target,
}

pub fn run(arguments: &Arguments) -> Outcome {
    converse(&arguments.target, |cluster| delete(cluster, arguments))
}

async fn delete(mut cluster: Cluster, arguments: &Arguments) -> Outcome {
    let mut deleted = Vec::new();
    let mut outcome: Outcome = Ok(());
    for name in &arguments.groups {
        match delete_one(&mut cluster, name).await? {
            ErrorCode::None => deleted.push(name),
            ErrorCode::GroupIdNotFound if arguments.if_exists => {}
            code => {
                // Each is said; the last is what the command comes to.
                if let Err(failure) =
                    std::mem::replace(&mut outcome, Err(refused(&format!("delete {name}"), code, None)))
                {
                    note(failure);
                }
            }
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

async fn delete_one(cluster: &mut Cluster, name: &str) -> Outcome<ErrorCode> {
    let request = DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text(name))]);
    let code = |response: &ResponseKind| match response {
        ResponseKind::DeleteGroups(response) => {
            response.results.first().map_or(ErrorCode::None, |result| ErrorCode::from_code(result.error_code))
        }
        _ => ErrorCode::None,
    };
    let (_, response) = coordinator::ask(cluster, name, &format!("delete {name}"), request, code).await?;
    let Some(result) = answer!(DeleteGroups, response).results.into_iter().next() else {
        return Err(unexpected());
    };
    Ok(ErrorCode::from_code(result.error_code))
}
