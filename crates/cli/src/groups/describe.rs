//! `kastle groups describe GROUP...`: a few lines or a document for each group, with why it rebalanced lately.

use clap::Args;
use proto::rebalances::Rebalance;
use serde_json::{Value, json};

use crate::client::{Cluster, Target, converse};
use crate::failure::{Outcome, say};
use crate::groups::described::{self, Described};
use crate::groups::lag::{self, Lag};
use crate::groups::time;
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
        "rebalances": group.rebalances.iter().map(rebalance_json).collect::<Vec<_>>(),
    })
}

fn rebalance_json(told: &Rebalance) -> Value {
    json!({
        "at": told.at, "epoch": told.epoch, "member": told.member, "client": told.client_id,
        "host": told.client_host, "reason": told.reason,
    })
}

fn show(group: &Described, lags: &[Lag]) -> Outcome {
    let Described { id, kind, state, assignor, coordinator, members, epochs, rebalances } = group;
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
    say(format_args!("  partitions {}  lag {}", lags.len(), total(lags)))?;
    rebalances.iter().try_for_each(|told| say(format_args!("  {}", line(told))))
}

/// `2026-01-31T08:30:00.000Z  epoch 4  a member left: closing  member m  client c at /127.0.0.1`.
fn line(told: &Rebalance) -> String {
    let mut line = format!("{}  epoch {}  {}", time::text(told.at), told.epoch, told.reason);
    if !told.member.is_empty() {
        line += &format!("  member {}", told.member);
    }
    if !told.client_host.is_empty() {
        line += &format!("  client {} at {}", told.client_id, told.client_host);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::{Rebalance, line};

    #[test]
    fn a_rebalance_is_one_line() {
        let text = str::to_owned;
        let mut told = Rebalance {
            at: 1_769_848_200_000,
            epoch: 4,
            member: text("c-1"),
            client_id: text("c"),
            client_host: text("/127.0.0.1"),
            reason: text("a member left: closing"),
        };
        let all =
            "2026-01-31T08:30:00.000Z  epoch 4  a member left: closing  member c-1  client c at /127.0.0.1";
        assert_eq!(line(&told), all);
        (told.member, told.client_host) = (text(""), text(""));
        assert_eq!(line(&told), "2026-01-31T08:30:00.000Z  epoch 4  a member left: closing");
    }
}
