//! What time alone does: silent members go, rebalances end, old offsets are forgotten.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use model::{Millis, Timestamp};
use wire::messages::StrBytes;

use crate::alarm::{Alarms, Subject};
use crate::classic::{self, Phase, rebalance};
use crate::consumer::watch::{self, Which};
use crate::group::Group;
use crate::offsets::{Committed, OffsetKey};
use crate::record::Entry;
use crate::turn::Turn;

/// Most offsets forgotten in one turn, so that its batch stays far below `max.message.bytes`.
pub(crate) const TOMBSTONES_MAX: usize = 1000;
/// Most groups looked at in one turn.
const GROUPS_MAX: usize = 1000;

/// An entry of the queue came up.
pub(crate) fn ring(turn: &mut Turn<'_>, at: Millis, subject: Subject) {
    match subject {
        Subject::Rebalance(id) => rebalance_is_due(turn, at, &id),
        Subject::Session(id, member) => session_is_due(turn, at, &id, &member),
        subject @ Subject::Revocation(..) => watch::ring(turn, at, subject, Which::Revocation),
        subject @ Subject::Join(..) => watch::ring(turn, at, subject, Which::Join),
        subject @ Subject::Sync(..) => watch::ring(turn, at, subject, Which::Sync),
        Subject::Offsets(after) => forget_old_offsets(turn, after),
    }
}

fn rebalance_is_due(turn: &mut Turn<'_>, at: Millis, id: &Arc<str>) {
    let Some(mut group) = turn.classic(id) else { return };
    let (now, alarms) = (turn.now.clock, &mut turn.core.alarms);
    if group.alarm.rings(at, now, alarms, Subject::Rebalance(id.clone())) {
        rebalance::time_is_up(turn, id, &mut group);
    }
    turn.put(id, group);
}

fn session_is_due(turn: &mut Turn<'_>, at: Millis, id: &Arc<str>, member: &StrBytes) {
    let Some(mut group) = turn.classic(id) else {
        return watch::ring(turn, at, Subject::Session(id.clone(), member.clone()), Which::Session);
    };
    let Some(mut alarm) = group.session(member) else { return };
    let (now, alarms) = (turn.now.clock, &mut turn.core.alarms);
    let rang = alarm.rings(at, now, alarms, Subject::Session(id.clone(), member.clone()));
    group.set_session(member, alarm);
    if rang {
        rebalance::session_ended(turn, id, &mut group, member);
    }
    turn.put(id, group);
}

/// Begins the search anew after its interval.
pub(crate) fn search_later(alarms: &mut Alarms, now: Millis, interval: Duration) {
    alarms.push(now.after(interval), Subject::Offsets(None));
}

/// Goes on with the search for expired offsets, until something is found.
fn forget_old_offsets(turn: &mut Turn<'_>, after: Option<Arc<str>>) {
    let from = after.clone().map_or(Bound::Unbounded, Bound::Excluded);
    let next = turn.core.groups.range::<_, Arc<str>>((from, Bound::Unbounded));
    let ids: Vec<Arc<str>> = next.take(GROUPS_MAX).map(|(id, _)| id.clone()).collect();
    let mut last = after;
    for id in &ids {
        let all = forget_of(turn, id);
        if all {
            last = Some(id.clone());
        }
        if !turn.records.is_empty() || !all {
            break;
        }
    }
    if ids.is_empty() {
        let interval = turn.settings.offsets_retention_check;
        search_later(&mut turn.core.alarms, turn.now.clock, interval);
    } else {
        turn.core.alarms.push(turn.now.clock, Subject::Offsets(last));
    }
}

/// Forgets a group's expired offsets, and the group when nothing is left of it. False when some are left for the
/// next turn.
fn forget_of(turn: &mut Turn<'_>, id: &Arc<str>) -> bool {
    let Some(group) = turn.core.groups.get(id.as_ref()).cloned() else { return true };
    let (now, retention) = (turn.now.time, turn.settings.offsets_retention);
    // What an open transaction is about to commit is in use.
    let pending = turn.core.hard.pending_offsets().clone();
    let offsets = turn.core.hard.offsets().of(id).filter(|(key, _)| !pending.contains(key));
    let expired = offsets.filter(|(key, committed)| is_expired(&group, key, committed, now, retention));
    let keys: Vec<OffsetKey> = expired.map(|(key, _)| key).take(TOMBSTONES_MAX + 1).collect();
    for key in keys.iter().take(TOMBSTONES_MAX) {
        turn.write(Entry::Offset(key.clone(), None));
    }
    if keys.len() > TOMBSTONES_MAX {
        return false;
    }
    let expects = matches!(&group, Group::Classic(group) if group.has_pending()) || pending.has_group(id);
    if group.is_empty() && !expects && turn.core.hard.offsets().of(id).next().is_none() {
        turn.delete(id);
    }
    true
}

fn is_expired(
    group: &Group,
    key: &OffsetKey,
    committed: &Committed,
    now: Timestamp,
    retention: Duration,
) -> bool {
    let Some(since) = unused_since(group, key, committed) else { return false };
    let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    match committed.expires_at {
        Some(expires_at) => now >= expires_at,
        None => now.get().saturating_sub(since.get()) >= retention,
    }
}

/// Since when nobody has use for an offset; `None` while somebody has.
fn unused_since(group: &Group, key: &OffsetKey, committed: &Committed) -> Option<Timestamp> {
    match group {
        Group::Classic(group) => match group.phase() {
            _ if group.protocol_type().is_none() => Some(committed.committed_at),
            Phase::Empty => Some(group.phase_since().unwrap_or(committed.committed_at)),
            Phase::Stable => unsubscribed(group, &key.topic).then_some(committed.committed_at),
            Phase::PreparingRebalance(_) | Phase::CompletingRebalance => None,
        },
        Group::Consumer(watched) => {
            (!watched.group().is_subscribed_to(&key.topic)).then_some(committed.committed_at)
        }
    }
}

/// Whether a consumers' group is known not to read `topic`.
fn unsubscribed(group: &classic::Group, topic: &str) -> bool {
    group.is_of_consumers() && group.subscribed_topics().is_some_and(|topics| !topics.contains(topic))
}
