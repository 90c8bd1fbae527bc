//! A process: all tasks of one node, run, stopped for a while, or killed at a stroke.
//!
//! The tasks live in a `LocalSet` of their own ([`net::task::Confined`] keeps them there).
//! Paused is what SIGSTOP does: time goes on, nothing of the process runs. Killed is what
//! SIGKILL does: every task is dropped where it stands, in the order of their spawning.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use net::task::Confined;
use tokio::task::{JoinHandle, LocalSet};

/// A handle to a process; it goes on without one.
#[derive(Clone)]
pub struct Process {
    state: Rc<RefCell<State>>,
}

#[derive(Default)]
struct State {
    /// The tasks; gone once they ended or were killed, and for the time of a poll.
    tasks: Option<Confined<LocalSet>>,
    phase: Phase,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Running,
    Paused,
    Over,
}

impl Process {
    /// Starts `main` and whatever tasks it spawns; they end with it. `stepped` is called after each
    /// time that any of them ran. Must be called inside a `LocalSet`, the harness's own.
    pub fn start(main: impl Future<Output = ()> + 'static, mut stepped: impl FnMut() + 'static) -> Self {
        let tasks = LocalSet::new();
        let main = tasks.spawn_local(main);
        let state = State { tasks: Some(Confined(tasks)), ..State::default() };
        let process = Self { state: Rc::new(RefCell::new(state)) };
        let driven = process.clone();
        tokio::task::spawn_local(poll_fn(move |cx| driven.poll(cx, &main, &mut stepped)));
        process
    }

    fn poll(&self, cx: &mut Context<'_>, main: &JoinHandle<()>, stepped: &mut impl FnMut()) -> Poll<()> {
        let mut tasks = {
            let mut state = self.state.borrow_mut();
            state.waker = Some(cx.waker().clone());
            match state.phase {
                Phase::Running => {}
                Phase::Paused => return Poll::Pending,
                Phase::Over => return Poll::Ready(()),
            }
            state.tasks.take().expect("a running process has its tasks between two polls")
        };
        let _ = Pin::new(&mut tasks).poll(cx);
        let phase = self.state.borrow().phase;
        if main.is_finished() || phase == Phase::Over {
            // It ended, or what it did had it killed.
            self.state.borrow_mut().phase = Phase::Over;
            drop(tasks);
            stepped();
            return Poll::Ready(());
        }
        self.state.borrow_mut().tasks = Some(tasks);
        stepped();
        Poll::Pending
    }

    /// Stops it where it stands, until [`Process::resume`].
    pub fn pause(&self) {
        self.turn(Phase::Running, Phase::Paused);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.turn(Phase::Paused, Phase::Running);
    }

    /// Ends it at once, paused or not.
    pub fn kill(&self) {
        let tasks = {
            let mut state = self.state.borrow_mut();
            state.phase = Phase::Over;
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
            state.tasks.take()
        };
        // Outside of the borrow: what is dropped may look at this process.
        drop(tasks);
    }

    /// Whether it has neither ended nor been killed.
    pub fn is_alive(&self) -> bool {
        self.state.borrow().phase != Phase::Over
    }

    /// Whether it stands still.
    pub fn is_paused(&self) -> bool {
        self.state.borrow().phase == Phase::Paused
    }

    fn turn(&self, from: Phase, to: Phase) {
        let mut state = self.state.borrow_mut();
        if state.phase == from {
            state.phase = to;
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    use tokio::task::LocalSet;
    use tokio::time::sleep;

    use super::Process;

    /// Counts up every 10 ms, in a task that a task started.
    fn counting() -> (Process, Rc<Cell<u32>>) {
        let count = Rc::new(Cell::new(0));
        let counted = count.clone();
        let main = async move {
            let counting = async move {
                loop {
                    sleep(Duration::from_millis(10)).await;
                    counted.set(counted.get() + 1);
                }
            };
            tokio::task::spawn_local(counting);
            std::future::pending().await
        };
        (Process::start(main, || {}), count)
    }

    fn run(test: impl Future<Output = ()>) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
        LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn a_paused_process_stands_still_and_goes_on() {
        run(async {
            let (process, count) = counting();
            sleep(Duration::from_millis(105)).await;
            assert_eq!(count.get(), 10);
            process.pause();
            sleep(Duration::from_secs(1)).await;
            assert_eq!(count.get(), 10);
            process.resume();
            sleep(Duration::from_millis(21)).await;
            // The sleep that ran out meanwhile, and those since.
            assert!((12..=13).contains(&count.get()), "{}", count.get());
        });
    }

    #[test]
    fn a_killed_process_never_runs_again_and_drops_what_it_held() {
        run(async {
            let (process, count) = counting();
            sleep(Duration::from_millis(55)).await;
            process.kill();
            assert!(!process.is_alive());
            assert_eq!(Rc::strong_count(&count), 1);
            sleep(Duration::from_millis(100)).await;
            assert_eq!(count.get(), 5);
            process.resume();
            sleep(Duration::from_millis(100)).await;
            assert_eq!(count.get(), 5);
        });
    }

    #[test]
    fn every_step_is_seen_and_the_end_of_main_ends_the_process() {
        run(async {
            let steps = Rc::new(Cell::new(0));
            let seen = steps.clone();
            let main = async {
                sleep(Duration::from_millis(1)).await;
                sleep(Duration::from_millis(1)).await;
            };
            let process = Process::start(main, move || seen.set(seen.get() + 1));
            sleep(Duration::from_millis(10)).await;
            assert!(!process.is_alive());
            assert_eq!(steps.get(), 3);
        });
    }
}
