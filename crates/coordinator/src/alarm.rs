//! Timers as data: an alarm that can be put off without touching the queue.
//!
//! A heartbeat puts its member's session off by seconds, many thousand times a second; so an alarm keeps its one
//! entry in the queue while it only moves later, and is queued again when that entry comes up too early.

use std::sync::Arc;

use imbl::OrdSet;
use model::Millis;
use wire::messages::StrBytes;

/// What an alarm is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A group's rebalance: members that should have joined, or asked for their assignment.
    Rebalance(Arc<str>),
    /// A member's session, or the id of one that has not joined yet.
    Session(Arc<str>, StrBytes),
    /// What a member of the new protocol has to give up.
    Revocation(Arc<str>, StrBytes),
    /// A member of the classic protocol in a group of the new one, which has to join again.
    Join(Arc<str>, StrBytes),
    /// The same, which has to ask for its assignment.
    Sync(Arc<str>, StrBytes),
    /// The search for expired offsets, and after which group it goes on.
    Offsets(Option<Arc<str>>),
}

/// The queue of a shard.
#[derive(Clone, Debug, Default)]
pub struct Alarms {
    queue: OrdSet<(Millis, Subject)>,
}

/// When something is due, kept beside what it is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alarm {
    due: Option<Millis>,
    /// Its entry in the queue, never later than `due`.
    queued: Option<Millis>,
}

impl Alarms {
    /// When the first entry comes up; perhaps too early, never too late.
    pub fn next(&self) -> Option<Millis> {
        self.queue.get_min().map(|(at, _)| *at)
    }

    /// Takes an entry that has come up.
    pub fn pop(&mut self, now: Millis) -> Option<(Millis, Subject)> {
        let first = self.queue.get_min().filter(|(at, _)| *at <= now)?.clone();
        self.queue.remove(&first);
        Some(first)
    }

    /// Queues an entry that nobody puts off.
    pub fn push(&mut self, at: Millis, subject: Subject) {
        self.queue.insert((at, subject));
    }
}

impl Alarm {
    /// Is due at `due`, whatever it was before.
    pub fn set(&mut self, due: Millis, alarms: &mut Alarms, subject: impl FnOnce() -> Subject) {
        self.due = Some(due);
        if self.queued.is_none_or(|queued| queued > due) {
            self.queued = Some(due);
            alarms.push(due, subject());
        }
    }

    /// When it is due.
    pub fn due(&self) -> Option<Millis> {
        self.due
    }

    /// Whether it is due at any time.
    pub fn is_set(&self) -> bool {
        self.due.is_some()
    }

    /// Is not due any more.
    pub fn clear(&mut self) {
        self.due = None;
    }

    /// Takes note that the entry of `at` came up: true when it is truly due.
    pub fn rings(&mut self, at: Millis, now: Millis, alarms: &mut Alarms, subject: Subject) -> bool {
        if self.queued != Some(at) {
            return false;
        }
        self.queued = None;
        match self.due {
            Some(due) if due <= now => {
                self.due = None;
                true
            }
            Some(due) => {
                self.set(due, alarms, || subject);
                false
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject::Rebalance("g".into())
    }

    /// Sets an alarm to each time in turn, and says when it rings.
    fn check(times: &[u64], rings: Option<u64>) {
        let (mut alarms, mut alarm) = (Alarms::default(), Alarm::default());
        for &time in times {
            match time {
                0 => alarm.clear(),
                time => alarm.set(Millis::new(time), &mut alarms, subject),
            }
        }
        let mut rang = None;
        while let Some(now) = alarms.next() {
            let (at, subject) = alarms.pop(now).expect("it has come up");
            if alarm.rings(at, now, &mut alarms, subject) {
                assert_eq!(rang.replace(now.get()), None, "it rings once");
            }
        }
        assert_eq!(rang, rings);
    }

    #[test]
    fn an_alarm_rings_when_it_was_last_set_to() {
        check(&[5], Some(5));
        check(&[5, 9, 12], Some(12));
        check(&[9, 5], Some(5));
        check(&[9, 5, 20], Some(20));
        check(&[9, 0], None);
        check(&[9, 0, 3], Some(3));
        check(&[9, 0, 30], Some(30));
    }
}
