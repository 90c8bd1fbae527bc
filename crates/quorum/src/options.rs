//! What a quorum needs from outside: its place, its peers, its seams.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use log::Disk;
use model::{ClusterId, DirectoryId, NodeId};
pub use net::Blocking;
use net::{Clock, Network};

use crate::voters::Voters;

/// Everything a voter is opened with.
#[derive(Clone)]
pub struct QuorumOptions {
    /// `node.id`.
    pub node: NodeId,
    /// `directory.id` of the metadata log directory, from its `meta.properties`.
    pub directory: DirectoryId,
    /// `cluster.id`; a peer of another cluster is refused.
    pub cluster: ClusterId,
    /// `metadata.log.dir`: the log lives in `__cluster_metadata-0` beneath it.
    pub log_dir: PathBuf,
    /// Who votes, when the log does not say it yet.
    pub voters: VoterSource,
    /// The controller listener's name: which of a voter's endpoints is dialled.
    pub listener: String,
    /// Where files live.
    pub disk: Arc<dyn Disk>,
    /// How peers are reached.
    pub network: Arc<dyn Network>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Election timeouts are drawn from it: give each node and each run another one.
    pub seed: u64,
    /// Where disk work runs.
    pub blocking: Blocking,
    /// Timeouts and sizes.
    pub tuning: Tuning,
}

/// Where the first set of voters comes from. Once the log holds one, the log counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VoterSource {
    /// `controller.quorum.voters`: the same list in every voter's config.
    Static(Voters),
    /// The snapshot that `storage format` wrote (`--standalone`, `--initial-controllers`).
    Formatted,
}

/// Timeouts and sizes, with Kafka's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// `controller.quorum.election.timeout.ms`: how long silence of the leader lasts at least
    /// before a voter stands; at most half as long again.
    pub election_timeout: Duration,
    /// `controller.quorum.fetch.timeout.ms`: how long an observer waits for a leader's answer.
    pub fetch_timeout: Duration,
    /// How long an append may wait for its majority.
    pub append_timeout: Duration,
    /// `metadata.log.max.record.bytes.between.snapshots`.
    pub bytes_between_snapshots: u64,
    /// `metadata.log.segment.bytes`.
    pub segment_bytes: u64,
    /// Batches kept for followers behind a snapshot: one that was away for a moment gets these and
    /// not the snapshot.
    pub batches_behind_snapshot: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            election_timeout: Duration::from_millis(1_000),
            fetch_timeout: Duration::from_millis(2_000),
            append_timeout: Duration::from_secs(10),
            bytes_between_snapshots: 20 << 20,
            segment_bytes: 64 << 20,
            batches_behind_snapshot: 2_000,
        }
    }
}
