//! EndTxn: a producer commits or aborts.
//!
//! Up to version 4 the epoch stays, and a request that comes again is told by the state alone. From version 5 on
//! each end bumps the epoch (KIP-890), and a request that comes again shows the epoch before. Whichever comes while
//! the markers are written waits for them (`View::at_rest`); then:
//!
//! ```text
//!                    again, abort   anew, abort   again, commit   anew, commit
//! Empty              fenced         ended         fenced          invalid
//! CompleteAbort      none           ended         invalid         invalid
//! CompleteCommit     invalid        ended         none            invalid
//! ```

use std::sync::Arc;

use model::{ErrorCode, ProducerEpoch, ProducerId};
use wire::messages::{EndTxnRequest, EndTxnResponse, ProducerId as WireProducerId};

use super::ask::{Decision, Step, Stop, View};
use super::refusal::Refusal;
use super::state::State;
use super::transaction::Transaction;

/// From which version on a client knows PRODUCER_FENCED.
const KNOWS_FENCED: i16 = 2;
/// From which version on the epoch is bumped, and the answer says which producer to go on as.
const BUMPS: i16 = 5;
/// What a client speaks before and from then on.
const OLDER: i16 = 0;
const BUMPING: i16 = 2;
/// The last epoch that a client can have had.
const LAST_EPOCH: i16 = i16::MAX - 1;

/// What becomes of a request.
enum End {
    /// It is so already.
    AsItIs,
    Step(Step),
}

/// Commits or aborts.
pub(super) fn decide(view: &View<'_>, version: i16, request: &EndTxnRequest) -> Decision {
    let id: Arc<str> = request.transactional_id.as_str().into();
    let bumps = version >= BUMPS;
    let outcome = match id.is_empty() {
        true => Err(Refusal::InvalidRequest.into()),
        false if bumps => bumping(view, &id, request),
        false => older(view, &id, request).map_err(Stop::from),
    };
    match outcome {
        Err(Stop::WantsProducerId) => Decision::WantsProducerId,
        Err(Stop::Refused(refusal)) => Decision::Answer(refused(refusal.code(version, KNOWS_FENCED)).into()),
        Ok(End::AsItIs) if bumps => Decision::Answer(answer(&view.known[&id]).into()),
        Ok(End::AsItIs) => Decision::Answer(refused(ErrorCode::None).into()),
        Ok(End::Step(step)) => {
            let answer = match &step.next {
                // The answer says whom to go on as once the markers are written.
                Some(next) if bumps => answer(&next.completed(view.now.time)),
                _ => refused(ErrorCode::None),
            };
            Decision::Write { steps: vec![step], answer: answer.into() }
        }
    }
}

/// The answer without a producer.
pub(super) fn refused(code: ErrorCode) -> EndTxnResponse {
    EndTxnResponse::default()
        .with_error_code(code.code())
        .with_producer_id(WireProducerId(-1))
        .with_producer_epoch(-1)
}

fn answer(known: &Transaction) -> EndTxnResponse {
    EndTxnResponse::default()
        .with_producer_id(WireProducerId(known.producer_id.get()))
        .with_producer_epoch(known.epoch.get())
}

fn older(view: &View<'_>, id: &Arc<str>, request: &EndTxnRequest) -> Result<End, Refusal> {
    let (got, epoch) = (ProducerId::new(request.producer_id.0), ProducerEpoch::new(request.producer_epoch));
    let mapped = view.known.get(id).filter(|known| known.producer_id == got);
    let known = mapped.ok_or(Refusal::InvalidMapping { got })?;
    if epoch != known.epoch {
        return Err(Refusal::Fenced { had: known.epoch, got: epoch });
    }
    view.at_rest(id)?;
    match known.state {
        State::Ongoing => {
            let next = known.prepared(request.committed, OLDER, None, view.now.time);
            Ok(End::Step(Step::to(id, next)))
        }
        State::CompleteCommit | State::CompleteAbort if known.state.complete() == Some(request.committed) => {
            Ok(End::AsItIs)
        }
        _ => Err(Refusal::InvalidState),
    }
}

fn bumping(view: &View<'_>, id: &Arc<str>, request: &EndTxnRequest) -> Result<End, Stop> {
    let (got, epoch) = (ProducerId::new(request.producer_id.0), ProducerEpoch::new(request.producer_epoch));
    let known = view.at_rest(id)?.ok_or(Refusal::InvalidMapping { got })?;
    let overflowed = known.previous_producer_id == Some(got)
        && epoch.get() == LAST_EPOCH
        && known.epoch == ProducerEpoch::new(0);
    let again = overflowed || Some(known.epoch.get()) == epoch.get().checked_add(1);
    if known.producer_id != got && !overflowed {
        return Err(Refusal::InvalidMapping { got }.into());
    }
    let anew = epoch == known.epoch;
    let valid = match known.state {
        State::Ongoing | State::Empty => anew,
        _ => again || anew,
    };
    if !valid {
        return Err(Refusal::Fenced { had: known.epoch, got: epoch }.into());
    }
    let commit = request.committed;
    match known.state {
        State::Ongoing => {}
        State::Empty if !commit => {}
        State::CompleteCommit | State::CompleteAbort if again && known.state.complete() == Some(commit) => {
            return Ok(End::AsItIs);
        }
        State::CompleteCommit | State::CompleteAbort if !again && !commit => {}
        _ => return Err(Refusal::InvalidState.into()),
    }
    let rotates = known.is_exhausted();
    let next_id = rotates.then(|| view.draw()).transpose()?;
    let next = known.prepared(commit, BUMPING, next_id, view.now.time);
    Ok(End::Step(Step { took_producer_id: rotates, ..Step::to(id, next) }))
}
