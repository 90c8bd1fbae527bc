//! Members of one group: a thread and a connection each, as clients have them.
//!
//! Each does what a consumer does between its polls: it joins, heartbeats, and follows what it is told. It reads no
//! records. The group is at rest when all members are in one generation (or member epoch) and share all partitions,
//! each of which somebody has.

mod classic;
mod consumer;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use wire::messages::{FindCoordinatorRequest, ResponseKind, text};

use crate::client::Client;

/// Between two heartbeats of classic members. Those of the new protocol do as the server says, whose setting is the
/// same for both brokers.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// A member's stack: it holds little.
const STACK_BYTES: usize = 256 << 10;
/// A group that is not at rest by then never will be.
const REST_MAX: Duration = Duration::from_secs(240);
/// Between two tries while the coordinator is not ready.
const PAUSE: Duration = Duration::from_millis(20);
/// Between the rest of a group and what disturbs it: groups of the new protocol divide once a second at most
/// (KIP-1263), and that wait is not what is measured.
const SETTLE: Duration = Duration::from_millis(1_500);
const FIND_COORDINATOR: i16 = 4;
/// Key types of FindCoordinator.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// Which protocol members speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// JoinGroup, SyncGroup, Heartbeat.
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848).
    Consumer,
}

/// What every member knows.
#[derive(Clone, Debug)]
pub struct Membership {
    pub port: u16,
    pub group: String,
    pub topic: String,
    pub partitions: i32,
}

/// Members that run.
pub struct Members {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// Where one member stands.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    epoch: i32,
    partitions: i32,
    has_left: bool,
}

#[derive(Default)]
struct State {
    standings: Vec<Standing>,
    leaving: Option<usize>,
    left_at: Option<Instant>,
    /// When the last of them came to stand where it stands.
    changed_at: Option<Instant>,
    stop: bool,
    /// How often all were told to heartbeat now.
    calls: u64,
    failed: Option<String>,
}

/// What members tell.
struct Shared {
    membership: Membership,
    state: Mutex<State>,
    changed: Condvar,
    /// Wakes members before their next heartbeat is due.
    called: Condvar,
}

/// What a member is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Stay,
    Leave,
    Stop,
}

impl Members {
    /// Starts so many members at once.
    pub fn start(membership: Membership, protocol: Protocol, count: usize) -> Result<Self> {
        let state = State { standings: vec![Standing::default(); count], ..State::default() };
        let shared = Arc::new(Shared {
            membership,
            state: Mutex::new(state),
            changed: Condvar::new(),
            called: Condvar::new(),
        });
        let mut threads = Vec::with_capacity(count);
        for index in 0..count {
            let shared = shared.clone();
            let live = move || {
                let lived = match protocol {
                    Protocol::Classic => classic::live(&shared, index),
                    Protocol::Consumer => consumer::live(&shared, index),
                };
                if let Err(error) = lived {
                    shared.fail(format!("member {index}: {error:#}"));
                }
            };
            threads.push(std::thread::Builder::new().stack_size(STACK_BYTES).spawn(live)?);
        }
        Ok(Self { shared, threads })
    }

    /// Waits until the group is at rest in a later epoch than `after`; in which, and since when.
    pub fn await_rest(&self, after: i32) -> Result<(i32, Instant)> {
        let deadline = Instant::now() + REST_MAX;
        let mut state = self.shared.lock();
        loop {
            if let Some(failed) = &state.failed {
                bail!("{failed}");
            }
            if let Some(epoch) = state.rest(self.shared.membership.partitions).filter(|epoch| *epoch > after)
            {
                return Ok((epoch, state.changed_at.context("somebody told its standing")?));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "the group is not at rest after {REST_MAX:?}: {}", state.told());
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Has one member leave, and waits until the others share what it had; how long that took.
    pub fn lose_one(&self, epoch: i32) -> Result<Duration> {
        std::thread::sleep(SETTLE);
        self.shared.lock().leaving = Some(0);
        let (_, rest) = self.await_rest(epoch)?;
        let left = self.shared.lock().left_at.context("it left")?;
        Ok(rest.saturating_duration_since(left))
    }

    /// Ends them all, without a word to the server.
    pub fn stop(self) {
        self.shared.lock().stop = true;
        self.shared.called.notify_all();
        for thread in self.threads {
            // What it failed of is told already.
            let _ = thread.join();
        }
    }
}

impl State {
    /// The epoch that all members are in, if they share all partitions in it.
    fn rest(&self, partitions: i32) -> Option<i32> {
        let mut there = self.standings.iter().filter(|standing| !standing.has_left);
        let epoch = there.clone().next()?.epoch;
        let is_one = there.all(|standing| standing.epoch == epoch && standing.partitions > 0);
        let shared: i32 = self.standings.iter().map(|standing| standing.partitions).sum();
        (epoch > 0 && is_one && shared == partitions).then_some(epoch)
    }

    fn told(&self) -> String {
        let latest = self.standings.iter().map(|standing| standing.epoch).max().unwrap_or(0);
        let there = self.standings.iter().filter(|standing| standing.epoch == latest);
        let shared: i32 = self.standings.iter().map(|standing| standing.partitions).sum();
        format!("{} members in epoch {latest}, {shared} partitions had", there.count())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stand(&self, index: usize, epoch: i32, partitions: i32) {
        let mut state = self.lock();
        let standing = &mut state.standings[index];
        if (standing.epoch, standing.partitions) != (epoch, partitions) {
            (standing.epoch, standing.partitions) = (epoch, partitions);
            state.changed_at = Some(Instant::now());
            self.changed.notify_all();
        }
    }

    fn leave(&self, index: usize) {
        let mut state = self.lock();
        state.standings[index] = Standing { has_left: true, ..Standing::default() };
        state.left_at = Some(Instant::now());
    }

    /// It has left, and the server knows: the others heartbeat now. What follows is the server's work, not the
    /// silence of clients.
    fn call_all(&self) {
        self.lock().calls += 1;
        self.called.notify_all();
    }

    /// Waits for the time of the next heartbeat, or for a call that was not heard before.
    fn pause(&self, heard: &mut u64, interval: Duration) {
        let until = Instant::now() + interval;
        let mut state = self.lock();
        while state.calls == *heard && !state.stop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.called.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *heard = state.calls;
    }

    fn fail(&self, told: String) {
        let mut state = self.lock();
        // What a member meets after the end is no failure.
        if !state.stop {
            state.failed.get_or_insert(told);
            self.changed.notify_all();
        }
    }

    fn order(&self, index: usize) -> Order {
        let state = self.lock();
        if state.stop {
            Order::Stop
        } else if state.leaving == Some(index) {
            Order::Leave
        } else {
            Order::Stay
        }
    }
}

/// Waits until a group has a coordinator that takes requests; its internal topic is made by then.
pub fn await_coordinator(port: u16, group: &str) -> Result<()> {
    await_found(port, GROUP, group)
}

/// Waits until a transaction has a coordinator that takes requests.
pub fn await_transactions(port: u16, id: &str) -> Result<()> {
    await_found(port, TRANSACTION, id)
}

fn await_found(port: u16, kind: i8, key: &str) -> Result<()> {
    let mut client = Client::connect(port)?;
    let deadline = Instant::now() + REST_MAX;
    loop {
        let request =
            FindCoordinatorRequest::default().with_key_type(kind).with_coordinator_keys(vec![text(key)]);
        let ResponseKind::FindCoordinator(response) = client.call(FIND_COORDINATOR, request)? else {
            bail!("a coordinator request was answered with something else");
        };
        let found = response.coordinators.first().context("one was asked for")?;
        if found.error_code == 0 {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "no coordinator after {REST_MAX:?}: error {}", found.error_code);
        std::thread::sleep(PAUSE);
    }
}

/// Whether a code says that the coordinator is on its way.
fn passes(code: i16) -> bool {
    use model::ErrorCode as Code;
    let code = Code::from_code(code);
    matches!(code, Code::CoordinatorLoadInProgress | Code::CoordinatorNotAvailable | Code::NotCoordinator)
}

#[cfg(test)]
mod tests {
    use super::{Standing, State};

    #[test]
    fn a_group_is_at_rest_when_all_are_in_one_epoch_and_share_everything() {
        let check = |standings: &[(i32, i32)], rest: Option<i32>| {
            let stand = |&(epoch, partitions): &(i32, i32)| Standing { epoch, partitions, has_left: false };
            let mut state = State { standings: standings.iter().map(stand).collect(), ..State::default() };
            assert_eq!(state.rest(3), rest, "{standings:?}");
            state.standings.push(Standing { has_left: true, ..Standing::default() });
            assert_eq!(state.rest(3), rest, "{standings:?} and one that left");
        };
        check(&[(4, 2), (4, 1)], Some(4));
        check(&[(4, 2), (3, 1)], None);
        check(&[(4, 3), (4, 0)], None);
        check(&[(4, 1), (4, 1)], None);
        check(&[(0, 2), (0, 1)], None);
    }
}
