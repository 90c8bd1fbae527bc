//! Members of the classic protocol in a group of the new one, while the group is on its way between them.
//!
//! JoinGroup takes in what a member says and leads it one step on, as a heartbeat of the new protocol would; SyncGroup
//! tells it what it has now; Heartbeat sends it back to JoinGroup whenever there is a further step. Nobody leads the
//! group: the server divides.

use std::sync::Arc;

use model::ErrorCode;
use proto::offsets::ClassicMemberMetadata;
use wire::messages::leave_group_request::MemberIdentity;
use wire::messages::*;

use super::embedded::{self, Subscription};
use super::member::{Current, State};
use super::{Group, Id, Member, Watched, downgrade, heartbeat, leave, target, upgrade, watch};
use crate::alarm::Subject;
use crate::call::Call;
use crate::cause::Because;
use crate::classic::{CONSUMER, member};
use crate::refusal::Refusal;
use crate::settings::Migration;
use crate::turn::Turn;

/// From which version on a new member asks for its id first.
const ID_FIRST: i16 = 4;

/// A refusal tells the member's id as well.
type Outcome = Result<(), (Refusal, StrBytes)>;

/// JoinGroup.
pub(crate) fn join(turn: &mut Turn<'_>, call: &Call, request: &JoinGroupRequest, id: &Arc<str>) -> Outcome {
    turn.behind_all = true;
    let member: Id = match request.member_id.is_empty() {
        true => call.chance.to_string().into(),
        false => request.member_id.as_str().into(),
    };
    let asks_first = request.member_id.is_empty() && request.group_instance_id.is_none();
    let mark = turn.mark();
    let outcome = admit(turn, request, id, &member).and_then(|()| {
        if asks_first && call.caller.version >= ID_FIRST {
            return Err(Refusal::MemberIdRequired);
        }
        join_as(turn, call, request, id, &member)
    });
    outcome.map_err(|refusal| {
        turn.go_back_to(mark);
        let told =
            if refusal == Refusal::MemberIdRequired { text(&member) } else { request.member_id.clone() };
        (refusal, told)
    })
}

fn admit(turn: &Turn<'_>, request: &JoinGroupRequest, id: &str, member: &str) -> Result<(), Refusal> {
    if turn.settings.consumer.migration == Migration::Disabled {
        return Err(Refusal::InconsistentProtocol);
    }
    let group = turn.consumer_group(id);
    let max = turn.settings.consumer.members_max;
    if group.members.len() >= max && group.member(member).is_none() {
        return Err(Refusal::ConsumerGroupFull { max });
    }
    let known = request.protocols.iter().any(|protocol| group.is_known_by_classics(&protocol.name));
    if request.protocol_type.as_str() != CONSUMER || !known {
        return Err(Refusal::InconsistentProtocol);
    }
    Ok(())
}

fn join_as(
    turn: &mut Turn<'_>,
    call: &Call,
    request: &JoinGroupRequest,
    id: &Arc<str>,
    member: &Id,
) -> Result<(), Refusal> {
    let mut watched = turn.known_consumer(id)?;
    let group = watched.group.clone();
    let had = request.group_instance_id.as_deref().and_then(|instance| group.member_of_instance(instance));
    let downgrades = had.is_some_and(|had| {
        let speaks_classic =
            |id: &Id| group.member(id).is_some_and(|one| one.classic_member_metadata.is_some());
        !speaks_classic(had) && may_replace(turn, &group, had)
    });
    let known = find_or_begin(turn, id, &group, request, member)?;
    watched.take_over(turn.consumer_group(id), had);
    let first = request.protocols.first().ok_or(Refusal::InconsistentProtocol)?;
    let said = Subscription::from_bytes(&first.metadata).map_err(|_| Refusal::InconsistentProtocol)?;
    let updated = updated(call, request, &known, &said);
    let has_changed = heartbeat::write_member(turn, id, &mut watched, member, &updated)?;
    watched.group = turn.consumer_group(id);
    if !downgrades {
        target::divide(turn, id);
    }
    if !(downgrades && has_changed) {
        let claim = said.claim(turn.cluster);
        heartbeat::step(turn, id, &mut watched, member, has_changed, Some(&claim))?;
    }
    let response = JoinGroupResponse::default()
        .with_member_id(text(member))
        .with_generation_id(watched.group.current(member).epoch)
        .with_protocol_type(Some(text(CONSUMER)))
        .with_protocol_name(Some(member::own(&first.name)));
    turn.reply(call.caller, response);
    if downgrades && downgrade::convert(turn, id, &[]) {
        if has_changed {
            let why = "a member joined: the group went back to the classic protocol with other subscriptions";
            let because = Because::of_consumer(member, Some(&updated), why);
            downgrade::rebalance(turn, id, because.saying(request.reason.as_ref()));
        }
        return Ok(());
    }
    watch::hear(turn, id, &mut watched, member);
    wait_for_sync(turn, id, &mut watched, member);
    turn.put_consumer(id, watched);
    Ok(())
}

/// Whether the group becomes a classic one when a member of the classic protocol takes this member's place.
fn may_replace(turn: &Turn<'_>, group: &Group, had: &Id) -> bool {
    group.classics() == group.members.len() - 1
        && (group.members.len() == 1 || downgrade::applies(turn, group, std::slice::from_ref(had)))
        && turn.settings.consumer.migration.downgrades()
        && group.members.len() <= turn.settings.members_max
}

fn find_or_begin(
    turn: &mut Turn<'_>,
    id: &Arc<str>,
    group: &Group,
    request: &JoinGroupRequest,
    member: &Id,
) -> Result<Member, Refusal> {
    let known = |id: &str| group.member(id).map_or_else(heartbeat::begun, |known| Member::clone(known));
    let Some(instance) = request.group_instance_id.as_deref() else { return Ok(known(member)) };
    if !request.member_id.is_empty() {
        return leave::find(group, member, Some(instance)).map(|found| known(&found));
    }
    match group.member_of_instance(instance).cloned() {
        None => Ok(heartbeat::begun()),
        Some(had) => Ok(heartbeat::replace(turn, id, group, &had, member)),
    }
}

fn updated(call: &Call, request: &JoinGroupRequest, known: &Member, said: &Subscription) -> Member {
    let names: std::collections::BTreeSet<String> = said.topics.iter().cloned().collect();
    Member {
        instance_id: request
            .group_instance_id
            .as_ref()
            .map(ToString::to_string)
            .or(known.instance_id.clone()),
        rack_id: said.rack.clone().or(known.rack_id.clone()),
        client_id: call.client.id.to_string(),
        client_host: call.client.host.to_string(),
        subscribed_topic_names: names.into_iter().collect(),
        subscribed_topic_regex: Some(String::new()),
        rebalance_timeout_ms: member::rebalance_timeout_ms(request),
        server_assignor: known.server_assignor.clone(),
        classic_member_metadata: Some(ClassicMemberMetadata {
            session_timeout_ms: request.session_timeout_ms,
            supported_protocols: upgrade::protocols(&member::protocols(request)),
        }),
    }
}

/// It has joined, and is to ask for its assignment within its rebalance timeout.
fn wait_for_sync(turn: &mut Turn<'_>, id: &Arc<str>, watched: &mut Watched, member: &Id) {
    let Some(known) = watched.group.member(member) else { return };
    let due = turn.now.clock.after(watch::rebalance_timeout(known));
    let mut alarms = watched.alarms.get(member).copied().unwrap_or_default();
    alarms.join.clear();
    alarms.sync.set(due, &mut turn.core.alarms, || Subject::Sync(id.clone(), text(member)));
    watched.alarms.insert(member.clone(), alarms);
}

/// It is to join within its rebalance timeout, counted from the first time it was told.
fn wait_for_join(turn: &mut Turn<'_>, id: &Arc<str>, watched: &mut Watched, member: &Id) {
    let Some(known) = watched.group.member(member) else { return };
    let due = turn.now.clock.after(watch::rebalance_timeout(known));
    let mut alarms = watched.alarms.get(member).copied().unwrap_or_default();
    if !alarms.join.is_set() {
        alarms.join.set(due, &mut turn.core.alarms, || Subject::Join(id.clone(), text(member)));
    }
    watched.alarms.insert(member.clone(), alarms);
}

/// A member of the classic protocol, in the generation that it says.
fn find(
    group: &Group,
    member: &StrBytes,
    instance: Option<&StrBytes>,
    generation: i32,
) -> Result<(Id, Arc<Member>, Arc<Current>), Refusal> {
    let id = leave::find(group, member, instance.map(StrBytes::as_str))?;
    let known = group.member(&id).expect("it was found").clone();
    if known.classic_member_metadata.is_none() {
        return Err(Refusal::unknown_member(member));
    }
    let current = group.current(&id);
    if current.epoch != generation {
        return Err(Refusal::IllegalGeneration { had: current.epoch, got: generation });
    }
    Ok((id, known, current))
}

/// SyncGroup.
pub(crate) fn sync(
    turn: &mut Turn<'_>,
    call: &Call,
    request: &SyncGroupRequest,
    id: &Arc<str>,
    mut watched: Watched,
) -> Result<(), Refusal> {
    let instance = request.group_instance_id.as_ref();
    let (member, known, current) = find(&watched.group, &request.member_id, instance, request.generation_id)?;
    let classic = known.classic_member_metadata.as_ref().expect("it was found to be one");
    let own = classic.supported_protocols.first().map_or("", |protocol| protocol.name.as_str());
    let differs = |asked: &Option<StrBytes>, own: &str| asked.as_deref().is_some_and(|asked| asked != own);
    if differs(&request.protocol_type, CONSUMER) || differs(&request.protocol_name, own) {
        return Err(Refusal::InconsistentProtocol);
    }
    // One that has to give up first finishes that; then it is told to join again.
    if watched.group.epoch() > current.epoch && current.state != State::UnrevokedPartitions {
        wait_for_join(turn, id, &mut watched, &member);
        turn.put_consumer(id, watched);
        return Err(Refusal::RebalanceInProgress);
    }
    let mut alarms = watched.alarms.get(&member).copied().unwrap_or_default();
    alarms.sync.clear();
    watched.alarms.insert(member.clone(), alarms);
    watch::hear(turn, id, &mut watched, &member);
    turn.put_consumer(id, watched);
    let parts = current.assigned.iter().map(|(topic, own)| (topic, own.keys().copied().collect()));
    let bytes = embedded::assignment_bytes(turn.cluster, downgrade::version_of(&known), parts);
    let response = SyncGroupResponse::default()
        .with_protocol_type(request.protocol_type.clone())
        .with_protocol_name(request.protocol_name.clone())
        .with_assignment(bytes.into());
    turn.reply(call.caller, response);
    Ok(())
}

/// Heartbeat.
pub(crate) fn beat(
    turn: &mut Turn<'_>,
    request: &HeartbeatRequest,
    id: &Arc<str>,
    mut watched: Watched,
) -> Result<(), Refusal> {
    let instance = request.group_instance_id.as_ref();
    let (member, _, current) = find(&watched.group, &request.member_id, instance, request.generation_id)?;
    watch::hear(turn, id, &mut watched, &member);
    let goes_on = match current.state {
        _ if current.epoch < watched.group.epoch() => true,
        State::UnrevokedPartitions => true,
        State::UnreleasedPartitions => !waits_for_others(&watched.group, &member, &current),
        State::Stable | State::Unknown(_) => false,
    };
    if goes_on {
        wait_for_join(turn, id, &mut watched, &member);
    }
    turn.put_consumer(id, watched);
    if goes_on { Err(Refusal::RebalanceInProgress) } else { Ok(()) }
}

/// Whether others still have something that the member is to have.
fn waits_for_others(group: &Group, member: &Id, current: &Current) -> bool {
    let target = group.target_of(member).cloned().unwrap_or_default();
    let lacks = |topic: &model::TopicId, partition: &i32| {
        !current.assigned.get(topic).is_some_and(|own| own.contains_key(partition))
    };
    target.iter().any(|(topic, own)| {
        own.iter().any(|partition| lacks(topic, partition) && group.owner(*topic, *partition).is_some())
    })
}

/// LeaveGroup: what each member is told.
pub(crate) fn leave(
    turn: &mut Turn<'_>,
    id: &Arc<str>,
    watched: &Watched,
    members: &[MemberIdentity],
) -> Vec<ErrorCode> {
    let mut gone: Vec<Id> = Vec::new();
    let mut said: Option<&StrBytes> = None;
    let mut codes = Vec::with_capacity(members.len());
    for identity in members {
        let found = find_leaving(&watched.group, identity);
        codes.push(found.as_ref().map_or_else(Refusal::code, |_| ErrorCode::None));
        if let Some(found) = found.ok().filter(|found| !gone.contains(found)) {
            if gone.is_empty() {
                said = identity.reason.as_ref();
            }
            gone.push(found);
        }
    }
    leave::fence(turn, id, &gone, leave::LEFT_ITSELF, said);
    codes
}

fn find_leaving(group: &Group, identity: &MemberIdentity) -> Result<Id, Refusal> {
    let (member, instance) = (&identity.member_id, identity.group_instance_id.as_deref());
    let found = match instance.filter(|_| member.is_empty()) {
        // An administrator names the instance alone.
        Some(instance) => group.member_of_instance(instance).cloned(),
        None => Some(leave::find(group, member, instance)?),
    };
    let speaks_classic = |id: &Id| group.member(id).is_some_and(|one| one.classic_member_metadata.is_some());
    found.filter(speaks_classic).ok_or_else(|| Refusal::unknown_member(member))
}
