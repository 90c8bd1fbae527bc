//! Members of a consumer group, in the classic protocol: they join, share partitions, read, commit, go silent,
//! leave and come back.
//!
//! A member reads with a [`Consumer`] of its own and begins where the group's offsets say. Now and then it
//! sleeps through its session and then commits with the generation it had: a coordinator must refuse that.
//! What it was given, read and committed goes to [`judge::groups`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use judge::groups::Outcome;
use model::{ErrorCode, Offset};
use tokio::time::{Instant, sleep};

use crate::workload::board::Board;
use crate::workload::client::{Client, Key};
use crate::workload::consumer::Consumer;
use crate::workload::coordinator::{Coordinated, Coordinator};
use crate::workload::queue::Stop;
use crate::workload::record::{Recorder, partition};

pub(in crate::workload) mod asks;

/// The one group of a run.
pub const GROUP: &str = "readers";
/// The least that coordinators allow.
const SESSION_MS: i32 = 6_000;
const REBALANCE_MS: i32 = 10_000;
/// How often a member that has an assignment says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long a poll waits for records.
const WAIT_MS: i32 = 200;
/// Before the next attempt to get in.
const RETRY: Duration = Duration::from_millis(200);

/// One member.
pub struct Member {
    name: String,
    reader: Consumer,
    recorder: Recorder,
    board: Arc<Mutex<Board>>,
    coordinator: Coordinator,
    /// As the coordinator gave it; empty before.
    member_id: String,
    seat: Option<Seat>,
}

/// What a member has in one generation.
#[derive(Clone, Debug)]
struct Seat {
    generation: i32,
    keys: Vec<Key>,
    heard: Instant,
}

/// What to do after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Go on.
    Stay,
    /// Join the next generation under the same id.
    Rejoin,
    /// The coordinator does not know this member.
    Anew,
    /// Look for the coordinator.
    Find,
}

fn after(code: ErrorCode) -> Next {
    match code {
        ErrorCode::None => Next::Stay,
        ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => Next::Rejoin,
        ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => Next::Anew,
        _ => Next::Find,
    }
}

/// What became of a commit that was answered with `code`.
fn outcome(code: ErrorCode) -> Outcome {
    match code {
        ErrorCode::None => Outcome::Acked,
        ErrorCode::RebalanceInProgress
        | ErrorCode::IllegalGeneration
        | ErrorCode::UnknownMemberId
        | ErrorCode::FencedInstanceId
        | ErrorCode::CoordinatorLoadInProgress => Outcome::Refused,
        // A coordinator that is deposed may have written what it says it did not take.
        _ => Outcome::Unknown,
    }
}

impl Member {
    /// A member that has not joined.
    pub fn new(name: String, client: Client, recorder: Recorder, board: Arc<Mutex<Board>>) -> Self {
        let reader = Consumer::new(client, recorder.clone(), board.clone());
        let coordinator = Coordinator::new(Coordinated::Group, GROUP);
        Self { name, reader, recorder, board, coordinator, member_id: String::new(), seat: None }
    }

    /// Takes part until told to stop.
    pub async fn run(mut self, stop: Stop) {
        while !stop.is_set() {
            if self.seat.is_none() && !self.join().await {
                sleep(RETRY).await;
                continue;
            }
            self.turn().await;
            match self.reader.client().rng.u16(..400) {
                0 => self.leave().await,
                1 => self.oversleep(&stop).await,
                // The process dies: nobody hears of it, and the next one is a stranger.
                2 => {
                    (self.seat, self.member_id) = (None, String::new());
                    self.nap(&stop, 1_000, 9_000).await;
                }
                _ => {}
            }
        }
        self.leave().await;
    }

    /// Reads the group to `ends` and commits that, alone, once all others have left; where the group is then.
    pub async fn finish(&mut self, ends: &BTreeMap<Key, i64>, until: Instant) -> BTreeMap<Key, i64> {
        while Instant::now() < until {
            if self.seat.is_none() && !self.join().await {
                sleep(RETRY).await;
                continue;
            }
            self.turn().await;
            let is_there = |key: &Key| {
                let end = ends.get(key).copied().unwrap_or(0);
                self.reader.position(key).is_some_and(|at| at >= end)
            };
            let has_all = |seat: &Seat| ends.keys().all(|key| seat.keys.contains(key));
            if self.seat.as_ref().is_some_and(has_all) && ends.keys().all(is_there) && self.commit().await {
                let keys: Vec<Key> = ends.keys().cloned().collect();
                if let Some(found) = self.fetch_offsets(&keys, true).await {
                    let reached: BTreeMap<Key, i64> =
                        found.into_iter().filter_map(|(key, at)| Some((key, at?))).collect();
                    for (key, at) in &reached {
                        self.recorder.group(|group, _| group.ended_at(partition(key), Offset::new(*at)));
                    }
                    return reached;
                }
            }
        }
        BTreeMap::new()
    }

    /// One round: read, commit now and then, say that one lives.
    async fn turn(&mut self) {
        let before = self.positions();
        self.reader.poll(WAIT_MS).await;
        for (key, to) in self.positions() {
            let from = before.get(&key).copied().unwrap_or(0);
            if from < to {
                self.recorder.group(|group, _| {
                    group.read(partition(&key), Offset::new(from), Offset::new(to));
                });
            }
        }
        if self.reader.client().rng.u8(..3) == 0 {
            self.commit().await;
        }
        if self.seat.as_ref().is_some_and(|seat| seat.heard.elapsed() > HEARTBEAT) {
            self.heartbeat().await;
        }
    }

    fn positions(&self) -> BTreeMap<Key, i64> {
        let keys = self.seat.iter().flat_map(|seat| &seat.keys);
        keys.filter_map(|key| Some((key.clone(), self.reader.position(key)?))).collect()
    }

    /// Silent for longer than its session, it takes itself for a member still.
    async fn oversleep(&mut self, stop: &Stop) {
        self.nap(stop, 5_000, 12_000).await;
        self.commit().await;
    }

    async fn nap(&mut self, stop: &Stop, least_ms: u64, most_ms: u64) {
        let until = Instant::now() + Duration::from_millis(self.reader.client().rng.u64(least_ms..=most_ms));
        while Instant::now() < until && !stop.is_set() {
            sleep(RETRY).await;
        }
    }

    /// Commits where it stands; whether that was acknowledged.
    async fn commit(&mut self) -> bool {
        let positions = self.positions();
        let Some(generation) = self.seat.as_ref().map(|seat| seat.generation) else { return false };
        if positions.is_empty() {
            return true;
        }
        let began = |recorder: &Recorder, key: &Key, at: i64| {
            let (partition, offset) = (partition(key), Offset::new(at));
            recorder.group(|group, now| group.commit_began(now, generation, partition, offset))
        };
        let ids: BTreeMap<&Key, _> =
            positions.iter().map(|(key, at)| (key, began(&self.recorder, key, *at))).collect();
        let codes = self.ask_to_commit(generation, &positions).await.unwrap_or_default();
        let mut next = if codes.is_empty() { Next::Find } else { Next::Stay };
        for (key, id) in ids {
            let code = codes.get(key).copied();
            let (ended, node) = (code.map_or(Outcome::Unknown, outcome), self.node());
            self.recorder.group(|group, now| group.commit_ended(now, id, ended, node));
            if let Some(code) = code {
                self.recorder.refused_unless_ok(code);
                next = if after(code) == Next::Stay { next } else { after(code) };
            }
        }
        // A topic that is gone takes its offsets along: the next assignment is without it.
        let is_gone = codes.values().any(|code| *code == ErrorCode::UnknownTopicOrPartition);
        self.follow(if is_gone { Next::Rejoin } else { next });
        next == Next::Stay
    }

    fn follow(&mut self, next: Next) {
        match next {
            Next::Stay => return,
            Next::Rejoin => {}
            Next::Anew => self.member_id.clear(),
            Next::Find => self.coordinator.forget(),
        }
        if next != Next::Find {
            self.seat = None;
        }
    }

    /// Gets a seat in the next generation.
    async fn join(&mut self) -> bool {
        self.reader.client().refresh_if_stale().await;
        let Some(joined) = self.ask_to_join().await else { return false };
        let Some(keys) = self.ask_for_assignment(&joined).await else { return false };
        let Some(found) = self.fetch_offsets(&keys, false).await else { return false };
        let generation = joined.generation;
        let partitions = keys.iter().map(partition).collect();
        self.recorder.group(|group, now| group.assigned(now, &self.name, generation, partitions));
        let positions: Vec<(Key, Option<i64>)> = found.into_iter().collect();
        self.reader.subscribe(positions);
        self.seat = Some(Seat { generation, keys, heard: Instant::now() });
        true
    }

    /// Each member's share: partition by partition, round and round.
    fn share_out(&self, members: &[String]) -> BTreeMap<String, Vec<Key>> {
        let mut shares: BTreeMap<String, Vec<Key>> =
            members.iter().map(|member| (member.clone(), Vec::new())).collect();
        let keys = self.board.lock().expect("no holder of this lock panics").lasting();
        let mut sorted: Vec<&String> = members.iter().collect();
        sorted.sort();
        for (at, key) in keys.into_iter().enumerate() {
            let member = sorted[at % sorted.len()];
            shares.entry(member.clone()).or_default().push(key);
        }
        shares
    }
}
