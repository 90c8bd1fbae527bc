//! A node's configuration: `server.properties`, typed and checked.
//!
//! Everything that is wrong is reported together. What is merely odd (an unknown key, a
//! key that means nothing here) is a warning: a file that Kafka starts with starts here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use model::NodeId;

use crate::groups::{self, GroupsConfig, TransactionLogConfig, TransactionsConfig};
use crate::key::Scope;
use crate::layers::Overrides;
use crate::listener::{self, Listener, Protocol};
use crate::problem::ConfigErrors;
use crate::properties::{Entry, Properties};
use crate::quorum::{self, QuorumConfig};
use crate::reader::{Reader, place_of};
use crate::selector::{self, ReplicaSelector};
use crate::table;

/// `process.roles`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roles {
    /// Hosts partitions.
    Broker,
    /// Votes on metadata.
    Controller,
    /// Does both.
    Both,
}

impl Roles {
    /// Whether the node hosts partitions.
    pub fn is_broker(self) -> bool {
        self != Self::Controller
    }

    /// Whether the node votes on metadata.
    pub fn is_controller(self) -> bool {
        self != Self::Broker
    }
}

/// A node's configuration.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// `node.id`.
    pub node_id: NodeId,
    /// `process.roles`.
    pub roles: Roles,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// `log.dirs`, else `log.dir`.
    pub log_dirs: Vec<PathBuf>,
    /// `metadata.log.dir`, else the first of [`Self::log_dirs`].
    pub metadata_log_dir: PathBuf,
    /// `listeners`: everything that is listened on, the controllers' included.
    pub listeners: Vec<Listener>,
    /// What is told to clients and brokers.
    pub advertised: Vec<Listener>,
    /// What is told to other controllers.
    pub advertised_controllers: Vec<Listener>,
    /// `controller.listener.names`, in capitals; brokers dial the first.
    pub controller_listener_names: Vec<String>,
    /// How the controllers' first listener is protected.
    pub controller_protocol: Protocol,
    /// The listener on which brokers talk to each other.
    pub inter_broker_listener: String,
    /// The metadata quorum.
    pub quorum: QuorumConfig,
    /// Broker sessions.
    pub session: SessionConfig,
    /// What a new topic gets.
    pub topics: TopicDefaults,
    /// Replication.
    pub replication: ReplicationConfig,
    /// Connections and frames.
    pub network: NetworkConfig,
    /// Upkeep of the logs.
    pub log: LogConfig,
    /// Groups and their offsets.
    pub groups: GroupsConfig,
    /// The log of transactions.
    pub transaction_log: TransactionLogConfig,
    /// Transactions.
    pub transactions: TransactionsConfig,
    /// Every entry of the file, as given: the static layer of [`crate::Layers`].
    pub file: Overrides,
    /// What is odd about the file, a line each: unknown keys with the nearest known one, ZooKeeper's
    /// keys, and one line with all keys that mean nothing here.
    pub warnings: Vec<String>,
}

/// How brokers and controllers tell that the other lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// `broker.heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
    /// `broker.session.timeout.ms`.
    pub timeout: Duration,
    /// `initial.broker.registration.timeout.ms`.
    pub registration_timeout: Duration,
    /// `controlled.shutdown.enable`.
    pub controlled_shutdown: bool,
}

/// What a new topic gets where its creator says nothing, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDefaults {
    /// `num.partitions`.
    pub partitions: u32,
    /// `default.replication.factor`; at most 32,767, for the wire has 16 bits.
    pub replication_factor: u16,
    /// `min.insync.replicas`.
    pub min_insync_replicas: u32,
    /// `auto.create.topics.enable`.
    pub auto_create: bool,
    /// `delete.topic.enable`.
    pub may_delete: bool,
}

/// How followers keep up and who may lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicationConfig {
    /// `replica.lag.time.max.ms`.
    pub lag_time_max: Duration,
    /// `replica.fetch.wait.max.ms`.
    pub fetch_wait_max: Duration,
    /// `replica.fetch.min.bytes`.
    pub fetch_bytes_min: u32,
    /// `replica.fetch.max.bytes`.
    pub fetch_bytes_max: u32,
    /// `replica.fetch.response.max.bytes`.
    pub fetch_response_bytes_max: u32,
    /// `replica.fetch.backoff.ms`.
    pub fetch_backoff: Duration,
    /// `replica.socket.timeout.ms`.
    pub socket_timeout: Duration,
    /// `replica.high.watermark.checkpoint.interval.ms`.
    pub high_watermark_checkpoint_interval: Duration,
    /// `num.replica.fetchers`.
    pub fetchers: u32,
    /// `replica.selector.class`.
    pub selector: ReplicaSelector,
    /// `auto.leader.rebalance.enable`.
    pub auto_rebalance: bool,
    /// `leader.imbalance.check.interval.seconds`.
    pub imbalance_check_interval: Duration,
    /// `unclean.leader.election.interval.ms`.
    pub unclean_election_interval: Duration,
}

/// How much is taken from whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    /// `socket.request.max.bytes`.
    pub request_bytes_max: u32,
    /// `max.connections`.
    pub connections_max: u32,
    /// `max.connections.per.ip`.
    pub connections_per_address_max: u32,
    /// `max.connections.per.ip.overrides`, by host.
    pub connections_per_address_overrides: BTreeMap<String, u32>,
    /// `connections.max.idle.ms`; `None` for no limit.
    pub idle_max: Option<Duration>,
    /// `request.timeout.ms`.
    pub request_timeout: Duration,
    /// `fetch.max.bytes`.
    pub fetch_bytes_max: u32,
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_sessions_max: u32,
    /// `max.request.partition.size.limit`.
    pub described_partitions_max: u32,
}

/// Upkeep of the logs; what a single topic may override is in [`crate::TopicConfig`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `num.recovery.threads.per.data.dir`.
    pub recovery_threads: u32,
    /// `log.retention.check.interval.ms`.
    pub retention_check_interval: Duration,
    /// `log.flush.offset.checkpoint.interval.ms`.
    pub recovery_point_checkpoint_interval: Duration,
    /// `log.flush.start.offset.checkpoint.interval.ms`.
    pub start_offset_checkpoint_interval: Duration,
    /// `log.flush.scheduler.interval.ms`.
    pub flush_check_interval: Duration,
    /// `log.dir.failure.timeout.ms`.
    pub dir_failure_timeout: Duration,
    /// `log.dir.reserve.bytes`; -1 where it depends on the disk.
    pub reserve_bytes: i64,
    /// `producer.id.expiration.ms`.
    pub producer_expiration: Duration,
    /// `producer.id.expiration.check.interval.ms`.
    pub producer_expiration_check_interval: Duration,
}

impl NodeConfig {
    /// Makes a file typed, or says everything that is wrong with it.
    pub fn from_properties(properties: &Properties) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(properties);
        let reader_mut = &mut reader;
        let roles = read_roles(reader_mut);
        let node_id = read_node_id(reader_mut);
        reader_mut.require(
            "controller.listener.names",
            "set it to the controllers' listener, for example CONTROLLER",
        );
        let listeners = listener::read(reader_mut, roles);
        let quorum = quorum::read(reader_mut, roles, node_id);
        let log_dirs = read_log_dirs(reader_mut);
        let metadata_log_dir = reader_mut.text("metadata.log.dir").map(PathBuf::from);
        let network = read_network(reader_mut);
        let replication = read_replication(reader_mut);
        let groups = groups::read(reader_mut);
        check_retention(reader_mut);
        crate::cleaner::check(reader_mut);
        refuse_missing_features(reader_mut);
        let config = Self {
            node_id,
            roles,
            rack: reader.text("broker.rack"),
            metadata_log_dir: metadata_log_dir.or_else(|| log_dirs.first().cloned()).unwrap_or_default(),
            log_dirs,
            listeners: listeners.all,
            advertised: listeners.advertised,
            advertised_controllers: listeners.advertised_controllers,
            controller_listener_names: listeners.controller_names,
            controller_protocol: listeners.controller_protocol,
            inter_broker_listener: listeners.inter_broker,
            quorum,
            session: read_session(&reader),
            topics: read_topics(&reader),
            replication,
            network,
            log: read_log(&reader),
            groups,
            transaction_log: groups::read_transaction_log(&reader),
            transactions: groups::read_transactions(&reader),
            file: with_both_ids(properties.to_overrides(), node_id),
            warnings: warnings(properties),
        };
        let problems = reader.into_problems();
        if problems.is_empty() { Ok(config) } else { Err(ConfigErrors(problems)) }
    }

    /// The listeners for clients and brokers.
    pub fn broker_listeners(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.iter().filter(|listener| !self.is_controllers(listener))
    }

    /// The listeners for controllers, and for brokers that look for one.
    pub fn controller_listeners(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.iter().filter(|listener| self.is_controllers(listener))
    }

    /// Puts this machine's name where a listener is advertised without a host.
    pub fn name_host(&mut self, host: &str) {
        for listener in self.advertised.iter_mut().chain(&mut self.advertised_controllers) {
            if listener.host.is_empty() {
                host.clone_into(&mut listener.host);
            }
        }
    }

    /// All directories, the metadata log's included, each once.
    pub fn all_dirs(&self) -> Vec<PathBuf> {
        let mut dirs = self.log_dirs.clone();
        if !dirs.contains(&self.metadata_log_dir) {
            dirs.push(self.metadata_log_dir.clone());
        }
        dirs
    }

    fn is_controllers(&self, listener: &Listener) -> bool {
        self.controller_listener_names.contains(&listener.name)
    }
}

fn read_roles(reader: &mut Reader<'_>) -> Roles {
    let advice = if reader.is_set("zookeeper.connect") {
        "this file is of a broker that runs on ZooKeeper: set process.roles=broker,controller, node.id and the \
         controller.* keys, for Kastle coordinates itself"
    } else {
        "set it to broker, to controller or to broker,controller"
    };
    reader.require("process.roles", advice);
    let roles = reader.list("process.roles");
    let plays = |role: &str| roles.iter().any(|name| name == role);
    match (plays("broker"), plays("controller")) {
        (true, false) => Roles::Broker,
        (false, true) => Roles::Controller,
        _ => Roles::Both,
    }
}

/// The node's id has two keys, and what is described shows both whichever was set.
fn with_both_ids(mut file: Overrides, node: NodeId) -> Overrides {
    for key in ["broker.id", "node.id"] {
        file.entry(key.to_owned()).or_insert_with(|| node.to_string());
    }
    file
}

fn read_node_id(reader: &mut Reader<'_>) -> NodeId {
    let of_broker = reader.number("broker.id").filter(|id| *id >= 0);
    if !reader.is_set("broker.id") || of_broker.is_none() {
        reader.require("node.id", "set it to a whole number that no other node of the cluster has");
    }
    let of_node = reader.number("node.id");
    if let (Some(node), Some(broker)) = (of_node, of_broker)
        && node != broker
    {
        let expected = "You must set `node.id` to the same value as `broker.id`.";
        reader.problem("broker.id", expected, "remove broker.id");
    }
    let id = of_node.or(of_broker).and_then(|id| i32::try_from(id).ok());
    NodeId::new(id.unwrap_or_default())
}

fn read_log_dirs(reader: &mut Reader<'_>) -> Vec<PathBuf> {
    let named = reader.list("log.dirs");
    let named = if named.is_empty() { reader.list("log.dir") } else { named };
    named.into_iter().map(PathBuf::from).collect()
}

fn read_session(reader: &Reader<'_>) -> SessionConfig {
    SessionConfig {
        heartbeat_interval: reader.millis("broker.heartbeat.interval.ms"),
        timeout: reader.millis("broker.session.timeout.ms"),
        registration_timeout: reader.millis("initial.broker.registration.timeout.ms"),
        controlled_shutdown: reader.flag("controlled.shutdown.enable"),
    }
}

fn read_topics(reader: &Reader<'_>) -> TopicDefaults {
    let factor = reader.small("default.replication.factor").min(i16::MAX as u32);
    TopicDefaults {
        partitions: reader.small("num.partitions"),
        replication_factor: u16::try_from(factor).expect("bounded above"),
        min_insync_replicas: reader.small("min.insync.replicas"),
        auto_create: reader.flag("auto.create.topics.enable"),
        may_delete: reader.flag("delete.topic.enable"),
    }
}

fn read_replication(reader: &mut Reader<'_>) -> ReplicationConfig {
    let selector = selector::read(reader);
    let config = ReplicationConfig {
        lag_time_max: reader.millis("replica.lag.time.max.ms"),
        fetch_wait_max: reader.millis("replica.fetch.wait.max.ms"),
        fetch_bytes_min: reader.small("replica.fetch.min.bytes"),
        fetch_bytes_max: reader.small("replica.fetch.max.bytes"),
        fetch_response_bytes_max: reader.small("replica.fetch.response.max.bytes"),
        fetch_backoff: reader.millis("replica.fetch.backoff.ms"),
        socket_timeout: reader.millis("replica.socket.timeout.ms"),
        high_watermark_checkpoint_interval: reader.millis("replica.high.watermark.checkpoint.interval.ms"),
        fetchers: reader.small("num.replica.fetchers"),
        selector,
        auto_rebalance: reader.flag("auto.leader.rebalance.enable"),
        imbalance_check_interval: Duration::from_secs(
            reader.count("leader.imbalance.check.interval.seconds"),
        ),
        unclean_election_interval: reader.millis("unclean.leader.election.interval.ms"),
    };
    if config.fetch_wait_max > config.socket_timeout {
        let expected = "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent \
                        unnecessary socket timeouts";
        reader.problem("replica.socket.timeout.ms", expected, "raise it, or lower replica.fetch.wait.max.ms");
    }
    if config.fetch_wait_max > config.lag_time_max {
        let expected = "replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to \
                        prevent frequent changes in ISR";
        reader.problem("replica.fetch.wait.max.ms", expected, "lower it, or raise replica.lag.time.max.ms");
    }
    config
}

fn read_network(reader: &mut Reader<'_>) -> NetworkConfig {
    const PER_IP: &str = "max.connections.per.ip";
    let overrides = read_overrides(reader);
    if reader.number(PER_IP) == Some(0) && overrides.is_empty() {
        let expected = "max.connections.per.ip can be set to zero only if max.connections.per.ip.overrides property is set.";
        reader.problem(PER_IP, expected, "raise it, or name the hosts that may connect");
    }
    NetworkConfig {
        request_bytes_max: reader.small("socket.request.max.bytes"),
        connections_max: reader.small("max.connections"),
        connections_per_address_max: reader.small(PER_IP),
        connections_per_address_overrides: overrides,
        idle_max: reader
            .number("connections.max.idle.ms")
            .and_then(|millis| u64::try_from(millis).ok())
            .map(Duration::from_millis),
        request_timeout: reader.millis("request.timeout.ms"),
        fetch_bytes_max: reader.small("fetch.max.bytes"),
        fetch_sessions_max: reader.small("max.incremental.fetch.session.cache.slots"),
        described_partitions_max: reader.small("max.request.partition.size.limit"),
    }
}

fn read_overrides(reader: &mut Reader<'_>) -> BTreeMap<String, u32> {
    const KEY: &str = "max.connections.per.ip.overrides";
    let text = reader.text(KEY).unwrap_or_default();
    let mut overrides = BTreeMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let parsed = pair.rsplit_once(':').and_then(|(host, count)| Some((host, count.trim().parse().ok()?)));
        match parsed {
            Some((host, count)) => {
                overrides.insert(host.trim().to_owned(), count);
            }
            None => reader.problem(
                KEY,
                format!("'{pair}' is no HOST:COUNT pair"),
                "write for example 10.0.0.1:50",
            ),
        }
    }
    overrides
}

fn read_log(reader: &Reader<'_>) -> LogConfig {
    LogConfig {
        recovery_threads: reader.small("num.recovery.threads.per.data.dir"),
        retention_check_interval: reader.millis("log.retention.check.interval.ms"),
        recovery_point_checkpoint_interval: reader.millis("log.flush.offset.checkpoint.interval.ms"),
        start_offset_checkpoint_interval: reader.millis("log.flush.start.offset.checkpoint.interval.ms"),
        flush_check_interval: reader.millis("log.flush.scheduler.interval.ms"),
        dir_failure_timeout: reader.millis("log.dir.failure.timeout.ms"),
        reserve_bytes: reader.number("log.dir.reserve.bytes").unwrap_or(-1),
        producer_expiration: reader.millis("producer.id.expiration.ms"),
        producer_expiration_check_interval: reader.millis("producer.id.expiration.check.interval.ms"),
    }
}

/// Kafka refuses a retention of nothing: it would delete what was just written.
fn check_retention(reader: &mut Reader<'_>) {
    for key in ["log.retention.ms", "log.retention.minutes", "log.retention.hours"] {
        if reader.is_set(key) && reader.number(key) == Some(0) {
            let expected = "log.retention.ms must be unlimited (-1) or, greater than or equal to 1";
            reader.problem(key, expected, "set -1 to keep everything");
            return;
        }
    }
}

/// Keys that change what is safe or where data lives: to ignore them in silence would do harm.
fn refuse_missing_features(reader: &mut Reader<'_>) {
    if reader.text("authorizer.class.name").is_some() {
        let expected = "Kastle has no access control yet, and would let everybody do what this file forbids";
        reader.problem("authorizer.class.name", expected, "remove it to start without access control");
    }
    if !reader.list("config.providers").is_empty() {
        let expected = "Kastle does not read values through config providers";
        reader.problem("config.providers", expected, "remove it and write the values into the file");
    }
    if reader.flag("remote.log.storage.system.enable") {
        let expected = "Kastle has no tiered storage yet";
        reader.problem("remote.log.storage.system.enable", expected, "set it to false");
    }
}

/// Prefixes of keys whose rest is a plugin's or a listener's business.
const OPEN_PREFIXES: [&str; 4] = ["listener.name.", "config.providers.", "rlmm.config.", "rsm.config."];

/// Keys of brokers that ran on ZooKeeper, which Kafka 4 dropped.
fn is_zookeepers(key: &str) -> bool {
    key.starts_with("zookeeper.")
        || matches!(
            key,
            "broker.id.generation.enable"
                | "reserved.broker.max.id"
                | "control.plane.listener.name"
                | "inter.broker.protocol.version"
                | "log.message.format.version"
                | "controlled.shutdown.max.retries"
                | "controlled.shutdown.retry.backoff.ms"
        )
}

fn warnings(properties: &Properties) -> Vec<String> {
    let mut warnings = Vec::new();
    let (mut idle, mut zookeepers) = (Vec::new(), Vec::new());
    for entry in properties.iter() {
        match table::find(Scope::Broker, &entry.key) {
            Some(key) if key.kept => {}
            Some(_) => idle.push(entry.key.as_str()),
            None if is_zookeepers(&entry.key) => zookeepers.push(entry.key.as_str()),
            None if OPEN_PREFIXES.iter().any(|prefix| entry.key.starts_with(prefix)) => {
                idle.push(entry.key.as_str());
            }
            None => warnings.push(unknown(entry)),
        }
    }
    if !zookeepers.is_empty() {
        let keys = zookeepers.join(", ");
        warnings.push(format!("ignored, for they belong to ZooKeeper mode, which Kafka 4 dropped: {keys}"));
    }
    if !idle.is_empty() {
        warnings.push(format!("accepted, but without effect in Kastle: {}", idle.join(", ")));
    }
    warnings
}

fn unknown(entry: &Entry) -> String {
    let meant = table::nearest(Scope::Broker, &entry.key)
        .map_or_else(String::new, |key| format!("; did you mean {}?", key.name));
    format!("{}: unknown key {}{meant}", place_of(entry), entry.key)
}
