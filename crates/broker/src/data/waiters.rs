//! Requests that wait for a partition to move on.
//!
//! A waiter may wait for many partitions at once (a fetch of a hundred of them);
//! each partition holds it weakly and wakes it on any progress: an append, a
//! higher watermark, a change of role. The request then looks again by itself,
//! so a wake too many costs a look and a wake too few is the only mistake.

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

/// Below this many, those that gave up are not looked for.
const SWEEP_MIN: usize = 32;

/// The waiters of one partition. Holds nothing while nobody waits.
#[derive(Debug, Default)]
pub struct Waiters {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    list: Vec<Weak<Waiter>>,
    /// Those that stay after they were woken.
    lasting: Vec<Weak<Waiter>>,
    /// The length at which the dead are swept out, twice what was alive at the last sweep.
    sweep_at: usize,
}

impl Waiters {
    /// Wakes `waiter` at the next progress. Register first, then look at the state: the other
    /// way round a progress in between is missed.
    pub fn register(&self, waiter: &Arc<Waiter>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.list.len() >= waiting.sweep_at.max(SWEEP_MIN) {
            waiting.list.retain(|known| known.strong_count() > 0);
            waiting.sweep_at = waiting.list.len() * 2;
        }
        waiting.list.push(Arc::downgrade(waiter));
    }

    /// Wakes `waiter` at every progress until it is dropped, so that a request of thousands of
    /// partitions need not register with each of them time and again.
    pub fn subscribe(&self, waiter: &Arc<Waiter>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // As many as there are sessions with this partition, and those that ended since the last wake.
        waiting.lasting.retain(|known| known.strong_count() > 0);
        waiting.lasting.push(Arc::downgrade(waiter));
    }

    /// The partition moved on.
    pub fn wake(&self) {
        let list = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.lasting.retain(|known| known.upgrade().inspect(|it| it.woken.notify_one()).is_some());
            std::mem::take(&mut waiting.list)
        };
        for waiter in list.iter().filter_map(Weak::upgrade) {
            waiter.woken.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Waiter, Waiters};

    async fn is_woken(waiter: &Waiter) -> bool {
        tokio::time::timeout(Duration::from_millis(1), waiter.progress()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn progress_wakes_whoever_registered_before_it() {
        let (waiters, waiter) = (Waiters::default(), Waiter::new());
        waiters.register(&waiter);
        assert!(!is_woken(&waiter).await);
        waiters.wake();
        assert!(is_woken(&waiter).await);
        waiters.wake();
        assert!(!is_woken(&waiter).await, "a registration holds for one progress");
    }

    #[tokio::test(start_paused = true)]
    async fn progress_between_the_look_and_the_wait_is_not_missed() {
        let (waiters, waiter) = (Waiters::default(), Waiter::new());
        waiters.register(&waiter);
        waiters.wake();
        assert!(is_woken(&waiter).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscriber_is_woken_time_and_again_until_it_is_gone() {
        let (waiters, waiter) = (Waiters::default(), Waiter::new());
        waiters.subscribe(&waiter);
        for _ in 0..3 {
            waiters.wake();
            assert!(is_woken(&waiter).await);
        }
        drop(waiter);
        waiters.wake();
        assert!(waiters.waiting.lock().expect("no panic").lasting.is_empty());
    }

    #[test]
    fn requests_that_gave_up_leave_nothing_behind() {
        let (waiters, patient) = (Waiters::default(), Waiter::new());
        waiters.register(&patient);
        for _ in 0..10_000 {
            waiters.register(&Waiter::new());
        }
        let held = waiters.waiting.lock().expect("no panic").list.len();
        assert!(held <= 2 * super::SWEEP_MIN, "{held} dead waiters are kept");
        assert_eq!(Arc::weak_count(&patient), 1);
    }
}
