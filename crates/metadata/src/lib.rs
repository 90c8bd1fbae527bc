//! The cluster's metadata: the image, and the one function that replays records into it.
//!
//! Every node runs the same replay over the same records and so holds the same cluster. Replay
//! asks whether a record can be true (its topic exists, its epoch matches, its leader is a replica)
//! and never whether it is wise: that was decided before the record was written.
//!
//! Images are persistent maps: a copy costs nothing and shares all that does not change. What a
//! batch changed is told by [`Changes`], so that nobody has to look at the rest.

mod changes;
mod check;
mod cluster;
mod configs;
mod digest;
mod error;
mod features;
mod image;
mod partition;
mod producer_ids;
mod quotas;
mod security;
mod snapshot;
mod topics;
mod transaction;

pub use changes::Changes;
pub use cluster::{Broker, Controller, Endpoint, VersionRange};
pub use configs::{ConfigResource, Configs, ResourceKind};
pub use error::ReplayError;
pub use image::Image;
pub use partition::{
    DIRECTORY_LOST, DIRECTORY_MIGRATING, DIRECTORY_UNASSIGNED, LeaderRecoveryState, Partition,
};
pub use quotas::QuotaEntity;
pub use topics::Topic;
