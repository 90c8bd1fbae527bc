//! Who the peers are and how they are reached: what clients and server share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use model::{ClusterId, DirectoryId, LeaderEpoch, NodeId, Timestamp};
use net::{Clock, ConnectError, ConnectOptions, Connection, Network};
use proto::quorum::Route;

use crate::voters::{Endpoint, Voter, Voters};

/// Larger than any response a voter sends.
const RESPONSE_BYTES_MAX: usize = 64 << 10;

/// Everything about the peers.
pub(crate) struct Peers {
    pub(crate) node: NodeId,
    pub(crate) directory: DirectoryId,
    pub(crate) cluster: ClusterId,
    listener: String,
    network: Arc<dyn Network>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) timeout: Duration,
    /// Static voters: their addresses are the config's, whatever the log remembers.
    configured: Option<Voters>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// As the log has it.
    voters: Voters,
    /// The leader that is proved dead, by the epoch in which it led.
    dead_leader: Option<LeaderEpoch>,
    /// When each peer last answered.
    heard: BTreeMap<NodeId, Timestamp>,
}

/// What peers are made from.
pub(crate) struct PeersOptions {
    pub(crate) node: NodeId,
    pub(crate) directory: DirectoryId,
    pub(crate) cluster: ClusterId,
    pub(crate) listener: String,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) timeout: Duration,
    pub(crate) configured: Option<Voters>,
}

/// Why a request is not for this node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RouteError {
    #[error("the request says nothing of who asks whom")]
    Missing,
    #[error(
        "this node is of cluster {mine}, the request of cluster {theirs}; check who listens at that address"
    )]
    Cluster { mine: ClusterId, theirs: String },
    #[error("this is node {mine}, the request is for node {theirs}; check the addresses of the voters")]
    Node { mine: NodeId, theirs: NodeId },
    #[error(
        "node {node} has directory {mine}, the voters say {theirs}: its disk was replaced; a voter that lost \
         its log must be removed from the voters and added again"
    )]
    MyDirectory { node: NodeId, mine: DirectoryId, theirs: DirectoryId },
    #[error(
        "node {node} asks from directory {theirs}, the voters say {known}: its disk was replaced; a voter \
         that lost its log must be removed from the voters and added again"
    )]
    TheirDirectory { node: NodeId, known: DirectoryId, theirs: DirectoryId },
    #[error("node {0} asks under this node's own id: two processes are configured as node {0}")]
    Twin(NodeId),
}

impl Peers {
    pub(crate) fn new(options: PeersOptions) -> Self {
        let PeersOptions { node, directory, cluster, listener, network, clock, timeout, configured } =
            options;
        let voters = configured.clone().unwrap_or_default();
        let state = Mutex::new(State { voters, ..State::default() });
        Self { node, directory, cluster, listener, network, clock, timeout, configured, state }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// The log says who votes.
    pub(crate) fn set_voters(&self, voters: Voters) {
        self.lock().voters = voters;
    }

    pub(crate) fn voters(&self) -> Voters {
        self.lock().voters.clone()
    }

    /// Notes that `node` answered.
    pub(crate) fn note_heard(&self, node: NodeId) {
        let now = self.clock.wall();
        self.lock().heard.insert(node, now);
    }

    pub(crate) fn last_heard(&self, node: NodeId) -> Option<Timestamp> {
        self.lock().heard.get(&node).copied()
    }

    /// The leader of `epoch` is proved dead: votes may be asked for without waiting for its lease.
    pub(crate) fn note_dead_leader(&self, epoch: LeaderEpoch) {
        let mut state = self.lock();
        state.dead_leader = state.dead_leader.max(Some(epoch));
    }

    /// Whether an election for `epoch` follows the proved death of the leader before.
    pub(crate) fn follows_dead_leader(&self, epoch: LeaderEpoch) -> bool {
        // A few rounds may be needed: the first candidate's log may be too short.
        const ROUNDS_MAX: i32 = 4;
        let dead = self.lock().dead_leader;
        dead.is_some_and(|dead| dead < epoch && epoch.get() - dead.get() <= ROUNDS_MAX)
    }

    /// Where `node` listens, by the config or else by the log.
    fn endpoint(&self, node: NodeId, known: Option<&Voter>) -> Option<Endpoint> {
        let configured = self.configured.as_ref().and_then(|voters| voters.0.get(&node));
        let state = self.lock();
        let voter = configured.or(known).or_else(|| state.voters.0.get(&node))?;
        voter.endpoint(&self.listener).cloned()
    }

    /// Dials `node`; its name is resolved anew each time.
    pub(crate) async fn dial(&self, node: NodeId, known: Option<&Voter>) -> Result<Connection, ConnectError> {
        let endpoint = self.endpoint(node, known).ok_or_else(|| ConnectError::Io {
            host: format!("node {node}"),
            port: 0,
            source: std::io::Error::new(std::io::ErrorKind::NotFound, "no address is known of this voter"),
        })?;
        let options = ConnectOptions {
            client_id: format!("quorum-{}", self.node),
            connect_timeout: self.timeout,
            response_bytes_max: RESPONSE_BYTES_MAX,
        };
        Connection::connect(self.network.as_ref(), &endpoint.host, endpoint.port, &options).await
    }

    /// The route of a request to `node`.
    pub(crate) fn route_to(&self, node: NodeId) -> Route {
        let directory = self.lock().voters.0.get(&node).map(|voter| voter.directory);
        let known = directory.filter(|directory| !directory.is_zero());
        Route {
            cluster_id: Bytes::copy_from_slice(self.cluster.as_str().as_bytes()).into(),
            from_node: self.node.get(),
            from_directory: self.directory.as_bytes().to_vec(),
            to_node: node.get(),
            to_directory: known.map(|directory| directory.as_bytes().to_vec()).unwrap_or_default(),
        }
    }

    /// Whether a request with `route` is for this node; answers who asks.
    pub(crate) fn check(&self, route: Option<&Route>) -> Result<NodeId, RouteError> {
        let route = route.ok_or(RouteError::Missing)?;
        if route.cluster_id != self.cluster.as_str().as_bytes() {
            let theirs = std::str::from_utf8(&route.cluster_id).ok().and_then(|text| text.parse().ok());
            let theirs = theirs.map_or_else(|| "none".to_owned(), |cluster: ClusterId| cluster.to_string());
            return Err(RouteError::Cluster { mine: self.cluster.clone(), theirs });
        }
        let (from, to) = (NodeId::new(route.from_node), NodeId::new(route.to_node));
        if to != self.node {
            return Err(RouteError::Node { mine: self.node, theirs: to });
        }
        if from == self.node {
            return Err(RouteError::Twin(from));
        }
        if let Some(theirs) = uuid(&route.to_directory).filter(|theirs| *theirs != self.directory) {
            return Err(RouteError::MyDirectory { node: to, mine: self.directory, theirs });
        }
        let known = self.lock().voters.0.get(&from).map(|voter| voter.directory);
        let theirs = uuid(&route.from_directory).unwrap_or_default();
        match known.filter(|known| !known.is_zero() && *known != theirs) {
            Some(known) => Err(RouteError::TheirDirectory { node: from, known, theirs }),
            None => Ok(from),
        }
    }
}

fn uuid(bytes: &[u8]) -> Option<model::Uuid> {
    bytes.try_into().ok().map(model::Uuid::from_bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use model::{NodeId, Uuid};
    use net::SystemClock;
    use net::pipe::PipeNetwork;

    use super::{Peers, PeersOptions};
    use crate::voters::Voters;

    /// Node `id` with its metadata in directory `directory`, in a cluster of two formatted voters.
    fn node(id: i32, directory: u128, cluster: u128) -> Peers {
        let text = format!("1@a:1:{},2@b:1:{}", Uuid::from_u128(501), Uuid::from_u128(502));
        let peers = Peers::new(PeersOptions {
            node: NodeId::new(id),
            directory: Uuid::from_u128(directory),
            cluster: Uuid::from_u128(cluster).into(),
            listener: "C".to_owned(),
            network: Arc::new(PipeNetwork::new().host("n")),
            clock: Arc::new(SystemClock::new()),
            timeout: Duration::from_secs(1),
            configured: None,
        });
        peers.set_voters(Voters::parse_initial(&text, "C").expect("well formed"));
        peers
    }

    fn check(asker: &Peers, to: i32, asked: &Peers, outcome: &str) {
        let route = asker.route_to(NodeId::new(to));
        let answer = asked.check(Some(&route));
        let text = answer.map_or_else(|error| error.to_string(), |from| format!("from {from}"));
        assert!(text.contains(outcome), "{text}");
    }

    #[test]
    fn a_request_that_is_for_someone_else_is_refused_with_the_reason() {
        check(&node(1, 501, 7), 2, &node(2, 502, 7), "from 1");
        check(
            &node(1, 501, 8),
            2,
            &node(2, 502, 7),
            "of cluster AAAAAAAAAAAAAAAAAAAABw, the request of cluster",
        );
        check(&node(1, 501, 7), 1, &node(2, 502, 7), "this is node 2, the request is for node 1");
        check(&node(2, 502, 7), 2, &node(2, 502, 7), "two processes are configured as node 2");
        check(&node(1, 999, 7), 2, &node(2, 502, 7), "its disk was replaced; a voter that lost its log");
        check(&node(1, 501, 7), 2, &node(2, 999, 7), "node 2 has directory");
        assert!(node(2, 502, 7).check(None).is_err());
    }
}
