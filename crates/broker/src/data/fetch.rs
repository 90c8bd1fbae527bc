//! Fetch: long polls of consumers and followers.
//!
//! A request is looked at once; when it has too little to give it waits for progress
//! of any of its partitions and is looked at again, until its time is over. Within a
//! session ([`Sessions`]) a partition at whose end the reader stands costs a comparison
//! of two numbers, and nothing on the wire.

mod encode;
mod nearest;
mod pace;
mod plan;
mod sessions;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::{ErrorCode, NodeId};
use tokio::time::Instant;
use wire::messages::FetchRequest;

use crate::data::fetch::encode::{Head, PartitionOut, TopicOut, encode};
use crate::data::fetch::plan::{Membership, Plan, TopicWanted, Want, find_topic};
pub use crate::data::fetch::sessions::Sessions;
use crate::data::fetch::sessions::Told;
use crate::data::hints;
use crate::data::partition::{ReadAt, ReadOut, Refused};
use crate::data::plane::Plane;
use crate::data::waiters::{Awaits, Waiter};
use crate::dispatch::RequestContext;
use crate::server::{Answer, Chunk, Reply};

/// Longest wait, whatever the client asks for.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// A file range up to this size is read and sent with what stands around it: one system call less.
const COPY_BYTES_MAX: usize = 16 << 10;

/// Answers a request: at once if there is enough, else in the second stage.
pub async fn handle(plane: &Arc<Plane>, asker: &RequestContext, request: FetchRequest) -> Answer {
    let picture = plane.options.published.get();
    plane.catch_up(&picture).await;
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
    let version = asker.version;
    let mut plan = match Plan::new(plane.clone(), &picture.image, asker, request) {
        Ok(plan) => plan,
        Err(error) => {
            let head = Head { version, error, session: 0, read_committed: false };
            return Answer::Now(Reply::Body(encode(&head, Vec::new(), std::iter::empty())));
        }
    };
    let looked = plan.look(true);
    if looked.is_enough || wait.is_zero() || plan.contents.wants.is_empty() {
        return Answer::Now(plan.reply(looked));
    }
    let deadline = Instant::now() + wait;
    Answer::Later(Box::pin(async move { poll(plan, deadline).await }))
}

async fn poll(mut plan: Plan, deadline: Instant) -> Reply {
    loop {
        let waiter = plan.register();
        let looked = plan.look(false);
        if looked.is_enough {
            return plan.reply(looked);
        }
        // Open files are not held while nothing happens.
        drop(looked);
        if tokio::time::timeout_at(deadline, waiter.progress()).await.is_err() {
            let looked = plan.look(false);
            return plan.reply(looked);
        }
    }
}

/// What a look found.
struct Looked {
    /// The places of the partitions there is something to tell of, and what.
    partitions: Vec<(usize, PartitionOut)>,
    /// There is reason to answer now.
    is_enough: bool,
}

/// What was found of one partition.
struct Seen {
    out: PartitionOut,
    /// The version of the partition that has nothing more for this reader.
    at_end: Option<u64>,
}

impl Plan {
    /// Has the request woken by any progress of its partitions.
    fn register(&mut self) -> Arc<Waiter> {
        // A consumer sees what is committed, a follower all there is.
        let awaits = if self.reader.is_some() { Awaits::Appends } else { Awaits::Commits };
        if self.session != Membership::None {
            let waiter = self.contents.waiter.clone();
            self.contents.wants.iter_mut().for_each(|want| want.subscribe(&waiter, awaits));
            return waiter;
        }
        // A new waiter each time: what is left of the last one's registrations is dead then.
        let waiter = Waiter::new();
        for partition in self.contents.wants.iter().filter_map(|want| want.partition.as_ref().ok()) {
            partition.waiters.register(&waiter, awaits);
        }
        waiter
    }

    /// Looks at every partition that may have news. A follower's position counts at the `first` look.
    fn look(&mut self, first: bool) -> Looked {
        let count = self.contents.wants.len();
        let is_incremental = self.is_incremental();
        let skips = is_incremental && !(first && self.counts_all);
        let room = if is_incremental { 0 } else { count };
        let mut looked = Looked { partitions: Vec::with_capacity(room), is_enough: false };
        let mut bytes = 0;
        let begin = self.contents.first;
        let mut pace = self.pace(self.plane.options.clock.now());
        for at in (begin..count).chain(0..begin.min(count)) {
            if skips && self.contents.wants[at].is_idle() {
                continue;
            }
            let is_held = self.holds_back(&pace, &self.contents.wants[at]);
            let left = if is_held { 0 } else { self.bytes_max.saturating_sub(bytes) };
            let Seen { out, at_end } = self.look_at(at, left, bytes == 0 && !is_held, first);
            self.take_pace(&mut pace, &self.contents.wants[at], &out);
            let want = &mut self.contents.wants[at];
            bytes += out.records.as_ref().map_or(0, Chunk::len);
            // A follower shall hear at once that its leader's log starts later now (DeleteRecords).
            let their_start = want.at.and_then(|at| at.log_start);
            let start_moved = their_start.is_some() && out.log_start > their_start;
            // And how much is committed, where consumers may read from it.
            let commit_moved =
                self.tells_commits && want.told.is_some_and(|it| it.high_watermark < out.high_watermark);
            looked.is_enough |=
                out.error != ErrorCode::None || out.diverging.is_some() || out.preferred.is_some();
            looked.is_enough |= start_moved || commit_moved;
            let is_news = out.is_news(want.told);
            want.set_idle(at_end.filter(|_| !is_news));
            if is_news || !is_incremental {
                looked.partitions.push((at, out));
            }
        }
        looked.is_enough |= bytes >= self.bytes_min;
        looked
    }

    fn look_at(&mut self, place: usize, left: usize, is_empty: bool, first: bool) -> Seen {
        let mut seen = self.try_look(place, left, is_empty, first);
        if seen.out.error == ErrorCode::KafkaStorageError {
            // Or the partition has left this node since it was found.
            let picture = self.plane.options.published.get();
            let old = self.contents.wants[place].partition.clone().ok();
            self.contents.wants[place].find_again(&self.plane, &picture.image);
            let is_same = match (&old, &self.contents.wants[place].partition) {
                (Some(old), Ok(new)) => Arc::ptr_eq(old, new),
                _ => false,
            };
            if !is_same {
                seen = self.try_look(place, left, is_empty, first);
            }
        }
        seen
    }

    fn try_look(&self, place: usize, left: usize, is_empty: bool, first: bool) -> Seen {
        let want = &self.contents.wants[place];
        let failed = |code| Seen { out: self.refused(want, code), at_end: None };
        let partition = match &want.partition {
            Ok(partition) => partition,
            Err(code) => return failed(*code),
        };
        // A position that no log has is out of range wherever the log is.
        let Some(at) = want.at else { return failed(ErrorCode::OffsetOutOfRange) };
        let at = ReadAt { bytes_max: at.bytes_max.min(left), at_least_one: is_empty, ..at };
        let now = self.plane.options.clock.now();
        let (read, version) = match self.reader {
            None => {
                let mut state = partition.look();
                if let Some(out) = self.send_nearer(want, &at, &mut state) {
                    return Seen { out, at_end: None };
                }
                (state.read_committed(now, &at, self.reads_followers()), partition.version())
            }
            Some(reader) => {
                // Only a look that counts changes anything.
                let mut state = if first { partition.lock() } else { partition.look() };
                let read = state.read_as_follower(now, reader, &at, first);
                let version = partition.version();
                drop(state);
                let read = read.map(|(out, outcome)| {
                    self.plane.carry_out(partition, outcome);
                    out
                });
                (read, version)
            }
        };
        match read {
            Ok(out) => {
                let at_end = out.is_at_end.then_some(version);
                Seen { out: self.found(want, out), at_end }
            }
            Err(refused) => {
                if matches!(refused, Refused::Log(_)) && refused.code() == ErrorCode::KafkaStorageError {
                    tracing::warn!(partition = %partition.name, error = %refused, "a read failed");
                }
                failed(refused.code())
            }
        }
    }

    fn found(&self, want: &Want, out: ReadOut) -> PartitionOut {
        let records = match out.records {
            None => None,
            Some(slice) if slice.len <= COPY_BYTES_MAX => match slice.read() {
                Ok(bytes) => Some(Chunk::Bytes(bytes.into())),
                Err(error) => {
                    tracing::warn!(topic = want.topic.name.as_str(), %error, "a read failed");
                    return self.refused(want, ErrorCode::KafkaStorageError);
                }
            },
            Some(slice) => Some(Chunk::File { file: slice.file, offset: slice.position, len: slice.len }),
        };
        PartitionOut {
            high_watermark: Some(out.high_watermark),
            last_stable: Some(out.last_stable),
            aborted: out.aborted,
            log_start: Some(out.log_start),
            diverging: out.diverging,
            records,
            ..PartitionOut::failed(want.index, ErrorCode::None)
        }
    }

    fn refused(&self, want: &Want, code: ErrorCode) -> PartitionOut {
        let out = PartitionOut::failed(want.index, code);
        if !matches!(code, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch) {
            return out;
        }
        let picture = self.plane.options.published.get();
        let topic = match &want.partition {
            Ok(partition) => Some(partition.key.0),
            Err(_) => find_topic(&picture.image, !want.topic.id.is_nil(), &want.topic).ok(),
        };
        let leader = topic.and_then(|topic| Plane::current_leader(&picture.image, topic, want.index));
        PartitionOut { leader, ..out }
    }

    /// The response. What it tells is noted in the session.
    fn reply(mut self, looked: Looked) -> Reply {
        let mut leaders = BTreeSet::<NodeId>::new();
        let mut topics: Vec<TopicOut> = Vec::new();
        let mut last: Option<Arc<TopicWanted>> = None;
        for (at, out) in looked.partitions {
            self.spend(&self.contents.wants[at], &out);
            let want = &mut self.contents.wants[at];
            want.told = out.told();
            if out.records.is_some() {
                self.contents.first = at + 1;
            }
            leaders.extend(out.leader.map(|leader| leader.node));
            let is_same = last.as_ref().is_some_and(|last| is_same_topic(last, &want.topic));
            match topics.last_mut().filter(|_| is_same) {
                Some(topic) => topic.partitions.push(out),
                None => {
                    let (name, id) = (want.topic.name.clone(), want.topic.id);
                    topics.push(TopicOut { name, id, partitions: vec![out] });
                    last = Some(want.topic.clone());
                }
            }
        }
        let (version, read_committed) = (self.version, self.read_committed);
        let (plane, listener) = (self.plane.clone(), self.listener.clone());
        let (error, session) = match self.keep() {
            Ok(session) => (ErrorCode::None, session),
            Err(code) => (code, 0),
        };
        if error != ErrorCode::None {
            topics.clear();
        }
        let picture = plane.options.published.get();
        let endpoints = hints::endpoints(&picture.image, &listener.name, &leaders);
        Reply::Body(encode(&Head { version, error, session, read_committed }, topics, endpoints))
    }

    /// Gives the session back what it knows now, or opens it. Says its id.
    fn keep(self) -> Result<i32, ErrorCode> {
        match self.session {
            Membership::None => Ok(0),
            Membership::Opens => {
                let now = self.plane.options.clock.now();
                let uses_ids = self.version >= plan::TOPIC_IDS_FROM;
                Ok(self.plane.sessions.create(now, self.reader.is_some(), uses_ids, self.contents))
            }
            Membership::Of(_) if self.contents.wants.is_empty() => Ok(0),
            Membership::Of(ticket) if self.plane.sessions.put_back(ticket, self.contents) => Ok(ticket.id),
            Membership::Of(_) => Err(ErrorCode::FetchSessionIdNotFound),
        }
    }
}

fn is_same_topic(one: &Arc<TopicWanted>, other: &Arc<TopicWanted>) -> bool {
    Arc::ptr_eq(one, other) || (one.id == other.id && one.name == other.name)
}

impl PartitionOut {
    /// What a session's reader knows after this answer; after an error it knows nothing.
    fn told(&self) -> Option<Told> {
        let is_plain = self.error == ErrorCode::None && self.diverging.is_none();
        is_plain.then_some(Told { high_watermark: self.high_watermark, log_start: self.log_start })
    }

    /// Whether a session's reader that was told this last has to hear of it.
    fn is_news(&self, told: Option<Told>) -> bool {
        self.records.is_some() || self.preferred.is_some() || told.is_none() || self.told() != told
    }
}
