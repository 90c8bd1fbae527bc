//! Threads that connections are spread over.
//!
//! A runtime that shares its tasks among several threads wakes a second one for almost
//! every event, in case there is more to do, and one of them at most waits for sockets.
//! Here each thread has a runtime of its own: what is on it wakes no other.
//!
//! While there is little to do, all of it is on one thread, where what one connection
//! brings reaches another without a thread being woken. When a thread is busy and
//! another one is not, connections move, and they come back when it is quiet
//! ([`Place::better`]).

mod balance;

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::seams::{Halves, Stream};
use crate::threads::balance::{Load, Move};

/// How often it is looked whether threads are busy, at most.
const WINDOW: Duration = Duration::from_millis(20);

/// Threads, each with a runtime of its own. Clones are the same ones; they end with the last.
#[derive(Clone, Debug, Default)]
pub struct Threads(Option<Arc<Running>>);

#[derive(Debug)]
struct Running {
    threads: Vec<Thread>,
    /// Counts looks. What works notes it, so that it is counted once in each window.
    window: AtomicU64,
    /// When the next look is due, in microseconds from `begun`.
    next_look: AtomicU64,
    /// What is still to move, as [`Move::pack`] writes it.
    wanted: AtomicU64,
    begun: Instant,
    last_look: Mutex<LastLook>,
    _until: DropGuard,
}

#[derive(Debug)]
struct Thread {
    runtime: Handle,
    /// How many have worked on it in this window.
    active: AtomicUsize,
}

#[derive(Debug)]
struct LastLook {
    at: Instant,
    /// How long each thread had been busy by then.
    busy: Vec<Duration>,
}

/// A place on one of the threads, or just here where there are none.
#[derive(Clone, Debug, Default)]
pub struct Place {
    on: Option<(Arc<Running>, usize)>,
    /// The last window in which there was work.
    window: u64,
}

impl Threads {
    /// None of its own: tasks stay where they are started.
    pub fn none() -> Self {
        Self::default()
    }

    /// Starts `count` threads, at least one.
    pub fn start(count: usize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let start = |number| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (handle, stop) = (runtime.handle().clone(), stop.clone());
            let thread = std::thread::Builder::new().name(format!("connections-{number}"));
            thread.spawn(move || runtime.block_on(stop.cancelled()))?;
            Ok(Thread { runtime: handle, active: AtomicUsize::new(0) })
        };
        let threads = (0..count.max(1)).map(start).collect::<io::Result<Vec<_>>>()?;
        let begun = Instant::now();
        let busy = vec![Duration::ZERO; threads.len()];
        Ok(Self(Some(Arc::new(Running {
            threads,
            window: AtomicU64::new(1),
            next_look: AtomicU64::new(0),
            wanted: AtomicU64::new(0),
            begun,
            last_look: Mutex::new(LastLook { at: begun, busy }),
            _until: stop.drop_guard(),
        }))))
    }

    /// Where something begins that can move: together with all that is there.
    pub fn place(&self) -> Place {
        self.fixed_place(0)
    }

    /// Where something stays that cannot move, the `number`th of its kind.
    pub fn fixed_place(&self, number: usize) -> Place {
        let on = self.0.clone().map(|running| {
            let thread = number % running.threads.len();
            (running, thread)
        });
        Place { on, window: 0 }
    }
}

impl Place {
    /// Splits `stream` for tasks that run here.
    pub fn split(&self, stream: Box<dyn Stream>) -> io::Result<Halves> {
        let _within = self.runtime().map(Handle::enter);
        stream.split()
    }

    /// The thread's runtime.
    pub(crate) fn runtime(&self) -> Option<&Handle> {
        self.on.as_ref().map(|(running, thread)| &running.threads[*thread].runtime)
    }

    /// To be asked at each piece of work, which `now` begins. Answers where to go on instead, when this
    /// thread is busy and another one is less so. Costs three loads when there is nothing to be done.
    pub fn better(&mut self, now: Instant) -> Option<Self> {
        let (running, here) = self.on.as_ref()?;
        let window = running.window.load(Ordering::Relaxed);
        if self.window != window {
            self.window = window;
            running.threads[*here].active.fetch_add(1, Ordering::Relaxed);
        }
        running.look(now);
        let there = running.take_move(*here)?;
        Some(Self { on: Some((running.clone(), there)), window })
    }
}

impl Running {
    /// Looks at the threads if it is time, and says what should move.
    fn look(&self, now: Instant) {
        let passed = now.saturating_duration_since(self.begun).as_micros() as u64;
        if passed < self.next_look.load(Ordering::Relaxed) || self.threads.len() < 2 {
            return;
        }
        let Ok(mut last) = self.last_look.try_lock() else { return };
        let elapsed = now.saturating_duration_since(last.at);
        if elapsed < WINDOW {
            return;
        }
        let mut loads = Vec::with_capacity(self.threads.len());
        for (thread, before) in self.threads.iter().zip(&mut last.busy) {
            let busy = thread.runtime.metrics().worker_total_busy_duration(0);
            let share = busy.saturating_sub(*before).as_secs_f64() / elapsed.as_secs_f64();
            loads.push(Load { share, active: thread.active.swap(0, Ordering::Relaxed) });
            *before = busy;
        }
        last.at = now;
        self.next_look.store(passed + WINDOW.as_micros() as u64, Ordering::Relaxed);
        self.wanted.store(balance::decide(&loads).map_or(0, Move::pack), Ordering::Relaxed);
        self.window.fetch_add(1, Ordering::Relaxed);
    }

    /// Where to, if something should move from thread `here`; whoever is told is to move.
    fn take_move(&self, here: usize) -> Option<usize> {
        let wanted = self.wanted.load(Ordering::Relaxed);
        let next = Move::unpack(wanted);
        if next.count == 0 || usize::from(next.from) != here {
            return None;
        }
        let left = Move { count: next.count - 1, ..next }.pack();
        let taken = self.wanted.compare_exchange(wanted, left, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        taken.then_some(usize::from(next.to))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::{Place, Threads};
    use crate::task::Tasks;

    /// Works without a pause at `place` and wherever it is told to go; tells which threads it saw.
    fn work(tasks: &Tasks, mut place: Place, seen: mpsc::UnboundedSender<String>) {
        let (tasks, runs_at) = (tasks.clone(), place.clone());
        tasks.clone().spawn_at(&runs_at, async move {
            let here = std::thread::current().name().unwrap_or_default().to_owned();
            if seen.send(here).is_err() {
                return;
            }
            loop {
                let until = Instant::now() + Duration::from_millis(1);
                while Instant::now() < until {}
                if let Some(better) = place.better(Instant::now()) {
                    return work(&tasks, better, seen);
                }
                if seen.is_closed() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
    }

    #[tokio::test]
    async fn what_keeps_a_thread_busy_spreads_and_one_alone_stays() {
        for count in [1, 2] {
            let threads = Threads::start(2).expect("two threads");
            let (tasks, (seen, mut told)) = (Tasks::new(), mpsc::unbounded_channel());
            (0..count).for_each(|_| work(&tasks, threads.place(), seen.clone()));
            let mut places = BTreeSet::new();
            let all = async {
                while places.len() < 2 {
                    let thread = told.recv().await.expect("somebody works");
                    places.insert(thread);
                }
            };
            let patience = Duration::from_secs(if count == 1 { 1 } else { 60 });
            let spread = tokio::time::timeout(patience, all).await;
            assert_eq!(spread.is_ok(), count > 1, "{count} on {places:?}");
            drop(told);
            tasks.ended().await;
        }
    }

    #[tokio::test]
    async fn without_threads_a_task_stays_where_it_was_started() {
        let here = std::thread::current().id();
        let mut place = Threads::none().place();
        assert!(place.better(Instant::now()).is_none());
        let there = Tasks::new().spawn_at(&place, async { std::thread::current().id() });
        assert_eq!(there.await.expect("it does not panic"), here);
    }

    #[tokio::test]
    async fn what_cannot_move_takes_turns() {
        let threads = Threads::start(2).expect("two threads");
        let mut names = Vec::new();
        for number in [0, 1, 2] {
            let name = async { std::thread::current().name().map(str::to_owned) };
            names.push(Tasks::new().spawn_at(&threads.fixed_place(number), name).await.expect("no panic"));
        }
        assert!(names[0] == names[2] && names[0] != names[1], "{names:?}");
    }
}
