//! `kastle transactions list`.

use clap::Args;
use serde_json::{Value, json};
use wire::messages::list_transactions_response::TransactionState;
use wire::messages::{ListTransactionsRequest, ProducerId, text};

use crate::client::{Target, converse};
use crate::failure::Outcome;
use crate::output;
use crate::transactions::coordinator;

#[derive(Args)]
pub struct Arguments {
    /// Only those in this state, as Ongoing; may be given several times.
    #[arg(long, value_name = "STATE")]
    state: Vec<String>,
    /// Only those of this producer id; may be given several times.
    #[arg(long, value_name = "ID")]
    producer_id: Vec<i64>,
    /// Only those that are open for longer.
    #[arg(long, value_name = "MS")]
    running_longer_than: Option<i64>,
    /// Only ids that match this regular expression whole.
    #[arg(long, value_name = "REGEX")]
    id_pattern: Option<String>,
    #[command(flatten)]
    target: Target,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let request = ListTransactionsRequest::default()
        .with_state_filters(arguments.state.iter().map(|state| text(state)).collect())
        .with_producer_id_filters(arguments.producer_id.iter().copied().map(ProducerId).collect())
        .with_duration_filter(arguments.running_longer_than.unwrap_or(-1))
        .with_transactional_id_pattern(arguments.id_pattern.as_deref().map(text));
    converse(&arguments.target, |mut cluster| async move {
        let listed = coordinator::list(&mut cluster, &request).await?;
        match arguments.target.json {
            true => output::json(&Value::Array(listed.iter().map(to_json).collect())),
            false => output::table(
                &["TRANSACTIONAL-ID", "COORDINATOR", "PRODUCER-ID", "STATE"],
                listed.iter().map(row).collect(),
            ),
        }
    })
}

fn to_json((node, state): &(i32, TransactionState)) -> Value {
    json!({
        "transactionalId": state.transactional_id.as_str(), "coordinator": node,
        "producerId": state.producer_id.0, "state": state.transaction_state.as_str(),
    })
}

fn row((node, state): &(i32, TransactionState)) -> Vec<String> {
    let id = state.transactional_id.to_string();
    vec![id, node.to_string(), state.producer_id.0.to_string(), state.transaction_state.to_string()]
}
