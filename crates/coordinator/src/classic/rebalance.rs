//! A rebalance from its reason to the new generation.
//!
//! Begun by whatever changes the group; complete when all members have joined or their time is up. Nothing here
//! asks who may do what: the decisions do that, a file each.

use std::sync::Arc;
use std::time::Duration;

use model::ErrorCode;
use wire::messages::join_group_response::JoinGroupResponseMember;
use wire::messages::{JoinGroupRequest, JoinGroupResponse, StrBytes, SyncGroupResponse};

use super::{Group, Member, Phase, Preparing, Waiting};
use crate::alarm::Subject;
use crate::call::Call;
use crate::cause::{self, Because};
use crate::record::Entry;
use crate::turn::Turn;

/// How long a member that joins for the first time may wait for the others: it cannot heartbeat yet, and if its
/// client has gone, nothing else would tell.
const NEW_MEMBER_JOIN_TIMEOUT: Duration = Duration::from_secs(300);

/// Puts a member's session off: it was heard, or an answer to it says so.
pub(crate) fn hear(turn: &mut Turn<'_>, id: &Arc<str>, group: &mut Group, member: &StrBytes) {
    let timeout = group.member(member).map(|member| member.session_timeout()).unwrap_or_default();
    put_off(turn, id, group, member, timeout);
}

fn put_off(turn: &mut Turn<'_>, id: &Arc<str>, group: &mut Group, member: &StrBytes, timeout: Duration) {
    let due = turn.now.clock.after(timeout);
    let subject = || Subject::Session(id.clone(), member.clone());
    let alarms = &mut turn.core.alarms;
    group.edit(member, |member| member.alarm.set(due, alarms, subject));
}

/// Hands out an id, good for one session timeout (KIP-394).
pub(crate) fn expect(
    turn: &mut Turn<'_>,
    id: &Arc<str>,
    group: &mut Group,
    member: StrBytes,
    timeout_ms: i32,
) {
    let due = turn.now.clock.after(Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0)));
    let mut alarm = crate::alarm::Alarm::default();
    alarm.set(due, &mut turn.core.alarms, || Subject::Session(id.clone(), member.clone()));
    group.pending.insert(member, alarm);
}

/// Lets a new member in, and waits for the others.
pub(crate) fn add(
    turn: &mut Turn<'_>,
    id: &Arc<str>,
    group: &mut Group,
    call: &Call,
    request: &JoinGroupRequest,
    member: StrBytes,
) {
    if let Phase::PreparingRebalance(Preparing::First { until }) = group.phase {
        // Members of one deployment come within moments: half the delay without another, and all are there.
        let quiet = turn.now.clock.after(turn.settings.initial_rebalance_delay / 2);
        let due = group.alarm.due().map_or(quiet, |due| due.max(quiet));
        turn.set_rebalance(id, group, due.min(until));
    }
    if group.members.is_empty() {
        group.protocol_type = Some(super::member::own(&request.protocol_type));
    }
    let alarm = group.pending.get(&member).copied().unwrap_or_default();
    let mut joining = Member::joining(member.clone(), &call.client, request, call.caller);
    joining.alarm = alarm;
    group.insert(joining);
    put_off(turn, id, group, &member, NEW_MEMBER_JOIN_TIMEOUT);
    let because = Because::of(group, &member, "a member joined").saying(request.reason.as_ref());
    prepare_or_complete(turn, id, group, because);
}

/// Takes in what a member says anew, and lets it wait for the others.
pub(crate) fn update(
    group: &mut Group,
    turn: &mut Turn<'_>,
    call: &Call,
    request: &JoinGroupRequest,
    member: &StrBytes,
) {
    let before = group.edit(member, |member| {
        member.protocols = super::member::protocols(request);
        member.rebalance_timeout_ms = super::member::rebalance_timeout_ms(request);
        member.session_timeout_ms = request.session_timeout_ms;
        member.waiting = Waiting::Join(call.caller);
    });
    // A request sent before on a connection that is likely gone: nothing waits twice.
    dismiss(turn, before, member, ErrorCode::RebalanceInProgress);
}

/// Begins a rebalance because a member joined again, which waits for it.
pub(crate) fn prepare_for(
    turn: &mut Turn<'_>,
    id: &Arc<str>,
    group: &mut Group,
    call: &Call,
    request: &JoinGroupRequest,
    member: &StrBytes,
    text: &'static str,
) {
    let because = Because::of(group, member, text).saying(request.reason.as_ref());
    update(group, turn, call, request, member);
    prepare(turn, id, group, because);
}

/// Answers whoever waits for a member that goes, or asks again.
pub(crate) fn dismiss(turn: &mut Turn<'_>, waiting: Waiting, member: &StrBytes, code: ErrorCode) {
    match waiting {
        Waiting::Nothing => {}
        Waiting::Join(caller) => turn.refuse_join(caller, code, member),
        Waiting::Sync(caller) => turn.refuse_sync(caller, code),
    }
}

/// Takes a member out; who waits for it is told to start over.
pub(crate) fn take_out(turn: &mut Turn<'_>, group: &mut Group, member: &StrBytes) {
    if let Some(gone) = group.remove(member) {
        let unknown = StrBytes::default();
        dismiss(turn, gone.waiting, &unknown, ErrorCode::UnknownMemberId);
    }
}

/// Goes on with fewer members.
pub(crate) fn after_loss(turn: &mut Turn<'_>, id: &Arc<str>, group: &mut Group, because: Because) {
    match group.phase {
        Phase::Empty => {}
        Phase::CompletingRebalance | Phase::Stable => prepare(turn, id, group, because),
        Phase::PreparingRebalance(_) => complete_if_all_joined(turn, id, group),
    }
}

/// A session's time is up, or that of an id nobody used.
pub(crate) fn session_ended(turn: &mut Turn<'_>, id: &Arc<str>, group: &mut Group, member: &StrBytes) {
    if group.pending.remove(member).is_some() {
        complete_if_all_joined(turn, id, group);
        return;
    }
    let Some(known) = group.member(member) else { return };
    // Who waits for an answer cannot heartbeat, and is not asked to. The first join alone has its own limit.
    if known.is_new || known.waiting == Waiting::Nothing {
        let because = Because::of(group, member, "a member's session timed out");
        take_out(turn, group, member);
        after_loss(turn, id, group, because);
    }
}

/// Begins a rebalance, or goes on with the one that is.
fn prepare_or_complete(turn: &mut Turn<'_>, id: &Arc<str>, group: &mut Group, because: Because) {
    match group.phase {
        Phase::PreparingRebalance(_) => complete_if_all_joined(turn, id, group),
        _ => prepare(turn, id, group, because),
    }
}

/// Begins a rebalance.
pub(crate) fn prepare(turn: &mut Turn<'_>, id: &Arc<str>, group: &mut Group, because: Because) {
    cause::note(turn, id, &mut group.causes, group.generation, because);
    if group.phase == Phase::CompletingRebalance {
        cancel_syncs(turn, id, group);
    }
    group.alarm.clear();
    if group.phase == Phase::Empty {
        let delay = turn.settings.initial_rebalance_delay;
        let until = turn.now.clock.after(group.rebalance_timeout().max(delay));
        group.set_phase(Phase::PreparingRebalance(Preparing::First { until }), turn.now.time);
        turn.set_rebalance(id, group, turn.now.clock.after(delay));
        return;
    }
    group.set_phase(Phase::PreparingRebalance(Preparing::Again), turn.now.time);
    if has_all_joined(group) {
        complete(turn, id, group);
    } else {
        turn.set_rebalance(id, group, turn.now.clock.after(group.rebalance_timeout()));
    }
}

/// Members that wait for their assignment of this generation will not get it.
fn cancel_syncs(turn: &mut Turn<'_>, id: &Arc<str>, group: &mut Group) {
    group.assign(&Default::default());
    for member in waiting_for_sync(group) {
        let before = group.edit(&member, |member| member.waiting = Waiting::Nothing);
        dismiss(turn, before, &member, ErrorCode::RebalanceInProgress);
        hear(turn, id, group, &member);
    }
}

fn waiting_for_sync(group: &Group) -> Vec<StrBytes> {
    let waits = |member: &&Arc<Member>| matches!(member.waiting, Waiting::Sync(_));
    group.members.values().filter(waits).map(|member| member.id.clone()).collect()
}

fn has_all_joined(group: &Group) -> bool {
    group.joining == group.members.len() && group.pending.is_empty()
}

/// Ends the wait for joins when nobody is waited for; an empty group's first wait runs its time.
pub(crate) fn complete_if_all_joined(turn: &mut Turn<'_>, id: &Arc<str>, group: &mut Group) {
    if group.phase == Phase::PreparingRebalance(Preparing::Again) && has_all_joined(group) {
        complete(turn, id, group);
    }
}

/// The wait for joins, or for syncs, has run its time.
pub(crate) fn time_is_up(turn: &mut Turn<'_>, id: &Arc<str>, group: &mut Group) {
    match group.phase {
        Phase::Empty => {}
        Phase::PreparingRebalance(_) => complete(turn, id, group),
        Phase::CompletingRebalance | Phase::Stable => drop_unsynced(turn, id, group),
    }
}

/// Members that never asked for their assignment have no share in the next.
fn drop_unsynced(turn: &mut Turn<'_>, id: &Arc<str>, group: &mut Group) {
    let late: Vec<StrBytes> = group.unsynced.iter().cloned().collect();
    let Some(because) = of_several(group, &late, "did not ask for its assignment in time") else { return };
    for member in &late {
        take_out(turn, group, member);
    }
    prepare(turn, id, group, because);
}

/// Because of the first of several members, with how many there are.
pub(crate) fn of_several(group: &Group, members: &[StrBytes], what: &str) -> Option<Because> {
    let (first, more) = members.split_first()?;
    let text = match more.len() {
        0 => format!("a member {what}"),
        more => format!("a member {what}, and {more} more"),
    };
    Some(Because::of(group, first, text))
}

/// Ends the wait for joins: who did not join is out, and the others are a new generation.
fn complete(turn: &mut Turn<'_>, id: &Arc<str>, group: &mut Group) {
    group.alarm.clear();
    let absent: Vec<StrBytes> = group
        .members
        .values()
        // A static member may be away for its session timeout.
        .filter(|member| !matches!(member.waiting, Waiting::Join(_)) && member.instance.is_none())
        .map(|member| member.id.clone())
        .collect();
    if let Some(because) = of_several(group, &absent, "did not join in time") {
        cause::note(turn, id, &mut group.causes, group.generation, because);
    }
    for member in &absent {
        group.remove(member);
    }
    if !elect_leader(group) && !group.members.is_empty() {
        // Static members alone, none of them here: sessions will tell who is gone.
        turn.set_rebalance(id, group, turn.now.clock.after(group.rebalance_timeout()));
        return;
    }
    begin_generation(turn, id, group);
}

/// Keeps the leader, if it joined, else takes the first that did.
fn elect_leader(group: &mut Group) -> bool {
    let joined = |member: &Arc<Member>| matches!(member.waiting, Waiting::Join(_));
    let Some(leader) = group.leader.clone() else { return false };
    if group.member(&leader).is_some_and(joined) {
        return true;
    }
    let next = group.members.values().find(|member| joined(member)).map(|member| member.id.clone());
    let found = next.is_some();
    group.leader = next.or(Some(leader));
    found
}

fn begin_generation(turn: &mut Turn<'_>, id: &Arc<str>, group: &mut Group) {
    group.generation = group.generation.checked_add(1).unwrap_or(1);
    group.unsynced.clear();
    if group.members.is_empty() {
        group.protocol = None;
        group.set_phase(Phase::Empty, turn.now.time);
        turn.write(Entry::Classic(id.clone(), Some(group.to_value())));
        return;
    }
    group.protocol = group.elect_protocol();
    group.set_phase(Phase::CompletingRebalance, turn.now.time);
    let members: Vec<StrBytes> = group.members.keys().cloned().collect();
    for member in &members {
        let waiting = group.edit(member, |member| {
            member.waiting = Waiting::Nothing;
            member.is_new = false;
        });
        if let Waiting::Join(caller) = waiting {
            let response = joined(group, member, caller.version);
            turn.reply(caller, response);
        }
        hear(turn, id, group, member);
        group.unsynced.insert(member.clone());
    }
    turn.set_rebalance(id, group, turn.now.clock.after(group.rebalance_timeout()));
}

/// What a member of this generation is told: the leader who the others are.
pub(crate) fn joined(group: &Group, member: &StrBytes, version: i16) -> JoinGroupResponse {
    let leads = group.leader.as_ref() == Some(member);
    let response = JoinGroupResponse::default()
        .with_generation_id(group.generation)
        .with_protocol_type(group.protocol_type.clone())
        .with_protocol_name(group.protocol.clone().or((version < 7).then(StrBytes::default)))
        .with_leader(group.leader.clone().unwrap_or_default())
        .with_member_id(member.clone());
    if leads { response.with_members(listed(group)) } else { response }
}

fn listed(group: &Group) -> Vec<JoinGroupResponseMember> {
    let protocol = group.protocol.clone().unwrap_or_default();
    let list = |member: &Arc<Member>| {
        JoinGroupResponseMember::default()
            .with_member_id(member.id.clone())
            .with_group_instance_id(member.instance.clone())
            .with_metadata(member.metadata(&protocol).clone())
    };
    group.members.values().map(list).collect()
}

/// A member has asked for its assignment; when it was the last, nobody is waited for.
pub(crate) fn synced(group: &mut Group, member: &StrBytes) {
    group.unsynced.remove(member);
    if group.unsynced.is_empty() {
        group.alarm.clear();
    }
}

/// The leader has spoken: those who wait get their parts, once the record is committed.
pub(crate) fn stabilise(turn: &mut Turn<'_>, id: &Arc<str>, group: &mut Group) {
    group.set_phase(Phase::Stable, turn.now.time);
    for member in waiting_for_sync(group) {
        if let Waiting::Sync(caller) = group.edit(&member, |member| member.waiting = Waiting::Nothing) {
            let response = assignment(group, &member);
            turn.reply(caller, response);
        }
        hear(turn, id, group, &member);
    }
    turn.write(Entry::Classic(id.clone(), Some(group.to_value())));
}

/// A member's part of a stable group.
pub(crate) fn assignment(group: &Group, member: &StrBytes) -> SyncGroupResponse {
    let part = group.member(member).map(|member| member.assignment.clone()).unwrap_or_default();
    SyncGroupResponse::default()
        .with_protocol_type(group.protocol_type.clone())
        .with_protocol_name(group.protocol.clone())
        .with_assignment(part)
}

/// Another process takes a static member's place under a new id; the old one is fenced (KIP-345).
pub(crate) fn replace(group: &mut Group, turn: &mut Turn<'_>, old: &StrBytes, new: &StrBytes) {
    let led = group.leader.as_ref() == Some(old);
    let unsynced = group.unsynced.contains(old);
    let gone = group.remove(old).expect("the caller has found it");
    dismiss(turn, gone.waiting, old, ErrorCode::FencedInstanceId);
    let mut member = Member::clone(&gone);
    member.id = new.clone();
    member.waiting = Waiting::Nothing;
    member.alarm = Default::default();
    group.insert(member);
    if led {
        group.leader = Some(new.clone());
    }
    if unsynced {
        group.unsynced.insert(new.clone());
    }
}
