//! What can go wrong between a node and its quorum, and the code that a client sees.

use std::path::PathBuf;
use std::time::Duration;

use model::{DirectoryId, ErrorCode, LeaderEpoch, NodeId, Offset};
use tokio::sync::watch;

use super::{APPEND_BYTES_MAX, APPEND_RECORDS_MAX};
use crate::snapshot::SnapshotId;
use crate::status::QuorumStatus;
use crate::voters::Voters;

/// Why the quorum cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk said no.
    #[error("cannot use {path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the disk said.
        source: std::io::Error,
    },
    /// The log or the vote is damaged, or a snapshot is missing. The text says which and what to do.
    #[error("cannot open the metadata log in {dir}: {cause}")]
    Log {
        /// The log's directory.
        dir: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// The config lists other voters than the log.
    #[error(
        "controller.quorum.voters lists {configured}, the metadata log says that {logged} vote; restore the \
         old value: voters of a running cluster are not changed by the config"
    )]
    Voters {
        /// By the config.
        configured: Voters,
        /// By the log.
        logged: Voters,
    },
    /// This node is a controller and not among the voters.
    #[error(
        "node {node} is not among the voters {voters}; add it there, or remove 'controller' from its process.roles"
    )]
    NotAVoter {
        /// This node.
        node: NodeId,
        /// Those who vote.
        voters: Voters,
    },
    /// The voters name another directory for this node.
    #[error(
        "the voters say that node {node} has its metadata in directory {expected}, this one is {got}: it was \
         formatted again, or belongs to another node"
    )]
    Directory {
        /// This node.
        node: NodeId,
        /// By the voters.
        expected: DirectoryId,
        /// By this directory's `meta.properties`.
        got: DirectoryId,
    },
    /// Raft did not start.
    #[error("the metadata quorum does not start: {0}")]
    Raft(String),
    /// The quorum's thread could not be made.
    #[error("cannot start the metadata quorum's thread: {0}")]
    Thread(String),
}

/// The quorum of this node has stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the metadata quorum of this node has stopped{}", .reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
pub struct Stopped {
    /// Why, when it was not asked to.
    pub reason: Option<String>,
}

impl Stopped {
    pub(super) fn of(status: &watch::Receiver<QuorumStatus>) -> Self {
        Self { reason: status.borrow().failure.clone() }
    }
}

/// Why records were not appended, or are not known to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Another node leads, or this one leads another epoch. Nothing was appended.
    #[error("this node does not lead the metadata quorum; {}", leader_text(.leader, .epoch))]
    NotLeader {
        /// Who does.
        leader: Option<NodeId>,
        /// In which epoch.
        epoch: LeaderEpoch,
    },
    /// Leadership was lost while they waited. They may or may not be committed.
    #[error("leadership of the metadata quorum was lost while records waited; {}", leader_text(.leader, .epoch))]
    Discarded {
        /// Who leads now.
        leader: Option<NodeId>,
        /// In which epoch.
        epoch: LeaderEpoch,
    },
    /// An earlier append, on which these records rest, was refused. Nothing of them was appended.
    #[error("the log of the metadata quorum ended at offset {got}, the records are for offset {expected}")]
    Displaced {
        /// Where they would have been right.
        expected: Offset,
        /// Where they came.
        got: Offset,
    },
    /// No majority answered in time. They may be committed later.
    #[error("no majority of the metadata quorum answered within {} ms", .after.as_millis())]
    TimedOut {
        /// How long it waited.
        after: Duration,
    },
    /// None, or too many.
    #[error("{got} records in one append, between 1 and {APPEND_RECORDS_MAX} are possible")]
    Count {
        /// How many.
        got: usize,
    },
    /// Too large together.
    #[error("records of {got} bytes in one append, at most {APPEND_BYTES_MAX} are possible")]
    Bytes {
        /// How large.
        got: usize,
    },
    /// A record cannot be written at the metadata.version in force.
    #[error("a record cannot be encoded: {0}")]
    Encode(String),
    /// The quorum stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl AppendError {
    /// What a client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotLeader { .. } | Self::Discarded { .. } | Self::Displaced { .. } => {
                ErrorCode::NotController
            }
            Self::TimedOut { .. } => ErrorCode::RequestTimedOut,
            Self::Count { .. } | Self::Bytes { .. } => ErrorCode::RecordListTooLarge,
            Self::Encode(_) => ErrorCode::UnknownServerError,
            Self::Stopped(_) => ErrorCode::KafkaStorageError,
        }
    }
}

fn leader_text(leader: &Option<NodeId>, epoch: &LeaderEpoch) -> String {
    match leader {
        Some(leader) => format!("node {leader} does, in epoch {epoch}"),
        None => format!("no leader of epoch {epoch} is known"),
    }
}

/// Why a read of log or snapshot has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Another node leads.
    #[error("this node does not lead the metadata quorum; {}", leader_text(.leader, .epoch))]
    NotLeader {
        /// Who does.
        leader: Option<NodeId>,
        /// In which epoch.
        epoch: LeaderEpoch,
    },
    /// The reader knows an older epoch.
    #[error("the reader asks in epoch {theirs}, this is epoch {epoch}")]
    FencedEpoch {
        /// The reader's.
        theirs: LeaderEpoch,
        /// Ours.
        epoch: LeaderEpoch,
    },
    /// The reader knows a newer epoch.
    #[error("the reader asks in epoch {theirs}, this node knows epoch {epoch}")]
    UnknownEpoch {
        /// The reader's.
        theirs: LeaderEpoch,
        /// Ours.
        epoch: LeaderEpoch,
    },
    /// No such offset.
    #[error("offset {got} is outside of the metadata log, which ends at {end}")]
    OffsetOutOfRange {
        /// Asked for.
        got: Offset,
        /// The log's end.
        end: Offset,
    },
    /// No such snapshot, or no longer.
    #[error("there is no snapshot {0}")]
    NoSnapshot(SnapshotId),
    /// Beyond a snapshot's end.
    #[error("position {got} is outside of the snapshot's {size} bytes")]
    PositionOutOfRange {
        /// Asked for.
        got: i64,
        /// The snapshot's size.
        size: u64,
    },
    /// The disk said no.
    #[error("cannot read the metadata log: {0}")]
    Io(String),
    /// The quorum stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl ReadError {
    /// What a reader is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotLeader { .. } => ErrorCode::NotLeaderOrFollower,
            Self::FencedEpoch { .. } => ErrorCode::FencedLeaderEpoch,
            Self::UnknownEpoch { .. } => ErrorCode::UnknownLeaderEpoch,
            Self::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::NoSnapshot(_) => ErrorCode::SnapshotNotFound,
            Self::PositionOutOfRange { .. } => ErrorCode::PositionOutOfRange,
            Self::Io(_) | Self::Stopped(_) => ErrorCode::KafkaStorageError,
        }
    }
}
