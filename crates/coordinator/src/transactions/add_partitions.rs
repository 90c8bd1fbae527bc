//! AddPartitionsToTxn and AddOffsetsToTxn: a transaction is about to write to more partitions.
//!
//! Until version 3 a producer asks, about its one transaction. From version 4 on a partition's leader asks, about
//! many: to see that a batch belongs to a transaction (verify only), or to add the partition for a producer that
//! does not ask itself (KIP-890).

use std::sync::Arc;

use model::{ErrorCode, ProducerEpoch, ProducerId};
use wire::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use wire::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use wire::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    ResponseKind,
};

use super::ask::{Decision, Step, View};
use super::refusal::Refusal;
use super::transaction::{Place, Transaction};
use crate::partition::partition_of;

/// From which version on a client knows PRODUCER_FENCED.
const KNOWS_FENCED: i16 = 2;
/// From which version on a partition's leader asks, about many transactions.
pub(super) const BATCHED: i16 = 4;
/// The topic of committed offsets.
const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// What a client speaks that adds its partitions itself, and what one speaks that leaves it to the leaders.
const CLIENT_ADDS: i16 = 0;
const LEADER_ADDS: i16 = 2;

/// Adds, or verifies.
pub(super) fn decide(view: &View<'_>, version: i16, request: &AddPartitionsToTxnRequest) -> Decision {
    if version < BATCHED {
        return decide_one(view, version, request);
    }
    let (mut steps, mut results) = (Vec::new(), Vec::with_capacity(request.transactions.len()));
    for asked in &request.transactions {
        let result = if asked.verify_only { verify(view, asked) } else { add_many(view, asked, &mut steps) };
        let code = |place: &Place| match &result {
            Ok(known) if asked.verify_only && !known.partitions.contains(place) => {
                ErrorCode::TransactionAbortable
            }
            Ok(_) => ErrorCode::None,
            Err(refusal) => refusal.code(version, KNOWS_FENCED),
        };
        results.push(
            AddPartitionsToTxnResult::default()
                .with_transactional_id(asked.transactional_id.clone())
                .with_topic_results(topic_results(&asked.topics, code)),
        );
    }
    give(steps, AddPartitionsToTxnResponse::default().with_results_by_transaction(results).into())
}

fn decide_one(view: &View<'_>, version: i16, request: &AddPartitionsToTxnRequest) -> Decision {
    let asked = Asked {
        id: request.v3_and_below_transactional_id.as_str().into(),
        producer_id: ProducerId::new(request.v3_and_below_producer_id.0),
        epoch: ProducerEpoch::new(request.v3_and_below_producer_epoch),
    };
    let topics = &request.v3_and_below_topics;
    let (code, steps) = told(add(view, &asked, places(topics), CLIENT_ADDS), version);
    let results = topic_results(topics, |_| code);
    give(steps, AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results).into())
}

/// Adds the partition of `__consumer_offsets` where the group commits.
pub(super) fn decide_offsets(view: &View<'_>, version: i16, request: &AddOffsetsToTxnRequest) -> Decision {
    let asked = Asked {
        id: request.transactional_id.as_str().into(),
        producer_id: ProducerId::new(request.producer_id.0),
        epoch: ProducerEpoch::new(request.producer_epoch),
    };
    let partition = partition_of(&request.group_id, view.settings.offsets_partitions);
    let places = vec![Place::new(OFFSETS_TOPIC, partition)];
    let (code, steps) = told(add(view, &asked, places, CLIENT_ADDS), version);
    give(steps, AddOffsetsToTxnResponse::default().with_error_code(code.code()).into())
}

/// Who asks for what.
struct Asked {
    id: Arc<str>,
    producer_id: ProducerId,
    epoch: ProducerEpoch,
}

fn give(steps: Vec<Step>, answer: ResponseKind) -> Decision {
    match steps.is_empty() {
        true => Decision::Answer(answer),
        false => Decision::Write { steps, answer },
    }
}

fn told(outcome: Result<Option<Step>, Refusal>, version: i16) -> (ErrorCode, Vec<Step>) {
    match outcome {
        Ok(step) => (ErrorCode::None, step.into_iter().collect()),
        Err(refusal) => (refusal.code(version, KNOWS_FENCED), Vec::new()),
    }
}

/// The step that adds `places`; none when they are all there.
fn add(view: &View<'_>, asked: &Asked, places: Vec<Place>, client: i16) -> Result<Option<Step>, Refusal> {
    if asked.id.is_empty() {
        return Err(Refusal::InvalidRequest);
    }
    let mapped = view.at_rest(&asked.id)?.filter(|known| known.producer_id == asked.producer_id);
    let known = mapped.ok_or(Refusal::InvalidMapping { got: asked.producer_id })?;
    if known.epoch != asked.epoch {
        return Err(Refusal::Fenced { had: known.epoch, got: asked.epoch });
    }
    let added = !known.state.is_idle() && places.iter().all(|place| known.partitions.contains(place));
    let version = client.min(view.settings.version);
    Ok((!added).then(|| Step::to(&asked.id, known.extended(places, version, view.now.time))))
}

fn add_many(
    view: &View<'_>,
    asked: &AddPartitionsToTxnTransaction,
    steps: &mut Vec<Step>,
) -> Result<Arc<Transaction>, Refusal> {
    let who = Asked {
        id: asked.transactional_id.as_str().into(),
        producer_id: ProducerId::new(asked.producer_id.0),
        epoch: ProducerEpoch::new(asked.producer_epoch),
    };
    // Twice in one request: the second waits for the first, as it would in two.
    if steps.iter().any(|step| step.id == who.id) {
        return Err(Refusal::Concurrent);
    }
    let step = add(view, &who, places(&asked.topics), LEADER_ADDS)?;
    let next = step.as_ref().and_then(|step| step.next.clone());
    steps.extend(step);
    Ok(next.unwrap_or_else(|| view.known[&who.id].clone()))
}

/// The transaction that a batch is said to belong to. A step under way does not matter: the log is asked again when
/// the batch is appended.
fn verify(view: &View<'_>, asked: &AddPartitionsToTxnTransaction) -> Result<Arc<Transaction>, Refusal> {
    if asked.transactional_id.is_empty() {
        return Err(Refusal::InvalidRequest);
    }
    let (id, epoch) = (ProducerId::new(asked.producer_id.0), ProducerEpoch::new(asked.producer_epoch));
    let mapped =
        view.known.get(asked.transactional_id.as_str()).filter(|known| known.producer_id == id).cloned();
    let known = mapped.ok_or(Refusal::InvalidMapping { got: id })?;
    if known.epoch != epoch {
        return Err(Refusal::Fenced { had: known.epoch, got: epoch });
    }
    if known.state.prepared().is_some() {
        return Err(Refusal::Concurrent);
    }
    Ok(known)
}

fn places(topics: &[AddPartitionsToTxnTopic]) -> Vec<Place> {
    let places = topics.iter().flat_map(|topic| {
        let name: Arc<str> = topic.name.as_str().into();
        topic.partitions.iter().map(move |&partition| Place { topic: name.clone(), partition })
    });
    places.collect()
}

/// A code for each partition that was asked about.
pub(super) fn topic_results(
    topics: &[AddPartitionsToTxnTopic],
    code: impl Fn(&Place) -> ErrorCode,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let results = topics.iter().map(|topic| {
        let name: Arc<str> = topic.name.as_str().into();
        let partitions = topic.partitions.iter().map(|&partition| {
            let code = code(&Place { topic: name.clone(), partition });
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(partition)
                .with_partition_error_code(code.code())
        });
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(partitions.collect())
    });
    results.collect()
}

/// Splits a request into what may be asked, if anything, and the answers to the rest: a transaction one of whose
/// partitions does not exist, or may not be written to, is not added to at all.
pub fn judge_partitions(
    mut request: AddPartitionsToTxnRequest,
    version: i16,
    judge: impl Fn(&str, i32) -> ErrorCode,
) -> (Option<AddPartitionsToTxnRequest>, AddPartitionsToTxnResponse) {
    let refuse = |topics: &[AddPartitionsToTxnTopic]| {
        let judge = |place: &Place| judge(&place.topic, place.partition);
        let is_fine = places(topics).iter().all(|place| judge(place) == ErrorCode::None);
        (!is_fine).then(|| {
            topic_results(topics, |place| match judge(place) {
                ErrorCode::None => ErrorCode::OperationNotAttempted,
                code => code,
            })
        })
    };
    let response = AddPartitionsToTxnResponse::default();
    if version < BATCHED {
        return match refuse(&request.v3_and_below_topics) {
            Some(refused) => (None, response.with_results_by_topic_v3_and_below(refused)),
            None => (Some(request), response),
        };
    }
    let mut refused = Vec::new();
    request.transactions.retain(|asked| {
        let Some(topics) = refuse(&asked.topics) else { return true };
        let result =
            AddPartitionsToTxnResult::default().with_transactional_id(asked.transactional_id.clone());
        refused.push(result.with_topic_results(topics));
        false
    });
    let rest = (refused.is_empty() || !request.transactions.is_empty()).then_some(request);
    (rest, response.with_results_by_transaction(refused))
}
