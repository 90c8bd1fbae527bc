//! The network between simulated machines: TCP as a process sees it, over links that fail.
//!
//! Bytes cross in segments, each with a latency of its own; one that is lost is sent again
//! and later ones wait for it, so a process sees bytes late but never wrong, missing or
//! out of order. Segments that are doubled or overtake each other are for that reason only
//! counted: TCP hides them, what shows is the delay. One driver, [`SimNetwork::run`], moves
//! everything; it belongs to the harness, so that killed and paused nodes stop nothing.
//! Acknowledgements take no time, but none comes back over a cut link.

mod connection;
mod handshake;
mod host;
mod hosts;
#[cfg(test)]
mod tests;
mod world;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

pub use host::SimHost;
use world::World;

/// What one direction of a link does to what crosses it. All in whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinkQuality {
    /// The least time that a segment takes.
    pub latency_min: Duration,
    /// The most.
    pub latency_max: Duration,
    /// The share of segments that is lost, 0 to 1.
    pub loss: f64,
}

impl Default for LinkQuality {
    fn default() -> Self {
        Self { latency_min: Duration::ZERO, latency_max: Duration::from_millis(2), loss: 0.0 }
    }
}

/// What happened on a network, for the coverage of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Segments put on a link, those of handshakes and resets among them.
    pub sent: u64,
    /// Of them lost: by chance, on a cut link, or before a machine without power.
    pub lost: u64,
    /// Segments sent once more.
    pub retransmitted: u64,
    /// Segments that took longer than they would have on the network as it was made.
    pub delayed: u64,
    /// Segments that arrived before an earlier one of their direction, and waited for it.
    pub reordered: u64,
    /// Segments that arrived twice, as their acknowledgement did not come back.
    pub duplicated: u64,
    /// Connections made.
    pub connected: u64,
    /// Connections refused.
    pub refused: u64,
    /// Connections broken at an end by the other one's reset.
    pub reset: u64,
    /// Connections given up at an end, as nothing was acknowledged for too long.
    pub timed_out: u64,
    /// Bytes that reached a socket's receive buffer.
    pub bytes: u64,
}

/// All machines' network, as whoever injects faults holds it. Clones share it.
#[derive(Clone)]
pub struct SimNetwork {
    shared: Arc<Shared>,
}

/// The world behind its lock.
struct Shared {
    world: Mutex<World>,
}

impl Shared {
    /// Acts on the world as it is now. Whoever is to be woken is woken with the lock released.
    fn with<R>(&self, act: impl FnOnce(&mut World) -> R) -> R {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.look_at_the_clock();
        let answer = act(&mut world);
        let woken = std::mem::take(&mut world.woken);
        drop(world);
        for waker in woken {
            waker.wake();
        }
        answer
    }
}

impl SimNetwork {
    /// A network without hosts. Its links are all of `quality` until told otherwise.
    pub fn new(seed: u64, quality: LinkQuality) -> Self {
        Self { shared: Arc::new(Shared { world: Mutex::new(World::new(seed, quality)) }) }
    }

    /// Carries what is sent, for as long as it is polled. Nothing moves without it.
    pub fn run(&self) -> impl Future<Output = ()> + Send + 'static {
        let shared = self.shared.clone();
        async move {
            let mut sleep = pin!(sleep_until(Instant::now()));
            poll_fn(|cx| {
                while let Some(next) = shared.with(|world| world.advance(cx.waker())) {
                    sleep.as_mut().reset(next);
                    if sleep.as_mut().poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                }
                Poll::Pending
            })
            .await
        }
    }

    /// The network as a new process on host `name` sees it; the host exists and has power from now
    /// on. What a process before it still listened on and had open is gone.
    pub fn host(&self, name: &str) -> SimHost {
        let (host, process) = self.shared.with(|world| world.boot(name));
        SimHost::new(self.shared.clone(), host, process)
    }

    /// The process on `name` died: its ports refuse, the other ends of its connections are reset.
    pub fn kill(&self, name: &str) {
        self.shared.with(|world| world.kill(name));
    }

    /// The machine `name` is without power: nothing of it answers, and nothing says so. What it had
    /// put on its links still arrives.
    pub fn power_off(&self, name: &str) {
        self.shared.with(|world| world.power_off(name));
    }

    /// The machine has power again: its ports refuse until a process listens, and what is sent on
    /// its connections of before is answered with a reset.
    pub fn power_on(&self, name: &str) {
        self.shared.with(|world| world.power_on(name));
    }

    /// The process on `name` stands still: it neither reads, writes nor accepts. The machine goes on:
    /// connections are made and bytes arrive, up to its buffers.
    pub fn pause(&self, name: &str) {
        self.shared.with(|world| world.set_paused(name, true));
    }

    /// The process goes on.
    pub fn resume(&self, name: &str) {
        self.shared.with(|world| world.set_paused(name, false));
    }

    /// Nothing arrives from `from` at `to` any more; the other direction is as it was.
    pub fn cut(&self, from: &str, to: &str) {
        self.shared.with(|world| world.set_cut(from, to, true));
    }

    /// Undoes [`SimNetwork::cut`]. What was lost arrives when it is sent once more.
    pub fn heal(&self, from: &str, to: &str) {
        self.shared.with(|world| world.set_cut(from, to, false));
    }

    /// Cuts all links between the hosts of one group and those of the other, both ways.
    pub fn partition(&self, one: &[&str], other: &[&str]) {
        for here in one {
            for there in other {
                self.cut(here, there);
                self.cut(there, here);
            }
        }
    }

    /// Undoes every cut.
    pub fn heal_links(&self) {
        self.shared.with(World::heal_links);
    }

    /// From now on the link is of `quality`, in this direction.
    pub fn quality(&self, from: &str, to: &str, quality: LinkQuality) {
        self.shared.with(|world| world.set_quality(from, to, quality));
    }

    /// From now on all links are.
    pub fn quality_all(&self, quality: LinkQuality) {
        self.shared.with(|world| world.set_quality_all(quality));
    }

    /// All links are again as they were when the network was made, but for those that are cut.
    pub fn reset_quality(&self) {
        self.shared.with(World::reset_quality);
    }

    /// Undoes every cut and every change of quality.
    pub fn heal_all(&self) {
        self.heal_links();
        self.reset_quality();
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.shared.with(|world| world.counts)
    }

    /// A hash of everything that arrived anywhere, with its time: equal for a run and its replay.
    pub fn fingerprint(&self) -> u64 {
        self.shared.with(|world| world.fingerprint)
    }
}
