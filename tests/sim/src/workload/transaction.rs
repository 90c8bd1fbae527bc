//! Transactional producers: they write to several partitions and bring a group forward at once, commit or
//! abort, die in the middle, come back, oversleep, and haunt the session that followed theirs.
//!
//! They do as clients of both kinds do: those from before KIP-890 tell the coordinator what they write to,
//! the others let the partitions' leaders do that and get a new epoch with each end. After anything that may
//! yet arrive a producer begins a new session, as clients must. What each was told goes to
//! [`judge::transactions`]; the records carry numbers of the board, in a topic of their own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use judge::transactions::{End, SessionId, TransactionId};
use model::{ErrorCode, Offset, ProducerEpoch, ProducerId};
use net::Clock;
use tokio::time::{Instant, sleep};
use wire::batch::Producer as ProducerTag;

use crate::workload::board::Board;
use crate::workload::client::{Client, Key};
use crate::workload::coordinator::{Coordinated, Coordinator};
use crate::workload::queue::Stop;
use crate::workload::record::{Recorder, partition};
use ghost::Ghost;

mod asks;
mod ghost;
pub mod reader;

/// Where they write.
pub const TOPIC: &str = "moved";
/// The group whose offsets they commit.
pub const GROUP: &str = "movers";
/// `transaction.timeout.ms`, drawn between these.
const TIMEOUT_MS: (i32, i32) = (4_000, 8_000);
/// How long a step is tried.
const PATIENCE: Duration = Duration::from_secs(8);
const BATCHES_MAX: usize = 3;
const RECORDS_MAX: u64 = 3;
const THINK_MS: u64 = 600;

/// One of them.
pub struct Mover {
    /// Its `transactional.id`.
    name: String,
    /// The partition of [`TOPIC`] for which it commits offsets: no other does.
    place: Key,
    client: Client,
    recorder: Recorder,
    board: Arc<Mutex<Board>>,
    clock: Arc<dyn Clock>,
    coordinator: Coordinator,
    group: Coordinator,
    session: Option<Session>,
    /// The session of a process that died: it lives on until it had its say.
    ghost: Option<Ghost>,
    /// How far it brought the group, or tried to.
    moved: i64,
}

/// One producer id in one epoch, and those that follow from it.
#[derive(Clone, Debug)]
struct Session {
    noted: SessionId,
    id: ProducerId,
    epoch: ProducerEpoch,
    /// Since KIP-890: no partition is announced, and each end gives a new epoch.
    is_verified: bool,
    next_sequence: BTreeMap<Key, i32>,
}

impl Session {
    /// The tag of the next batch of `count` records.
    fn take(&mut self, key: &Key, count: usize) -> ProducerTag {
        let next = self.next_sequence.entry(key.clone()).or_insert(0);
        let base_sequence = *next;
        *next += i32::try_from(count).expect("a batch of a few records");
        ProducerTag { id: self.id, epoch: self.epoch, base_sequence }
    }

    /// What a transaction's end gave it.
    fn follow(&mut self, id: ProducerId, epoch: ProducerEpoch) {
        if (id, epoch) != (self.id, self.epoch) {
            (self.id, self.epoch) = (id, epoch);
            self.next_sequence.clear();
        }
    }
}

/// What came of a step that was tried for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    Done,
    /// Refused, or never taken as far as is known; in `doubt` an attempt may have been.
    Failed {
        doubt: bool,
    },
}

/// What an answer means for a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Done,
    /// To be tried again; this attempt had no effect, or it may have.
    Again {
        doubt: bool,
    },
    Never,
}

fn next(answer: Option<ErrorCode>) -> Next {
    match answer {
        Some(ErrorCode::None) => Next::Done,
        Some(ErrorCode::ConcurrentTransactions | ErrorCode::CoordinatorLoadInProgress) => {
            Next::Again { doubt: false }
        }
        Some(code) if !code.is_retriable() => Next::Never,
        // A coordinator that is deposed may have written what it says it did not take.
        Some(_) | None => Next::Again { doubt: true },
    }
}

impl Mover {
    /// The `number`th; it has done nothing.
    pub fn new(
        number: i32,
        client: Client,
        recorder: Recorder,
        board: Arc<Mutex<Board>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let name = format!("mover-{number}");
        let coordinator = Coordinator::new(Coordinated::Transaction, &name);
        let group = Coordinator::new(Coordinated::Group, GROUP);
        let place = (TOPIC.to_owned(), number);
        Self {
            name,
            place,
            client,
            recorder,
            board,
            clock,
            coordinator,
            group,
            session: None,
            ghost: None,
            moved: 0,
        }
    }

    /// Takes part until told to stop.
    pub async fn run(mut self, stop: Stop) {
        while !stop.is_set() {
            sleep(Duration::from_millis(self.client.rng.u64(1..=THINK_MS))).await;
            self.client.refresh_if_stale().await;
            if self.client.partitions(TOPIC).is_empty() {
                self.client.distrust();
                continue;
            }
            if self.session.is_none() {
                self.session = self.begin_session().await;
            }
            if let Some(session) = self.session.take() {
                self.session = self.transact(session, &stop).await;
            }
        }
    }

    /// Fences whoever used the id before.
    async fn begin_session(&mut self) -> Option<Session> {
        let timeout_ms = self.client.rng.i32(TIMEOUT_MS.0..=TIMEOUT_MS.1);
        let deadline = Instant::now() + PATIENCE;
        let mut attempt = 0;
        while Instant::now() < deadline {
            if let Some((id, epoch)) = self.ask_for_id(timeout_ms).await {
                let noted = self.recorder.transactions(|it, now| it.session_began(now, &self.name));
                let is_verified = self.client.rng.bool();
                return Some(Session { noted, id, epoch, is_verified, next_sequence: BTreeMap::new() });
            }
            self.client.back_off(attempt).await;
            attempt += 1;
        }
        None
    }

    /// One transaction; the session, if it can go on.
    async fn transact(&mut self, mut session: Session, stop: &Stop) -> Option<Session> {
        let id = self.recorder.transactions(|it, _| it.began(session.noted));
        let is_whole = self.fill(&mut session, id).await;
        match self.client.rng.u8(..24) {
            0..=1 => return self.die(session, id).await,
            2 if is_whole => {
                self.oversleep(stop).await;
                return self.end(session, id, true).await;
            }
            3..=6 if is_whole || session.is_verified => return self.end(session, id, false).await,
            _ => {}
        }
        // What may yet arrive would arrive in the next transaction.
        if is_whole { self.end(session, id, true).await } else { None }
    }

    /// Writes and commits offsets; whether all of it was taken.
    async fn fill(&mut self, session: &mut Session, id: TransactionId) -> bool {
        let mut batches: BTreeMap<Key, Vec<Vec<u64>>> = BTreeMap::new();
        let partitions = self.client.partitions(TOPIC);
        for _ in 0..self.client.rng.usize(1..=BATCHES_MAX) {
            let index = partitions[self.client.rng.usize(..partitions.len())];
            batches.entry((TOPIC.to_owned(), index)).or_default().push(self.draw_values());
        }
        let keys: Vec<Key> = batches.keys().cloned().collect();
        if !session.is_verified && self.persist_adding(session, &keys).await != Tried::Done {
            return false;
        }
        for (key, batches) in batches {
            for values in batches {
                self.recorder.transactions(|it, _| it.sends(id, &partition(&key), &values));
                if !self.produce(session, &key, &values, PATIENCE).await {
                    return false;
                }
                self.haunt(&key).await;
            }
        }
        self.client.rng.bool() || self.move_group(session, id).await
    }

    fn draw_values(&mut self) -> Vec<u64> {
        let count = self.client.rng.u64(1..=RECORDS_MAX);
        let mut board = self.board.lock().expect("no holder of this lock panics");
        (0..count).map(|_| board.next_value()).collect()
    }

    async fn move_group(&mut self, session: &Session, id: TransactionId) -> bool {
        self.moved += 1;
        let (place, offset) = (partition(&self.place), Offset::new(self.moved));
        self.recorder.transactions(|it, _| it.sends_offset(id, place, offset));
        if !session.is_verified && self.persist_adding_group(session).await != Tried::Done {
            return false;
        }
        self.persist_offset(session, self.moved).await == Tried::Done
    }

    /// Ends the transaction; the session, if the coordinator took that.
    async fn end(&mut self, mut session: Session, id: TransactionId, commit: bool) -> Option<Session> {
        if commit {
            self.recorder.transactions(|it, now| it.commit_began(now, id));
        }
        let tried = self.persist_end(&mut session, commit).await;
        let end = match tried {
            Tried::Done if commit => End::Committed,
            Tried::Done | Tried::Failed { doubt: false } => End::Aborted,
            Tried::Failed { doubt: true } => End::Unknown,
        };
        self.recorder.transactions(|it, _| it.ended(id, end));
        (tried == Tried::Done).then_some(session)
    }

    /// The process dies, and the next one has its name. What the first had under way may come through late.
    async fn die(&mut self, mut ghost: Session, id: TransactionId) -> Option<Session> {
        let next = self.begin_session().await?;
        if self.client.rng.bool() {
            let (key, values) = ((TOPIC.to_owned(), 0), self.draw_values());
            self.recorder.transactions(|it, _| it.sends(id, &partition(&key), &values));
            self.produce(&mut ghost, &key, &values, Duration::ZERO).await;
        }
        if self.client.rng.bool() {
            self.recorder.transactions(|it, now| it.commit_began(now, id));
            let end = match self::next(self.ask_to_end(&mut ghost, true).await) {
                Next::Done => End::Committed,
                Next::Never | Next::Again { doubt: false } => End::Aborted,
                Next::Again { doubt: true } => End::Unknown,
            };
            self.recorder.transactions(|it, _| it.ended(id, end));
        }
        self.ghost = Some(Ghost { session: ghost, transaction: id });
        Some(next)
    }

    /// Longer than any transaction may take.
    async fn oversleep(&mut self, stop: &Stop) {
        let until = Instant::now() + Duration::from_millis(self.client.rng.u64(3_000..=10_000));
        while Instant::now() < until && !stop.is_set() {
            sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Notes where the transactions brought their group in the first so many partitions, or that no coordinator
/// said it in time, because transactions stay open.
pub async fn fetch_offsets(mut client: Client, recorder: Recorder, partitions: i32, until: Instant) {
    let mut group = Coordinator::new(Coordinated::Group, GROUP);
    let mut attempt = 0;
    while Instant::now() < until {
        client.refresh_if_stale().await;
        if let Some(found) = asks::fetch_offsets(&mut group, &mut client, &recorder, partitions).await {
            for (key, offset) in found {
                recorder.transactions(|it, _| it.finally_at(partition(&key), offset));
            }
            return;
        }
        group.forget();
        client.back_off(attempt).await;
        attempt += 1;
    }
    recorder.transactions(|it, _| it.offsets_hang());
}
