//! What every handler may use: this node's parts, and who it is.
//!
//! Made once by `node`, shared by all connections. It owns no task.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::NodeConfig;
use model::{ClusterId, NodeId};
use net::Blocking;
use quorum::Quorum;

use crate::controller_link::{ControllerLink, Office};
use crate::controller_loop::ControllerHandle;
use crate::data::Data;
use crate::groups::Groups;
use crate::groups::internal_topics::InternalTopics;
use crate::lifecycle::BrokerState;
use crate::publish::Published;
use crate::transactions::Transactions;

/// A running node, as its handlers see it.
pub struct Context {
    /// This node.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its configuration.
    pub config: Arc<NodeConfig>,
    /// Where work runs that waits for a disk.
    pub blocking: Blocking,
    /// Feature levels this node can run at: name to lowest and highest.
    pub features: BTreeMap<String, (i16, i16)>,
    /// The metadata as far as this node has replayed it.
    pub published: Published,
    /// The way to the active controller, wherever it is.
    pub controllers: ControllerLink,
    /// The metadata quorum, where this node votes in it.
    pub quorum: Option<Quorum>,
    /// The controller loop, where this node is a controller.
    pub controller: Option<ControllerHandle>,
    /// Where other nodes reach this one's controller, if it has one.
    pub controller_address: Option<(String, u16)>,
    /// The partitions, where this node is a broker.
    pub data: Option<Arc<Data>>,
    /// The coordinator of groups, where this node is a broker.
    pub groups: Option<Arc<Groups>>,
    /// The coordinator of transactions, where this node is a broker.
    pub transactions: Option<Arc<Transactions>>,
    /// The coordinators' topics.
    pub internal_topics: InternalTopics,
    /// This node's registration, where it is a broker.
    pub broker: BrokerState,
}

impl Context {
    /// The node whose controller is active, as far as this one knows.
    pub fn active_controller(&self) -> Option<NodeId> {
        match self.controllers.office() {
            Office::Here => Some(self.node),
            Office::At { node, .. } => Some(node),
            Office::Vacant => None,
        }
    }
}

impl Context {
    /// The quorum's leader and its address, as observers are told with every answer (KIP-853): they
    /// take their next request there. Kafka's brokers cannot bear a leader without an address, so
    /// one that is not known yet counts as no leader.
    pub fn leader_endpoint(&self) -> Option<(NodeId, String, u16)> {
        let leader = self.quorum.as_ref()?.status().borrow().leader?;
        if leader == self.node {
            let (host, port) = self.controller_address.clone()?;
            return Some((leader, host, port));
        }
        match self.controllers.office() {
            Office::At { node, host, port } if node == leader => Some((node, host, port)),
            _ => None,
        }
    }
}
