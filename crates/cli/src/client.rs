//! The tools' way to a cluster: who leads what, one connection a node, retries.
//!
//! Versions are the highest that both sides speak. A node that cannot be reached is
//! exit status 3, an answer that says no is 1; errors that pass by themselves are
//! tried again until [`PATIENCE`] is over.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use model::ErrorCode;
use net::{ConnectOptions, Connection, TcpNetwork};
use tokio::time::Instant;
use wire::api::Api;
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::{
    ApiVersionsRequest, MetadataRequest, MetadataResponse, RequestKind, ResponseKind, WireUuid, text, topic,
};

use crate::failure::{Failure, Outcome};

/// For one request; above what a broker waits for replicas.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long errors that pass by themselves (elections, restarts) are waited out.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries.
pub const PAUSE: Duration = Duration::from_millis(100);

/// What every command that speaks to a cluster takes.
#[derive(Args, Clone)]
pub struct Target {
    /// Nodes to begin with, as HOST:PORT,...
    #[arg(long, short = 'b', value_name = "HOST:PORT", default_value = "localhost:9092")]
    pub bootstrap_server: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Takes the expected variant out of a response.
macro_rules! answer {
    ($kind:ident, $response:expr) => {
        match $response {
            wire::messages::ResponseKind::$kind(response) => response,
            _ => return Err($crate::client::unexpected()),
        }
    };
}
pub(crate) use answer;

type Address = (String, u16);

/// Whom a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Any node.
    Any,
    /// The broker of that id.
    Node(i32),
}

/// A cluster as a tool sees it.
pub struct Cluster {
    bootstrap: Vec<Address>,
    nodes: BTreeMap<i32, Address>,
    links: BTreeMap<Address, Link>,
}

struct Link {
    connection: Connection,
    versions: BTreeMap<i16, (i16, i16)>,
}

/// Runs a tool's conversation with a cluster.
pub fn converse<F>(target: &Target, talk: impl FnOnce(Cluster) -> F) -> Outcome
where
    F: Future<Output = Outcome>,
{
    let cluster = Cluster::new(&target.bootstrap_server)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::refused(format!("cannot start the runtime: {error}; too many threads?")))?;
    let outcome = runtime.block_on(talk(cluster));
    // A thread that still reads stdin must not hold the process up.
    runtime.shutdown_background();
    outcome
}

impl Cluster {
    /// A cluster behind `HOST:PORT,...`; nothing is dialled yet.
    pub fn new(bootstrap: &str) -> Outcome<Self> {
        let parse = |text: &str| {
            let (host, port) = text.rsplit_once(':')?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            Some((host.to_owned(), port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
        };
        let mut addresses = Vec::new();
        for text in bootstrap.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            addresses.push(parse(text).ok_or_else(|| {
                Failure::typed_wrong(format!("cannot read --bootstrap-server {text}: it is no HOST:PORT; write for example localhost:9092"))
            })?);
        }
        if addresses.is_empty() {
            return Err(Failure::typed_wrong(
                "cannot read --bootstrap-server: it is empty; write for example localhost:9092",
            ));
        }
        Ok(Self { bootstrap: addresses, nodes: BTreeMap::new(), links: BTreeMap::new() })
    }

    /// Sends a request and awaits its answer.
    pub async fn ask(&mut self, to: To, request: impl Into<RequestKind>) -> Outcome<ResponseKind> {
        let request = request.into();
        let mut causes = Vec::new();
        for address in self.candidates(to) {
            match self.ask_at(&address, &request).await {
                Ok(response) => return Ok(response),
                Err(Refusal::Unreachable(cause)) => {
                    self.links.remove(&address);
                    causes.push(cause);
                }
                Err(Refusal::Unspoken(cause)) => return Err(Failure::refused(cause)),
            }
        }
        Err(unreachable_cluster(&causes.join("; ")))
    }

    /// Sends a request that has no answer (`acks=0`) in the version that [`Cluster::version_at`] says.
    pub async fn tell(&mut self, to: To, request: impl Into<RequestKind>) -> Outcome {
        let request = request.into();
        let version = self.version_at(to, &request).await?;
        let Some(address) = self.candidates(to).into_iter().next() else {
            return Err(unreachable_cluster("the node is unknown"));
        };
        let told = match self.link(&address).await {
            Ok(link) => link.connection.send_one_way(version, request, REQUEST_TIMEOUT).await,
            Err(Refusal::Unreachable(cause) | Refusal::Unspoken(cause)) => {
                return Err(unreachable_cluster(&cause));
            }
        };
        told.map_err(|error| unreachable_cluster(&error.to_string()))
    }

    /// Returns once every node has read what it was told: a node answers a connection's requests in
    /// their order. An error says that a node closed the connection instead, which is how it refuses.
    pub async fn settle(&mut self) -> Outcome {
        for link in self.links.values() {
            let asked = ApiVersionsRequest::default();
            let answered = link.connection.send(0, asked, REQUEST_TIMEOUT).await;
            answered.map_err(|error| unreachable_cluster(&error.to_string()))?;
        }
        Ok(())
    }

    /// The version in which a request would be sent there.
    pub async fn version_at(&mut self, to: To, request: &RequestKind) -> Outcome<i16> {
        let Some(address) = self.candidates(to).into_iter().next() else {
            return Err(unreachable_cluster("the node is unknown"));
        };
        match self.link(&address).await.and_then(|link| link.version(request)) {
            Ok(version) => Ok(version),
            Err(Refusal::Unreachable(cause)) => Err(unreachable_cluster(&cause)),
            Err(Refusal::Unspoken(cause)) => Err(Failure::refused(cause)),
        }
    }

    /// What the cluster says of these topics, or of all. Learns the nodes' addresses.
    pub async fn metadata(&mut self, topics: Option<&[String]>, create: bool) -> Outcome<MetadataResponse> {
        let named = topics.map(|names| {
            let one = |name: &String| MetadataRequestTopic::default().with_name(Some(topic(name)));
            names.iter().map(one).collect()
        });
        let request = MetadataRequest::default().with_topics(named).with_allow_auto_topic_creation(create);
        let response = answer!(Metadata, self.ask(To::Any, request).await?);
        for broker in &response.brokers {
            if let Ok(port) = u16::try_from(broker.port) {
                self.nodes.insert(broker.node_id.0, (broker.host.to_string(), port));
            }
        }
        Ok(response)
    }

    /// The nodes that are known by now.
    pub fn node_ids(&self) -> Vec<i32> {
        self.nodes.keys().copied().collect()
    }

    /// The partitions of a topic, each with its leader; waits out elections and creation.
    pub async fn partitions(&mut self, name: &str, create: bool) -> Outcome<Routes> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let response = self.metadata(Some(&[name.to_owned()]), create).await?;
            let Some(found) = response.topics.into_iter().next() else { return Err(unexpected()) };
            let code = ErrorCode::from_code(found.error_code);
            let leaderless = found.partitions.iter().any(|partition| partition.leader_id.0 < 0);
            let missing = code == ErrorCode::UnknownTopicOrPartition && !create;
            if code.is_error() && (missing || !code.is_retriable()) {
                return Err(refused(&format!("find the topic {name}"), code, None));
            }
            if !code.is_error() && !leaderless {
                let leaders = found
                    .partitions
                    .iter()
                    .map(|partition| (partition.partition_index, partition.leader_id.0));
                return Ok(Routes { id: found.topic_id, leaders: leaders.collect() });
            }
            if Instant::now() >= deadline {
                let cause = if leaderless { ErrorCode::LeaderNotAvailable } else { code };
                return Err(refused(&format!("find the leaders of {name}"), cause, None));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn candidates(&self, to: To) -> Vec<Address> {
        match to {
            To::Node(id) => self.nodes.get(&id).cloned().into_iter().collect(),
            To::Any => {
                // Those that answered before come first: a dead bootstrap node is dialled once.
                let linked = self.links.keys().cloned();
                let others = self.bootstrap.iter().chain(self.nodes.values()).cloned();
                let mut all: Vec<Address> = linked.collect();
                for address in others {
                    if !all.contains(&address) {
                        all.push(address);
                    }
                }
                all
            }
        }
    }

    async fn ask_at(&mut self, address: &Address, request: &RequestKind) -> Result<ResponseKind, Refusal> {
        let link = self.link(address).await?;
        let version = link.version(request)?;
        let response = link.connection.send(version, request.clone(), REQUEST_TIMEOUT).await;
        response.map_err(|error| Refusal::Unreachable(error.to_string()))
    }

    async fn link(&mut self, address: &Address) -> Result<&Link, Refusal> {
        let is_open = self.links.get(address).is_some_and(|link| !link.connection.is_closed());
        if !is_open {
            let link = Link::open(address).await?;
            self.links.insert(address.clone(), link);
        }
        Ok(&self.links[address])
    }
}

/// A topic's partitions.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// The topic's id.
    pub id: WireUuid,
    /// The leader of each partition.
    pub leaders: BTreeMap<i32, i32>,
}

enum Refusal {
    /// The node cannot be spoken to.
    Unreachable(String),
    /// It answers, but does not know the request.
    Unspoken(String),
}

impl Link {
    async fn open((host, port): &Address) -> Result<Self, Refusal> {
        let options = ConnectOptions { connect_timeout: CONNECT_TIMEOUT, ..ConnectOptions::default() };
        let unreachable = |cause: String| Refusal::Unreachable(cause);
        let connection = Connection::connect(&TcpNetwork, host, *port, &options)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let mut version = 3;
        loop {
            let request = ApiVersionsRequest::default()
                .with_client_software_name(text("kastle"))
                .with_client_software_version(text(env!("CARGO_PKG_VERSION")));
            let response = connection
                .send(version, request, REQUEST_TIMEOUT)
                .await
                .map_err(|error| unreachable(error.to_string()))?;
            let ResponseKind::ApiVersions(response) = response else {
                return Err(unreachable("it does not speak Kafka's protocol".to_owned()));
            };
            match ErrorCode::from_code(response.error_code) {
                ErrorCode::None => {
                    let ranges =
                        response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version)));
                    return Ok(Self { connection, versions: ranges.collect() });
                }
                ErrorCode::UnsupportedVersion if version > 0 => version = 0,
                code => return Err(unreachable(format!("{host}:{port} answers {}", code.name()))),
            }
        }
    }

    fn version(&self, request: &RequestKind) -> Result<i16, Refusal> {
        let spoken = wire::request::api_of(request).and_then(Api::of);
        let Some(api) = spoken else {
            return Err(Refusal::Unspoken("cannot send it: no such API".to_owned()));
        };
        let &(min, max) = self.versions.get(&(api.key as i16)).ok_or_else(|| {
            Refusal::Unspoken(format!(
                "cannot ask: {} does not serve {}; use a newer node",
                self.connection.peer(),
                api.name
            ))
        })?;
        let version = max.min(api.max);
        if version < min.max(api.min) {
            let (own_min, own_max) = (api.min, api.max);
            let peer = self.connection.peer();
            return Err(Refusal::Unspoken(format!(
                "cannot ask: {peer} serves {} in versions {min} to {max}, this tool speaks {own_min} to {own_max}; use \
                 tools and nodes of similar age",
                api.name
            )));
        }
        Ok(version)
    }
}

fn unreachable_cluster(cause: &str) -> Failure {
    Failure::unreachable(format!(
        "cannot reach the cluster: {cause}; is it running, and is --bootstrap-server right?"
    ))
}

/// The answer to another request than was asked.
pub fn unexpected() -> Failure {
    Failure::refused(
        "cannot read the answer: it is of another kind than was asked for; is this a Kafka port?",
    )
}

/// The cluster's no to `deed`.
pub fn refused(deed: &str, code: ErrorCode, message: Option<&str>) -> Failure {
    let cause = message.filter(|message| !message.is_empty()).map_or_else(
        || code.name().to_owned(),
        |message| format!("{} ({})", message.trim_end_matches('.'), code.name()),
    );
    Failure::refused(format!("cannot {deed}: {cause}; {}", advice(code)))
}

fn advice(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::UnknownTopicOrPartition => "`kastle topics list` shows what there is",
        ErrorCode::TopicAlreadyExists => "choose another name, or use --if-not-exists",
        ErrorCode::InvalidReplicationFactor => "lower it, or start more brokers",
        ErrorCode::InvalidConfig => "`kastle topics describe --configs` shows keys and values",
        ErrorCode::NotEnoughReplicas | ErrorCode::NotEnoughReplicasAfterAppend => {
            "start the missing brokers, or lower min.insync.replicas"
        }
        ErrorCode::MessageTooLarge => "send less at once, or raise max.message.bytes",
        ErrorCode::GroupIdNotFound => "`kastle groups list` shows what there is",
        ErrorCode::NonEmptyGroup | ErrorCode::UnknownMemberId => "stop its members first",
        ErrorCode::GroupSubscribedToTopic => "stop its members that read it first",
        ErrorCode::OffsetOutOfRange => "begin at an offset that the log still has",
        code if code.is_retriable() => "try again in a moment",
        _ => "correct the request",
    }
}
