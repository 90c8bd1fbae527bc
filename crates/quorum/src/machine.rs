//! What the quorum feeds: the state that committed records build.

use model::{LeaderEpoch, Offset, Timestamp};
use proto::metadata::MetadataRecord;

use crate::snapshot::SnapshotId;

/// Replays committed records. Runs on the quorum's own thread: keep each call short.
pub trait StateMachine: Send + 'static {
    /// Takes the next committed batch. Every offset of the log arrives, in order, once.
    fn apply(&mut self, batch: &CommittedBatch);

    /// A picture of the state as it is now. The closure is called later, on another thread, and
    /// returns records that build this state from nothing; taking the picture must be cheap.
    fn snapshot(&self) -> Box<dyn FnOnce() -> Vec<MetadataRecord> + Send>;

    /// Throws the state away and builds that of `snapshot`.
    fn restore(&mut self, snapshot: &LoadedSnapshot);
}

/// One batch of the log, committed by a majority.
#[derive(Clone, Debug, PartialEq)]
pub struct CommittedBatch {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record. A control batch (leader change, voters) occupies offsets too,
    /// but brings no records.
    pub last_offset: Offset,
    /// The leader's epoch.
    pub epoch: LeaderEpoch,
    /// The leader's clock at the append.
    pub timestamp: Timestamp,
    /// The metadata records; record `i` has offset `base_offset + i`.
    pub records: Vec<MetadataRecord>,
}

/// A snapshot as read from disk or received from the leader.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedSnapshot {
    /// Where in the log it stands: the state after every record below `id.end_offset`.
    pub id: SnapshotId,
    /// Timestamp of the last batch that it contains.
    pub timestamp: Timestamp,
    /// The records that build the state.
    pub records: Vec<MetadataRecord>,
}

impl LoadedSnapshot {
    /// Offset of the last record that it contains.
    pub fn last_offset(&self) -> Offset {
        Offset::new(self.id.end_offset.get() - 1)
    }
}
