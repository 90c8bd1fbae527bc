//! Members go: they say so, or were silent for too long.

use std::sync::Arc;

use model::ErrorCode;
use wire::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, StrBytes};

use super::member::{Current, LEFT_FOR_NOW, Owned};
use super::{Group, Id, downgrade, target};
use crate::cause::Because;
use crate::record::{ConsumerEntry, Entry};
use crate::refusal::Refusal;
use crate::turn::Turn;

/// Why a group rebalances when a member says goodbye.
pub(crate) const LEFT_ITSELF: &str = "a member left";

/// A heartbeat that says goodbye, for good or until the same instance comes back.
pub(crate) fn decide(
    turn: &mut Turn<'_>,
    id: &Arc<str>,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
    let watched = turn.known_consumer(id)?;
    let member = find(&watched.group, &request.member_id, request.instance_id.as_deref())?;
    if request.instance_id.is_some() && request.member_epoch == LEFT_FOR_NOW {
        let current = Current {
            epoch: LEFT_FOR_NOW,
            revoking: Owned::new(),
            ..Current::clone(&watched.group.current(&member))
        };
        write_current(turn, id, &member, &current);
        turn.put_consumer(id, watched);
    } else {
        fence(turn, id, &[member], LEFT_ITSELF, None);
    }
    let response = ConsumerGroupHeartbeatResponse::default().with_error_code(ErrorCode::None.code());
    Ok(response.with_member_id(Some(request.member_id.clone())).with_member_epoch(request.member_epoch))
}

/// Whom a request is about: a static member must be the one that holds its instance now.
pub(crate) fn find(group: &Group, member: &str, instance: Option<&str>) -> Result<Id, Refusal> {
    let Some(instance) = instance else {
        let known = group.members.get_key_value(member).map(|(id, _)| id.clone());
        return known.ok_or_else(|| Refusal::unknown_member(member));
    };
    let had = group.member_of_instance(instance).ok_or_else(|| Refusal::unknown_member(member))?;
    if **had == *member {
        return Ok(had.clone());
    }
    let (instance, had, got) = (instance.to_owned(), had.to_string(), member.to_owned());
    Err(Refusal::FencedInstance { instance, had, got })
}

/// Takes members out, the first of them for what it `said`; what they had is free.
pub(crate) fn fence(
    turn: &mut Turn<'_>,
    id: &Arc<str>,
    members: &[Id],
    reason: &str,
    said: Option<&StrBytes>,
) {
    let Some(mut watched) = turn.consumer(id) else { return };
    let Some(first) = members.first() else { return };
    let known = watched.group.member(first).cloned();
    let because = |text: String| Because::of_consumer(first, known.as_deref(), text).saying(said);
    if downgrade::applies(turn, &watched.group, members) && downgrade::convert(turn, id, members) {
        let why = format!("{reason}, the last of the new protocol: the group went back to the classic one");
        downgrade::rebalance(turn, id, because(why));
        return;
    }
    let more = members.len() - 1;
    let why = if more == 0 { reason.to_owned() } else { format!("{reason}, and {more} more") };
    watched.remember(turn, id, because(why));
    for member in members {
        remove(turn, id, member);
        watched.alarms.remove(member);
    }
    drop_unused_expressions(turn, id);
    let seen = watched.seen == Some(turn.cluster.version());
    if target::raise(turn, id, &watched.group, seen).is_err() {
        // The epochs are used up: nobody joins any more, and who leaves need not be counted.
    }
    turn.put_consumer(id, watched);
}

/// Forgets what expressions stand for that nobody writes any more.
pub(crate) fn drop_unused_expressions(turn: &mut Turn<'_>, id: &Arc<str>) {
    let group = turn.consumer_group(id);
    for (text, _) in group.expressions().filter(|(text, _)| !group.uses(text)) {
        turn.write(Entry::Consumer(id.clone(), ConsumerEntry::Expression(text.clone(), None)));
    }
}

/// The tombstones of one member, in the order that Kafka's replay asks for.
pub(crate) fn remove(turn: &mut Turn<'_>, id: &Arc<str>, member: &str) {
    let entries = [
        ConsumerEntry::Current(member.to_owned(), None),
        ConsumerEntry::TargetMember(member.to_owned(), None),
        ConsumerEntry::Member(member.to_owned(), None),
    ];
    for entry in entries {
        turn.write(Entry::Consumer(id.clone(), entry));
    }
}

/// Writes where a member stands.
pub(crate) fn write_current(turn: &mut Turn<'_>, id: &Arc<str>, member: &str, current: &Current) {
    let entry = ConsumerEntry::Current(member.to_owned(), Some(current.to_value()));
    turn.write(Entry::Consumer(id.clone(), entry));
}
