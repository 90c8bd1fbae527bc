//! SyncGroup: the leader says who gets what, and each member asks for its part.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::ErrorCode;
use wire::messages::{Bytes, StrBytes, SyncGroupRequest};

use super::rebalance;
use super::{Group, Phase, Waiting};
use crate::call::Call;
use crate::consumer;
use crate::refusal::Refusal;
use crate::turn::Turn;

/// From which version on a member must say what protocol it goes by (KIP-559).
const SAYS_HOW: i16 = 5;

/// Answers now, or lets the member wait for the leader.
pub(crate) fn decide(turn: &mut Turn<'_>, call: &Call, request: &SyncGroupRequest) {
    // A part that is told must be committed: whoever leads next must know it.
    turn.behind_all = true;
    if let Err(refusal) = sync(turn, call, request) {
        turn.refuse_sync(call.caller, refusal.code());
    }
}

fn sync(turn: &mut Turn<'_>, call: &Call, request: &SyncGroupRequest) -> Result<(), Refusal> {
    let says_how = request.protocol_type.is_some() && request.protocol_name.is_some();
    if call.caller.version >= SAYS_HOW && !says_how {
        return Err(Refusal::InconsistentProtocol);
    }
    if request.group_id.is_empty() {
        return Err(Refusal::InvalidGroupId);
    }
    let unknown = || Refusal::unknown_member(&request.member_id);
    let id: Arc<str> = request.group_id.as_str().into();
    if let Some(watched) = turn.consumer(&id) {
        return consumer::classic::sync(turn, call, request, &id, watched);
    }
    let mut group = turn.classic(&id).ok_or_else(unknown)?;
    let member = super::member::own(&request.member_id);
    group.validate_in(&member, request.group_instance_id.as_ref(), request.generation_id)?;
    let differs =
        |asked: &Option<StrBytes>, own: &Option<StrBytes>| asked.is_some() && own.is_some() && asked != own;
    if differs(&request.protocol_type, &group.protocol_type)
        || differs(&request.protocol_name, &group.protocol)
    {
        return Err(Refusal::InconsistentProtocol);
    }
    match group.phase {
        Phase::Empty => return Err(unknown()),
        Phase::PreparingRebalance(_) => return Err(Refusal::RebalanceInProgress),
        Phase::CompletingRebalance => wait(turn, &id, &mut group, call, request, &member),
        Phase::Stable => {
            rebalance::synced(&mut group, &member);
            rebalance::hear(turn, &id, &mut group, &member);
            let response = rebalance::assignment(&group, &member);
            turn.reply(call.caller, response);
        }
    }
    turn.put(&id, group);
    Ok(())
}

fn wait(
    turn: &mut Turn<'_>,
    id: &Arc<str>,
    group: &mut Group,
    call: &Call,
    request: &SyncGroupRequest,
    member: &StrBytes,
) {
    let before = group.edit(member, |member| member.waiting = Waiting::Sync(call.caller));
    rebalance::dismiss(turn, before, member, ErrorCode::RebalanceInProgress);
    rebalance::synced(group, member);
    if group.leader() == Some(member) {
        let parts: BTreeMap<&StrBytes, &Bytes> =
            request.assignments.iter().map(|part| (&part.member_id, &part.assignment)).collect();
        group.assign(&parts);
        rebalance::stabilise(turn, id, group);
    }
}
