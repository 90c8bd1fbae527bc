//! Heartbeat: a member lives, and learns whether it must join anew.

use std::sync::Arc;

use model::ErrorCode;
use wire::messages::{HeartbeatRequest, HeartbeatResponse};

use super::{Phase, rebalance};
use crate::call::Call;
use crate::consumer;
use crate::refusal::Refusal;
use crate::turn::Turn;

/// Answers at once.
pub(crate) fn decide(turn: &mut Turn<'_>, call: &Call, request: &HeartbeatRequest) {
    let code = beat(turn, request).map_or_else(|refusal| refusal.code(), |()| ErrorCode::None);
    turn.reply(call.caller, HeartbeatResponse::default().with_error_code(code.code()));
}

fn beat(turn: &mut Turn<'_>, request: &HeartbeatRequest) -> Result<(), Refusal> {
    if request.group_id.is_empty() {
        return Err(Refusal::InvalidGroupId);
    }
    let unknown = || Refusal::unknown_member(&request.member_id);
    let id: Arc<str> = request.group_id.as_str().into();
    if let Some(watched) = turn.consumer(&id) {
        return consumer::classic::beat(turn, request, &id, watched);
    }
    let mut group = turn.classic(&id).ok_or_else(unknown)?;
    group.validate_in(&request.member_id, request.group_instance_id.as_ref(), request.generation_id)?;
    let phase = group.phase();
    if phase == Phase::Empty {
        return Err(unknown());
    }
    let member = group.member(&request.member_id).ok_or_else(unknown)?.id.clone();
    rebalance::hear(turn, &id, &mut group, &member);
    turn.put(&id, group);
    match phase {
        Phase::PreparingRebalance(_) => Err(Refusal::RebalanceInProgress),
        _ => Ok(()),
    }
}
