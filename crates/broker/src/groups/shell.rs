//! The life of one shard on a partition that is led here: load, turns, timers, the end.
//!
//! ```text
//!   loading --all is replayed--> open --the epoch is over, the node stops--> closed
//!      +------the log cannot be read, the epoch is over---------------------------^
//! ```
//!
//! A request is one turn under the shell's lock, done where the request is: it appends at once and
//! takes its answer later, when the high watermark passed. One task a shell does what nobody asks
//! for: it loads, rings timers, and hands out answers when the partition moves on.
//!
//! The lock is never held across an await. While it is held the partition's lock is taken for
//! moments, never the other way round.

mod load;
mod transactional;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use coordinator::{AppendFailure, Call, Now, Record, Token};
use log::AppendError;
use model::{ErrorCode, LeaderEpoch, Millis, Offset};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use wire::batch::{BatchBuilder, NewRecord};
use wire::codec::Codec;
use wire::messages::ResponseKind;

use crate::data::{Seat, SeatError, Waiter};
use crate::groups::hosted::Hosted;
use crate::publish::Published;

pub use transactional::Within;

/// Put in a call before its shell draws one.
pub const NO_TOKEN: Token = Token(0);
/// Before what could not be appended for a deleted topic is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Makes a shard.
pub type New<H> = Box<dyn Fn(Offset, LeaderEpoch) -> H + Send + Sync>;
/// Begins an errand of a shell that may be gone when it ends.
pub type Run<H> = Box<dyn Fn(Weak<Shell<H>>, <H as Hosted>::Errand) + Send + Sync>;

/// What all shells of a coordinator share.
pub struct Terms<H: Hosted> {
    /// A shard that has to be loaded, of a partition whose records below that are committed, in its epoch.
    pub new: New<H>,
    /// Does an errand in a task of its own, and tells the shell what came of it.
    pub run: Run<H>,
    /// The metadata, for whoever wants to see it.
    pub published: Published,
    /// How its batches are compressed.
    pub codec: Codec,
    /// As much of the log is read at once.
    pub load_bytes: usize,
}

/// A shard and its partition.
pub struct Shell<H: Hosted> {
    me: Weak<Self>,
    seat: Seat,
    terms: Arc<Terms<H>>,
    state: Mutex<State<H>>,
    /// Something is due earlier than the task thinks.
    poke: Notify,
    /// The partition moved on, and not by what this shell appended.
    progress: Arc<Waiter>,
}

struct State<H> {
    stage: Stage<H>,
    /// Topics that are no more, to be forgotten.
    gone: VecDeque<String>,
}

/// Where in its life a shell is.
enum Stage<H> {
    Loading,
    Open(Box<Open<H>>),
    Closed,
}

/// A shard at work.
struct Open<H> {
    hosted: H,
    waiting: BTreeMap<Token, oneshot::Sender<ResponseKind>>,
    tokens: u64,
    /// The end of the metadata that it saw.
    seen: Offset,
    /// When the task wakes by itself.
    wakes_at: Option<Millis>,
    sync_is_due: bool,
}

/// What the task does next.
enum Next {
    Wait(Option<Millis>),
    Sync,
    End,
}

/// An answer to come, or why there is none.
pub type Asked = Result<oneshot::Receiver<ResponseKind>, ErrorCode>;

impl<H: Hosted> Shell<H> {
    /// A shell that nobody loads yet: [`Shell::run`] does.
    pub fn new(mut seat: Seat, terms: Arc<Terms<H>>) -> Arc<Self> {
        let progress = seat.subscribe();
        let state = Mutex::new(State { stage: Stage::Loading, gone: VecDeque::new() });
        Arc::new_cyclic(|me| Self { me: me.clone(), seat, terms, state, poke: Notify::new(), progress })
    }

    /// The partition, in its epoch.
    pub fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Has the shard decide a request. Gives the call back, which keeps what a refusal is made of.
    pub fn ask(&self, call: Call) -> (Call, Asked) {
        self.ask_within(call, None)
    }

    /// The same, where what the request writes becomes part of a producer's transaction.
    pub fn ask_within(&self, mut call: Call, within: Option<Within>) -> (Call, Asked) {
        let mut state = self.lock();
        let open = match &mut state.stage {
            Stage::Open(open) => open,
            Stage::Loading => return (call, Err(ErrorCode::CoordinatorLoadInProgress)),
            Stage::Closed => return (call, Err(ErrorCode::NotCoordinator)),
        };
        let Some(extent) = self.seat.extent() else {
            self.poke.notify_one();
            return (call, Err(ErrorCode::NotCoordinator));
        };
        self.look(open);
        let now = self.now();
        open.hosted.committed(now, extent.high_watermark);
        open.tokens += 1;
        call.caller.token = Token(open.tokens);
        let (sender, receiver) = oneshot::channel();
        open.waiting.insert(call.caller.token, sender);
        let Some(records) = open.hosted.handle(now, &call) else {
            open.waiting.remove(&call.caller.token);
            return (call, Err(ErrorCode::InvalidRequest));
        };
        // Whether it was appended is in the answer.
        self.append(open, now, &records, within);
        self.deliver(open);
        let due = open.hosted.next_deadline();
        if open.sync_is_due || due.is_some_and(|due| open.wakes_at.is_none_or(|wakes| due < wakes)) {
            self.poke.notify_one();
        }
        (call, Ok(receiver))
    }

    /// A topic is no more: what the shard knows of it goes too.
    pub fn forget_topic(&self, name: &str) {
        self.lock().gone.push_back(name.to_owned());
        self.poke.notify_one();
    }

    /// Tells the shard what came of an errand; it then does what is due. Nothing happens when it is no more.
    pub fn tell(&self, say: impl FnOnce(&mut H, Now)) {
        let now = self.now();
        if let Stage::Open(open) = &mut self.lock().stage {
            say(&mut open.hosted, now);
            self.poke.notify_one();
        }
    }

    /// Loads the shard and tends it until its epoch is over or the node stops.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let loaded = tokio::select! {
            loaded = self.load() => loaded,
            () = stop.cancelled() => None,
        };
        self.open(loaded);
        loop {
            match self.step() {
                Next::End => return,
                Next::Sync => self.seat.sync().await,
                Next::Wait(due) => {
                    let asleep = async {
                        match due {
                            Some(due) => tokio::time::sleep(due.since(self.now().clock)).await,
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        () = self.progress.progress() => {}
                        () = self.poke.notified() => {}
                        () = asleep => {}
                        () = stop.cancelled() => return self.close(),
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<H>> {
        // A panic while it was held was a bug that is logged; turns are undone whole or done whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Now {
        let (clock, time) = self.seat.now();
        Now { clock, time }
    }

    fn open(&self, loaded: Option<H>) {
        let now = self.now();
        let mut state = self.lock();
        let Some(mut hosted) = loaded else {
            state.stage = Stage::Closed;
            return;
        };
        hosted.loaded(now);
        state.stage = Stage::Open(Box::new(Open {
            hosted,
            waiting: BTreeMap::new(),
            tokens: NO_TOKEN.0,
            seen: Offset::ZERO,
            wakes_at: None,
            sync_is_due: false,
        }));
    }

    /// Does all that is due now.
    fn step(&self) -> Next {
        let mut state = self.lock();
        let State { stage, gone } = &mut *state;
        let Stage::Open(open) = stage else { return Next::End };
        let Some(extent) = self.seat.extent() else {
            drop(state);
            self.close();
            return Next::End;
        };
        let now = self.now();
        self.look(open);
        open.hosted.committed(now, extent.high_watermark);
        loop {
            let records = open.hosted.tick(now);
            if records.is_empty() {
                break;
            }
            self.append(open, now, &records, None);
        }
        let retry = self.forget(open, now, gone).then(|| now.clock.after(RETRY));
        self.deliver(open);
        if std::mem::take(&mut open.sync_is_due) {
            return Next::Sync;
        }
        open.wakes_at = open.hosted.next_deadline().into_iter().chain(retry).min();
        Next::Wait(open.wakes_at)
    }

    /// Forgets topics; true when that has to be tried again.
    fn forget(&self, open: &mut Open<H>, now: Now, gone: &mut VecDeque<String>) -> bool {
        while let Some(topic) = gone.front() {
            let records = open.hosted.forget_topic(now, topic);
            if records.is_empty() {
                gone.pop_front();
            } else if !self.append(open, now, &records, None) {
                return true;
            }
        }
        false
    }

    /// Shows the shard the metadata, if that is new.
    fn look(&self, open: &mut Open<H>) {
        let picture = self.terms.published.get();
        if picture.end != open.seen {
            open.seen = picture.end;
            open.hosted.see(&picture);
        }
    }

    /// Appends what a turn gave, and tells the shard; true when it is in the log.
    fn append(&self, open: &mut Open<H>, now: Now, records: &[Record], within: Option<Within>) -> bool {
        if records.is_empty() {
            return true;
        }
        let batch = self.encode(now, records, within);
        let entered = within.map(|within| within.entered);
        let placed = batch.and_then(|batch| self.seat.append(batch, entered).map_err(failure));
        match placed {
            Ok(placed) => {
                open.hosted.appended(placed.last);
                open.hosted.committed(now, placed.high_watermark);
                open.sync_is_due |= placed.sync_is_due;
                true
            }
            Err(failure) => {
                tracing::debug!(partition = %self.seat.name(), %failure, "a coordinator's records were not appended");
                open.hosted.append_failed(failure);
                if failure == AppendFailure::Deposed {
                    self.poke.notify_one();
                }
                false
            }
        }
    }

    /// Hands out what the shard has for others.
    fn deliver(&self, open: &mut Open<H>) {
        for reply in open.hosted.replies() {
            if let Some(sender) = open.waiting.remove(&reply.token) {
                // Whoever asked may have hung up.
                let _ = sender.send(reply.response);
            }
        }
        for errand in open.hosted.errands() {
            (self.terms.run)(self.me.clone(), errand);
        }
    }

    fn encode(&self, now: Now, records: &[Record], within: Option<Within>) -> Result<Vec<u8>, AppendFailure> {
        let mut builder = BatchBuilder::new(Offset::ZERO, self.seat.epoch()).codec(self.terms.codec, None);
        if let Some(within) = within {
            builder = builder.producer(within.producer(), true);
        }
        for Record { key, value } in records {
            let timestamp = now.time;
            builder.push(&NewRecord { timestamp, key: Some(key), value: value.as_deref(), headers: &[] });
        }
        let mut batch = Vec::with_capacity(builder.size_bytes());
        builder.finish(&mut batch).map_err(|_| AppendFailure::Unwritable)?;
        Ok(batch)
    }

    /// The end: whoever waits is sent elsewhere.
    fn close(&self) {
        let stage = std::mem::replace(&mut self.lock().stage, Stage::Closed);
        if let Stage::Open(open) = stage {
            let Open { hosted, mut waiting, .. } = *open;
            for reply in hosted.resign() {
                if let Some(sender) = waiting.remove(&reply.token) {
                    // Whoever asked may have hung up.
                    let _ = sender.send(reply.response);
                }
            }
            tracing::info!(partition = %self.seat.name(), epoch = %self.seat.epoch(), "unloaded");
        }
    }
}

/// What a failed append means to a coordinator.
fn failure(error: SeatError) -> AppendFailure {
    match error {
        SeatError::Deposed(_) => AppendFailure::Deposed,
        SeatError::Replicas(_) => AppendFailure::Unavailable,
        SeatError::TooLarge { .. } => AppendFailure::TooLarge,
        SeatError::Log(error) if error.code() == ErrorCode::KafkaStorageError => AppendFailure::Deposed,
        SeatError::Log(AppendError::Producer(error)) => AppendFailure::Refused(error.code()),
        SeatError::Log(_) => AppendFailure::Unwritable,
    }
}
