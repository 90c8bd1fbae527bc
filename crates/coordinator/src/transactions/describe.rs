//! DescribeTransactions and ListTransactions: what is committed, as an administrator sees it.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{ErrorCode, Timestamp};
use wire::messages::describe_transactions_response::{TopicData, TransactionState};
use wire::messages::list_transactions_response::TransactionState as Listed;
use wire::messages::{
    DescribeTransactionsRequest, DescribeTransactionsResponse, ListTransactionsRequest,
    ListTransactionsResponse, ProducerId as WireProducerId, StrBytes, TransactionalId, text, topic,
};

use super::ask::View;
use super::markers::Ending;
use super::state::State;
use super::transaction::{Place, Transaction};
use crate::consumer::expression::compile;

/// One of each id that is asked about. While a transaction ends it shows the partitions that are still to be told.
pub(super) fn describe(
    view: &View<'_>,
    endings: &BTreeMap<Arc<str>, Ending>,
    request: &DescribeTransactionsRequest,
) -> DescribeTransactionsResponse {
    let states = request.transactional_ids.iter().map(|id| {
        let state = TransactionState::default().with_transactional_id(id.clone());
        if id.is_empty() {
            return state.with_error_code(ErrorCode::InvalidRequest.code());
        }
        let Some(known) = view.known.get(id.as_str()) else {
            return state.with_error_code(ErrorCode::TransactionalIdNotFound.code());
        };
        let topics = match endings.get(id.as_str()) {
            Some(ending) => by_topic(ending.remaining()),
            None => by_topic(known.partitions.iter()),
        };
        state
            .with_transaction_state(text(known.state.name()))
            .with_transaction_timeout_ms(known.timeout_ms)
            .with_transaction_start_time_ms(known.started_at.map_or(-1, Timestamp::get))
            .with_producer_id(WireProducerId(known.producer_id.get()))
            .with_producer_epoch(known.epoch.get())
            .with_topics(topics)
    });
    DescribeTransactionsResponse::default().with_transaction_states(states.collect())
}

fn by_topic<'a>(places: impl Iterator<Item = &'a Place>) -> Vec<TopicData> {
    let mut topics: Vec<TopicData> = Vec::new();
    for place in places {
        match topics.last_mut() {
            Some(last) if last.topic.as_str() == place.topic.as_ref() => {
                last.partitions.push(place.partition)
            }
            _ => topics.push(
                TopicData::default().with_topic(topic(&place.topic)).with_partitions(vec![place.partition]),
            ),
        }
    }
    topics
}

/// The answer where there are no ids at all: what is wrong with the filters is told all the same.
pub fn list_none(request: &ListTransactionsRequest) -> ListTransactionsResponse {
    list_of(Timestamp::default(), std::iter::empty(), request)
}

/// All ids that pass the filters; a state that nobody knows is told apart. A pattern has to match a whole id.
pub(super) fn list(view: &View<'_>, request: &ListTransactionsRequest) -> ListTransactionsResponse {
    list_of(view.now.time, view.known.iter(), request)
}

fn list_of<'a>(
    now: Timestamp,
    known: impl Iterator<Item = (&'a Arc<str>, &'a Arc<Transaction>)>,
    request: &ListTransactionsRequest,
) -> ListTransactionsResponse {
    let states = &request.state_filters;
    let unknown = states.iter().filter(|name| !State::is_known(name)).cloned().collect();
    let pattern = request.transactional_id_pattern.as_ref().filter(|pattern| !pattern.is_empty());
    let Ok(pattern) = pattern.map(|pattern| compile(pattern)).transpose() else {
        return ListTransactionsResponse::default()
            .with_error_code(ErrorCode::InvalidRegularExpression.code());
    };
    let passes = |state: State, producer: i64, started: i64| {
        let named = |name: &StrBytes| name.as_str() == state.name();
        (states.is_empty() || states.iter().any(named))
            && (request.producer_id_filters.is_empty()
                || request.producer_id_filters.contains(&WireProducerId(producer)))
            && (request.duration_filter < 0 || now.get().saturating_sub(started) > request.duration_filter)
    };
    let listed = known.filter_map(|(id, known)| {
        let started = known.started_at.map_or(-1, Timestamp::get);
        let named = pattern.as_ref().is_none_or(|pattern| pattern.is_match(id));
        (named && passes(known.state, known.producer_id.get(), started)).then(|| {
            Listed::default()
                .with_transactional_id(TransactionalId(text(id)))
                .with_producer_id(WireProducerId(known.producer_id.get()))
                .with_transaction_state(text(known.state.name()))
        })
    });
    ListTransactionsResponse::default()
        .with_unknown_state_filters(unknown)
        .with_transaction_states(listed.collect())
}
