//! Requests that wait for a partition to move on.
//!
//! A waiter may wait for many partitions at once (a fetch of a hundred of them);
//! each partition holds it weakly and wakes it on any progress: an append, a
//! higher watermark, a change of role. The request then looks again by itself,
//! so a wake too many costs a look and a wake too few is the only mistake. One is
//! left out, because it would come with every batch and find nothing: an append that
//! commits nothing yet, to those that wait for what is committed.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Notify;

/// One waiting request.
#[derive(Debug, Default)]
pub struct Waiter {
    woken: Notify,
}

impl Waiter {
    /// A waiter, to be registered with each partition it waits for.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Ends at the next progress of any partition it is registered with, or at once if there
    /// was some since the last call.
    pub async fn progress(&self) {
        self.woken.notified().await;
    }
}

/// Which progress a waiter wants to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaits {
    /// All of it.
    Appends,
    /// All but appends that commit nothing.
    Commits,
}

/// Below this many, those that gave up are not looked for.
const SWEEP_MIN: usize = 32;

/// The waiters of one partition. Holds nothing while nobody waits.
#[derive(Debug, Default)]
pub struct Waiters {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    list: Vec<(Weak<Waiter>, Awaits)>,
    /// Those that stay after they were woken.
    lasting: Vec<(Weak<Waiter>, Awaits)>,
    /// The length at which the dead are swept out, twice what was alive at the last sweep.
    sweep_at: usize,
}

impl Waiters {
    /// Wakes `waiter` at the next progress. Register first, then look at the state: the other
    /// way round a progress in between is missed.
    pub fn register(&self, waiter: &Arc<Waiter>, awaits: Awaits) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.list.len() >= waiting.sweep_at.max(SWEEP_MIN) {
            waiting.list.retain(|(known, _)| known.strong_count() > 0);
            waiting.sweep_at = waiting.list.len() * 2;
        }
        waiting.list.push((Arc::downgrade(waiter), awaits));
    }

    /// Wakes `waiter` at every progress until it is dropped, so that a request of thousands of
    /// partitions need not register with each of them time and again.
    pub fn subscribe(&self, waiter: &Arc<Waiter>, awaits: Awaits) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // As many as there are sessions with this partition, and those that ended since the last wake.
        waiting.lasting.retain(|(known, _)| known.strong_count() > 0);
        waiting.lasting.push((Arc::downgrade(waiter), awaits));
    }

    /// The partition moved on.
    pub fn wake(&self) {
        self.wake_but(None);
    }

    /// The partition moved on, by the hand of a subscriber who need not be told.
    pub fn wake_but(&self, own: Option<&Arc<Waiter>>) {
        let is_own = |it: &Arc<Waiter>| own.is_some_and(|own| Arc::ptr_eq(own, it));
        let list = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.lasting.retain(|(known, _)| {
                let known = known.upgrade();
                known.iter().filter(|it| !is_own(it)).for_each(|it| it.woken.notify_one());
                known.is_some()
            });
            std::mem::take(&mut waiting.list)
        };
        for waiter in list.iter().filter_map(|(known, _)| known.upgrade()) {
            waiter.woken.notify_one();
        }
    }

    /// The log grew, and nothing else changed.
    pub fn wake_appended(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let is_meant = |awaits: Awaits| awaits == Awaits::Appends;
        for (known, _) in waiting.lasting.iter().filter(|(_, awaits)| is_meant(*awaits)) {
            known.upgrade().inspect(|it| it.woken.notify_one());
        }
        for (known, _) in waiting.list.extract_if(.., |(_, awaits)| is_meant(*awaits)) {
            known.upgrade().inspect(|it| it.woken.notify_one());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Awaits, Waiter, Waiters};

    async fn is_woken(waiter: &Waiter) -> bool {
        tokio::time::timeout(Duration::from_millis(1), waiter.progress()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn progress_wakes_whoever_registered_before_it() {
        let (waiters, waiter) = (Waiters::default(), Waiter::new());
        waiters.register(&waiter, Awaits::Appends);
        assert!(!is_woken(&waiter).await);
        waiters.wake();
        assert!(is_woken(&waiter).await);
        waiters.wake();
        assert!(!is_woken(&waiter).await, "a registration holds for one progress");
    }

    #[tokio::test(start_paused = true)]
    async fn progress_between_the_look_and_the_wait_is_not_missed() {
        let (waiters, waiter) = (Waiters::default(), Waiter::new());
        waiters.register(&waiter, Awaits::Appends);
        waiters.wake();
        assert!(is_woken(&waiter).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscriber_is_woken_time_and_again_until_it_is_gone() {
        let (waiters, waiter) = (Waiters::default(), Waiter::new());
        waiters.subscribe(&waiter, Awaits::Appends);
        for _ in 0..3 {
            waiters.wake();
            assert!(is_woken(&waiter).await);
        }
        drop(waiter);
        waiters.wake();
        assert!(waiters.waiting.lock().expect("no panic").lasting.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_moved_the_partition_on_is_not_told_of_it() {
        let waiters = Waiters::default();
        let (own, other) = (Waiter::new(), Waiter::new());
        waiters.subscribe(&own, Awaits::Commits);
        waiters.subscribe(&other, Awaits::Commits);
        waiters.wake_but(Some(&own));
        assert!(is_woken(&other).await && !is_woken(&own).await);
        waiters.wake();
        assert!(is_woken(&own).await);
    }

    #[tokio::test(start_paused = true)]
    async fn an_append_wakes_those_who_wait_for_appends_and_leaves_the_others_waiting() {
        let waiters = Waiters::default();
        let both = |awaits| {
            let (once, lasting) = (Waiter::new(), Waiter::new());
            waiters.register(&once, awaits);
            waiters.subscribe(&lasting, awaits);
            [once, lasting]
        };
        let (readers, followers) = (both(Awaits::Commits), both(Awaits::Appends));
        waiters.wake_appended();
        for (reader, follower) in readers.iter().zip(&followers) {
            assert!(is_woken(follower).await && !is_woken(reader).await);
        }
        waiters.wake();
        assert!(is_woken(&readers[0]).await && is_woken(&readers[1]).await);
        assert!(!is_woken(&followers[0]).await, "a registration holds for one progress");
        assert!(is_woken(&followers[1]).await);
    }

    #[test]
    fn requests_that_gave_up_leave_nothing_behind() {
        let (waiters, patient) = (Waiters::default(), Waiter::new());
        waiters.register(&patient, Awaits::Appends);
        for _ in 0..10_000 {
            waiters.register(&Waiter::new(), Awaits::Commits);
        }
        let held = waiters.waiting.lock().expect("no panic").list.len();
        assert!(held <= 2 * super::SWEEP_MIN, "{held} dead waiters are kept");
        assert_eq!(Arc::weak_count(&patient), 1);
    }
}
