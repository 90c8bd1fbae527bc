//! `kastle groups describe GROUP...`: a line or a document for each group.

use clap::Args;
use serde_json::{Value, json};

use crate::client::{Cluster, Target, converse};
use crate::failure::{Outcome, say};
use crate::groups::described::{self, Described};
use crate::groups::lag::{self, Lag};
use crate::output;

#[derive(Args)]
pub struct Arguments {
    /// The groups.
    #[arg(required = true)]
    groups: Vec<String>,
    #[command(flatten)]
    target: Target,
}

pub fn run(arguments: &Arguments) -> Outcome {
    converse(&arguments.target, |cluster| describe(cluster, arguments))
}

async fn describe(mut cluster: Cluster, arguments: &Arguments) -> Outcome {
    let mut documents = Vec::new();
    let mut outcome = Ok(());
    for name in &arguments.groups {
        let group = match described::describe(&mut cluster, name).await {
            Ok(group) => group,
            Err(failure) => {
                outcome = Err(failure);
                continue;
            }
        };
        let lags = lag::of(&mut cluster, &group).await?;
        if arguments.target.json {
            documents.push(to_json(&group, &lags));
        } else {
            show(&group, &lags)?;
        }
    }
    if arguments.target.json {
        output::json(&Value::Array(documents))?;
    }
    outcome
}

fn total(lags: &[Lag]) -> i64 {
    lags.iter().filter_map(Lag::records).sum()
}

fn to_json(group: &Described, lags: &[Lag]) -> Value {
    json!({
        "group": group.id, "type": group.kind, "state": group.state, "assignor": group.assignor,
        "coordinator": group.coordinator, "members": group.members.len(),
        "epoch": group.epochs.map(|(epoch, _)| epoch), "assignmentEpoch": group.epochs.map(|(_, target)| target),
        "partitions": lags.len(), "lag": total(lags),
    })
}

fn show(group: &Described, lags: &[Lag]) -> Outcome {
    let Described { id, kind, state, assignor, coordinator, members, epochs } = group;
    say(format_args!(
        "{id}  type {kind}  state {state}  members {}  coordinator {coordinator}",
        members.len()
    ))?;
    if !assignor.is_empty() {
        say(format_args!("  assignor {assignor}"))?;
    }
    if let Some((epoch, target)) = epochs {
        say(format_args!("  epoch {epoch}  assignment epoch {target}"))?;
    }
    say(format_args!("  partitions {}  lag {}", lags.len(), total(lags)))
}
