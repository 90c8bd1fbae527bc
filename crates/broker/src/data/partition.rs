//! One partition on this node: its log and its part in replication, under one lock.
//!
//! Everything here returns at once: what waits (for replicas, for a sync) is outside
//! and looks again when [`Waiters`] wake it. The lock is never held across an await
//! and never while a file is synced, but for a log's identity before its first record.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use log::transactions::Aborted;
use log::{AppendError, Appended, FileSlice, Log, LogError, Synced, Unsynced};
use model::{
    BrokerEpoch, ErrorCode, LeaderEpoch, Millis, Mutant, NodeId, Offset, PartitionIndex, TopicId,
    TopicPartition,
};
use replica::{Assignment, Effect, EpochEnd, Input, IsrProposal, Leader, Lookup, Replica, Role, Transition};

use crate::data::failed_dirs::FailedDirs;
use crate::data::settings::TopicSettings;
use crate::data::waiters::Waiters;

/// What names a partition on this node.
pub type Key = (TopicId, PartitionIndex);

/// A partition.
pub struct Partition {
    /// The topic's id and the partition's number.
    pub key: Key,
    /// The topic's name and the partition's number.
    pub name: TopicPartition,
    /// Requests that wait for it to move on.
    pub waiters: Waiters,
    /// Counts who may have changed it.
    version: AtomicU64,
    state: Mutex<State>,
}

/// What the lock guards.
pub struct State {
    /// The log; `None` when it could not be opened, or is being deleted.
    pub log: Option<Log>,
    /// This node's part.
    pub replica: Replica,
    /// The topic's settings.
    pub settings: Arc<TopicSettings>,
    /// Which of the log directories it lies in.
    pub dir: usize,
    /// Whom to tell that this directory failed.
    failed_dirs: FailedDirs,
    /// A sync is under way, by whoever set this.
    pub is_syncing: bool,
    /// When the oldest record was appended that is not synced yet.
    pub dirty_since: Option<Millis>,
    /// When files were last needed; open ones are closed after a while.
    pub used_at: Option<Millis>,
}

/// What a follower or consumer asks of one partition.
#[derive(Clone, Copy, Debug)]
pub struct ReadAt {
    /// From here on.
    pub offset: Offset,
    /// The epoch it believes in.
    pub current_epoch: Option<LeaderEpoch>,
    /// The epoch of the record before `offset` in its own log or history.
    pub last_epoch: Option<LeaderEpoch>,
    /// Where its own log starts; consumers have none.
    pub log_start: Option<Offset>,
    /// As much at most.
    pub bytes_max: usize,
    /// One batch even when it is larger.
    pub at_least_one: bool,
    /// Nothing of transactions that are open (`isolation.level=read_committed`).
    pub only_stable: bool,
}

/// A follower that reads.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// The follower.
    pub node: NodeId,
    /// Its registration, as it says.
    pub broker_epoch: Option<BrokerEpoch>,
    /// Whether the metadata lets it be in sync.
    pub eligible: bool,
}

/// What a read came to.
pub struct ReadOut {
    /// Everything below is committed.
    pub high_watermark: Offset,
    /// Everything below is decided: no open transaction begins there.
    pub last_stable: Offset,
    /// The first offset that can be read.
    pub log_start: Offset,
    /// Where the reader's history left ours; then there are no records.
    pub diverging: Option<EpochEnd>,
    /// The records.
    pub records: Option<FileSlice>,
    /// The transactions that were aborted of them, for who reads only what is stable.
    pub aborted: Vec<Aborted>,
    /// The reader has all that there is for it.
    pub is_at_end: bool,
}

/// Why a partition did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// This node does not lead it.
    #[error(
        "For requests intended only for the leader, this error indicates that the broker is not the current leader."
    )]
    NotLeader,
    /// The request comes from a past epoch.
    #[error("The leader epoch in the request is older than the epoch on the broker.")]
    FencedEpoch,
    /// The request knows more than this node.
    #[error("The leader epoch in the request is newer than the epoch on the broker.")]
    UnknownEpoch,
    /// Its log cannot be used.
    #[error("Disk error when trying to access log file on the disk.")]
    Offline,
    /// The log refused.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl Refused {
    /// What a client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotLeader => ErrorCode::NotLeaderOrFollower,
            Self::FencedEpoch => ErrorCode::FencedLeaderEpoch,
            Self::UnknownEpoch => ErrorCode::UnknownLeaderEpoch,
            Self::Offline => ErrorCode::KafkaStorageError,
            Self::Log(error) => error.code(),
        }
    }
}

/// Why a batch was not written.
#[derive(Debug, thiserror::Error)]
pub enum Unwritten {
    /// This node does not lead, or not in that epoch.
    #[error(transparent)]
    Partition(#[from] Refused),
    /// Too few replicas are in sync.
    #[error(transparent)]
    Replicas(#[from] replica::WriteRefused),
    /// The log does not take it.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl Unwritten {
    /// What a client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Partition(refused) => refused.code(),
            Self::Replicas(refused) => refused.code(),
            Self::Append(error) => error.code(),
        }
    }
}

/// What replication asks of the shell after a step.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Tell the controller.
    pub proposal: Option<IsrProposal>,
    /// Wake who waits.
    pub wake: bool,
    /// The log grew: wake who waits for that too.
    pub has_grown: bool,
}

impl Outcome {
    /// What `effects` ask for.
    pub fn of(effects: Vec<Effect>) -> Self {
        let mut outcome = Self::default();
        for effect in effects {
            match effect {
                Effect::ProposeIsr(proposal) => outcome.proposal = Some(proposal),
                Effect::HighWatermark(_) => outcome.wake = true,
            }
        }
        outcome
    }
}

impl Partition {
    /// A partition that has no part yet.
    pub fn new(key: Key, name: TopicPartition, state: State) -> Arc<Self> {
        Arc::new(Self {
            key,
            name,
            waiters: Waiters::default(),
            version: AtomicU64::new(0),
            state: Mutex::new(state),
        })
    }

    /// Its state.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.look();
        // Under the lock: who reads the new number waits for what it stands for.
        self.version.fetch_add(1, Ordering::Relaxed);
        state
    }

    /// Grows each time that somebody may have changed the state, so that a reader of many partitions
    /// can skip those that stand still.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// Its state, for one who changes nothing.
    pub fn look(&self) -> MutexGuard<'_, State> {
        // A panic while it was held was a bug that is logged; the log guards itself against half a write.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The state of a replica whose log was just opened, or could not be.
    pub fn new(
        me: NodeId,
        log: Option<Log>,
        high_watermark: Offset,
        settings: Arc<TopicSettings>,
        dir: usize,
        failed_dirs: FailedDirs,
    ) -> Self {
        let replica = Replica::new(me, high_watermark);
        Self { log, replica, settings, dir, failed_dirs, is_syncing: false, dirty_since: None, used_at: None }
    }

    /// Takes what the metadata says. A replica without a log stays out of service.
    pub fn assign(&mut self, now: Millis, assignment: &Assignment) -> (Transition, Outcome) {
        let Some(log) = &mut self.log else { return (self.replica.go_offline(), Outcome::default()) };
        let mut effects = Vec::new();
        let leader = self.settings.leader;
        let transition = self.replica.assign(now, assignment, log.end(), leader, &mut effects);
        match transition {
            Transition::Lead { epoch } => log.begin_epoch(epoch),
            Transition::Follow { .. } if Mutant::TruncatedByWatermark.is_planted() => {
                let _ = log.truncate_to(self.replica.high_watermark());
            }
            _ => {}
        }
        let synced = log.recovery_point();
        if let Some(leader) = self.replica.leader_mut() {
            leader.step(now, Input::Synced { end: synced }, &mut effects);
        }
        (transition, Outcome::of(effects))
    }

    /// Takes new settings of the topic.
    pub fn set_settings(&mut self, settings: Arc<TopicSettings>) {
        if let Some(log) = &mut self.log {
            log.set_options(settings.log.clone());
        }
        if let Some(leader) = self.replica.leader_mut() {
            leader.set_options(settings.leader);
        }
        self.settings = settings;
    }

    /// The log can be trusted no more, nor its directory: nothing is read or written here until a restart.
    pub fn fail(&mut self) {
        self.failed_dirs.report(self.dir);
        self.log = None;
        self.is_syncing = false;
        self.dirty_since = None;
        self.replica.go_offline();
    }

    /// Takes the partition offline if a write left its log in doubt.
    pub fn fail_if_poisoned(&mut self) {
        if self.log.as_ref().is_some_and(Log::is_poisoned) {
            self.fail();
        }
    }

    /// Takes the leader's watermark, if it told one, within this log.
    pub fn note_follower(&mut self, high_watermark: Option<Offset>) {
        let (start, end) =
            self.log.as_ref().map_or((Offset::ZERO, Offset::ZERO), |log| (log.start(), log.end()));
        if let Some(follower) = self.replica.follower_mut() {
            // What is below a leader's log start was committed.
            follower.note(high_watermark.unwrap_or(Offset::ZERO).max(start), end);
        }
    }

    /// Log and leader, if this node leads and can.
    pub fn lead(&mut self) -> Result<(&mut Log, &mut Leader), Refused> {
        let log = self.log.as_mut().ok_or(Refused::Offline)?;
        let leader = self.replica.leader_mut().ok_or(Refused::NotLeader)?;
        Ok((log, leader))
    }

    /// Log and leader, if this node leads in the epoch that the request names.
    pub fn lead_in(&mut self, epoch: Option<LeaderEpoch>) -> Result<(&mut Log, &mut Leader), Refused> {
        self.check_epoch(epoch)?;
        self.lead()
    }

    fn check_epoch(&self, epoch: Option<LeaderEpoch>) -> Result<(), Refused> {
        match (epoch, self.replica.leader_epoch()) {
            (Some(asked), Some(known)) if asked < known => Err(Refused::FencedEpoch),
            (Some(asked), Some(known)) if asked > known => Err(Refused::UnknownEpoch),
            _ => Ok(()),
        }
    }

    /// Whether a client's batch may be appended now, by which settings and in which of the log directories.
    /// It is asked again at the append.
    pub fn admit(&mut self, needs_all: bool) -> Result<(Arc<TopicSettings>, usize), Unwritten> {
        let (_, leader) = self.lead()?;
        if needs_all {
            leader.admit_acks_all()?;
        }
        Ok((self.settings.clone(), self.dir))
    }

    /// Has `write` append something as the leader, in `epoch` if one is named; for `acks=all` only while
    /// enough replicas are in sync.
    pub fn append_with(
        &mut self,
        now: Millis,
        epoch: Option<LeaderEpoch>,
        needs_all: bool,
        write: impl FnOnce(&mut Log, LeaderEpoch) -> Result<Appended, AppendError>,
    ) -> Result<(Appended, LeaderEpoch, Outcome), Unwritten> {
        let (log, leader) = self.lead_in(epoch)?;
        if needs_all {
            leader.admit_acks_all()?;
        }
        let epoch = leader.leader_epoch();
        let appended = match write(log, epoch) {
            Ok(appended) => appended,
            Err(error) => {
                self.fail_if_poisoned();
                return Err(error.into());
            }
        };
        let end = log.end();
        self.used_at = Some(now);
        self.dirty_since.get_or_insert(now);
        let outcome = self.step(now, Input::Appended { end });
        Ok((appended, epoch, outcome))
    }

    /// Whether this node leads in that epoch.
    pub fn leads_in(&self, epoch: LeaderEpoch) -> bool {
        matches!(self.replica.role(), Role::Leader(leader) if leader.leader_epoch() == epoch)
    }

    /// Takes one input of the leader; nothing happens where this node does not lead.
    pub fn step(&mut self, now: Millis, input: Input) -> Outcome {
        let Some(leader) = self.replica.leader_mut() else { return Outcome::default() };
        let mut effects = Vec::new();
        leader.step(now, input, &mut effects);
        Outcome::of(effects)
    }

    /// Where this log ends the newest epoch not above `epoch`.
    pub fn epoch_end(log: &Log, epoch: LeaderEpoch) -> Option<EpochEnd> {
        log.epoch_end(epoch).map(|(epoch, end)| EpochEnd { epoch, end })
    }

    /// The log, and how much of it is committed, where this node may serve a consumer: as the leader, or as
    /// a follower for one who knows that followers serve (KIP-392).
    fn serve_in(&mut self, epoch: Option<LeaderEpoch>, follows: bool) -> Result<(&mut Log, Offset), Refused> {
        self.check_epoch(epoch)?;
        match self.replica.role() {
            Role::Follower(follower) if follows => {
                let high_watermark = follower.high_watermark();
                Ok((self.log.as_mut().ok_or(Refused::Offline)?, high_watermark))
            }
            _ => self.lead().map(|(log, leader)| (log, leader.high_watermark())),
        }
    }

    /// Reads for a consumer, up to the high watermark; from a follower's log too where it `follows`.
    pub fn read_committed(&mut self, now: Millis, at: &ReadAt, follows: bool) -> Result<ReadOut, Refused> {
        self.used_at = Some(now);
        let (log, high_watermark) = self.serve_in(at.current_epoch, follows)?;
        let upper = if Mutant::ReadAboveWatermark.is_planted() { log.end() } else { high_watermark };
        read(log, at, high_watermark, upper)
    }

    /// Reads for a follower, up to the log's end. Its position counts once its history was found
    /// to be a prefix of ours; a request that is looked at again counts no second time.
    pub fn read_as_follower(
        &mut self,
        now: Millis,
        reader: Reader,
        at: &ReadAt,
        counts: bool,
    ) -> Result<(ReadOut, Outcome), Refused> {
        self.used_at = Some(now);
        let (log, leader) = self.lead_in(at.current_epoch)?;
        if !leader.is_follower(reader.node) {
            return Err(Refused::NotLeader);
        }
        if let Some(diverging) = divergence(log, at) {
            let high_watermark = leader.high_watermark();
            let log_start = log.start();
            let diverging = Some(diverging);
            let last_stable = log.last_stable(high_watermark);
            let (records, aborted, is_at_end) = (None, Vec::new(), false);
            let out =
                ReadOut { high_watermark, last_stable, log_start, diverging, records, aborted, is_at_end };
            return Ok((out, Outcome::default()));
        }
        if at.offset < log.start() || at.offset > log.end() {
            return Err(LogError::OutOfRange { asked: at.offset, start: log.start(), end: log.end() }.into());
        }
        let mut effects = Vec::new();
        let mut start_is_news = false;
        let Reader { node: from, broker_epoch, eligible } = reader;
        if counts {
            start_is_news = at.log_start.is_some_and(|start| leader.note_log_start(from, start));
            leader.step(
                now,
                Input::FollowerFetched { from, broker_epoch, at: at.offset, eligible },
                &mut effects,
            );
        }
        let (high_watermark, upper) = (leader.high_watermark(), log.end());
        let mut outcome = Outcome::of(effects);
        outcome.wake |= start_is_news;
        Ok((read(log, at, high_watermark, upper)?, outcome))
    }

    /// What must be synced so that all below `end` is durable; `None` when it is, or someone is at it.
    pub fn begin_sync(&mut self, end: Offset) -> Result<Syncing, Refused> {
        let log = self.log.as_mut().ok_or(Refused::Offline)?;
        if log.recovery_point() >= end {
            return Ok(Syncing::Done);
        }
        if self.is_syncing {
            return Ok(Syncing::Wait);
        }
        match log.unsynced() {
            Ok(None) => Ok(Syncing::Done),
            Ok(Some(unsynced)) => {
                self.is_syncing = true;
                Ok(Syncing::Begin(unsynced))
            }
            Err(error) => {
                self.fail_if_poisoned();
                Err(error.into())
            }
        }
    }

    /// The sync that [`State::begin_sync`] asked for has ended.
    pub fn end_sync(&mut self, now: Millis, synced: std::io::Result<Synced>) -> Result<(), Refused> {
        self.is_syncing = false;
        let log = self.log.as_mut().ok_or(Refused::Offline)?;
        if let Err(error) = log.note_synced(synced) {
            self.fail();
            return Err(error.into());
        }
        if log.recovery_point() >= log.end() {
            self.dirty_since = None;
        }
        let end = log.recovery_point();
        // Whoever waits for the watermark is woken after a sync in any case.
        self.step(now, Input::Synced { end });
        Ok(())
    }

    /// Records that a power cut would take.
    pub fn unsynced_records(&self) -> u64 {
        let Some(log) = &self.log else { return 0 };
        u64::try_from(log.end().since(log.recovery_point())).unwrap_or(0)
    }
}

/// How a wish to have records synced stands.
pub enum Syncing {
    /// They are.
    Done,
    /// Somebody else's sync is under way: look again when it ended.
    Wait,
    /// Do this, then tell [`State::end_sync`].
    Begin(Unsynced),
}

fn divergence(log: &Log, at: &ReadAt) -> Option<EpochEnd> {
    let last = at.last_epoch.filter(|_| !Mutant::DivergenceIgnored.is_planted())?;
    match Lookup::of(last, at.offset, State::epoch_end(log, last), log.start()) {
        Lookup::Consistent => None,
        Lookup::Diverged(end) => Some(end),
    }
}

fn read(log: &mut Log, at: &ReadAt, high_watermark: Offset, upper: Offset) -> Result<ReadOut, Refused> {
    let diverging = divergence(log, at);
    let last_stable = log.last_stable(high_watermark);
    let upper = if at.only_stable { upper.min(last_stable) } else { upper };
    let (mut records, mut aborted) = (None, Vec::new());
    if diverging.is_none() && at.only_stable {
        let read = log.read_stable(at.offset, at.bytes_max, upper, at.at_least_one)?;
        (records, aborted) = read.map_or((None, aborted), |(slice, aborted)| (Some(slice), aborted));
    } else if diverging.is_none() {
        records = log.read(at.offset, at.bytes_max, upper, at.at_least_one)?;
    }
    let is_at_end = diverging.is_none() && at.offset >= upper;
    let log_start = log.start();
    Ok(ReadOut { high_watermark, last_stable, log_start, diverging, records, aborted, is_at_end })
}
