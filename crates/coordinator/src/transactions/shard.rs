//! One partition of `__transaction_state`: its transactional ids, from load to resignation.
//!
//! ```text
//!   loading --loaded--> serving --handle, tick give records--> appending
//!                          ^                                      |
//!                          +----- appended | append_failed -------+
//! ```
//!
//! While it appends it answers nothing else: the shell asks one thing at a time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use model::{ErrorCode, LeaderEpoch, Millis, Mutant, Offset, ProducerId};
use wire::messages::{RequestKind, ResponseKind};

use super::ask::{Decision, Step, Transactions, View};
use super::markers::{self, Ending, Marked, Marker};
use super::record::{self, ReplayError};
use super::refuse::{overrule, refuse};
use super::settings::Settings;
use super::time::{self, Deadlines, STEPS_MAX};
use super::transaction::Transaction;
use super::{add_partitions, describe, end_txn, init_producer_id};
use crate::call::{Call, Caller, Now, Reply};
use crate::record::Record;
use crate::shard::AppendFailure;

/// How long time stands still after a timer's records could not be appended.
const RETRY: Duration = Duration::from_secs(1);

/// Most requests that wait for a producer id: two blocks' worth.
const WAITING_MAX: usize = 2000;

/// What was appended and is not committed yet.
#[derive(Debug)]
struct Uncommitted {
    /// The offset of its last record.
    last: Offset,
    steps: Vec<Step>,
    reply: Option<Reply>,
    /// When they were decided, or loaded.
    now: Now,
}

/// Steps whose records are being appended.
#[derive(Debug)]
struct Trial {
    steps: Vec<Step>,
    /// The answer once they are committed; `None` when a timer takes them.
    reply: Option<Reply>,
    now: Now,
}

/// The transactional ids of one partition.
#[derive(Debug)]
pub struct Shard {
    settings: Settings,
    coordinator_epoch: LeaderEpoch,
    /// What the log says, appended records included.
    written: Transactions,
    /// Up to the high watermark.
    committed: Transactions,
    /// Ids with a record beyond it, and where the last of them stands.
    pending: OrdMap<Arc<str>, Offset>,
    uncommitted: VecDeque<Uncommitted>,
    high_watermark: Offset,
    trial: Option<Trial>,
    ready: Vec<Reply>,
    /// Transactions that were prepared, until they are complete.
    endings: BTreeMap<Arc<str>, Ending>,
    markers: Vec<Marker>,
    deadlines: Deadlines,
    producer_ids: VecDeque<ProducerId>,
    waiting: VecDeque<Call>,
    abort_at: Millis,
    /// When the search for unused ids goes on, and after which.
    forget_at: Millis,
    forget_after: Option<Arc<str>>,
    quiet_until: Millis,
}

impl Shard {
    /// A shard that has to be loaded first, of a partition whose records below `high_watermark` are committed and
    /// which is led in `coordinator_epoch`.
    pub fn new(settings: Settings, high_watermark: Offset, coordinator_epoch: LeaderEpoch) -> Self {
        Self {
            settings,
            coordinator_epoch,
            written: OrdMap::new(),
            committed: OrdMap::new(),
            pending: OrdMap::new(),
            uncommitted: VecDeque::new(),
            high_watermark,
            trial: None,
            ready: Vec::new(),
            endings: BTreeMap::new(),
            markers: Vec::new(),
            deadlines: Deadlines::default(),
            producer_ids: VecDeque::new(),
            waiting: VecDeque::new(),
            abort_at: Millis::default(),
            forget_at: Millis::default(),
            forget_after: None,
            quiet_until: Millis::default(),
        }
    }

    /// Shows it the metadata: the cluster's `transaction.version`, and how many partitions `__consumer_offsets` has.
    pub fn see(&mut self, version: i16, offsets_partitions: i32) {
        self.settings.version = version;
        self.settings.offsets_partitions = offsets_partitions;
    }

    /// Takes in a record of the log, in the log's order. An error says which record it is; nothing of it is taken
    /// in, and the load may go on if whoever loads can live without it.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>, offset: Offset) -> Result<(), ReplayError> {
        let (id, next) = record::read(key, value, offset.get())?;
        let step = Step { id, next: next.map(Arc::new), took_producer_id: false };
        take(&mut self.written, &step);
        if offset < self.high_watermark {
            take(&mut self.committed, &step);
        } else {
            self.queue(offset, vec![step], None, Now::default());
        }
        Ok(())
    }

    /// All is replayed: the shard serves, and goes on with what was prepared.
    pub fn loaded(&mut self, now: Now) {
        self.abort_at = now.clock.after(self.settings.abort_interval);
        self.forget_at = now.clock.after(self.settings.expiration_interval);
        self.deadlines = Deadlines::default();
        for entry in &mut self.uncommitted {
            entry.now = now;
        }
        // What is pending is followed once it is committed.
        for (id, known) in self.committed.clone() {
            if !self.pending.contains_key(&id) {
                self.follow(&id, Some(&known), now);
            }
        }
        self.send_due(now.clock);
    }

    /// Decides a request. What it gives is to be appended as one batch; nothing when it is empty. `None` when the
    /// request is not a transaction coordinator's.
    pub fn handle(&mut self, now: Now, call: &Call) -> Option<Vec<Record>> {
        let view = self.view(now);
        let decision = match &call.request {
            RequestKind::DescribeTransactions(request) => {
                Decision::Answer(describe::describe(&view, &self.endings, request).into())
            }
            RequestKind::ListTransactions(request) => Decision::Answer(describe::list(&view, request).into()),
            request => decide(&view, call.caller.version, request)?,
        };
        Some(match decision {
            Decision::Answer(response) => {
                self.answer(call.caller, response);
                Vec::new()
            }
            Decision::Write { steps, answer } => {
                self.attempt(now, steps, Some(Reply { token: call.caller.token, response: answer }))
            }
            Decision::WantsProducerId => {
                self.wait_for_producer_id(call);
                Vec::new()
            }
        })
    }

    /// When [`Shard::tick`] has something to do; perhaps earlier, never later.
    pub fn next_deadline(&self) -> Option<Millis> {
        let now = Millis::default();
        let waits = !self.waiting.is_empty() && !self.producer_ids.is_empty();
        let timers = [
            (!self.deadlines.is_empty()).then_some(self.abort_at),
            (!self.committed.is_empty()).then_some(self.forget_at),
            self.endings.values().any(Ending::is_ready).then_some(now),
        ];
        let timers = timers.into_iter().flatten().map(|at| at.max(self.quiet_until));
        let replies = self.uncommitted.iter().find(|entry| entry.reply.is_some());
        let replies = replies.map(|entry| entry.now.clock.after(self.settings.commit_timeout));
        let markers = self.endings.values().filter_map(Ending::due);
        timers.chain(markers).chain(replies).chain(waits.then_some(now)).min()
    }

    /// Does what is due. What it gives is to be appended as one batch, and it asked again, until it gives nothing.
    pub fn tick(&mut self, now: Now) -> Vec<Record> {
        self.give_up_waiting(now.clock);
        self.send_due(now.clock);
        while !self.producer_ids.is_empty()
            && let Some(call) = self.waiting.pop_front()
        {
            let records = self.handle(now, &call).expect("it waited for its answer");
            if !records.is_empty() {
                return records;
            }
        }
        while now.clock >= self.quiet_until {
            let Some(steps) = self.steps_due(now) else { break };
            if !steps.is_empty() {
                return self.attempt(now, steps, None);
            }
        }
        Vec::new()
    }

    /// The next steps that time asks for; none when it asks for nothing more now.
    fn steps_due(&mut self, now: Now) -> Option<Vec<Step>> {
        let ready = self.complete_ready(now);
        if !ready.is_empty() {
            return Some(ready);
        }
        if now.clock >= self.abort_at {
            let late = time::abort_late(&self.view(now), &self.deadlines);
            if late.len() < STEPS_MAX {
                self.abort_at = now.clock.after(self.settings.abort_interval);
            }
            return Some(late);
        }
        if now.clock >= self.forget_at {
            let (steps, next) = time::forget_unused(&self.view(now), self.forget_after.as_ref());
            if next.is_none() {
                self.forget_at = now.clock.after(self.settings.expiration_interval);
            }
            self.forget_after = next;
            return Some(steps);
        }
        None
    }

    /// The steps that complete transactions all of whose partitions know.
    fn complete_ready(&mut self, now: Now) -> Vec<Step> {
        let mut steps = Vec::new();
        for (id, ending) in self.endings.iter_mut().filter(|(_, ending)| ending.is_ready()).take(STEPS_MAX) {
            let known = self.written.get(id).expect("what ends is known");
            ending.set_completing(true);
            steps.push(Step::to(id, known.completed(now.time)));
        }
        steps
    }

    /// The records are in the log, the last of them at `last`.
    pub fn appended(&mut self, last: Offset) {
        let trial = self.trial.take().expect("records were given to append");
        for step in &trial.steps {
            take(&mut self.written, step);
            if Mutant::MarkedBeforeCommitted.is_planted() {
                self.follow(&step.id, step.next.as_ref(), trial.now);
            }
        }
        self.queue(last, trial.steps, trial.reply, trial.now);
        self.send_due(trial.now.clock);
    }

    /// The records are not in the log, and never will be: it is as if nobody had asked.
    pub fn append_failed(&mut self, failure: AppendFailure) {
        let trial = self.trial.take().expect("records were given to append");
        for step in &trial.steps {
            if let Some(ending) = self.endings.get_mut(&step.id) {
                ending.set_completing(false);
            }
        }
        match trial.reply {
            None => self.quiet_until = trial.now.clock.after(RETRY),
            Some(mut reply) => {
                overrule(&mut reply.response, failure.code());
                self.ready.push(reply);
            }
        }
    }

    /// Everything below `high_watermark` is committed: answers go out, and markers of what is decided now.
    pub fn committed(&mut self, high_watermark: Offset) {
        self.high_watermark = self.high_watermark.max(high_watermark);
        while let Some(first) = self.uncommitted.pop_front_if(|first| first.last < high_watermark) {
            for step in &first.steps {
                if self.pending.get(&step.id) == Some(&first.last) {
                    self.pending.remove(&step.id);
                }
                take(&mut self.committed, step);
                self.follow(&step.id, step.next.as_ref(), first.now);
            }
            self.ready.extend(first.reply);
        }
        // Those that are sent for the first time; the others wait for their time.
        self.send_due(Millis::default());
    }

    /// Hears what became of a marker for one partition.
    pub fn marked(&mut self, now: Now, marked: &Marked) {
        if let Some(ending) = self.endings.get_mut(&marked.transactional_id) {
            ending.hear(now.clock, self.settings.marker_retry, marked);
        }
    }

    /// Takes the markers to send.
    pub fn markers(&mut self) -> Vec<Marker> {
        std::mem::take(&mut self.markers)
    }

    /// How many producer ids there should be more, for requests that wait.
    pub fn producer_ids_wanted(&self) -> usize {
        self.waiting.len().saturating_sub(self.producer_ids.len())
    }

    /// Producer ids that nobody has; [`Shard::tick`] goes on with who waits for them.
    pub fn give_producer_ids(&mut self, ids: impl IntoIterator<Item = ProducerId>) {
        self.producer_ids.extend(ids);
    }

    /// There are no producer ids right now: who waits is to come again.
    pub fn no_producer_ids(&mut self) {
        while let Some(call) = self.waiting.pop_front() {
            self.refuse(&call, ErrorCode::CoordinatorLoadInProgress);
        }
    }

    /// Takes the answers that may go out.
    pub fn replies(&mut self) -> Vec<Reply> {
        std::mem::take(&mut self.ready)
    }

    /// The partition has another leader: whoever waits is sent there, and nothing uncommitted is acknowledged.
    pub fn resign(mut self) -> Vec<Reply> {
        let code = ErrorCode::NotCoordinator;
        if self.trial.is_some() {
            self.append_failed(AppendFailure::Deposed);
        }
        while let Some(call) = self.waiting.pop_front() {
            self.refuse(&call, code);
        }
        let refused = self.uncommitted.into_iter().filter_map(|entry| entry.reply).map(|mut reply| {
            overrule(&mut reply.response, code);
            reply
        });
        self.ready.into_iter().chain(refused).collect()
    }

    /// What the log says, appended records included.
    pub fn written(&self) -> impl Iterator<Item = (&Arc<str>, &Transaction)> {
        self.written.iter().map(|(id, known)| (id, &**known))
    }

    /// What is committed.
    pub fn transactions(&self) -> impl Iterator<Item = (&Arc<str>, &Transaction)> {
        self.committed.iter().map(|(id, known)| (id, &**known))
    }

    fn view(&self, now: Now) -> View<'_> {
        View {
            now,
            settings: &self.settings,
            known: &self.committed,
            pending: &self.pending,
            producer_id: self.producer_ids.front().copied(),
        }
    }

    fn answer(&mut self, caller: Caller, response: ResponseKind) {
        self.ready.push(Reply { token: caller.token, response });
    }

    fn refuse(&mut self, call: &Call, code: ErrorCode) {
        let refused = refuse(&call.request, call.caller.version, code).expect("a request of ours");
        self.answer(call.caller, refused);
    }

    fn wait_for_producer_id(&mut self, call: &Call) {
        match self.waiting.len() < WAITING_MAX {
            true => self.waiting.push_back(call.clone()),
            false => self.refuse(call, ErrorCode::CoordinatorLoadInProgress),
        }
    }

    /// Gives the records of steps to append.
    fn attempt(&mut self, now: Now, steps: Vec<Step>, reply: Option<Reply>) -> Vec<Record> {
        assert!(self.trial.is_none(), "asked while records of the last turn are being appended");
        if steps.iter().any(|step| step.took_producer_id) {
            self.producer_ids.pop_front();
        }
        let version = self.settings.version;
        let records: Result<Vec<Record>, _> =
            steps.iter().map(|step| record::write(&step.id, step.next.as_deref(), version)).collect();
        self.trial = Some(Trial { steps, reply, now });
        records.unwrap_or_else(|_| {
            self.append_failed(AppendFailure::Unwritable);
            Vec::new()
        })
    }

    fn queue(&mut self, last: Offset, steps: Vec<Step>, reply: Option<Reply>, now: Now) {
        let in_order = self.uncommitted.back().is_none_or(|before| before.last < last);
        assert!(in_order, "records were appended below earlier ones");
        for step in &steps {
            self.pending.insert(step.id.clone(), last);
        }
        self.uncommitted.push_back(Uncommitted { last, steps, reply, now });
    }

    /// Does what follows from an id being at `known`: a decided transaction tells its partitions.
    fn follow(&mut self, id: &Arc<str>, known: Option<&Arc<Transaction>>, now: Now) {
        self.deadlines.see(id, known.map(|known| &**known), now);
        let Some(known) = known else {
            self.endings.remove(id);
            return;
        };
        match known.state.prepared() {
            Some(_) => {
                self.endings.entry(id.clone()).or_insert_with(|| Ending::begin(known));
            }
            None => {
                self.endings.remove(id);
            }
        }
    }

    fn send_due(&mut self, now: Millis) {
        let written = &self.written;
        let known = |id: &str| written.get(id).cloned();
        markers::due(&mut self.endings, known, self.coordinator_epoch, now, &mut self.markers);
    }

    /// Tells those who waited too long for a commit, which may still come.
    fn give_up_waiting(&mut self, now: Millis) {
        let patience = self.settings.commit_timeout;
        for entry in self.uncommitted.iter_mut().filter(|entry| entry.now.clock.after(patience) <= now) {
            let Some(mut reply) = entry.reply.take() else { continue };
            overrule(&mut reply.response, ErrorCode::CoordinatorNotAvailable);
            self.ready.push(reply);
        }
    }
}

fn decide(view: &View<'_>, version: i16, request: &RequestKind) -> Option<Decision> {
    Some(match request {
        RequestKind::InitProducerId(request) if request.transactional_id.is_some() => {
            init_producer_id::decide(view, version, request)
        }
        RequestKind::AddPartitionsToTxn(request) => add_partitions::decide(view, version, request),
        RequestKind::AddOffsetsToTxn(request) => add_partitions::decide_offsets(view, version, request),
        RequestKind::EndTxn(request) => end_txn::decide(view, version, request),
        _ => return None,
    })
}

/// Takes a step in, by the record that says it.
fn take(all: &mut Transactions, step: &Step) {
    match &step.next {
        Some(next) => all.insert(step.id.clone(), next.clone()),
        None => all.remove(&step.id),
    };
}
