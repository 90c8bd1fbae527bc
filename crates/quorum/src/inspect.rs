//! What a node's part in the quorum looks like at this moment, for metrics and checks.
//!
//! A snapshot of what is in memory, taken without IO and without asking the quorum's
//! loop: the vote and the log as Raft's store has them, the rest as last published.
//! It changes nothing, and whoever calls it after every step of a node pays little.

use std::io;

use model::{LeaderEpoch, NodeId, Offset};

use crate::observer::Observer;
use crate::quorum::Quorum;
use crate::snapshot::SnapshotId;
use crate::status::QuorumStatus;
use crate::store::LogRead;

/// The vote on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ballot {
    /// The epoch voted in.
    pub epoch: LeaderEpoch,
    /// Who got it.
    pub node: NodeId,
    /// Whether that node is known to have won.
    pub elected: bool,
}

/// A voter's log as its store holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RaftLogInspection {
    /// The durable vote; `None` where this node never voted.
    pub vote: Option<Ballot>,
    /// The Raft index of the last entry; `None` in a log that never had one.
    pub last_index: Option<u64>,
    /// Its epoch.
    pub last_epoch: Option<LeaderEpoch>,
    /// The first offset on disk.
    pub start: Offset,
    /// The next offset, committed or not.
    pub end: Offset,
    /// The newest snapshot.
    pub snapshot: Option<SnapshotId>,
}

/// This node's part in the metadata log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuorumInspection {
    /// What it knows of the quorum; `high_watermark` is what it has applied.
    pub status: QuorumStatus,
    /// Its log and vote, where it votes.
    pub log: Option<RaftLogInspection>,
}

impl Quorum {
    /// What this voter holds.
    pub fn inspect(&self) -> QuorumInspection {
        let mut log = self.store().inspect();
        log.snapshot = self.last_snapshot();
        QuorumInspection { status: self.current(), log: Some(log) }
    }

    /// Whole batches of this voter's log, committed or not, from the one that holds `from` up to `upto`,
    /// within `bytes_max` but at least one. Empty when there is nothing between the two.
    pub fn read_log(&self, from: Offset, upto: Offset, bytes_max: usize) -> io::Result<Vec<u8>> {
        match self.store().read(from, None, upto, bytes_max)? {
            LogRead::Batches(bytes) => Ok(bytes.to_vec()),
            LogRead::BelowStart | LogRead::AboveEnd | LogRead::Diverging { .. } => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("offset {from} is not in the metadata log"),
            )),
        }
    }
}

impl Observer {
    /// What this observer holds.
    pub fn inspect(&self) -> QuorumInspection {
        QuorumInspection { status: self.current(), log: None }
    }
}
