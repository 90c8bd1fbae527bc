//! LeaveGroup: members go, or are sent away by their instance (KIP-345).

use std::sync::Arc;

use model::ErrorCode;
use wire::messages::leave_group_request::MemberIdentity;
use wire::messages::leave_group_response::MemberResponse;
use wire::messages::{LeaveGroupRequest, LeaveGroupResponse, StrBytes};

use super::Group;
use super::rebalance;
use crate::call::Call;
use crate::cause::Because;
use crate::consumer;
use crate::refusal::Refusal;
use crate::turn::Turn;

/// From which version on several members may go at once; before, the head's code is the member's.
const SEVERAL: i16 = 3;

/// Answers at once.
pub(crate) fn decide(turn: &mut Turn<'_>, call: &Call, request: &LeaveGroupRequest) {
    if request.group_id.is_empty() {
        let code = Refusal::InvalidGroupId.code().code();
        turn.reply(call.caller, LeaveGroupResponse::default().with_error_code(code));
        return;
    }
    let alone = [MemberIdentity::default().with_member_id(request.member_id.clone())];
    let several = call.caller.version >= SEVERAL;
    let members = if several { &request.members[..] } else { &alone };
    let codes = leave(turn, request, members);
    let response = if several {
        let answers = members.iter().zip(codes).map(|(member, code)| {
            MemberResponse::default()
                .with_member_id(member.member_id.clone())
                .with_group_instance_id(member.group_instance_id.clone())
                .with_error_code(code.code())
        });
        LeaveGroupResponse::default().with_members(answers.collect())
    } else {
        LeaveGroupResponse::default().with_error_code(codes[0].code())
    };
    turn.reply(call.caller, response);
}

/// What each member is told.
fn leave(turn: &mut Turn<'_>, request: &LeaveGroupRequest, members: &[MemberIdentity]) -> Vec<ErrorCode> {
    let id: Arc<str> = request.group_id.as_str().into();
    if let Some(watched) = turn.consumer(&id) {
        return consumer::classic::leave(turn, &id, &watched, members);
    }
    let Some(mut group) = turn.classic(&id) else {
        return vec![ErrorCode::UnknownMemberId; members.len()];
    };
    let mut last: Option<Because> = None;
    let mut gone = 0;
    let mut codes = Vec::with_capacity(members.len());
    for member in members {
        codes.push(match find(&group, member) {
            Ok(found) => {
                gone += 1;
                let text = if gone == 1 { "a member left".into() } else { format!("{gone} members left") };
                last = Some(Because::of(&group, &found, text).saying(member.reason.as_ref()));
                rebalance::take_out(turn, &mut group, &found);
                ErrorCode::None
            }
            Err(refusal) => refusal.code(),
        });
    }
    if let Some(because) = last {
        rebalance::after_loss(turn, &id, &mut group, because);
        turn.put(&id, group);
    }
    codes
}

/// Whom an identity means: a member, an instance, or an id that was never used.
fn find(group: &Group, member: &MemberIdentity) -> Result<StrBytes, Refusal> {
    let id = &member.member_id;
    let instance = member.group_instance_id.as_ref();
    if id.is_empty() {
        let known = instance.and_then(|instance| group.member_of_instance(instance));
        return known.cloned().ok_or_else(|| Refusal::unknown_member(id));
    }
    if !group.is_pending(id) {
        group.validate(id, instance)?;
    }
    Ok(super::member::own(id))
}
