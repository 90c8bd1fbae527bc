//! What a node knows of the quorum at this moment.

use model::{LeaderEpoch, NodeId, Offset};

/// The quorum as this node sees it; watch it with `Quorum::status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumStatus {
    /// The leader of `epoch`, once this node heard of it.
    pub leader: Option<NodeId>,
    /// The highest epoch seen.
    pub epoch: LeaderEpoch,
    /// This node leads, and its state machine holds everything committed before its epoch:
    /// the controller may decide.
    pub is_leader_ready: bool,
    /// End of what is committed and applied here (the next offset).
    pub high_watermark: Offset,
    /// First offset of the log.
    pub log_start: Offset,
    /// End of the log (the next offset), committed or not.
    pub log_end: Offset,
    /// Why the quorum stopped for good on this node (a failed disk, a damaged log).
    pub failure: Option<String>,
}

impl Default for QuorumStatus {
    fn default() -> Self {
        Self {
            leader: None,
            epoch: LeaderEpoch::new(0),
            is_leader_ready: false,
            high_watermark: Offset::ZERO,
            log_start: Offset::ZERO,
            log_end: Offset::ZERO,
            failure: None,
        }
    }
}
