//! ConsumerGroupHeartbeat: a member joins, lives, changes its mind, leaves, and is led towards its target.
//!
//! Records are written in Kafka's order: the member, its expressions, the raised epoch, the new target, and where the
//! member stands now.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::ErrorCode;
use wire::messages::consumer_group_heartbeat_request::TopicPartitions as ClaimedTopic;
use wire::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use wire::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, from_wire_uuid, text, to_wire_uuid,
};

use super::member::{Current, LEFT, LEFT_FOR_NOW, Owned};
use super::reconcile::{Claim, Step};
use super::{Group, Id, Member, Watched, assignor, expression, leave, target, watch};
use crate::call::Call;
use crate::cause::Because;
use crate::record::{ConsumerEntry, Entry};
use crate::refusal::Refusal;
use crate::turn::Turn;

/// From which version on the client makes its own id (KIP-1082).
const OWN_ID: i16 = 1;

/// Answers when what it changed is committed, and all that it tells of.
pub(crate) fn decide(turn: &mut Turn<'_>, call: &Call, request: &ConsumerGroupHeartbeatRequest) {
    turn.behind_all = true;
    let mark = turn.mark();
    let outcome = check(turn, call.caller.version, request).and_then(|()| beat(turn, call, request));
    let response = outcome.unwrap_or_else(|refusal| {
        turn.go_back_to(mark);
        ConsumerGroupHeartbeatResponse::default()
            .with_error_code(refusal.code().code())
            .with_error_message(Some(text(&refusal.to_string())))
    });
    turn.reply(call.caller, response);
}

/// Whether the new protocol may be used at all.
pub(crate) fn check_enabled(turn: &Turn<'_>) -> Result<(), Refusal> {
    if turn.settings.consumer.is_enabled && turn.cluster.has_consumer_protocol() {
        return Ok(());
    }
    Err(Refusal::NoConsumerProtocol)
}

fn check(turn: &Turn<'_>, version: i16, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    check_enabled(turn)?;
    let invalid = |what: &'static str| Err(Refusal::InvalidRequest(what));
    let is_blank = |text: &str| text.trim().is_empty();
    let epoch = request.member_epoch;
    if (version >= OWN_ID || epoch > 0 || epoch == LEFT) && is_blank(&request.member_id) {
        return invalid("MemberId can't be empty.");
    }
    if is_blank(&request.group_id) {
        return invalid("GroupId can't be empty.");
    }
    if request.instance_id.as_ref().is_some_and(|instance| is_blank(instance)) {
        return invalid("InstanceId can't be empty.");
    }
    if request.rack_id.as_ref().is_some_and(|rack| is_blank(rack)) {
        return invalid("RackId can't be empty.");
    }
    match epoch {
        0 if request.rebalance_timeout_ms == -1 => {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        0 if request.topic_partitions.as_ref().is_none_or(|topics| !topics.is_empty()) => {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        0 if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() => {
            return invalid(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
            );
        }
        LEFT_FOR_NOW if request.instance_id.is_none() => return invalid("InstanceId can't be null."),
        ..LEFT_FOR_NOW => return invalid("MemberEpoch is invalid."),
        _ => {}
    }
    let offered = &turn.settings.consumer.assignors;
    let known = |name: &str| assignor::KNOWN.contains(&name) && offered.iter().any(|offer| offer == name);
    match &request.server_assignor {
        Some(name) if !known(name) => {
            Err(Refusal::UnsupportedAssignor { name: name.to_string(), offered: offered.join(", ") })
        }
        _ => Ok(()),
    }
}

fn beat(
    turn: &mut Turn<'_>,
    call: &Call,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
    let id: Arc<str> = request.group_id.as_str().into();
    if request.member_epoch < 0 {
        return leave::decide(turn, &id, request);
    }
    let joins = request.member_epoch == 0;
    let mut watched = if joins { turn.consumer_to_join(&id)? } else { turn.known_consumer(&id)? };
    let group = watched.group.clone();
    let max = turn.settings.consumer.members_max;
    if group.members.len() >= max && group.member(&request.member_id).is_none() {
        return Err(Refusal::ConsumerGroupFull { max });
    }
    let member: Id = match request.member_id.is_empty() {
        true => call.chance.to_string().into(),
        false => request.member_id.as_str().into(),
    };
    let known = match request.instance_id.as_deref() {
        None => find_or_begin(&group, &member, joins)?,
        Some(instance) => {
            let known = find_or_replace(turn, &id, &group, &member, instance, request)?;
            watched.take_over(turn.consumer_group(&id), group.member_of_instance(instance));
            known
        }
    };
    if !joins {
        check_epoch(&watched.group.current(&member), request)?;
    }
    let before = watched.group.current(&member);
    let updated = updated(call, request, &known);
    advance(turn, &id, &mut watched, &member, &updated, request.topic_partitions.as_deref())?;
    watch::hear(turn, &id, &mut watched, &member);
    let current = watched.group.current(&member);
    let response = answer(turn, &id, &member, &current);
    let tells = tells(&mut watched, &member, request, &before, &current);
    turn.put_consumer(&id, watched);
    Ok(response.with_assignment(tells.then(|| assignment(&current.assigned))))
}

fn find_or_begin(group: &Group, member: &str, joins: bool) -> Result<Member, Refusal> {
    match group.member(member) {
        Some(known) => Ok(Member::clone(known)),
        None if joins => Ok(begun()),
        None => Err(Refusal::unknown_member(member)),
    }
}

/// A member of which nothing is known yet.
pub(crate) fn begun() -> Member {
    Member {
        instance_id: None,
        rack_id: None,
        subscribed_topic_regex: Some(String::new()),
        rebalance_timeout_ms: -1,
        server_assignor: None,
        classic_member_metadata: None,
        ..Member::default()
    }
}

/// A static member: a new one, itself again, or one that takes the place of who left for now.
fn find_or_replace(
    turn: &mut Turn<'_>,
    id: &Arc<str>,
    group: &Group,
    member: &Id,
    instance: &str,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<Member, Refusal> {
    if request.member_epoch != 0 {
        let found = leave::find(group, member, Some(instance))?;
        return find_or_begin(group, &found, false);
    }
    let Some(had) = group.member_of_instance(instance).cloned() else {
        return find_or_begin(group, member, true);
    };
    let speaks_classic = group.member(&had).is_some_and(|known| known.classic_member_metadata.is_some());
    if !speaks_classic && group.current(&had).epoch != LEFT_FOR_NOW {
        let (instance, had, got) = (instance.to_owned(), had.to_string(), member.to_string());
        return Err(Refusal::UnreleasedInstance { instance, had, got });
    }
    Ok(replace(turn, id, group, &had, member))
}

/// Gives a member's place to another id; what it was to have is the other's.
pub(crate) fn replace(turn: &mut Turn<'_>, id: &Arc<str>, group: &Group, had: &Id, member: &Id) -> Member {
    let known = group.member(had).expect("an instance is a member");
    let target = group.target_of(had).cloned().unwrap_or_default();
    let current = Current { epoch: 0, previous: 0, ..Current::clone(&group.current(had)) };
    leave::remove(turn, id, had);
    let entry = ConsumerEntry::Member(member.to_string(), Some(Member::clone(known)));
    turn.write(Entry::Consumer(id.clone(), entry));
    target::write_part(turn, id, member, &target);
    leave::write_current(turn, id, member, &current);
    Member::clone(known)
}

/// Whether a member speaks of the epoch it is in; of the one before it may, when an answer was lost: then it says what
/// it has, and has nothing else.
fn check_epoch(current: &Current, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    let (had, got) = (current.epoch, request.member_epoch);
    if got > had {
        return Err(Refusal::FencedMemberEpoch { had, got, than: "greater" });
    }
    let has = |topic: &ClaimedTopic| {
        let own = current.assigned.get(&from_wire_uuid(topic.topic_id));
        own.is_some_and(|own| topic.partitions.iter().all(|partition| own.contains_key(partition)))
    };
    let lost = || request.topic_partitions.as_ref().is_some_and(|topics| topics.iter().all(has));
    if got < had && !(got == current.previous && lost()) {
        return Err(Refusal::FencedMemberEpoch { had, got, than: "smaller" });
    }
    Ok(())
}

/// What a member is from now on; what it does not say stays.
fn updated(call: &Call, request: &ConsumerGroupHeartbeatRequest, known: &Member) -> Member {
    let mut member = known.clone();
    let or = |said: &Option<wire::messages::StrBytes>, had: Option<String>| {
        said.as_ref().map(ToString::to_string).or(had)
    };
    member.instance_id = or(&request.instance_id, member.instance_id);
    member.rack_id = or(&request.rack_id, member.rack_id);
    member.server_assignor = or(&request.server_assignor, member.server_assignor);
    member.subscribed_topic_regex = or(&request.subscribed_topic_regex, member.subscribed_topic_regex);
    if request.rebalance_timeout_ms != -1 {
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
    }
    if let Some(names) = &request.subscribed_topic_names {
        let names: BTreeSet<String> = names.iter().map(|name| name.to_string()).collect();
        member.subscribed_topic_names = names.into_iter().collect();
    }
    member.client_id = call.client.id.to_string();
    member.client_host = call.client.host.to_string();
    member.classic_member_metadata = None;
    member
}

/// Takes in what a member says, divides anew where that is called for, and leads the member one step on.
pub(crate) fn advance(
    turn: &mut Turn<'_>,
    id: &Arc<str>,
    watched: &mut Watched,
    member: &Id,
    updated: &Member,
    claim: Claim<'_>,
) -> Result<(), Refusal> {
    let has_changed = write_member(turn, id, watched, member, updated)?;
    target::divide(turn, id);
    step(turn, id, watched, member, has_changed, claim)
}

/// Writes what is new about a member, and raises the epoch when others are concerned. True when it reads other topics.
pub(crate) fn write_member(
    turn: &mut Turn<'_>,
    id: &Arc<str>,
    watched: &mut Watched,
    member: &Id,
    updated: &Member,
) -> Result<bool, Refusal> {
    let group = turn.consumer_group(id);
    let known = group.member(member);
    if known.is_none_or(|known| **known != *updated) {
        let entry = ConsumerEntry::Member(member.to_string(), Some(updated.clone()));
        turn.write(Entry::Consumer(id.clone(), entry));
    }
    let had_names = known.map_or(&[][..], |known| &known.subscribed_topic_names);
    let renamed = had_names != updated.subscribed_topic_names;
    let pattern = |member: &Member| member.subscribed_topic_regex.clone().unwrap_or_default();
    let (had, wants) = (known.map_or_else(String::new, |known| pattern(known)), pattern(updated));
    let rewritten = had != wants;
    if rewritten && !wants.is_empty() && !group.uses(&wants) {
        expression::compile(&wants)?;
    }
    let refreshed = expression::refresh(turn, id, watched);
    let seen = watched.seen == Some(turn.cluster.version());
    watched.seen = Some(turn.cluster.version());
    let raises = renamed || rewritten || refreshed || group.epoch() == 0;
    if raises || (!seen && target::have_topics_changed(turn, &turn.consumer_group(id))) {
        let reason = match known {
            None => "a member joined",
            Some(_) if renamed || rewritten => "a member reads other topics",
            Some(_) if refreshed => "an expression stands for other topics",
            Some(_) => "topics or their partitions changed",
        };
        let because = Because::of_consumer(member, Some(updated), reason);
        watched.remember(turn, id, because);
        target::raise(turn, id, &group, seen)?;
    }
    Ok(renamed || rewritten)
}

/// Leads a member one step towards its target.
pub(crate) fn step(
    turn: &mut Turn<'_>,
    id: &Arc<str>,
    watched: &mut Watched,
    member: &Id,
    has_changed: bool,
    claim: Claim<'_>,
) -> Result<(), Refusal> {
    let group = turn.consumer_group(id);
    let current = group.current(member);
    let target_epoch = group.target_epoch();
    if has_changed || !current.is_reconciled_to(target_epoch) {
        let target = group.target_of(member).cloned().unwrap_or_default();
        let known = group.member(member).expect("it was written");
        let topics = target::topic_ids(turn.cluster, target::topics_of(&group, known));
        let step =
            Step { current: &current, target_epoch, target: &target, topics: &topics, has_changed, claim };
        let next = step.take(|topic, partition| group.owner(topic, partition).is_some())?;
        if next != *current {
            leave::write_current(turn, id, member, &next);
            watched.group = turn.consumer_group(id);
            watch::watch_revocation(turn, id, watched, member);
        }
    }
    watched.group = turn.consumer_group(id);
    Ok(())
}

fn answer(turn: &Turn<'_>, id: &str, member: &str, current: &Current) -> ConsumerGroupHeartbeatResponse {
    let interval = watch::heartbeat_interval(turn, id, current).as_millis();
    ConsumerGroupHeartbeatResponse::default()
        .with_error_code(ErrorCode::None.code())
        .with_member_id(Some(text(member)))
        .with_member_epoch(current.epoch)
        .with_heartbeat_interval_ms(i32::try_from(interval).unwrap_or(i32::MAX))
}

/// Whether a member is told what it has: it says all of itself, that has changed, or it has not said yet that it has
/// it. The answer that told it may be lost, and nobody else's heartbeat can mend that; a client ignores what it knows.
fn tells(
    watched: &mut Watched,
    member: &Id,
    request: &ConsumerGroupHeartbeatRequest,
    before: &Current,
    current: &Current,
) -> bool {
    let joins = request.member_epoch == 0;
    let changed = before.assigned != current.assigned;
    let says_all = request.rebalance_timeout_ms != -1
        && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
        && request.topic_partitions.is_some();
    let is_new = match &request.topic_partitions {
        Some(claim) => !is_all(claim, &current.assigned),
        None => changed,
    };
    let is_unheard = watched.note_told(member, request.topic_partitions.is_some(), is_new);
    joins || says_all || changed || is_unheard
}

/// Whether a member says that it has just what it is to have.
fn is_all(claim: &[ClaimedTopic], assigned: &Owned) -> bool {
    let claimed = claim.iter().flat_map(|topic| {
        let id = from_wire_uuid(topic.topic_id);
        topic.partitions.iter().map(move |&partition| (id, partition))
    });
    let assigned = assigned.iter().flat_map(|(&id, partitions)| partitions.keys().map(move |&it| (id, it)));
    claimed.collect::<BTreeSet<_>>().into_iter().eq(assigned)
}

fn assignment(owned: &Owned) -> Assignment {
    let topics = owned.iter().map(|(&topic, partitions)| {
        TopicPartitions::default()
            .with_topic_id(to_wire_uuid(topic))
            .with_partitions(partitions.keys().copied().collect())
    });
    Assignment::default().with_topic_partitions(topics.collect())
}
