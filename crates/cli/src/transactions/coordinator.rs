//! Coordinators of transactions: asked about ids, or all of them.

use std::collections::BTreeMap;

use model::ErrorCode;
use tokio::time::Instant;
use wire::messages::describe_transactions_response::TransactionState;
use wire::messages::list_transactions_response::TransactionState as Listed;
use wire::messages::{DescribeTransactionsRequest, ListTransactionsRequest, TransactionalId, text};

use crate::client::{Cluster, PATIENCE, PAUSE, To, answer, refused};
use crate::coordinator::{Coordinated, find};
use crate::failure::{Failure, Outcome};

/// What each broker lists that coordinates transactions; those that load are waited for.
pub async fn list(cluster: &mut Cluster, request: &ListTransactionsRequest) -> Outcome<Vec<(i32, Listed)>> {
    let deadline = Instant::now() + PATIENCE;
    let brokers = cluster.metadata(Some(&[]), false).await?.brokers;
    let mut all = BTreeMap::new();
    for broker in brokers.iter().map(|broker| broker.node_id.0) {
        let response = loop {
            let asked = cluster.ask(To::Node(broker), request.clone()).await?;
            let response = answer!(ListTransactions, asked);
            match ErrorCode::from_code(response.error_code) {
                ErrorCode::None => break response,
                code if !code.is_retriable() || Instant::now() >= deadline => {
                    return Err(refused("list transactions", code, None));
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        };
        if let Some(unknown) = response.unknown_state_filters.first() {
            let unknown = unknown.as_str();
            return Err(Failure::typed_wrong(format!(
                "cannot list transactions: there is no state {unknown}; write Empty, Ongoing, PrepareCommit, \
                 PrepareAbort, CompleteCommit or CompleteAbort"
            )));
        }
        // One that moves is listed once.
        let listed = response.transaction_states.into_iter();
        all.extend(listed.map(|state| (state.transactional_id.to_string(), (broker, state))));
    }
    Ok(all.into_values().collect())
}

/// What the coordinator of an id says of it; `None` when there is no such id.
pub async fn describe(cluster: &mut Cluster, id: &str) -> Outcome<Option<(i32, TransactionState)>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let trouble = match find(cluster, Coordinated::Transaction, id).await? {
            Err(code) => code,
            Ok(node) => {
                let request = DescribeTransactionsRequest::default()
                    .with_transactional_ids(vec![TransactionalId(text(id))]);
                let response = answer!(DescribeTransactions, cluster.ask(To::Node(node), request).await?);
                let Some(state) = response.transaction_states.into_iter().next() else { return Ok(None) };
                match ErrorCode::from_code(state.error_code) {
                    ErrorCode::None => return Ok(Some((node, state))),
                    ErrorCode::TransactionalIdNotFound => return Ok(None),
                    code => code,
                }
            }
        };
        if Instant::now() >= deadline || !trouble.is_retriable() {
            return Err(refused(&format!("describe {id}"), trouble, None));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
