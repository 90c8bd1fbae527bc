//! What observers fetch from the leader: the committed log, and snapshots in pieces.

use bytes::Bytes;
use model::{DirectoryId, LeaderEpoch, NodeId, Offset};

use super::Quorum;
use super::errors::ReadError;
use crate::snapshot::SnapshotId;
use crate::status::QuorumStatus;
use crate::store::LogRead;

/// Where a replica of the metadata log reads on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFrom {
    /// The next offset that it wants.
    pub offset: Offset,
    /// The epoch of the record before it, when it has one.
    pub last_fetched_epoch: Option<LeaderEpoch>,
    /// The leader's epoch as it knows it.
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// About how much to answer; one whole batch at least.
    pub bytes_max: usize,
    /// Who reads, to be described.
    pub replica: Option<(NodeId, DirectoryId)>,
}

/// The leader's answer to a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The leader: this node.
    pub leader: NodeId,
    /// Its epoch.
    pub epoch: LeaderEpoch,
    /// End of what is committed.
    pub high_watermark: Offset,
    /// First offset of the log.
    pub log_start: Offset,
    /// What there is to read.
    pub outcome: ReadOutcome,
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// Whole record batches, all committed. Empty at the log's end: watch `QuorumStatus::high_watermark`
    /// and ask again.
    Batches(Bytes),
    /// The reader must cut its log: back to the end of this epoch, which is the largest here that is not
    /// above its own, or further.
    Diverging {
        /// That epoch.
        epoch: LeaderEpoch,
        /// Where it ends here.
        end_offset: Offset,
    },
    /// The log no longer goes back that far; this snapshot does.
    Snapshot(SnapshotId),
}

/// A piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotChunk {
    /// Size of the whole file.
    pub size: u64,
    /// The bytes at the position asked for.
    pub bytes: Bytes,
}

impl Quorum {
    /// Reads the committed log on behalf of an observer. Reads files: not for a thread that must not wait.
    pub fn read(&self, from: &ReadFrom) -> Result<Read, ReadError> {
        let status = self.status.borrow().clone();
        self.check_leading(&status, from.current_leader_epoch)?;
        let found = self.shared.store.read(
            from.offset,
            from.last_fetched_epoch,
            status.high_watermark,
            from.bytes_max,
        );
        let outcome = match found.map_err(|error| ReadError::Io(error.to_string()))? {
            LogRead::Batches(bytes) => ReadOutcome::Batches(bytes),
            LogRead::Diverging { epoch, end_offset } => ReadOutcome::Diverging { epoch, end_offset },
            LogRead::BelowStart => ReadOutcome::Snapshot(self.newest_snapshot(from.offset)?),
            LogRead::AboveEnd => {
                return Err(ReadError::OffsetOutOfRange { got: from.offset, end: status.log_end });
            }
        };
        if let (Some(replica), ReadOutcome::Batches(_)) = (from.replica, &outcome) {
            let now = self.shared.clock.wall();
            self.shared.observers.note(replica, from.offset, status.high_watermark, now);
        }
        let (log_start, _) = self.shared.store.bounds();
        let (leader, epoch, high_watermark) = (self.shared.node, status.epoch, status.high_watermark);
        Ok(Read { leader, epoch, high_watermark, log_start, outcome })
    }

    /// Up to `bytes_max` bytes of a snapshot from `position` on.
    pub fn read_snapshot(
        &self,
        id: SnapshotId,
        position: i64,
        bytes_max: usize,
        current_leader_epoch: Option<LeaderEpoch>,
    ) -> Result<SnapshotChunk, ReadError> {
        let status = self.status.borrow().clone();
        self.check_leading(&status, current_leader_epoch)?;
        let file = self.shared.directory.get(id).ok_or(ReadError::NoSnapshot(id))?;
        let at = u64::try_from(position).ok().filter(|at| *at < file.size);
        let at = at.ok_or(ReadError::PositionOutOfRange { got: position, size: file.size })?;
        let bytes = file.read(at, bytes_max).map_err(|error| ReadError::Io(error.to_string()))?;
        Ok(SnapshotChunk { size: file.size, bytes: bytes.into() })
    }

    fn newest_snapshot(&self, asked: Offset) -> Result<SnapshotId, ReadError> {
        let (_, end) = self.shared.store.bounds();
        let newest = self.shared.directory.newest();
        newest.map(|file| file.id).ok_or(ReadError::OffsetOutOfRange { got: asked, end })
    }

    fn check_leading(&self, status: &QuorumStatus, theirs: Option<LeaderEpoch>) -> Result<(), ReadError> {
        let (leader, epoch) = (status.leader, status.epoch);
        match theirs {
            Some(theirs) if theirs < epoch => Err(ReadError::FencedEpoch { theirs, epoch }),
            Some(theirs) if theirs > epoch => Err(ReadError::UnknownEpoch { theirs, epoch }),
            _ if leader != Some(self.shared.node) => Err(ReadError::NotLeader { leader, epoch }),
            _ => Ok(()),
        }
    }
}
