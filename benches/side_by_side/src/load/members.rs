//! Members of one group: a connection each, all of them driven by one thread.
//!
//! Each does what a consumer does between its polls: it joins, heartbeats, and follows what it is told. It reads no
//! records. The group is at rest when all members are in one generation (or member epoch) and share all partitions,
//! each of which somebody has. A thread a member would cost the machine more than the broker does: its two cores
//! belong to both.

mod classic;
mod connection;
mod consumer;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, Semaphore};
use tokio::task::LocalSet;
use wire::messages::{FindCoordinatorRequest, ResponseKind, text};

use crate::client::Client;

/// Between two heartbeats of classic members. Those of the new protocol do as the server says, whose setting is the
/// same for both brokers.
const HEARTBEAT: Duration = Duration::from_millis(500);
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

/// Members that run while somebody waits for them, and end with this value, without a word to the server.
pub struct Members {
    runtime: Runtime,
    tasks: LocalSet,
    shared: Rc<Shared>,
}

/// What members tell, and are told.
struct Shared {
    membership: Membership,
    dials: Semaphore,
    standings: RefCell<Standings>,
    leaving: Cell<Option<usize>>,
    left_at: Cell<Option<Instant>>,
    failed: RefCell<Option<String>>,
    /// The group came to rest, or somebody failed.
    news: Notify,
    /// How often all were told to heartbeat now.
    calls: Cell<u64>,
    /// Wakes members before their next heartbeat is due.
    called: Notify,
}

/// Where all members stand.
#[derive(Debug)]
struct Standings {
    /// Epoch and partitions of each member; nothing of one that has left.
    members: Vec<Option<Standing>>,
    /// How many are in each epoch with something to do.
    busy: BTreeMap<i32, usize>,
    /// How many have not left.
    present: usize,
    /// The partitions that somebody has.
    shared: i32,
    /// When the last of them came to stand where it stands.
    changed_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Standing {
    epoch: i32,
    partitions: i32,
}

impl Members {
    /// Has so many members start at once, as soon as somebody waits for them.
    pub fn start(membership: Membership, protocol: Protocol, count: usize) -> Result<Self> {
        let shared = Rc::new(Shared {
            membership,
            dials: Semaphore::new(connection::DIALS_MAX),
            standings: RefCell::new(Standings::new(count)),
            leaving: Cell::default(),
            left_at: Cell::default(),
            failed: RefCell::default(),
            news: Notify::new(),
            calls: Cell::default(),
            called: Notify::new(),
        });
        let tasks = LocalSet::new();
        for index in 0..count {
            let shared = shared.clone();
            tasks.spawn_local(async move {
                let lived = match protocol {
                    Protocol::Classic => classic::live(&shared, index).await,
                    Protocol::Consumer => consumer::live(&shared, index).await,
                };
                if let Err(error) = lived {
                    shared.fail(format!("member {index}: {error:#}"));
                }
            });
        }
        Ok(Self { runtime: Builder::new_current_thread().enable_all().build()?, tasks, shared })
    }

    /// Waits until the group is at rest in a later epoch than `after`; in which, and since when.
    pub fn await_rest(&self, after: i32) -> Result<(i32, Instant)> {
        let rest = async { tokio::time::timeout(REST_MAX, self.shared.rest(after)).await };
        let Ok(rest) = self.tasks.block_on(&self.runtime, rest) else {
            bail!("the group is not at rest after {REST_MAX:?}: {:?}", self.shared.standings.borrow().busy);
        };
        rest
    }

    /// Has one member leave, and waits until the others share what it had; how long that took.
    pub fn lose_one(&self, epoch: i32) -> Result<Duration> {
        self.tasks.block_on(&self.runtime, async { tokio::time::sleep(SETTLE).await });
        self.shared.leaving.set(Some(0));
        let (_, rest) = self.await_rest(epoch)?;
        let left = self.shared.left_at.get().context("it left")?;
        Ok(rest.saturating_duration_since(left))
    }
}

impl Standings {
    fn new(count: usize) -> Self {
        let members = vec![Some(Standing::default()); count];
        Self { members, busy: BTreeMap::new(), present: count, shared: 0, changed_at: None }
    }

    /// Takes note of where a member stands; nowhere, when it has left.
    fn stand(&mut self, index: usize, standing: Option<Standing>) {
        let before = std::mem::replace(&mut self.members[index], standing);
        if before == standing {
            return;
        }
        self.changed_at = Some(Instant::now());
        if let Some(before) = before {
            self.present -= 1;
            self.shared -= before.partitions;
            if before.partitions > 0 {
                let count = self.busy.get_mut(&before.epoch).expect("it was counted");
                *count -= 1;
                self.busy.retain(|_, count| *count > 0);
            }
        }
        if let Some(now) = standing {
            self.present += 1;
            self.shared += now.partitions;
            if now.partitions > 0 {
                *self.busy.entry(now.epoch).or_default() += 1;
            }
        }
    }

    /// The epoch that all members are in, later than `after`, if they share all partitions in it; and since when.
    fn rest(&self, partitions: i32, after: i32) -> Option<(i32, Instant)> {
        let (&epoch, &busy) = self.busy.first_key_value()?;
        let rests = epoch > after && busy == self.present && self.shared == partitions;
        self.changed_at.filter(|_| rests).map(|since| (epoch, since))
    }
}

impl Shared {
    async fn rest(&self, after: i32) -> Result<(i32, Instant)> {
        loop {
            if let Some(failed) = self.failed.borrow().as_ref() {
                bail!("{failed}");
            }
            if let Some(rest) = self.standings.borrow().rest(self.membership.partitions, after) {
                return Ok(rest);
            }
            self.news.notified().await;
        }
    }

    fn stand(&self, index: usize, epoch: i32, partitions: i32) {
        let mut standings = self.standings.borrow_mut();
        standings.stand(index, Some(Standing { epoch, partitions }));
        if standings.rest(self.membership.partitions, 0).is_some() {
            self.news.notify_one();
        }
    }

    fn leave(&self, index: usize) {
        self.standings.borrow_mut().stand(index, None);
        self.left_at.set(Some(Instant::now()));
    }

    fn fail(&self, told: String) {
        self.failed.borrow_mut().get_or_insert(told);
        self.news.notify_one();
    }

    fn is_to_leave(&self, index: usize) -> bool {
        self.leaving.get() == Some(index)
    }

    /// Waits for the time of the next heartbeat, or for a call that was not heard before.
    async fn pause(&self, heard: &mut u64, interval: Duration) {
        if *heard == self.calls.get() {
            // Whether it was called or the time has come makes no difference.
            let _ = tokio::time::timeout(interval, self.called.notified()).await;
        }
        *heard = self.calls.get();
    }

    /// One has left, and the server knows: the others heartbeat now. What follows is the server's work, not the
    /// silence of clients.
    fn call_all(&self) {
        self.calls.update(|calls| calls + 1);
        self.called.notify_waiters();
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
    use super::{Standing, Standings};

    #[test]
    fn a_group_is_at_rest_when_all_are_in_one_epoch_and_share_everything() {
        let check = |told: &[(i32, i32)], rest: Option<i32>| {
            let mut standings = Standings::new(told.len() + 1);
            for (index, &(epoch, partitions)) in told.iter().enumerate() {
                // Each stood elsewhere before.
                standings.stand(index, Some(Standing { epoch: 1, partitions: 2 }));
                standings.stand(index, Some(Standing { epoch, partitions }));
            }
            assert_eq!(standings.rest(3, 0), None, "{told:?} and one that has not joined");
            standings.stand(told.len(), None);
            let found = |after| standings.rest(3, after).map(|(epoch, _)| epoch);
            assert_eq!((found(0), found(4)), (rest, None), "{told:?} and one that left");
        };
        check(&[(4, 2), (4, 1)], Some(4));
        check(&[(4, 2), (3, 1)], None);
        check(&[(4, 3), (4, 0)], None);
        check(&[(4, 1), (4, 1)], None);
        check(&[(0, 2), (0, 1)], None);
    }
}
