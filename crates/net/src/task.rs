//! Where tasks run, as a seam.
//!
//! A node's tasks belong to the runtime, on whichever of its threads is free. Inside
//! [`Confined`] they belong to the `LocalSet` they were spawned in: they run only when
//! that is polled, and dropping it drops all of them in the order in which they were
//! spawned. So one thread can hold many nodes, pause each, and kill it at a stroke.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::threads::Place;

thread_local! {
    static CONFINED: Cell<bool> = const { Cell::new(false) };
}

/// Starts a task: on the runtime, or inside [`Confined`] in the current `LocalSet`.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    if CONFINED.get() { tokio::task::spawn_local(future) } else { tokio::spawn(future) }
}

/// The tasks that one owner started, and will wait for.
#[derive(Clone, Debug, Default)]
pub struct Tasks(TaskTracker);

impl Tasks {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts one more.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        spawn(self.0.track_future(future))
    }

    /// Starts one more at `place`.
    pub fn spawn_at<F>(&self, place: &Place, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        match place.runtime() {
            Some(thread) => thread.spawn(self.0.track_future(future)),
            None => self.spawn(future),
        }
    }

    /// Returns once every task has ended.
    pub async fn ended(&self) {
        self.0.close();
        self.0.wait().await;
    }
}

/// Runs a future, most often a whole `LocalSet`, whose tasks must not leave it.
#[derive(Debug)]
pub struct Confined<F>(pub F);

impl<F: Future + Unpin> Future for Confined<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _within = Within::enter();
        Pin::new(&mut self.0).poll(cx)
    }
}

/// Restores what held before, also when a poll panics.
struct Within(bool);

impl Within {
    fn enter() -> Self {
        Self(CONFINED.replace(true))
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        CONFINED.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::task::LocalSet;

    use super::{Confined, spawn};

    #[tokio::test]
    async fn a_confined_task_and_its_children_end_with_their_local_set() {
        let held = Arc::new(());
        let local = LocalSet::new();
        let (parent, child) = (held.clone(), held.clone());
        local.spawn_local(async move {
            spawn(async move {
                let _child = child;
                std::future::pending::<()>().await;
            });
            let _parent = parent;
            std::future::pending::<()>().await;
        });
        let mut confined = Confined(local);
        for _ in 0..3 {
            assert!(poll_once(&mut confined).is_none(), "both wait forever");
        }
        assert_eq!(Arc::strong_count(&held), 3);
        drop(confined);
        assert_eq!(Arc::strong_count(&held), 1, "nothing of it is left on the runtime");
    }

    /// One poll.
    fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut cx) {
            std::task::Poll::Ready(done) => Some(done),
            std::task::Poll::Pending => None,
        }
    }
}
