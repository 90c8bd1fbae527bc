//! Whom to ask: the leader once it is known, else one controller after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{LeaderEpoch, NodeId};
use net::{ConnectError, ConnectOptions, Connection, Network};

use super::{ControllerSource, ObserverOptions};

/// Largest answer taken: a fetch asks for less, but one batch comes whole.
const RESPONSE_BYTES_MAX: usize = 32 << 20;

/// The controllers and who of them leads.
pub(super) struct Controllers {
    network: Arc<dyn Network>,
    options: ConnectOptions,
    bootstrap: Vec<(String, u16)>,
    known: BTreeMap<NodeId, (String, u16)>,
    next: usize,
    leader: Option<NodeId>,
    epoch: LeaderEpoch,
    /// The leader, where it was said to be, did not help.
    astray: bool,
}

impl Controllers {
    pub(super) fn new(options: &ObserverOptions) -> Self {
        let mut known = BTreeMap::new();
        let bootstrap = match &options.controllers {
            ControllerSource::Bootstrap(addresses) => addresses.clone(),
            ControllerSource::Static(voters) => {
                for (id, voter) in &voters.0 {
                    if let Some(endpoint) = voter.endpoint(&options.listener) {
                        known.insert(*id, (endpoint.host.clone(), endpoint.port));
                    }
                }
                known.values().cloned().collect()
            }
        };
        let connect = ConnectOptions {
            client_id: format!("observer-{}", options.node),
            connect_timeout: connect_timeout(options),
            response_bytes_max: RESPONSE_BYTES_MAX,
        };
        let (network, epoch) = (options.network.clone(), LeaderEpoch::new(0));
        Self { network, options: connect, bootstrap, known, next: 0, leader: None, epoch, astray: false }
    }

    /// The leader and its epoch, as far as this node was told.
    pub(super) fn led(&self) -> (Option<NodeId>, LeaderEpoch) {
        (self.leader, self.epoch)
    }

    /// Somebody said who leads. An older epoch is no news.
    pub(super) fn note_leader(&mut self, leader: Option<NodeId>, epoch: LeaderEpoch) {
        if epoch > self.epoch || (epoch == self.epoch && leader.is_some()) {
            self.astray &= (self.leader, self.epoch) == (leader, epoch);
            (self.leader, self.epoch) = (leader, epoch);
        }
    }

    /// Whether the leader can be asked, or another controller must be.
    pub(super) fn can_ask_leader(&self) -> bool {
        !self.astray && self.leader.is_some_and(|leader| self.known.contains_key(&leader))
    }

    /// Somebody said where a controller listens.
    pub(super) fn note_address(&mut self, node: NodeId, host: String, port: u16) {
        self.known.insert(node, (host, port));
    }

    /// Whoever was asked last did not help: ask another.
    pub(super) fn give_up(&mut self) {
        self.astray = true;
        self.next = self.next.wrapping_add(1);
    }

    /// Dials the leader, or whoever's turn it is.
    pub(super) async fn dial(&self) -> Result<Connection, ConnectError> {
        let leader = self.leader.filter(|_| !self.astray).and_then(|leader| self.known.get(&leader));
        let turn = || self.bootstrap.get(self.next % self.bootstrap.len().max(1));
        let Some((host, port)) = leader.or_else(turn) else {
            let source = std::io::Error::new(std::io::ErrorKind::NotFound, "no controller is configured");
            return Err(ConnectError::Io { host: "controllers".to_owned(), port: 0, source });
        };
        Connection::connect(self.network.as_ref(), host, *port, &self.options).await
    }
}

fn connect_timeout(options: &ObserverOptions) -> Duration {
    options.tuning.fetch_timeout
}
