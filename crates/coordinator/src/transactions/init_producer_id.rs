//! InitProducerId with a transactional id: a producer begins, and shuts out the one before it.
//!
//! Whatever the one before left open is aborted first, while the new one is told to come again.

use std::sync::Arc;

use model::{ErrorCode, ProducerEpoch, ProducerId};
use wire::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId as WireProducerId};

use super::ask::{Decision, Step, Stop, View, shown};
use super::refusal::Refusal;
use super::state::State;
use super::transaction::{Transaction, is_exhausted};

/// From which version on a client knows PRODUCER_FENCED.
const KNOWS_FENCED: i16 = 4;

/// What a producer is told.
pub(super) fn decide(view: &View<'_>, version: i16, request: &InitProducerIdRequest) -> Decision {
    match begin(view, request) {
        Ok((step, answer)) => Decision::Write { steps: vec![step], answer: answer.into() },
        Err(Stop::WantsProducerId) => Decision::WantsProducerId,
        Err(Stop::Refused(refusal)) => Decision::Answer(refused(refusal.code(version, KNOWS_FENCED)).into()),
    }
}

/// The answer that gives no producer.
pub(super) fn refused(code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_error_code(code.code())
        .with_producer_id(WireProducerId(-1))
        .with_producer_epoch(-1)
}

fn begin(view: &View<'_>, request: &InitProducerIdRequest) -> Result<(Step, InitProducerIdResponse), Stop> {
    let expected = shown(request.producer_id.0, request.producer_epoch)?;
    let id: Arc<str> = request.transactional_id.as_ref().map_or("", |id| id.as_str()).into();
    if id.is_empty() {
        return Err(Refusal::InvalidRequest.into());
    }
    let (timeout, max) = (request.transaction_timeout_ms, view.settings.timeout_max_ms);
    if !(1..=max).contains(&timeout) {
        return Err(Refusal::InvalidTimeout { max, got: timeout }.into());
    }
    let now = view.now.time;
    let Some(known) = view.at_rest(&id)? else {
        let next = Transaction::begin(view.draw()?, timeout, now);
        let answer = answer(&next);
        return Ok((Step { took_producer_id: true, ..Step::to(&id, next) }, answer));
    };
    if let Some(expected) = expected {
        admit(known, expected)?;
    }
    match known.state {
        State::Ongoing => {
            let next = known.fenced().prepared(false, view.settings.version, None, now);
            Ok((Step::to(&id, next), refused(ErrorCode::ConcurrentTransactions)))
        }
        _ => {
            let epoch = expected.map(|(_, epoch)| epoch);
            let rotates = known.is_exhausted() && epoch.is_none_or(|epoch| epoch == known.epoch);
            let next = match rotates {
                true => known.rotated(view.draw()?, epoch.is_some(), timeout, now),
                false => known.bumped(epoch, timeout, now)?,
            };
            let answer = answer(&next);
            Ok((Step { took_producer_id: rotates, ..Step::to(&id, next) }, answer))
        }
    }
}

/// Whether a producer that shows an id may go on with it: it is its own, or the one before, whose epochs were used
/// up when its last answer was lost.
fn admit(known: &Transaction, (id, epoch): (ProducerId, ProducerEpoch)) -> Result<(), Refusal> {
    let lost_answer = known.previous_producer_id == Some(id) && is_exhausted(epoch);
    match id == known.producer_id || lost_answer {
        true => Ok(()),
        false => Err(Refusal::Fenced { had: known.epoch, got: epoch }),
    }
}

fn answer(next: &Transaction) -> InitProducerIdResponse {
    InitProducerIdResponse::default()
        .with_producer_id(WireProducerId(next.producer_id.get()))
        .with_producer_epoch(next.epoch.get())
}
