//! `kastle transactions describe ID...`: the producer, the state, the partitions.

use clap::Args;
use serde_json::{Value, json};
use wire::messages::describe_transactions_response::TransactionState;

use crate::client::{Cluster, Target, converse};
use crate::failure::{Failure, Outcome, say};
use crate::output;
use crate::transactions::{coordinator, now};

#[derive(Args)]
pub struct Arguments {
    /// The transactional ids.
    #[arg(required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    target: Target,
}

pub fn run(arguments: &Arguments) -> Outcome {
    converse(&arguments.target, |cluster| describe(cluster, arguments))
}

async fn describe(mut cluster: Cluster, arguments: &Arguments) -> Outcome {
    let (mut described, mut outcome) = (Vec::new(), Ok(()));
    for id in &arguments.ids {
        let Some((node, state)) = coordinator::describe(&mut cluster, id).await? else {
            let advice = "`kastle transactions list` shows what there is";
            outcome = Err(Failure::refused(format!("cannot describe {id}: there is no such id; {advice}")));
            continue;
        };
        match arguments.target.json {
            true => described.push(to_json(node, &state)),
            false => show(node, &state)?,
        }
    }
    if arguments.target.json {
        output::json(&Value::Array(described))?;
    }
    outcome
}

fn partitions(state: &TransactionState) -> Vec<String> {
    let each = state.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| format!("{}-{partition}", topic.topic.as_str()))
    });
    each.collect()
}

/// When it began, unless it is none.
fn began(state: &TransactionState) -> Option<i64> {
    Some(state.transaction_start_time_ms).filter(|began| *began >= 0)
}

fn to_json(node: i32, state: &TransactionState) -> Value {
    json!({
        "transactionalId": state.transactional_id.as_str(), "coordinator": node,
        "producerId": state.producer_id.0, "producerEpoch": state.producer_epoch,
        "state": state.transaction_state.as_str(), "timeoutMs": state.transaction_timeout_ms,
        "startTimestamp": began(state), "partitions": partitions(state),
    })
}

fn show(node: i32, state: &TransactionState) -> Outcome {
    let id = state.transactional_id.as_str();
    let (producer, epoch) = (state.producer_id.0, state.producer_epoch);
    say(format_args!(
        "{id}  state {}  coordinator {node}  producer {producer}  epoch {epoch}  timeout {} ms",
        state.transaction_state.as_str(),
        state.transaction_timeout_ms,
    ))?;
    if let Some(began) = began(state) {
        say(format_args!("  began {} ms ago", now().saturating_sub(began)))?;
    }
    let partitions = partitions(state);
    if !partitions.is_empty() {
        say(format_args!("  partitions {}", output::list(partitions)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use wire::messages::describe_transactions_response::{TopicData, TransactionState};
    use wire::messages::{TransactionalId, text, topic};

    use super::to_json;

    #[test]
    fn partitions_are_named_and_what_never_began_has_no_beginning() {
        let data = TopicData::default().with_topic(topic("t")).with_partitions(vec![0, 3]);
        let state = TransactionState::default()
            .with_transactional_id(TransactionalId(text("x")))
            .with_transaction_state(text("Ongoing"))
            .with_transaction_start_time_ms(-1)
            .with_topics(vec![data]);
        let shown = to_json(2, &state);
        assert_eq!(shown["partitions"].to_string(), r#"["t-0","t-3"]"#);
        assert!(shown["startTimestamp"].is_null());
        assert_eq!(shown["coordinator"], 2);
    }
}
