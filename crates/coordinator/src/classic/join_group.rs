//! JoinGroup: a member comes in, or comes back.
//!
//! It gets its id first (KIP-394), unless it is a static member (KIP-345), then waits in the rebalance that its
//! coming causes. A follower that comes back unchanged is told what it missed, and nobody else notices.

use std::sync::Arc;
use std::time::Duration;

use model::ErrorCode;
use wire::messages::{JoinGroupRequest, StrBytes, text};

use super::rebalance;
use super::{EXPECTED_MAX, Group, Phase, Preparing, Waiting};
use crate::call::Call;
use crate::cause::Because;
use crate::consumer;
use crate::group;
use crate::record::Entry;
use crate::refusal::Refusal;
use crate::settings::Settings;
use crate::turn::{Turn, refused_join};

/// From which version on a new member asks for its id first.
const ID_FIRST: i16 = 4;
/// From which version on a leader that replaced itself may skip the assignment.
const MAY_SKIP_ASSIGNMENT: i16 = 9;

/// Answers now, or lets the member wait.
pub(crate) fn decide(turn: &mut Turn<'_>, call: &Call, request: &JoinGroupRequest) {
    if let Err((refusal, member)) = join(turn, call, request) {
        let response = refused_join(call.caller.version, refusal.code(), member);
        turn.reply(call.caller, response);
    }
}

/// A refusal tells the member's id as well.
type Outcome = Result<(), (Refusal, StrBytes)>;

fn join(turn: &mut Turn<'_>, call: &Call, request: &JoinGroupRequest) -> Outcome {
    let member = &request.member_id;
    let refuse = |refusal| (refusal, member.clone());
    check_request(turn.settings, request).map_err(refuse)?;
    let id: Arc<str> = request.group_id.as_str().into();
    let mut group = match turn.core.groups.get(id.as_ref()) {
        Some(group::Group::Classic(group)) => Group::clone(group),
        Some(group::Group::Consumer(watched)) if !watched.group().is_empty() => {
            return consumer::classic::join(turn, call, request, &id);
        }
        None if !member.is_empty() => return Err(refuse(Refusal::unknown_member(member))),
        None => Group::new(turn.now.time),
        // An empty group of the new protocol makes room, if anybody comes.
        Some(group::Group::Consumer(watched)) => {
            Group { causes: watched.causes.clone(), ..Group::new(turn.now.time) }
        }
    };
    if !accepts(&group, turn.settings.members_max, member) {
        let because = Because::of(&group, member, "the group is full");
        rebalance::take_out(turn, &mut group, member);
        rebalance::after_loss(turn, &id, &mut group, because);
        turn.put(&id, group);
        return Err((Refusal::GroupFull { max: turn.settings.members_max }, StrBytes::default()));
    }
    if !group.admits(&request.protocol_type, &super::member::protocols(request)) {
        return Err(refuse(Refusal::InconsistentProtocol));
    }
    make_room(turn, &id);
    if member.is_empty() {
        come_in(turn, &id, &mut group, call, request).map_err(refuse)?;
    } else {
        come_back(turn, &id, &mut group, call, request).map_err(refuse)?;
    }
    if turn.core.hard.group(&id).is_none() {
        // So that whoever leads next knows the group, if not its members.
        turn.write(Entry::Classic(id.clone(), Some(Group::new(turn.now.time).to_value())));
    }
    turn.put(&id, group);
    Ok(())
}

fn check_request(settings: &Settings, request: &JoinGroupRequest) -> Result<(), Refusal> {
    if request.group_id.is_empty() {
        return Err(Refusal::InvalidGroupId);
    }
    let timeout = u64::try_from(request.session_timeout_ms).ok().map(Duration::from_millis);
    let allowed = settings.session_timeout_min..=settings.session_timeout_max;
    if timeout.is_none_or(|timeout| !allowed.contains(&timeout)) {
        return Err(Refusal::SessionTimeout);
    }
    Ok(())
}

/// Whether there is room. While a rebalance is prepared those count who joined it: so a group that is larger than
/// it may be now loses who comes back last.
fn accepts(group: &Group, max: usize, member: &StrBytes) -> bool {
    match group.phase {
        Phase::Empty => true,
        Phase::PreparingRebalance(_) => {
            let joined = |member: &Arc<super::Member>| matches!(member.waiting, Waiting::Join(_));
            group.member(member).is_some_and(joined) || group.joining() < max
        }
        Phase::CompletingRebalance | Phase::Stable => {
            group.member(member).is_some() || group.members.len() < max
        }
    }
}

/// Deletes an empty group of the new protocol under this name.
fn make_room(turn: &mut Turn<'_>, id: &Arc<str>) {
    if let Some(group::Group::Consumer(_)) = turn.core.groups.get(id.as_ref()) {
        turn.delete(id);
    }
}

/// A member without an id.
fn come_in(
    turn: &mut Turn<'_>,
    id: &Arc<str>,
    group: &mut Group,
    call: &Call,
    request: &JoinGroupRequest,
) -> Result<(), Refusal> {
    let prefix = request.group_instance_id.as_ref().unwrap_or(&call.client.id);
    let member = text(&format!("{}-{}", prefix.as_str(), hyphenated(call.chance)));
    let known = request.group_instance_id.as_ref().and_then(|instance| group.member_of_instance(instance));
    match known.cloned() {
        Some(old) => take_over(turn, id, group, call, request, &old, &member),
        None if request.group_instance_id.is_none() && call.caller.version >= ID_FIRST => {
            if group.expected() >= EXPECTED_MAX {
                return Err(Refusal::TooManyExpected { max: EXPECTED_MAX });
            }
            rebalance::expect(turn, id, group, member.clone(), request.session_timeout_ms);
            turn.refuse_join(call.caller, ErrorCode::MemberIdRequired, &member);
        }
        None => rebalance::add(turn, id, group, call, request, member),
    }
    Ok(())
}

/// A UUID as Java writes it.
fn hyphenated(id: model::Uuid) -> String {
    let hex: String = id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A new process of a static member. In a stable group whose protocol stays, nobody else need know.
fn take_over(
    turn: &mut Turn<'_>,
    id: &Arc<str>,
    group: &mut Group,
    call: &Call,
    request: &JoinGroupRequest,
    old: &StrBytes,
    new: &StrBytes,
) {
    let leader_before = group.leader().cloned().unwrap_or_default();
    rebalance::replace(group, turn, old, new);
    let quiet = group.phase == Phase::Stable;
    if quiet {
        group.edit(new, |member| {
            member.protocols = super::member::protocols(request);
            member.rebalance_timeout_ms = super::member::rebalance_timeout_ms(request);
            member.session_timeout_ms = request.session_timeout_ms;
        });
    }
    rebalance::hear(turn, id, group, new);
    if quiet && group.elect_protocol() == group.protocol {
        let version = call.caller.version;
        let mut response = rebalance::joined(group, new, version);
        if version >= MAY_SKIP_ASSIGNMENT {
            response.skip_assignment = group.leader() == Some(new);
        } else {
            // It must not take itself for the leader, or it would divide again what nobody asks for.
            response.leader = leader_before;
            response.members.clear();
        }
        turn.reply(call.caller, response);
        turn.write(Entry::Classic(id.clone(), Some(group.to_value())));
        return;
    }
    if quiet || group.phase == Phase::CompletingRebalance {
        let why = "a static member came back under a new id";
        rebalance::prepare_for(turn, id, group, call, request, new, why);
    } else {
        rebalance::update(group, turn, call, request, new);
        rebalance::complete_if_all_joined(turn, id, group);
    }
}

/// A member with an id.
fn come_back(
    turn: &mut Turn<'_>,
    id: &Arc<str>,
    group: &mut Group,
    call: &Call,
    request: &JoinGroupRequest,
) -> Result<(), Refusal> {
    let member = super::member::own(&request.member_id);
    if group.is_pending(&member) && request.group_instance_id.is_none() {
        rebalance::add(turn, id, group, call, request, member);
        return Ok(());
    }
    group.validate(&member, request.group_instance_id.as_ref())?;
    let same = group.member(&member).is_some_and(|member| member.matches(request));
    let leads = group.leader() == Some(&member);
    let told = match group.phase {
        Phase::Empty => return Err(Refusal::unknown_member(&member)),
        Phase::PreparingRebalance(_) => false,
        // It did not get the answer, it seems.
        Phase::CompletingRebalance => same,
        // The leader may know of changes that do not show in what it says of itself.
        Phase::Stable => same && !leads,
    };
    if told {
        let response = rebalance::joined(group, &member, call.caller.version);
        turn.reply(call.caller, response);
        return Ok(());
    }
    match group.phase {
        Phase::PreparingRebalance(preparing) => {
            rebalance::update(group, turn, call, request, &member);
            if preparing == Preparing::Again {
                rebalance::complete_if_all_joined(turn, id, group);
            }
        }
        _ => {
            let why = why_again(group, &member, request);
            rebalance::prepare_for(turn, id, group, call, request, &member, why);
        }
    }
    Ok(())
}

/// What is new about a member that joins again.
fn why_again(group: &Group, member: &StrBytes, request: &JoinGroupRequest) -> &'static str {
    let known = group.member(member);
    if known.is_some_and(|known| known.matches(request)) {
        return if group.leader() == Some(member) {
            "the leader joined again"
        } else {
            "a member joined again"
        };
    }
    let had = known.iter().flat_map(|known| known.protocols.iter()).map(|protocol| &protocol.name);
    if had.eq(request.protocols.iter().map(|protocol| &protocol.name)) {
        "a member joined again with another subscription"
    } else {
        "a member joined again with other assignors"
    }
}
