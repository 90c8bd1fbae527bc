//! Connections to other brokers of the cluster, one each, dialled when they are needed.
//!
//! For those who send a request now and then: whoever asks transactions' coordinators, and
//! the coordinator that tells partitions how transactions ended. A connection that closed is
//! dialled anew by whoever asks next. Nothing here tries again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metadata::Image;
use model::NodeId;
use net::{ConnectError, ConnectOptions, Connection, Network};

/// Why a broker cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The metadata knows no such broker, or not where it listens for others.
    #[error("broker {0} has no address on the inter-broker listener")]
    Unknown(NodeId),
    /// Nobody listens there.
    #[error(transparent)]
    Unreachable(#[from] ConnectError),
}

/// The brokers that this node talks to.
pub struct Peers {
    network: Arc<dyn Network>,
    /// The inter-broker listener's name.
    listener: String,
    client_id: String,
    links: Mutex<BTreeMap<NodeId, Arc<Connection>>>,
}

impl Peers {
    /// Nobody is dialled yet.
    pub fn new(network: Arc<dyn Network>, listener: String, client_id: String) -> Self {
        Self { network, listener, client_id, links: Mutex::default() }
    }

    /// The connection to a broker.
    pub async fn link(&self, image: &Image, node: NodeId) -> Result<Arc<Connection>, PeerError> {
        let known = self.links().get(&node).filter(|link| !link.is_closed()).cloned();
        if let Some(link) = known {
            return Ok(link);
        }
        let link = Arc::new(self.dial(image, node).await?);
        self.links().insert(node, link.clone());
        Ok(link)
    }

    async fn dial(&self, image: &Image, node: NodeId) -> Result<Connection, PeerError> {
        let broker = image.broker(node).ok_or(PeerError::Unknown(node))?;
        let endpoint = broker.listener(&self.listener).ok_or(PeerError::Unknown(node))?;
        let options = ConnectOptions { client_id: self.client_id.clone(), ..ConnectOptions::default() };
        Ok(Connection::connect(self.network.as_ref(), &endpoint.host, endpoint.port, &options).await?)
    }

    fn links(&self) -> MutexGuard<'_, BTreeMap<NodeId, Arc<Connection>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
