//! What the controller's own configuration means to its decisions.
//!
//! A copy of the few static values that decisions read, so that they need not know
//! where those come from. Cluster-wide dynamic configs are in the image and win.

use std::collections::BTreeMap;
use std::time::Duration;

use config::Overrides;
use model::NodeId;

/// The newest metadata.version this controller knows: 4.3-IV0.
pub const METADATA_VERSION_MAX: i16 = 30;
/// The oldest it can run at: 3.9-IV0. Before it, directories and the registration of controllers
/// were not all there; a cluster is upgraded past it before it is taken over.
pub const METADATA_VERSION_MIN: i16 = 21;
/// metadata.version from which on eligible leader replicas are recorded (4.0-IV1).
pub const METADATA_VERSION_ELR: i16 = 23;

/// The feature that says which records may be written.
pub const METADATA_VERSION: &str = "metadata.version";
/// The feature that turns eligible leader replicas on (KIP-966).
pub const ELIGIBLE_LEADER_REPLICAS_VERSION: &str = "eligible.leader.replicas.version";

/// A range of levels of a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supported {
    /// The lowest; 0 means that it may be off.
    pub min: i16,
    /// The highest.
    pub max: i16,
}

/// Static configuration as far as decisions need it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This controller, by which messages name it.
    pub node: NodeId,
    /// The cluster's id as text: as a request names it.
    pub cluster_id: String,
    /// `broker.session.timeout.ms`.
    pub session_timeout: Duration,
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `default.replication.factor`.
    pub default_replication_factor: i16,
    /// `delete.topic.enable`.
    pub may_delete_topics: bool,
    /// `leader.imbalance.per.broker.percentage`.
    pub leader_imbalance_percent: u32,
    /// The controller's `server.properties`, as given: topics inherit from it.
    pub static_configs: Overrides,
    /// The feature levels this controller can run at.
    pub features: BTreeMap<String, Supported>,
}

impl Default for Settings {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            node: NodeId::new(0),
            cluster_id: String::new(),
            session_timeout: Duration::from_millis(9_000),
            num_partitions: 1,
            default_replication_factor: 1,
            may_delete_topics: true,
            leader_imbalance_percent: 10,
            static_configs: Overrides::new(),
            features: supported_features(),
        }
    }
}

/// What this release can run at; brokers announce the same.
pub fn supported_features() -> BTreeMap<String, Supported> {
    let metadata = (METADATA_VERSION, Supported { min: METADATA_VERSION_MIN, max: METADATA_VERSION_MAX });
    let others = [
        (ELIGIBLE_LEADER_REPLICAS_VERSION, 1),
        ("group.version", 1),
        ("kraft.version", 1),
        ("share.version", 1),
        ("streams.version", 1),
        ("transaction.version", 2),
    ];
    let others = others.into_iter().map(|(name, max)| (name, Supported { min: 0, max }));
    others.chain([metadata]).map(|(name, range)| (name.to_owned(), range)).collect()
}
