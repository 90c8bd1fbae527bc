//! What every handler may use: this node's parts, and who it is.
//!
//! Made once by `node`, shared by all connections. It owns no task.

use std::sync::Arc;

use config::NodeConfig;
use model::{ClusterId, NodeId};
use net::Clock;
use quorum::Quorum;

use crate::controller_link::ControllerLink;
use crate::controller_loop::ControllerHandle;
use crate::data::Data;
use crate::lifecycle::BrokerState;
use crate::publish::Published;

/// A running node, as its handlers see it.
pub struct Context {
    /// This node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its configuration.
    pub config: Arc<NodeConfig>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// The metadata as far as this node has replayed it.
    pub published: Published,
    /// The way to the active controller, wherever it is.
    pub controllers: ControllerLink,
    /// The metadata quorum, where this node votes in it.
    pub quorum: Option<Quorum>,
    /// The controller loop, where this node is a controller.
    pub controller: Option<ControllerHandle>,
    /// The partitions, where this node is a broker.
    pub data: Option<Arc<Data>>,
    /// This node's registration, where it is a broker.
    pub broker: BrokerState,
}
