//! Leader side of one partition: the high watermark and the in-sync set.
//!
//! Fed with appends, follower fetches, ticks and the controller's answers; answers
//! with effects. A follower's fetch at an offset proves that it has everything
//! below. The watermark is the least such offset over the in-sync set.
//!
//! A change of the in-sync set is only proposed here; it counts when the
//! controller has committed it (KIP-497). Until then the watermark waits for the
//! larger of the two sets, so neither outcome can lose a committed record.
//!
//! The watermark never moves back while this leader holds its epoch, and does not
//! advance while the in-sync set is below `min.insync.replicas` (KIP-966).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{BrokerEpoch, ErrorCode, LeaderEpoch, Millis, Mutant, NodeId, Offset, PartitionEpoch};

use crate::assignment::Assignment;

/// What the operator sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderOptions {
    /// `replica.lag.time.max.ms`: a follower not caught up for so long leaves the in-sync set.
    pub lag_max: Duration,
    /// `min.insync.replicas`: fewer, and nothing is acknowledged to `acks=all`.
    pub min_isr: usize,
    /// `flush.messages=1`: the leader's own copy counts once it is synced.
    pub waits_for_sync: bool,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The local log grew to `end`.
    Appended {
        /// The log's new end.
        end: Offset,
    },
    /// Everything in the local log below `end` survives a power cut.
    Synced {
        /// The end of what was synced.
        end: Offset,
    },
    /// A follower asked for what comes at `at`, and so has everything below.
    FollowerFetched {
        /// The follower.
        from: NodeId,
        /// Its registration, where the fetch told it (KIP-903).
        broker_epoch: Option<BrokerEpoch>,
        /// The end of its log.
        at: Offset,
        /// Neither fenced nor shutting down, and of the registration the metadata knows (KIP-841).
        eligible: bool,
    },
    /// Time passed.
    Ticked,
    /// The controller answered a proposal.
    IsrAnswered(IsrAnswer),
}

/// What the controller made of a proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IsrAnswer {
    /// It is committed.
    Committed {
        /// The committed set.
        isr: Vec<NodeId>,
        /// The partition epoch it came with.
        partition_epoch: PartitionEpoch,
    },
    /// It was surely not applied: `INELIGIBLE_REPLICA` and the like.
    Refused,
    /// Nobody knows: the answer was lost, or our view is stale. The proposal stands until the
    /// metadata tells, and is sent again at the next tick.
    Unknown,
}

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask the controller to commit this in-sync set.
    ProposeIsr(IsrProposal),
    /// Everything below is committed now: wake who waits for it.
    HighWatermark(Offset),
}

/// An AlterPartition request in the making.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsrProposal {
    /// The epoch of the leader that asks.
    pub leader_epoch: LeaderEpoch,
    /// The partition epoch the proposal builds on.
    pub partition_epoch: PartitionEpoch,
    /// The set, in node order.
    pub isr: Vec<IsrMember>,
}

/// A proposed member of the in-sync set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsrMember {
    /// The node.
    pub node: NodeId,
    /// The registration it was seen under; `None` skips the controller's check.
    pub broker_epoch: Option<BrokerEpoch>,
}

/// How a write with `acks=all` stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckState {
    /// Not every in-sync replica has it yet.
    Waiting,
    /// Committed.
    Done,
    /// Committed, but by fewer replicas than the topic asks for.
    TooFewReplicas,
}

/// Why a write is not even appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteRefused {
    /// `acks=all` with an in-sync set below the minimum.
    #[error("{isr} replicas are in sync, min.insync.replicas asks for {min_isr}")]
    TooFewReplicas {
        /// The size of the in-sync set.
        isr: usize,
        /// The minimum in force.
        min_isr: usize,
    },
}

impl WriteRefused {
    /// The code a producer sees.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::TooFewReplicas { .. } => ErrorCode::NotEnoughReplicas,
        }
    }
}

/// What is known of one follower.
#[derive(Clone, Debug, Default)]
struct Progress {
    /// The end of its log; `None` until it fetched in this epoch.
    end: Option<Offset>,
    /// The start of its log, as it told last.
    log_start: Option<Offset>,
    broker_epoch: Option<BrokerEpoch>,
    eligible: bool,
    /// The last moment at which it had all that the leader had.
    caught_up_at: Option<Millis>,
    /// When it last fetched, and the leader's end at that moment.
    last_fetch: Option<(Millis, Offset)>,
}

/// A follower from which a consumer can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The follower.
    pub node: NodeId,
    /// The end of its log.
    pub end: Offset,
    /// The last moment at which it had all that the leader had.
    pub caught_up_at: Option<Millis>,
}

/// A proposal on its way.
#[derive(Clone, Debug)]
struct Pending {
    isr: BTreeSet<NodeId>,
    /// Its outcome is unknown; the next tick sends it again.
    send_again: bool,
}

/// The state of a leader.
#[derive(Debug)]
pub struct Leader {
    me: NodeId,
    options: LeaderOptions,
    leader_epoch: LeaderEpoch,
    partition_epoch: PartitionEpoch,
    epoch_start: Offset,
    log_end: Offset,
    synced_end: Offset,
    high_watermark: Offset,
    isr: BTreeSet<NodeId>,
    pending: Option<Pending>,
    /// Every replica but this one.
    followers: BTreeMap<NodeId, Progress>,
}

impl Leader {
    /// A leader at the start of its epoch. In-sync followers get `lag_max` from `now` to show up.
    pub fn new(
        me: NodeId,
        now: Millis,
        assignment: &Assignment,
        log_end: Offset,
        high_watermark: Offset,
        options: LeaderOptions,
    ) -> Self {
        let mut leader = Self {
            me,
            options,
            leader_epoch: assignment.leader_epoch,
            partition_epoch: assignment.partition_epoch,
            epoch_start: log_end,
            log_end,
            synced_end: high_watermark,
            high_watermark,
            isr: BTreeSet::new(),
            pending: None,
            followers: BTreeMap::new(),
        };
        leader.take_assignment(now, assignment);
        leader.check();
        leader
    }

    /// Takes one input; what follows from it is appended to `effects`.
    pub fn step(&mut self, now: Millis, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Appended { end } => self.log_end = end,
            Input::Synced { end } => self.synced_end = end.min(self.log_end),
            Input::FollowerFetched { from, broker_epoch, at, eligible } => {
                self.note_fetch(now, from, broker_epoch, at, eligible);
                self.propose_growth(from, effects);
            }
            Input::Ticked => {
                self.send_again(effects);
                self.propose_shrink(now, effects);
            }
            Input::IsrAnswered(answer) => self.take_answer(answer),
        }
        self.advance(now, effects);
        self.check();
    }

    /// Takes a newer state of the same leader epoch from the metadata.
    pub fn assign(&mut self, now: Millis, assignment: &Assignment, effects: &mut Vec<Effect>) {
        if assignment.partition_epoch > self.partition_epoch {
            self.partition_epoch = assignment.partition_epoch;
            self.take_assignment(now, assignment);
        }
        self.advance(now, effects);
        self.check();
    }

    /// Takes new settings; they count from the next step.
    pub fn set_options(&mut self, options: LeaderOptions) {
        self.options = options;
    }

    /// Whether a write with `acks=all` may be appended at all.
    pub fn admit_acks_all(&self) -> Result<(), WriteRefused> {
        let (isr, min_isr) = (self.isr.len(), self.min_isr());
        if isr < min_isr && !Mutant::MinIsrIgnored.is_planted() {
            Err(WriteRefused::TooFewReplicas { isr, min_isr })
        } else {
            Ok(())
        }
    }

    /// How a write that ends at `end` stands.
    pub fn ack_state(&self, end: Offset) -> AckState {
        if Mutant::AckedBeforeWatermark.is_planted() {
            AckState::Done
        } else if self.high_watermark < end {
            AckState::Waiting
        } else if self.isr.len() < self.min_isr() && !Mutant::MinIsrIgnored.is_planted() {
            AckState::TooFewReplicas
        } else {
            AckState::Done
        }
    }

    /// Everything below is committed.
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The epoch this leader was elected in.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// The partition epoch of the committed in-sync set.
    pub fn partition_epoch(&self) -> PartitionEpoch {
        self.partition_epoch
    }

    /// The log's end when the epoch began.
    pub fn epoch_start(&self) -> Offset {
        self.epoch_start
    }

    /// The committed in-sync set, in node order.
    pub fn isr(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.isr.iter().copied()
    }

    /// Whether the metadata names this node as a follower.
    pub fn is_follower(&self, node: NodeId) -> bool {
        self.followers.contains_key(&node)
    }

    /// The in-sync followers whose logs hold what comes at `at`, or will first, in node order (KIP-392).
    pub fn holders(&self, at: Offset) -> impl Iterator<Item = Holder> + '_ {
        self.followers.iter().filter(|(node, _)| self.isr.contains(node)).filter_map(
            move |(&node, progress)| {
                let starts = progress.log_start.is_none_or(|start| start <= at);
                let end = progress.end.filter(|&end| end >= at && starts)?;
                Some(Holder { node, end, caught_up_at: progress.caught_up_at })
            },
        )
    }

    /// A follower told where its log starts. Says whether that is news.
    pub fn note_log_start(&mut self, from: NodeId, log_start: Offset) -> bool {
        let Some(progress) = self.followers.get_mut(&from) else { return false };
        progress.log_start.replace(log_start) != Some(log_start)
    }

    /// No live replica serves a record below it: what DeleteRecords waits for. `log_start` is this
    /// node's own; a follower that has not told its start holds the answer back, a dead one does not.
    pub fn low_watermark(&self, log_start: Offset, is_live: impl Fn(NodeId) -> bool) -> Option<Offset> {
        let live = self.followers.iter().filter(|&(&node, _)| is_live(node));
        live.map(|(_, progress)| progress.log_start).try_fold(log_start, |low, start| Some(low.min(start?)))
    }

    /// Moves the watermark as far as the in-sync set allows.
    pub(crate) fn advance(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if self.isr.len() < self.min_isr() && !Mutant::MinIsrIgnored.is_planted() {
            return;
        }
        let held_by_all = self
            .followers
            .iter()
            .filter(|&(node, progress)| self.watermark_waits_for(*node, progress, now))
            .map(|(_, progress)| progress.end.unwrap_or(self.high_watermark))
            .fold(self.own_end(), Offset::min);
        if held_by_all > self.high_watermark {
            self.high_watermark = held_by_all;
            effects.push(Effect::HighWatermark(held_by_all));
        }
    }

    /// The end of the local copy, as far as it counts.
    fn own_end(&self) -> Offset {
        if self.options.waits_for_sync { self.synced_end } else { self.log_end }
    }

    /// The members of either the committed or the proposed set; and who is about to join, or
    /// under a steady load it never could: the watermark would always be a step ahead.
    fn watermark_waits_for(&self, node: NodeId, progress: &Progress, now: Millis) -> bool {
        let proposed = self.pending.as_ref().is_some_and(|pending| pending.isr.contains(&node));
        self.isr.contains(&node) || proposed || (progress.eligible && self.is_caught_up(progress, now))
    }

    fn is_caught_up(&self, progress: &Progress, now: Millis) -> bool {
        progress.end == Some(self.log_end)
            || progress.caught_up_at.is_some_and(|at| now.since(at) <= self.options.lag_max)
    }

    fn note_fetch(
        &mut self,
        now: Millis,
        from: NodeId,
        broker_epoch: Option<BrokerEpoch>,
        at: Offset,
        eligible: bool,
    ) {
        let log_end = self.log_end;
        let Some(progress) = self.followers.get_mut(&from) else { return };
        if at >= log_end {
            progress.caught_up_at = Some(now);
        } else if let Some((fetched_at, end_then)) = progress.last_fetch
            && at >= end_then
        {
            progress.caught_up_at = progress.caught_up_at.max(Some(fetched_at));
        }
        progress.end = Some(at.min(log_end));
        progress.broker_epoch = broker_epoch;
        progress.eligible = eligible;
        progress.last_fetch = Some((now, log_end));
    }

    fn propose_growth(&mut self, from: NodeId, effects: &mut Vec<Effect>) {
        if self.pending.is_some() || self.isr.contains(&from) {
            return;
        }
        let reached = self.high_watermark.max(self.epoch_start);
        let ready = |progress: &Progress| progress.eligible && progress.end.is_some_and(|end| end >= reached);
        if self.followers.get(&from).is_some_and(ready) {
            let mut isr = self.isr.clone();
            isr.insert(from);
            self.propose(isr, effects);
        }
    }

    fn propose_shrink(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if self.pending.is_some() {
            return;
        }
        let late = |node: &NodeId| {
            self.followers.get(node).is_some_and(|progress| !self.is_caught_up(progress, now))
        };
        let isr: BTreeSet<NodeId> = self.isr.iter().copied().filter(|node| !late(node)).collect();
        if isr.len() < self.isr.len() {
            self.propose(isr, effects);
        }
    }

    fn propose(&mut self, isr: BTreeSet<NodeId>, effects: &mut Vec<Effect>) {
        effects.push(Effect::ProposeIsr(self.proposal(&isr)));
        if Mutant::IsrCountedBeforeCommitted.is_planted() {
            self.isr = isr.clone();
        }
        self.pending = Some(Pending { isr, send_again: false });
    }

    fn send_again(&mut self, effects: &mut Vec<Effect>) {
        if let Some(pending) = self.pending.take_if(|pending| pending.send_again) {
            self.propose(pending.isr, effects);
        }
    }

    fn proposal(&self, isr: &BTreeSet<NodeId>) -> IsrProposal {
        let broker_epoch = |node| self.followers.get(node).and_then(|progress| progress.broker_epoch);
        let members = isr.iter().map(|node| IsrMember { node: *node, broker_epoch: broker_epoch(node) });
        IsrProposal {
            leader_epoch: self.leader_epoch,
            partition_epoch: self.partition_epoch,
            isr: members.collect(),
        }
    }

    fn take_answer(&mut self, answer: IsrAnswer) {
        match answer {
            // A set without this node is another leader's: the answer came late, and the metadata will tell.
            IsrAnswer::Committed { isr, .. } if !isr.contains(&self.me) => {}
            IsrAnswer::Committed { isr, partition_epoch } if partition_epoch > self.partition_epoch => {
                self.partition_epoch = partition_epoch;
                self.isr = isr.into_iter().collect();
                self.pending = None;
            }
            // The metadata was faster and has told the same or newer.
            IsrAnswer::Committed { .. } => {}
            IsrAnswer::Refused => self.pending = None,
            IsrAnswer::Unknown => {
                if let Some(pending) = &mut self.pending {
                    pending.send_again = true;
                }
            }
        }
    }

    fn take_assignment(&mut self, now: Millis, assignment: &Assignment) {
        // Any newer partition epoch decides what was pending: it was applied, or it came too late.
        self.pending = None;
        self.isr = assignment.isr.iter().copied().collect();
        self.followers.retain(|node, _| assignment.replicas.contains(node));
        for &node in assignment.replicas.iter().filter(|&&node| node != self.me) {
            let progress = self.followers.entry(node).or_default();
            if !self.isr.contains(&node) {
                // It may have been fenced: nobody waits for it before its next fetch says otherwise.
                progress.eligible = false;
            } else if progress.caught_up_at.is_none() {
                progress.caught_up_at = Some(now);
            }
        }
    }

    /// The minimum in force: a topic with fewer replicas than `min.insync.replicas` needs them all.
    fn min_isr(&self) -> usize {
        self.options.min_isr.min(self.followers.len() + 1)
    }

    /// What holds between any two steps.
    fn check(&self) {
        assert!(self.isr.contains(&self.me), "node {} leads outside its own ISR {:?}", self.me, self.isr);
        assert!(self.high_watermark <= self.log_end, "the watermark passed the log's end");
        assert!(self.epoch_start <= self.log_end, "the log lost records of its leader's own epoch");
        assert!(!self.followers.contains_key(&self.me), "a leader follows itself");
        if let Some(pending) = &self.pending {
            assert!(pending.isr.contains(&self.me), "a leader proposed an ISR without itself");
            assert!(pending.isr != self.isr, "a proposal that changes nothing");
        }
    }
}

#[cfg(test)]
mod tests;
