//! The quorum's one loop: commands in, status out.
//!
//! It runs on the quorum's thread beside openraft's own tasks and never waits for the
//! disk or a peer: whatever takes time is a task of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::{LeaderEpoch, NodeId, Offset, Timestamp};
use openraft::ServerState;
use openraft::async_runtime::{AsyncRuntime, WatchReceiver};
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use openraft::metrics::RaftMetrics;
use openraft::raft::ClientWriteResult;
use tokio::sync::{mpsc, oneshot, watch};

use super::Shared;
use super::errors::{AppendError, ReadError};
use crate::describe::{QuorumDescription, ReplicaState};
use crate::raft::machine::Applied;
use crate::raft::runtime::Runtime;
use crate::raft::types::{CommittedLeaderId, Proposal, Term, Types, VoterId, epoch_of, voters_of};
use crate::status::QuorumStatus;
use crate::transport::{Led, Peers, Raft, Server};

/// Between two candidates for a dead leader's place, so that they do not split the votes.
const RANK_DELAY: Duration = Duration::from_millis(50);
/// Between two tries; the first may fail for want of log.
const ROUND_DELAY: Duration = Duration::from_millis(200);
/// How long the reason of a failure is waited for.
const FAILURE_WAIT: Duration = Duration::from_secs(1);
/// Tries before the ordinary election timeout takes over.
const ROUNDS_MAX: u32 = 4;

type Metrics = RaftMetrics<Types>;
type MetricsReceiver = openraft::type_config::alias::WatchReceiverOf<Types, Metrics>;

/// What handles ask for.
pub(super) enum Command {
    Append { epoch: LeaderEpoch, proposal: Proposal, done: oneshot::Sender<Result<Offset, AppendError>> },
    Rpc { api_key: i16, body: Bytes, done: oneshot::Sender<Vec<u8>> },
    PeerGone(NodeId),
    Describe(oneshot::Sender<Result<QuorumDescription, ReadError>>),
    Resign(oneshot::Sender<()>),
    Snapshot,
    Shutdown,
}

/// The loop's state.
pub(super) struct Driver {
    pub(super) raft: Raft,
    pub(super) server: Server,
    pub(super) peers: Arc<Peers>,
    pub(super) shared: Arc<Shared>,
    pub(super) applied: watch::Receiver<Applied>,
    pub(super) status: watch::Sender<QuorumStatus>,
    /// Tells the watchdog whom to watch.
    pub(super) led: watch::Sender<Led>,
    pub(super) election_timeout: Duration,
    pub(super) bytes_between_snapshots: u64,
    /// When each voter last had everything.
    pub(super) caught_up: BTreeMap<NodeId, Timestamp>,
    /// The epoch that this node led and gave away. It may lead it for a while yet, or for ever where
    /// nobody hears that it is free, but openraft takes no more records in it.
    pub(super) resigned: Option<LeaderEpoch>,
    /// The end of what was applied when a snapshot was last asked for.
    pub(super) snapshot_asked_at: Option<Offset>,
}

impl Driver {
    /// Runs until it is told to stop, every handle is gone, or openraft fails.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut metrics = self.raft.metrics();
        let mut applied = self.applied.clone();
        self.publish(&metrics);
        let mut is_asked = false;
        loop {
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    None | Some(Command::Shutdown) => {
                        is_asked = true;
                        break;
                    }
                    // What it changes is seen when openraft has done it.
                    Some(command) => {
                        self.handle(command);
                        continue;
                    }
                },
                changed = metrics.changed() => if changed.is_err() { break },
                changed = applied.changed() => if changed.is_err() { break },
            }
            if !self.publish(&metrics) {
                break;
            }
            self.snapshot_when_due().await;
        }
        if !is_asked {
            self.tell_failure(&mut metrics).await;
        }
        drop(self.raft.shutdown().await);
        self.shared.stopped.cancel();
    }

    /// Some part of openraft ended unasked: says why, or the node would live on without its quorum. The
    /// first part to end need not be the one that knows, so that one is given a moment.
    async fn tell_failure(&mut self, metrics: &mut MetricsReceiver) {
        if self.status.borrow().failure.is_some() {
            return;
        }
        let ended = async {
            while metrics.borrow_watched().running_state.is_ok() && metrics.changed().await.is_ok() {}
        };
        drop(tokio::time::timeout(FAILURE_WAIT, ended).await);
        if self.publish(metrics) {
            let failure = "a part of it ended unasked".to_owned();
            tracing::error!(node = %self.shared.node, failure, "the metadata quorum of this node has failed");
            self.status.send_modify(|status| status.failure = Some(failure));
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Append { epoch, proposal, done } => self.append(epoch, proposal, done),
            Command::Rpc { api_key, body, done } => {
                let server = self.server.clone();
                // Tasks start in the order in which they are spawned, and a request reaches openraft
                // before its task first waits: the requests of a peer stay in order.
                drop(Runtime::spawn(async move { drop(done.send(server.answer(api_key, body).await)) }));
            }
            Command::PeerGone(node) => {
                let status = self.status.borrow().clone();
                if status.leader == Some(node) {
                    self.leader_gone(node, status.epoch);
                }
            }
            Command::Describe(done) => drop(done.send(self.describe())),
            Command::Resign(done) => self.resign(done),
            Command::Snapshot => {
                let raft = self.raft.clone();
                drop(Runtime::spawn(async move { drop(raft.trigger().snapshot().await) }));
            }
            Command::Shutdown => unreachable!("the loop ends on it"),
        }
    }

    fn append(
        &self,
        epoch: LeaderEpoch,
        proposal: Proposal,
        done: oneshot::Sender<Result<Offset, AppendError>>,
    ) {
        let (raft, status) = (self.raft.clone(), self.status.subscribe());
        drop(Runtime::spawn(async move {
            let (responder, answered) = ProgressResponder::<Types, ClientWriteResult<Types>>::complete_only();
            let leader = CommittedLeaderId::new(Term(epoch.get()));
            let written = raft.write(proposal).with_leader(leader).responder(responder).await;
            let outcome = match written {
                Ok(()) => answered.await.ok(),
                Err(_) => None,
            };
            drop(done.send(append_outcome(outcome, &status)));
        }));
    }

    /// Tells everyone what is; `false` once openraft has failed.
    fn publish(&mut self, metrics: &MetricsReceiver) -> bool {
        let metrics = metrics.borrow_watched().clone();
        let applied = self.applied.borrow().clone();
        let (log_start, log_end) = self.shared.store.bounds();
        let epoch = LeaderEpoch::new(metrics.current_term.0);
        let leader = metrics.current_leader.map(VoterId::node);
        // Only an entry of its own epoch tells a leader that it has all of the epochs before.
        let holds_own_epoch = applied.last.as_ref().is_some_and(|last| epoch_of(last) == epoch);
        let is_leader = metrics.state == ServerState::Leader && leader == Some(self.shared.node);
        let failure = metrics.running_state.as_ref().err().map(ToString::to_string);
        let status = QuorumStatus {
            leader,
            epoch,
            is_leader_ready: is_leader
                && holds_own_epoch
                && failure.is_none()
                && self.resigned != Some(epoch),
            high_watermark: applied.end_offset,
            log_start,
            log_end: log_end.max(applied.end_offset),
            failure,
        };
        self.note_progress(&metrics);
        self.led.send_if_modified(|led| {
            let now = leader.map(|leader| (leader, epoch));
            std::mem::replace(led, now) != now
        });
        let alive = status.failure.is_none();
        if let Some(failure) = &status.failure {
            tracing::error!(node = %self.shared.node, failure, "the metadata quorum of this node has failed");
        }
        self.status.send_if_modified(|known| {
            let changed = *known != status;
            *known = status;
            changed
        });
        alive
    }

    fn note_progress(&mut self, metrics: &Metrics) {
        let Some(replication) = &metrics.replication else {
            self.caught_up.clear();
            return;
        };
        let now = self.shared.clock.wall();
        for (id, matched) in replication {
            let index = matched.as_ref().map(|matched| matched.index());
            if index >= metrics.last_applied.as_ref().map(|applied| applied.index()) {
                self.caught_up.insert(id.node(), now);
            }
        }
    }

    async fn snapshot_when_due(&mut self) {
        let (bytes, end) = {
            let applied = self.applied.borrow();
            (applied.bytes_since_snapshot, applied.end_offset)
        };
        // Taking the picture resets the count, but a slow disk may be at the one before, and then openraft
        // passes over what is asked. Asking changes its metrics, which brings us here again: so once for
        // each place in the log.
        if bytes >= self.bytes_between_snapshots && self.snapshot_asked_at != Some(end) {
            self.snapshot_asked_at = Some(end);
            drop(self.raft.trigger().snapshot().await);
        }
    }

    /// Stands for the place of a leader whose process is proved dead.
    pub(super) fn leader_gone(&self, leader: NodeId, epoch: LeaderEpoch) {
        let me = self.shared.node;
        tracing::info!(node = %me, %leader, %epoch, "the leader's process is gone; electing another");
        self.peers.note_dead_leader(epoch);
        let voters = self.peers.voters();
        let rank = voters.0.keys().filter(|id| **id != leader).position(|id| *id == me);
        let Some(rank) = rank.and_then(|rank| u32::try_from(rank).ok()) else { return };
        let (raft, status) = (self.raft.clone(), self.status.subscribe());
        drop(Runtime::spawn(async move {
            for _ in 0..ROUNDS_MAX {
                tokio::time::sleep(RANK_DELAY * rank).await;
                let replaced = {
                    let status = status.borrow();
                    status.epoch > epoch && status.leader.is_some()
                };
                // Without openraft's pre-vote, which would honour the dead leader's lease.
                if replaced || raft.trigger().elect(false).await.is_err() {
                    return;
                }
                tokio::time::sleep(ROUND_DELAY).await;
            }
        }));
    }

    fn resign(&mut self, done: oneshot::Sender<()>) {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let me = VoterId::from(self.shared.node);
        let others = metrics.replication.iter().flatten().filter(|(id, _)| **id != me);
        let furthest = others.max_by_key(|(_, matched)| matched.as_ref().map(|matched| matched.index()));
        let Some(target) = furthest.map(|(id, _)| *id) else {
            let _ = done.send(());
            return;
        };
        self.resigned = Some(LeaderEpoch::new(metrics.current_term.0));
        self.status.send_modify(|status| status.is_leader_ready = false);
        let (raft, mut status) = (self.raft.clone(), self.status.subscribe());
        let (node, timeout) = (self.shared.node, self.election_timeout);
        drop(Runtime::spawn(async move {
            drop(raft.trigger().transfer_leader(target).await);
            let led_by_another = status.wait_for(|status| status.leader.is_some_and(|leader| leader != node));
            drop(tokio::time::timeout(timeout, led_by_another).await);
            let _ = done.send(());
        }));
    }

    fn describe(&self) -> Result<QuorumDescription, ReadError> {
        let status = self.status.borrow().clone();
        let metrics = self.raft.metrics().borrow_watched().clone();
        let node = self.shared.node;
        let Some(replication) = metrics.replication.as_ref().filter(|_| status.leader == Some(node)) else {
            return Err(ReadError::NotLeader { leader: status.leader, epoch: status.epoch });
        };
        let now = self.shared.clock.wall();
        let voters = voters_of(metrics.membership_config.membership());
        let describe = |id: NodeId| {
            let directory = voters.0.get(&id).map(|voter| voter.directory).unwrap_or_default();
            if id == node {
                let (log_end, now) = (Some(status.log_end), Some(now));
                return ReplicaState { id, directory, log_end, last_fetch: now, last_caught_up: now };
            }
            let matched = replication.get(&VoterId::from(id)).and_then(Option::as_ref);
            let log_end = matched.and_then(|matched| self.shared.store.end_of(matched.index()));
            let last_fetch = self.peers.last_heard(id);
            ReplicaState {
                id,
                directory,
                log_end,
                last_fetch,
                last_caught_up: self.caught_up.get(&id).copied(),
            }
        };
        Ok(QuorumDescription {
            leader: node,
            epoch: status.epoch,
            high_watermark: status.high_watermark,
            voters: voters.0.keys().copied().map(describe).collect(),
            observers: self.shared.observers.recent(now),
        })
    }
}

fn append_outcome(
    outcome: Option<ClientWriteResult<Types>>,
    status: &watch::Receiver<QuorumStatus>,
) -> Result<Offset, AppendError> {
    let status = status.borrow();
    let (leader, epoch) = (status.leader, status.epoch);
    match outcome {
        Some(Ok(response)) => Ok(response.data),
        Some(Err(ClientWriteError::ForwardToLeader(_))) => Err(AppendError::NotLeader { leader, epoch }),
        Some(Err(ClientWriteError::LogEntryDiscarded(_))) => Err(AppendError::Discarded { leader, epoch }),
        Some(Err(error)) => {
            let reason = Some(error.to_string());
            Err(AppendError::Stopped(super::Stopped { reason }))
        }
        None => Err(AppendError::Stopped(super::Stopped { reason: status.failure.clone() })),
    }
}
