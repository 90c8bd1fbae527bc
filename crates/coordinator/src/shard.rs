//! One partition of `__consumer_offsets`: its groups, from load to resignation.
//!
//! ```text
//!   loading --loaded--> serving --handle, tick give records--> appending
//!                          ^                                      |
//!                          +----- appended | append_failed -------+
//! ```
//!
//! While it appends it answers nothing else: the shell asks one thing at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use model::{ErrorCode, Millis, Offset, ProducerId};
use wire::messages::{RequestKind, StrBytes, SyncGroupResponse};

use crate::call::{Call, Caller, Now, Reply};
use crate::cause::{Because, Rebalanced};
use crate::classic::rebalance;
use crate::classic::{self, Waiting};
use crate::cluster::{Cluster, NoTopics};
use crate::consumer::watch;
use crate::dispatch;
use crate::expire;
use crate::group::Group;
use crate::hard::{Hard, Written};
use crate::offsets::{OffsetKey, Offsets};
use crate::overrule::overrule;
use crate::record::{Entry, Record, ReplayError};
use crate::settings::Settings;
use crate::turn::{Core, Turn, refused_join};

/// How long time stands still after a timer's records could not be appended.
const RETRY: Duration = Duration::from_secs(1);

/// Most batches whose commit is told apart. Each keeps a version of the committed offsets; while replication lags
/// further behind, the last ones are taken for committed together, a little late.
const UNCOMMITTED_MAX: usize = 1000;

/// Why records were not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendFailure {
    /// Not now: too few replicas in sync, or it took too long. The same may go well later.
    #[error("the records could not be replicated: too few replicas of the partition are in sync")]
    Unavailable,
    /// Another broker leads the partition.
    #[error("another broker leads the partition")]
    Deposed,
    /// More than the topic's `max.message.bytes`.
    #[error("the records are larger than max.message.bytes of __consumer_offsets")]
    TooLarge,
    /// A record that has no bytes: a text of more than 32,767.
    #[error("a record cannot be written")]
    Unwritable,
    /// The log does not take the batch from its producer: another epoch, or no transaction that knows of it.
    #[error("the log refused the batch of a transaction: {0}")]
    Refused(ErrorCode),
}

impl AppendFailure {
    /// What a client is told.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::Unavailable => ErrorCode::CoordinatorNotAvailable,
            Self::Deposed => ErrorCode::NotCoordinator,
            Self::TooLarge | Self::Unwritable => ErrorCode::UnknownServerError,
            Self::Refused(code) => code,
        }
    }
}

/// What was appended and is not committed yet.
#[derive(Debug)]
struct Uncommitted {
    /// The offset of its last record.
    last: Offset,
    /// Committed offsets once it is.
    offsets: Offsets,
    replies: Vec<Reply>,
    /// When the replies become errors.
    due: Millis,
}

/// Who asked, in case there is no other answer.
#[derive(Debug)]
enum Asker {
    /// A timer.
    Nobody,
    Joining(Caller, StrBytes),
    Syncing(Caller),
    /// Is answered in any case.
    Other(Caller),
}

/// A turn whose records are being appended.
#[derive(Debug)]
struct Trial {
    before: Core,
    replies: Vec<Reply>,
    rebalanced: Vec<Rebalanced>,
    asker: Asker,
    now: Now,
}

/// The groups of one partition.
#[derive(Debug)]
pub struct Shard {
    settings: Settings,
    cluster: Arc<dyn Cluster>,
    core: Core,
    /// Up to the high watermark.
    committed: Offsets,
    uncommitted: VecDeque<Uncommitted>,
    /// Where the high watermark stood when the load began, and the last record replayed beyond it.
    high_watermark: Offset,
    replayed_beyond: Option<Offset>,
    trial: Option<Trial>,
    ready: Vec<Reply>,
    /// Rebalances that began and were not told yet.
    rebalanced: Vec<Rebalanced>,
    quiet_until: Millis,
}

impl Shard {
    /// A shard that has to be loaded first, of a partition whose records below `high_watermark` are committed.
    pub fn new(settings: Settings, high_watermark: Offset) -> Self {
        Self {
            settings,
            cluster: Arc::new(NoTopics),
            core: Core::default(),
            committed: Offsets::default(),
            uncommitted: VecDeque::new(),
            high_watermark,
            replayed_beyond: None,
            trial: None,
            ready: Vec::new(),
            rebalanced: Vec::new(),
            quiet_until: Millis::default(),
        }
    }

    /// Shows it the cluster as it is now. Groups take note with their members' next heartbeats.
    pub fn set_cluster(&mut self, cluster: Arc<dyn Cluster>) {
        self.cluster = cluster;
    }

    /// Takes in a record of the log, in the log's order. An error says which record it is; nothing of it is taken
    /// in, and the load may go on if whoever loads can live without it.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>, offset: Offset) -> Result<(), ReplayError> {
        let entry = Entry::read(key, value, offset.get(), self.core.hard.offsets())?;
        self.note_replayed(offset);
        self.core.hard.replay(entry);
        Ok(())
    }

    /// The same for a record of a producer's transaction: its offsets wait for the end of it.
    pub fn replay_transactional(
        &mut self,
        producer: ProducerId,
        key: &[u8],
        value: Option<&[u8]>,
        offset: Offset,
    ) -> Result<(), ReplayError> {
        let entry = Entry::read(key, value, offset.get(), self.core.hard.offsets())?;
        self.note_replayed(offset);
        match entry {
            Entry::Offset(key, Some(committed)) => self.core.hard.replay_pending(producer, key, committed),
            // Nobody writes anything else in a transaction.
            entry => self.core.hard.replay(entry),
        }
        Ok(())
    }

    /// The same for the marker at the end of a transaction.
    pub fn replay_end(&mut self, producer: ProducerId, commit: bool, offset: Offset) {
        self.note_replayed(offset);
        self.core.hard.end_transaction(producer, commit);
    }

    fn note_replayed(&mut self, offset: Offset) {
        if offset >= self.high_watermark {
            if self.replayed_beyond.is_none() {
                self.committed = self.core.hard.offsets().clone();
            }
            self.replayed_beyond = Some(offset);
        }
    }

    /// A producer's transaction is over: its marker is in the log, at `offset`. Between turns, as [`Shard::tick`].
    pub fn end_transaction(&mut self, now: Now, producer: ProducerId, commit: bool, offset: Offset) {
        assert!(self.trial.is_none(), "told while records of the last turn are being appended");
        self.core.hard.end_transaction(producer, commit);
        self.note_uncommitted(offset, now, Vec::new());
    }

    /// All is replayed: every member gets a fresh session, and the shard serves.
    pub fn loaded(&mut self, now: Now) {
        match self.replayed_beyond {
            None => self.committed = self.core.hard.offsets().clone(),
            Some(last) => self.note_uncommitted(last, now, Vec::new()),
        }
        let hard = self.core.hard.clone();
        let mut turn = turn(&mut self.core, &self.settings, &self.cluster, &self.committed, now);
        for (id, written) in hard.groups() {
            match written {
                Written::Classic(value) => begin(&mut turn, id, classic::Group::from_value(value)),
                Written::Consumer(group) => {
                    watch::begin(&mut turn, id, group);
                }
            }
        }
        for id in hard.pending_offsets().groups().filter(|id| hard.group(id).is_none()) {
            turn.put(id, classic::Group::new(now.time));
        }
        for id in hard.offsets().groups().filter(|id| hard.group(id).is_none()) {
            turn.put(id, classic::Group::new(now.time));
        }
        expire::search_later(&mut turn.core.alarms, now.clock, self.settings.offsets_retention_check);
        let rebalanced = turn.rebalanced;
        self.rebalanced.extend(rebalanced);
    }

    /// Decides a request. What it gives is to be appended as one batch; nothing when it is empty. `None` when the
    /// request is not a group coordinator's.
    pub fn handle(&mut self, now: Now, call: &Call) -> Option<Vec<Record>> {
        if !dispatch::is_ours(&call.request) {
            return None;
        }
        let asker = match &call.request {
            RequestKind::JoinGroup(request) => Asker::Joining(call.caller, request.member_id.clone()),
            RequestKind::SyncGroup(_) => Asker::Syncing(call.caller),
            _ => Asker::Other(call.caller),
        };
        let undo = dispatch::may_write(&call.request);
        Some(self.turn(now, asker, undo, |turn| dispatch::decide(turn, call)))
    }

    /// When [`Shard::tick`] has something to do; perhaps earlier, never later.
    pub fn next_deadline(&self) -> Option<Millis> {
        let alarm = self.core.alarms.next().map(|at| at.max(self.quiet_until));
        let waiting = self.uncommitted.iter().find(|entry| !entry.replies.is_empty());
        alarm.into_iter().chain(waiting.map(|entry| entry.due)).min()
    }

    /// Does what is due. What it gives is to be appended as one batch, and it asked again, until it gives nothing.
    pub fn tick(&mut self, now: Now) -> Vec<Record> {
        self.give_up_waiting(now.clock);
        while now.clock >= self.quiet_until && self.core.alarms.next().is_some_and(|at| at <= now.clock) {
            let records = self.turn(now, Asker::Nobody, true, |turn| {
                let (at, subject) = turn.core.alarms.pop(now.clock).expect("one has come up");
                expire::ring(turn, at, subject);
            });
            if !records.is_empty() {
                return records;
            }
        }
        Vec::new()
    }

    /// Forgets what was committed for a topic that is no more. To be appended, and asked again, as with `tick`.
    pub fn forget_topic(&mut self, now: Now, topic: &str) -> Vec<Record> {
        self.turn(now, Asker::Nobody, true, |turn| {
            let keys = turn.core.hard.offsets().of_topic(topic).map(|(key, _)| key);
            let keys: Vec<OffsetKey> = keys.take(expire::TOMBSTONES_MAX).collect();
            for key in keys {
                turn.write(Entry::Offset(key, None));
            }
        })
    }

    /// The records are in the log, the last of them at `last`.
    pub fn appended(&mut self, last: Offset) {
        let trial = self.trial.take().expect("records were given to append");
        self.rebalanced.extend(trial.rebalanced);
        self.note_uncommitted(last, trial.now, trial.replies);
    }

    /// The records are not in the log, and never will be: it is as if nobody had asked.
    pub fn append_failed(&mut self, failure: AppendFailure) {
        let trial = self.trial.take().expect("records were given to append");
        self.undo(trial, failure);
    }

    /// Everything below `high_watermark` is committed.
    pub fn committed(&mut self, high_watermark: Offset) {
        while let Some(first) = self.uncommitted.pop_front_if(|first| first.last < high_watermark) {
            self.committed = first.offsets;
            self.ready.extend(first.replies);
        }
    }

    /// Takes the answers that may go out.
    pub fn replies(&mut self) -> Vec<Reply> {
        std::mem::take(&mut self.ready)
    }

    /// Takes the rebalances that began.
    pub fn rebalanced(&mut self) -> Vec<Rebalanced> {
        std::mem::take(&mut self.rebalanced)
    }

    /// The partition has another leader: whoever waits is sent there, and nothing uncommitted is acknowledged.
    pub fn resign(mut self) -> Vec<Reply> {
        let code = ErrorCode::NotCoordinator;
        if self.trial.is_some() {
            self.append_failed(AppendFailure::Deposed);
        }
        let refused = self.uncommitted.drain(..).flat_map(|entry| entry.replies).map(|mut reply| {
            overrule(&mut reply.response, code);
            reply
        });
        let mut replies: Vec<Reply> = self.ready.into_iter().chain(refused).collect();
        for group in self.core.groups.values() {
            let Group::Classic(group) = group else { continue };
            for member in group.members() {
                replies.extend(refused_waiting(member, code));
            }
        }
        replies
    }

    /// What the log says, appended records included.
    pub fn hard(&self) -> &Hard {
        &self.core.hard
    }

    /// Committed offsets up to the high watermark.
    pub fn committed_offsets(&self) -> &Offsets {
        &self.committed
    }

    /// The groups as they are now, by name.
    pub fn groups(&self) -> impl Iterator<Item = (&Arc<str>, &Group)> {
        self.core.groups.iter()
    }

    fn turn(&mut self, now: Now, asker: Asker, undo: bool, act: impl FnOnce(&mut Turn<'_>)) -> Vec<Record> {
        assert!(self.trial.is_none(), "asked while records of the last turn are being appended");
        let before = if undo { self.core.clone() } else { Core::default() };
        let mut turn = turn(&mut self.core, &self.settings, &self.cluster, &self.committed, now);
        act(&mut turn);
        let Turn { records, replies, rebalanced, behind_all, unwritable, .. } = turn;
        assert!(undo || records.is_empty(), "a request that only reads wrote a record");
        let trial = Trial { before, replies, rebalanced, asker, now };
        if unwritable.is_some() {
            self.undo(trial, AppendFailure::Unwritable);
            return Vec::new();
        }
        if records.is_empty() {
            self.rebalanced.extend(trial.rebalanced);
            match self.uncommitted.back_mut() {
                Some(last) if behind_all => last.replies.extend(trial.replies),
                _ => self.ready.extend(trial.replies),
            }
            return Vec::new();
        }
        self.trial = Some(trial);
        records
    }

    fn undo(&mut self, trial: Trial, failure: AppendFailure) {
        self.core = trial.before;
        let code = failure.code();
        let caller = match &trial.asker {
            Asker::Nobody => {
                self.quiet_until = trial.now.clock.after(RETRY);
                return;
            }
            Asker::Joining(caller, _) | Asker::Syncing(caller) | Asker::Other(caller) => *caller,
        };
        // Others that were to be answered wait on: what they waited for has not happened.
        let own = trial.replies.into_iter().find(|reply| reply.token == caller.token);
        let response = match (own, trial.asker) {
            (Some(mut reply), _) => {
                overrule(&mut reply.response, code);
                reply.response
            }
            (None, Asker::Joining(_, member)) => refused_join(caller.version, code, member).into(),
            (None, _) => SyncGroupResponse::default().with_error_code(code.code()).into(),
        };
        self.ready.push(Reply { token: caller.token, response });
    }

    fn note_uncommitted(&mut self, last: Offset, now: Now, replies: Vec<Reply>) {
        let in_order = self.uncommitted.back().is_none_or(|before| before.last < last);
        assert!(in_order, "records were appended below earlier ones");
        let offsets = self.core.hard.offsets().clone();
        if self.uncommitted.len() == UNCOMMITTED_MAX {
            let newest = self.uncommitted.back_mut().expect("it is full");
            newest.last = last;
            newest.offsets = offsets;
            newest.replies.extend(replies);
            return;
        }
        let due = now.clock.after(self.settings.commit_timeout);
        self.uncommitted.push_back(Uncommitted { last, offsets, replies, due });
    }

    /// Tells those who waited too long for a commit, which may still come.
    fn give_up_waiting(&mut self, now: Millis) {
        for entry in self.uncommitted.iter_mut().take_while(|entry| entry.due <= now) {
            for mut reply in entry.replies.drain(..) {
                overrule(&mut reply.response, ErrorCode::CoordinatorNotAvailable);
                self.ready.push(reply);
            }
        }
    }
}

fn turn<'a>(
    core: &'a mut Core,
    settings: &'a Settings,
    cluster: &'a Arc<dyn Cluster>,
    committed: &'a Offsets,
    now: Now,
) -> Turn<'a> {
    Turn {
        now,
        settings,
        cluster: cluster.as_ref(),
        core,
        committed,
        records: Vec::new(),
        replies: Vec::new(),
        rebalanced: Vec::new(),
        behind_all: false,
        unwritable: None,
    }
}

/// Sets out with a group as it was written.
fn begin(turn: &mut Turn<'_>, id: &Arc<str>, mut group: classic::Group) {
    let members: Vec<StrBytes> = group.members().map(|member| member.id.clone()).collect();
    for member in &members {
        rebalance::hear(turn, id, &mut group, member);
    }
    if members.len() > turn.settings.members_max {
        let because = Because::of_nobody("the group is larger than group.max.size");
        rebalance::prepare(turn, id, &mut group, because);
    }
    turn.put(id, group);
}

fn refused_waiting(member: &classic::Member, code: ErrorCode) -> Option<Reply> {
    let (caller, response) = match member.waiting {
        Waiting::Nothing => return None,
        Waiting::Join(caller) => (caller, refused_join(caller.version, code, member.id.clone()).into()),
        Waiting::Sync(caller) => (caller, SyncGroupResponse::default().with_error_code(code.code()).into()),
    };
    Some(Reply { token: caller.token, response })
}
