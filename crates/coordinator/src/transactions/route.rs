//! Which shard a request is for; one about several transactional ids is split, and the answers are joined again.

use std::collections::BTreeMap;

use wire::messages::{RequestKind, ResponseKind};

use crate::partition::partition_of;
use crate::route::Route;

/// Where `request` goes when `__transaction_state` has that many `partitions`; `None` when to no transaction
/// coordinator: InitProducerId without a transactional id goes to none.
pub fn route(request: &RequestKind, partitions: i32) -> Option<Route> {
    use RequestKind as K;
    let one = |id: &str| Route::One(partition_of(id, partitions));
    Some(match request {
        K::InitProducerId(request) => one(request.transactional_id.as_ref()?),
        K::AddPartitionsToTxn(request) if request.transactions.is_empty() => {
            one(&request.v3_and_below_transactional_id)
        }
        K::AddPartitionsToTxn(request) => {
            let parts = split(&request.transactions, partitions, |asked| &asked.transactional_id);
            let part = |part| request.clone().with_transactions(part).into();
            Route::Parts(parts.into_iter().map(|(at, asked)| (at, part(asked))).collect())
        }
        K::AddOffsetsToTxn(request) => one(&request.transactional_id),
        K::EndTxn(request) => one(&request.transactional_id),
        K::DescribeTransactions(request) => {
            let parts = split(&request.transactional_ids, partitions, |id| id);
            let part = |part| request.clone().with_transactional_ids(part).into();
            Route::Parts(parts.into_iter().map(|(at, ids)| (at, part(ids))).collect())
        }
        K::ListTransactions(_) => Route::All,
        _ => return None,
    })
}

fn split<T: Clone>(items: &[T], partitions: i32, id: impl Fn(&T) -> &str) -> BTreeMap<i32, Vec<T>> {
    let mut parts: BTreeMap<i32, Vec<T>> = BTreeMap::new();
    for item in items {
        parts.entry(partition_of(id(item), partitions)).or_default().push(item.clone());
    }
    parts
}

/// Adds the answer to one part of a request to that of another. For ListTransactions the first error counts.
pub fn join(answer: &mut ResponseKind, part: ResponseKind) {
    use ResponseKind as K;
    match (answer, part) {
        (K::AddPartitionsToTxn(all), K::AddPartitionsToTxn(part)) => {
            all.results_by_transaction.extend(part.results_by_transaction);
        }
        (K::DescribeTransactions(all), K::DescribeTransactions(part)) => {
            all.transaction_states.extend(part.transaction_states);
        }
        (K::ListTransactions(all), K::ListTransactions(part)) => {
            all.transaction_states.extend(part.transaction_states);
            if all.unknown_state_filters.is_empty() {
                all.unknown_state_filters = part.unknown_state_filters;
            }
            if all.error_code == 0 {
                all.error_code = part.error_code;
            }
        }
        (all, part) => unreachable!("no parts of one answer: {all:?} and {part:?}"),
    }
}
