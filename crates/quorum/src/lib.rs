//! The metadata quorum: Raft over a log in Kafka's format.
//!
//! A voter opens a [`Quorum`]: it elects, replicates, stores and snapshots
//! `__cluster_metadata`, and feeds what is committed to a [`StateMachine`]. A node
//! that only follows opens an [`Observer`], which fetches the same log as any Kafka
//! broker would. What the records mean is no business of this crate, with one
//! exception: the level of `metadata.version` decides how they are encoded.
//!
//! The only crate that names openraft.

mod describe;
pub mod format;
mod inspect;
mod level;
mod machine;
mod observer;
mod options;
mod quorum;
mod raft;
mod snapshot;
mod status;
mod store;
#[cfg(test)]
mod testbed;
mod transport;
mod voters;

pub use describe::{QuorumDescription, ReplicaState};
pub use inspect::{Ballot, QuorumInspection, RaftLogInspection};
pub use machine::{CommittedBatch, LoadedSnapshot, StateMachine};

pub use observer::{ControllerSource, Observer, ObserverOptions};
pub use options::{Blocking, QuorumOptions, Tuning, VoterSource};
pub use quorum::{
    APPEND_BYTES_MAX, APPEND_RECORDS_MAX, AppendError, OpenError, Quorum, Read, ReadError, ReadFrom,
    ReadOutcome, SnapshotChunk, Stopped,
};
pub use snapshot::SnapshotId;
pub use status::QuorumStatus;

pub use voters::{Endpoint, Voter, Voters, VotersError};

/// A log filter's part that every node wants: the Raft library tells each message at `info`, and at `warn`
/// each of the many requests that a dead peer does not answer.
pub const LOG_FILTER: &str = "openraft=error";
