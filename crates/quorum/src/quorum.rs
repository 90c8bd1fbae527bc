//! The handle to the metadata quorum that a voter holds.
//!
//! The quorum itself runs on one thread (`quorum::driver`); the handle may be used from
//! any. Every wait has a deadline: a quorum without a majority answers, late but surely.

mod describe;
mod driver;
mod errors;
mod open;
mod read;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::{DirectoryId, LeaderEpoch, NodeId, Offset};
use net::Clock;
use proto::metadata::MetadataRecord;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use errors::{AppendError, OpenError, ReadError, Stopped};
pub(crate) use open::log_dir;
pub use read::{Read, ReadFrom, ReadOutcome, SnapshotChunk};

use crate::describe::QuorumDescription;
use crate::level::Level;
use crate::machine::StateMachine;
use crate::options::QuorumOptions;
use crate::raft::types::Proposal;
use crate::snapshot::{Directory, SnapshotId};
use crate::status::QuorumStatus;
use crate::store::Store;
use describe::Observers;
use driver::Command;

/// Commands that wait for the quorum's thread; further callers wait their turn.
const COMMANDS_MAX: usize = 1024;
/// Largest sum of record values in one append: Kafka's bound for a metadata batch.
pub const APPEND_BYTES_MAX: usize = 8 << 20;
/// Most records in one append. Kafka's controller stays below it too.
pub const APPEND_RECORDS_MAX: usize = 100_000;

/// A handle to this node's part in the quorum. Clones share it; when the last one goes, it stops.
#[derive(Clone)]
pub struct Quorum {
    commands: mpsc::Sender<Command>,
    status: watch::Receiver<QuorumStatus>,
    shared: Arc<Shared>,
}

/// What handles use without asking the quorum's thread.
struct Shared {
    node: NodeId,
    directory_id: DirectoryId,
    store: Store,
    directory: Arc<Directory>,
    level: Arc<Level>,
    clock: Arc<dyn Clock>,
    observers: Observers,
    append_timeout: Duration,
    stopped: CancellationToken,
}

impl Quorum {
    /// Opens the log, restores the newest snapshot, and takes part. To be called inside a `LocalSet`
    /// on a current-thread runtime, where everything of the quorum then runs.
    pub async fn open(options: QuorumOptions, machine: impl StateMachine) -> Result<Self, OpenError> {
        open::open(options, Box::new(machine)).await
    }

    /// Opens it on a thread and a runtime of its own, so that nothing delays a heartbeat.
    pub async fn spawn_thread(options: QuorumOptions, machine: impl StateMachine) -> Result<Self, OpenError> {
        open::spawn_thread(options, Box::new(machine)).await
    }

    /// What this node knows of the quorum, as it changes.
    pub fn status(&self) -> watch::Receiver<QuorumStatus> {
        self.status.clone()
    }

    pub(crate) fn current(&self) -> QuorumStatus {
        self.status.borrow().clone()
    }

    pub(crate) fn store(&self) -> &Store {
        &self.shared.store
    }

    pub(crate) fn last_snapshot(&self) -> Option<SnapshotId> {
        self.shared.directory.newest_id()
    }

    /// Appends `records` as one batch, if this node leads `epoch` and, where a `base_offset` is given,
    /// the log ends there. Returns once they are committed and applied here, with the offset of the last
    /// one. After `TimedOut` or `Discarded` they may be committed all the same, now or later: read before
    /// deciding again.
    ///
    /// Who has several batches on their way must give the offset: one may be refused, and a later one
    /// that rests on it be taken.
    pub async fn append(
        &self,
        epoch: LeaderEpoch,
        base_offset: Option<Offset>,
        records: Vec<MetadataRecord>,
    ) -> Result<Offset, AppendError> {
        let outcome = self.propose(epoch, base_offset, &records).await;
        let outcome = outcome.and_then(|got| match base_offset {
            Some(expected) if expected != got => Err(AppendError::Displaced { expected, got }),
            _ => Ok(got.plus(records.len() as i64 - 1)),
        });
        if outcome.is_err() {
            self.shared.level.forget_proposed(epoch);
        }
        outcome
    }

    /// The offset at which the batch was committed.
    async fn propose(
        &self,
        epoch: LeaderEpoch,
        base_offset: Option<Offset>,
        records: &[MetadataRecord],
    ) -> Result<Offset, AppendError> {
        let proposal = Proposal { base_offset, ..self.encode(epoch, records)? };
        self.shared.level.propose(epoch, records);
        let (done, answered) = oneshot::channel();
        let command = Command::Append { epoch, proposal, done };
        let after = self.shared.append_timeout;
        let asked = async {
            self.commands.send(command).await.map_err(|_| self.stopped_error())?;
            answered.await.map_err(|_| self.stopped_error())?
        };
        tokio::time::timeout(after, asked).await.unwrap_or(Err(AppendError::TimedOut { after }))
    }

    fn encode(&self, epoch: LeaderEpoch, records: &[MetadataRecord]) -> Result<Proposal, AppendError> {
        if records.is_empty() || records.len() > APPEND_RECORDS_MAX {
            return Err(AppendError::Count { got: records.len() });
        }
        let level = self.shared.level.for_append(epoch, records);
        let mut values = Vec::with_capacity(records.len());
        let mut bytes = 0;
        for record in records {
            let mut value = Vec::new();
            record.to_value(level, &mut value).map_err(|error| AppendError::Encode(error.to_string()))?;
            bytes += value.len();
            values.push(value);
        }
        if bytes > APPEND_BYTES_MAX {
            return Err(AppendError::Bytes { got: bytes });
        }
        Ok(Proposal { timestamp: self.shared.clock.wall(), base_offset: None, values: values.into() })
    }

    fn stopped_error(&self) -> AppendError {
        AppendError::Stopped(Stopped::of(&self.status))
    }

    /// Answers a peer's request that came to the controller listener under one of the private API keys;
    /// `body` is what follows the request header, the answer what follows the response header.
    ///
    /// Requests of one connection go to the quorum in the order in which these futures are first
    /// polled, and several may wait at once: do not await one before starting the next.
    pub async fn handle_rpc(&self, api_key: i16, body: Bytes) -> Result<Vec<u8>, Stopped> {
        let (done, answered) = oneshot::channel();
        let sent = self.commands.send(Command::Rpc { api_key, body, done }).await;
        sent.map_err(|_| Stopped::of(&self.status))?;
        answered.await.map_err(|_| Stopped::of(&self.status))
    }

    /// `node`'s process is proved dead: its connections closed and its port refuses. When it led, an
    /// election starts at once. The quorum watches the leader by itself too.
    pub fn peer_gone(&self, node: NodeId) {
        // A hint: when the thread is that busy, the quorum's own watch will do.
        drop(self.commands.try_send(Command::PeerGone(node)));
    }

    /// Every replica of the log and how far it is; only the leader knows.
    pub async fn describe(&self) -> Result<QuorumDescription, ReadError> {
        let (done, answered) = oneshot::channel();
        let sent = self.commands.send(Command::Describe(done)).await;
        sent.map_err(|_| ReadError::Stopped(Stopped::of(&self.status)))?;
        answered.await.map_err(|_| ReadError::Stopped(Stopped::of(&self.status)))?
    }

    /// Hands leadership to the voter that is furthest, if this node leads. Returns once another leads
    /// or the election timeout passed; the caller stops in either case.
    pub async fn resign(&self) {
        let (done, answered) = oneshot::channel();
        if self.commands.send(Command::Resign(done)).await.is_ok() {
            drop(answered.await);
        }
    }

    /// Takes a snapshot now.
    pub async fn snapshot(&self) {
        drop(self.commands.send(Command::Snapshot).await);
    }

    /// Stops. Returns once nothing of the quorum runs any more.
    pub async fn shutdown(&self) {
        drop(self.commands.send(Command::Shutdown).await);
        self.stopped().await;
    }

    /// Returns once the quorum has stopped, asked for or not; `QuorumStatus::failure` says why.
    pub async fn stopped(&self) {
        self.shared.stopped.cancelled().await;
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.shared.node
    }

    /// The directory of this node's log.
    pub fn directory(&self) -> DirectoryId {
        self.shared.directory_id
    }
}
