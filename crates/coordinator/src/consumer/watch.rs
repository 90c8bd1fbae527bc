//! What a shard keeps beside a group's records: who was heard when, and who has to hurry.
//!
//! It is lost with the leadership; whoever leads next gives everybody a fresh session.

use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use model::Millis;
use wire::messages::text;

use super::member::{Current, State};
use super::{Group, Id, leave, target};
use crate::alarm::{Alarm, Subject};
use crate::cause::{self, Because, Causes};
use crate::turn::Turn;

/// While a group changes, its members are asked to heartbeat at most as often, each. No sooner: librdkafka gives up
/// waiting for the answer after as long, and with it the connection.
const INTERVAL_WHILE_CHANGING_MIN: Duration = Duration::from_secs(1);
/// And large groups less often: all members together take a small part of a processor.
const PER_MEMBER_WHILE_CHANGING: Duration = Duration::from_micros(200);

/// The alarms of one member, and whether it heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Alarms {
    /// It was silent for too long.
    pub session: Alarm,
    /// It did not give up in time what it was asked to, in this epoch.
    pub revocation: Alarm,
    pub revoking_in: i32,
    /// A member of the classic protocol did not join, or ask for its assignment, in time.
    pub join: Alarm,
    pub sync: Alarm,
    /// It was told what it is to have, and has not said yet that it has it.
    pub is_unheard: bool,
}

/// A group, and who watches its members.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// As the records say.
    pub(crate) group: Arc<Group>,
    pub(super) alarms: OrdMap<Id, Alarms>,
    /// The view of the cluster in which its topics were looked at last.
    pub(super) seen: Option<u64>,
    /// The view in which its expressions were looked up last, and when.
    pub(super) looked_up: Option<(u64, Millis)>,
    /// Why its epoch was raised lately.
    pub(crate) causes: Causes,
}

impl Watched {
    /// A group that was just loaded.
    pub(crate) fn loaded(group: Arc<Group>) -> Self {
        Self { group, ..Self::default() }
    }

    /// A group that takes the place of another, which rebalanced for these reasons.
    pub(crate) fn after(causes: Causes) -> Self {
        Self { causes, ..Self::default() }
    }

    /// The group is this now; nobody waits any more for a member whose place was taken.
    pub(super) fn take_over(&mut self, group: Arc<Group>, had: Option<&Id>) {
        self.group = group;
        if let Some(had) = had.filter(|had| self.group.member(had).is_none()) {
            self.alarms.remove(had);
        }
    }

    /// Notes why the epoch that was is over.
    pub(super) fn remember(&mut self, turn: &mut Turn<'_>, id: &Arc<str>, because: Because) {
        cause::note(turn, id, &mut self.causes, self.group.epoch(), because);
    }

    /// Notes whether a member has heard what it is to have: `is_new` when it is now told something else than it has
    /// said. Without a word of it (`says`) what was told before stands. True while it has not.
    pub(super) fn note_told(&mut self, member: &Id, says: bool, is_new: bool) -> bool {
        let mut alarms = self.alarms.get(member).copied().unwrap_or_default();
        let is_unheard = is_new || (alarms.is_unheard && !says);
        if is_unheard != alarms.is_unheard {
            alarms.is_unheard = is_unheard;
            self.alarms.insert(member.clone(), alarms);
        }
        is_unheard
    }

    /// The group.
    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }
}

/// Puts a member's session off: it was heard.
pub(crate) fn hear(turn: &mut Turn<'_>, id: &Arc<str>, watched: &mut Watched, member: &Id) {
    let classic = watched.group.member(member).and_then(|member| member.classic_member_metadata.as_ref());
    let timeout = match classic {
        Some(classic) => Duration::from_millis(u64::try_from(classic.session_timeout_ms).unwrap_or(0)),
        None => session_timeout(turn, id),
    };
    let due = turn.now.clock.after(timeout);
    let mut alarms = watched.alarms.get(member).copied().unwrap_or_default();
    let subject = || Subject::Session(id.clone(), text(member));
    alarms.session.set(due, &mut turn.core.alarms, subject);
    watched.alarms.insert(member.clone(), alarms);
}

fn session_timeout(turn: &Turn<'_>, id: &str) -> Duration {
    let settings = &turn.settings.consumer;
    let bounds = settings.session_timeout_min..=settings.session_timeout_max;
    target::group_duration(turn, id, "consumer.session.timeout.ms", settings.session_timeout, bounds)
}

/// When a member that stands at `current` is asked to heartbeat again: soon while there is something to come for
/// it, which it hears of in no other way.
pub(crate) fn heartbeat_interval(turn: &Turn<'_>, id: &str, current: &Current) -> Duration {
    let settings = &turn.settings.consumer;
    let bounds = settings.heartbeat_interval_min..=settings.heartbeat_interval_max;
    let key = "consumer.heartbeat.interval.ms";
    let interval = target::group_duration(turn, id, key, settings.heartbeat_interval, bounds);
    let group = turn.consumer_group(id);
    let target = group.target_epoch();
    if group.epoch() == target && current.is_reconciled_to(target) {
        return interval;
    }
    interval.min(soon(group.members.len()))
}

fn soon(members: usize) -> Duration {
    let all = PER_MEMBER_WHILE_CHANGING.saturating_mul(u32::try_from(members).unwrap_or(u32::MAX));
    all.max(INTERVAL_WHILE_CHANGING_MIN)
}

/// Gives a member its rebalance timeout to give up what it has to, or takes note that it did.
pub(crate) fn watch_revocation(turn: &mut Turn<'_>, id: &Arc<str>, watched: &mut Watched, member: &Id) {
    let Some(known) = watched.group.member(member) else { return };
    let current = watched.group.current(member);
    let mut alarms = watched.alarms.get(member).copied().unwrap_or_default();
    if current.state == State::UnrevokedPartitions && known.classic_member_metadata.is_none() {
        let due = turn.now.clock.after(rebalance_timeout(known));
        alarms.revoking_in = current.epoch;
        let subject = || Subject::Revocation(id.clone(), text(member));
        alarms.revocation.set(due, &mut turn.core.alarms, subject);
    } else {
        alarms.revocation.clear();
    }
    watched.alarms.insert(member.clone(), alarms);
}

/// How long a member may take for what it was asked to do.
pub(crate) fn rebalance_timeout(member: &super::Member) -> Duration {
    Duration::from_millis(u64::try_from(member.rebalance_timeout_ms).unwrap_or(0))
}

/// A freshly loaded group: everybody gets a session, and the time to give up what it has to.
pub(crate) fn begin(turn: &mut Turn<'_>, id: &Arc<str>, group: &Arc<Group>) {
    let mut watched = Watched::loaded(group.clone());
    let members: Vec<Id> = group.members().map(|(id, _)| id.clone()).collect();
    for member in &members {
        hear(turn, id, &mut watched, member);
        if group.current(member).state == State::UnrevokedPartitions {
            watch_revocation(turn, id, &mut watched, member);
        }
    }
    turn.put_consumer(id, watched);
}

/// Which of a member's alarms an entry of the queue was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Session,
    Revocation,
    Join,
    Sync,
}

impl Which {
    /// What a member did that is fenced because of it.
    fn reason(self) -> &'static str {
        match self {
            Self::Session => "a member's session timed out",
            Self::Revocation => "a member did not give up its partitions in time",
            Self::Join => "a classic member did not join in time",
            Self::Sync => "a classic member did not ask for its assignment in time",
        }
    }

    fn of(self, alarms: &mut Alarms) -> &mut Alarm {
        match self {
            Self::Session => &mut alarms.session,
            Self::Revocation => &mut alarms.revocation,
            Self::Join => &mut alarms.join,
            Self::Sync => &mut alarms.sync,
        }
    }
}

/// An entry of the queue came up: a member whose time is truly up goes.
pub(crate) fn ring(turn: &mut Turn<'_>, at: Millis, subject: Subject, which: Which) {
    let (Subject::Session(id, member)
    | Subject::Revocation(id, member)
    | Subject::Join(id, member)
    | Subject::Sync(id, member)) = &subject
    else {
        return;
    };
    let (id, member) = (id.clone(), Id::from(member.as_str()));
    let Some(mut watched) = turn.consumer(&id) else { return };
    let Some(mut alarms) = watched.alarms.get(&member).copied() else { return };
    let rang = which.of(&mut alarms).rings(at, turn.now.clock, &mut turn.core.alarms, subject);
    watched.alarms.insert(member.clone(), alarms);
    let late = rang
        && watched.group.member(&member).is_some()
        && (which != Which::Revocation || watched.group.current(&member).epoch == alarms.revoking_in);
    turn.put_consumer(&id, watched);
    if late {
        leave::fence(turn, &id, &[member], which.reason(), None);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::soon;

    #[test]
    fn a_large_group_that_changes_is_asked_less_often() {
        let millis = |members| soon(members).as_millis();
        assert_eq!((millis(1), millis(1_000), millis(2_000), millis(50_000)), (1_000, 1_000, 1_000, 10_000));
        assert!(soon(usize::MAX) > Duration::from_secs(3_600));
    }
}
