//! Where work that waits for a disk runs, as a seam.
//!
//! A node has threads for it, so that a slow disk never delays a heartbeat. A
//! simulation has one thread and runs the work in place; there a disk says how much
//! virtual time the work takes. Whatever runs it, work that was begun runs to its
//! end, also when nobody waits for its outcome any more.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::task;

/// Where work that waits for a disk runs.
#[derive(Clone)]
pub enum Blocking {
    /// On tokio's blocking threads.
    Threads,
    /// In place, in no time.
    Inline,
    /// In place, in as much of tokio's time as a simulated disk says.
    Timed(Arc<dyn WorkTime>),
}

/// Says how long work takes on a disk that is not the machine's.
pub trait WorkTime: Send + Sync + 'static {
    /// How long the next piece of work takes.
    fn next_work(&self) -> Spent;
}

/// How long work takes: its effects are there all at once, somewhere on the way. A crash within
/// that time thus finds them or does not, and a sync covers neither what was written before it
/// returned nor only what was written before it was asked for, but something between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Until its effects are there.
    pub before: Duration,
    /// From there until whoever waits hears of it.
    pub after: Duration,
}

impl Blocking {
    /// Whether there are threads. Without, everything stays on the thread that is there.
    pub fn has_threads(&self) -> bool {
        matches!(self, Self::Threads)
    }

    /// Runs `work` to its end.
    pub fn run<T, W>(&self, work: W) -> impl Future<Output = T> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        let this = self.clone();
        async move {
            let time = match this {
                Self::Inline => return work(),
                Self::Threads => return outcome(tokio::task::spawn_blocking(work)).await,
                Self::Timed(time) => time,
            };
            let spent = time.next_work();
            if spent == Spent::default() {
                return work();
            }
            // A task of its own, as a thread would be: whoever waits may give up, the work does not.
            let taking_time = async move {
                pause(spent.before).await;
                let done = work();
                pause(spent.after).await;
                done
            };
            outcome(task::spawn(taking_time)).await
        }
    }
}

impl fmt::Debug for Blocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Threads => "Threads",
            Self::Inline => "Inline",
            Self::Timed(_) => "Timed",
        })
    }
}

async fn outcome<T>(running: JoinHandle<T>) -> T {
    match running.await {
        Ok(done) => done,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime shuts down: nobody is left to hear an answer.
            Err(_) => std::future::pending().await,
        },
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Blocking, Spent, WorkTime};

    /// Takes so many milliseconds before and after.
    struct Fixed(u64, u64);

    impl WorkTime for Fixed {
        fn next_work(&self) -> Spent {
            Spent { before: Duration::from_millis(self.0), after: Duration::from_millis(self.1) }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn timed_work_takes_effect_on_the_way_and_is_answered_at_its_end() {
        let blocking = Blocking::Timed(Arc::new(Fixed(20, 10)));
        let begun = Instant::now();
        let effect = blocking.run(move || begun.elapsed()).await;
        assert_eq!(effect, Duration::from_millis(20));
        assert_eq!(begun.elapsed(), Duration::from_millis(30));
    }

    #[tokio::test(start_paused = true)]
    async fn timed_work_of_equal_length_ends_in_the_order_it_began() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let blocking = Blocking::Timed(Arc::new(Fixed(5, 0)));
        let works = (0..20).map(|number| {
            let order = order.clone();
            blocking.run(move || order.lock().expect("no holder panics").push(number))
        });
        futures_util::future::join_all(works).await;
        assert_eq!(*order.lock().expect("no holder panics"), (0..20).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_nobody_waits_for_any_more_is_done_all_the_same() {
        let done = Arc::new(Mutex::new(false));
        let blocking = Blocking::Timed(Arc::new(Fixed(50, 0)));
        let note = done.clone();
        let work = blocking.run(move || *note.lock().expect("no holder panics") = true);
        let given_up = tokio::time::timeout(Duration::from_millis(10), work).await;
        assert!(given_up.is_err() && !*done.lock().expect("no holder panics"));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(*done.lock().expect("no holder panics"));
    }

    #[tokio::test]
    async fn only_threads_leave_the_thread() {
        let here = std::thread::current().id();
        let timed = Blocking::Timed(Arc::new(Fixed(1, 1)));
        for (blocking, stays) in [(Blocking::Threads, false), (Blocking::Inline, true), (timed, true)] {
            let there = blocking.run(|| std::thread::current().id()).await;
            assert_eq!((there == here, !blocking.has_threads()), (stays, stays), "{blocking:?}");
        }
    }
}
