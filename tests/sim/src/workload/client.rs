//! One client of the cluster: connections, negotiated versions, and who leads what.
//!
//! It behaves as librdkafka does: it dials bootstrap addresses and what metadata names,
//! asks each new connection for its versions, and asks for metadata again, with a growing
//! pause, when an answer shows that it is out of date. Which of the common versions it
//! speaks is drawn for every connection, so that a few runs speak all of them.
//!
//! It never resends anything by itself: whether a request may be repeated is for its
//! users to know, and what they hear says whether it can have reached a node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use model::LeaderEpoch;
use net::{ConnectError, ConnectOptions, Connection, Network, SendError};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use wire::api::{Api, ApiKey};
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::{
    ApiVersionsRequest, MetadataRequest, MetadataResponse, RequestKind, ResponseKind, WireUuid, text, topic,
};

/// A partition as clients name it.
pub type Key = (String, i32);
/// Where a node listens.
pub type Address = (String, u16);

/// From these versions on topics have ids instead of names.
pub const PRODUCE_IDS_FROM: i16 = 13;
pub const FETCH_IDS_FROM: i16 = 13;
/// What stands on the wire for an epoch that is not known.
pub const NO_EPOCH: LeaderEpoch = LeaderEpoch::new(-1);
/// Metadata older than this is asked for again (librdkafka: five minutes; runs are shorter).
const METADATA_AGE_MAX: Duration = Duration::from_secs(15);
/// The pause before a repeated attempt doubles from the first to the second.
const BACKOFF: (u64, u64) = (50, 1_000);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Bound on an answer: a client of the simulation never asks for more than a few hundred KiB.
const RESPONSE_BYTES_MAX: usize = 8 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// No byte of the request left.
    #[error("not sent: {0}")]
    NotSent(String),
    /// It may have arrived.
    #[error(transparent)]
    Sent(#[from] SendError),
}

impl From<ConnectError> for Failed {
    fn from(error: ConnectError) -> Self {
        Self::NotSent(error.to_string())
    }
}

/// A connection and the version of each API that is spoken on it.
pub struct Link {
    connection: Connection,
    versions: BTreeMap<i16, Spoken>,
}

#[derive(Clone, Copy)]
struct Spoken {
    min: i16,
    max: i16,
    drawn: i16,
}

impl Link {
    /// The version to speak, held to at least and at most; `None` when the node serves none of them.
    pub fn version(&self, api: ApiKey, at_least: i16, at_most: i16) -> Option<i16> {
        let spoken = self.versions.get(&(api as i16))?;
        let (min, max) = (spoken.min.max(at_least), spoken.max.min(at_most));
        (min <= max).then(|| spoken.drawn.clamp(min, max))
    }

    /// The version that was drawn.
    pub fn any_version(&self, api: ApiKey) -> Option<i16> {
        self.version(api, 0, i16::MAX)
    }
}

/// An answer on its way.
pub type Pending = JoinHandle<Result<ResponseKind, SendError>>;

/// Sends at once, in the order of the calls; the answer is awaited later.
pub fn begin(link: &Arc<Link>, version: i16, request: impl Into<RequestKind>, timeout: Duration) -> Pending {
    let (link, request) = (link.clone(), request.into());
    net::task::spawn(async move { link.connection.send(version, request, timeout).await })
}

/// What came of a [`begin`].
pub async fn finish(pending: Pending) -> Result<ResponseKind, Failed> {
    match pending.await {
        Ok(answer) => answer.map_err(|error| match error {
            SendError::Encode(reason) => Failed::NotSent(reason),
            other => Failed::Sent(other),
        }),
        Err(_) => Err(Failed::Sent(SendError::Closed {
            peer: "the node".to_owned(),
            reason: "the run is over".into(),
        })),
    }
}

/// Who leads a partition, as far as a client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Its node.
    pub node: i32,
    /// Its epoch; -1 when the metadata was too old a version to tell.
    pub epoch: i32,
}

#[derive(Default)]
struct TopicView {
    id: WireUuid,
    partitions: BTreeMap<i32, Leader>,
}

/// How a client is made.
pub struct ClientOptions {
    /// Its `client.id`.
    pub name: String,
    /// Its host's network.
    pub network: Arc<dyn Network>,
    /// `bootstrap.servers`.
    pub bootstrap: Vec<Address>,
    /// All its choices follow from it.
    pub seed: u64,
}

/// One client.
pub struct Client {
    /// Its `client.id`.
    pub name: String,
    /// All its choices.
    pub rng: Rng,
    /// `request.timeout.ms`.
    pub request_timeout: Duration,
    network: Arc<dyn Network>,
    connect: ConnectOptions,
    bootstrap: Vec<Address>,
    nodes: BTreeMap<i32, Address>,
    links: BTreeMap<Address, Arc<Link>>,
    topics: BTreeMap<String, TopicView>,
    is_stale: bool,
    refreshed: Option<Instant>,
    failures: u32,
}

impl Client {
    /// A client that knows nobody but its bootstrap list.
    pub fn new(options: ClientOptions) -> Self {
        let mut rng = Rng::with_seed(options.seed);
        let connect = ConnectOptions {
            client_id: options.name.clone(),
            connect_timeout: CONNECT_TIMEOUT,
            response_bytes_max: RESPONSE_BYTES_MAX,
        };
        Self {
            name: options.name,
            request_timeout: Duration::from_millis(rng.u64(2_000..=5_000)),
            rng,
            network: options.network,
            connect,
            bootstrap: options.bootstrap,
            nodes: BTreeMap::new(),
            links: BTreeMap::new(),
            topics: BTreeMap::new(),
            is_stale: true,
            refreshed: None,
            failures: 0,
        }
    }

    /// The nodes that metadata named.
    pub fn nodes(&self) -> Vec<i32> {
        self.nodes.keys().copied().collect()
    }

    /// How many partitions of `topic` metadata named.
    pub fn partitions(&self, topic: &str) -> Vec<i32> {
        self.topics.get(topic).map_or_else(Vec::new, |view| view.partitions.keys().copied().collect())
    }

    /// The topic's id; `None` while only old versions of metadata were read.
    pub fn topic_id(&self, topic: &str) -> Option<WireUuid> {
        self.topics.get(topic).map(|view| view.id).filter(|id| !id.is_nil())
    }

    /// The topic of that id.
    pub fn topic_of(&self, id: WireUuid) -> Option<&str> {
        let found = self.topics.iter().find(|(_, view)| view.id == id && !id.is_nil());
        found.map(|(name, _)| name.as_str())
    }

    /// Who leads the partition, unless nobody is known to.
    pub fn leader(&self, key: &Key) -> Option<Leader> {
        let leader = self.topics.get(&key.0)?.partitions.get(&key.1).copied()?;
        (leader.node >= 0).then_some(leader)
    }

    /// The leader epoch to name in a request of that version, which has a place for it from version
    /// `since` on; `None` where there is none, or it is not known.
    pub fn epoch(&self, key: &Key, version: i16, since: i16) -> Option<LeaderEpoch> {
        self.leader(key).filter(|_| version >= since).and_then(|leader| LeaderEpoch::from_wire(leader.epoch))
    }

    /// An answer named a leader (KIP-951): believed when it is newer.
    pub fn note_leader(&mut self, key: &Key, node: i32, epoch: i32) {
        let is_known = self.nodes.contains_key(&node);
        let known = self.topics.get_mut(&key.0).and_then(|view| view.partitions.get_mut(&key.1));
        if let Some(known) = known.filter(|known| is_known && epoch > known.epoch && known.epoch >= 0) {
            *known = Leader { node, epoch };
        }
    }

    /// What is known is out of date.
    pub fn distrust(&mut self) {
        self.is_stale = true;
    }

    /// Sleeps as long as the `attempt`th repeated attempt should wait: doubling, a fifth more or less.
    pub async fn back_off(&mut self, attempt: u32) {
        let pause = (BACKOFF.0 << attempt.min(10)).min(BACKOFF.1);
        let pause = pause * self.rng.u64(80..=120) / 100;
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    /// Asks for metadata when what is known is out of date; whether it is up to date then.
    pub async fn refresh_if_stale(&mut self) -> bool {
        let is_old = self.refreshed.is_none_or(|at| at.elapsed() > METADATA_AGE_MAX);
        if !self.is_stale && !is_old {
            return true;
        }
        if self.refresh().await {
            self.failures = 0;
            return true;
        }
        self.failures += 1;
        self.back_off(self.failures).await;
        false
    }

    /// Asks one node, drawn from all known, for metadata.
    pub async fn refresh(&mut self) -> bool {
        let address = self.any_address();
        let Ok(link) = self.link(&address).await else { return false };
        let Some(version) = link.any_version(ApiKey::Metadata) else { return false };
        let request = self.metadata_request(version);
        let answer = finish(begin(&link, version, request, self.request_timeout)).await;
        let Ok(ResponseKind::Metadata(response)) = answer else { return false };
        if response.error_code != 0 {
            return false;
        }
        self.take_metadata(&response, version)
    }

    /// Any node that metadata named, or one of the bootstrap list.
    pub fn any_address(&mut self) -> Address {
        let known: Vec<&Address> = self.nodes.values().chain(&self.bootstrap).collect();
        known[self.rng.usize(..known.len())].clone()
    }

    /// A connection to the node.
    pub async fn link_to(&mut self, node: i32) -> Result<Arc<Link>, Failed> {
        let Some(address) = self.nodes.get(&node).cloned() else {
            return Err(Failed::NotSent(format!("node {node} is not in the metadata")));
        };
        self.link(&address).await
    }

    /// Sends to any node and awaits the answer.
    pub async fn ask_any(
        &mut self,
        api: ApiKey,
        request: impl Into<RequestKind>,
    ) -> Result<ResponseKind, Failed> {
        let address = self.any_address();
        let link = self.link(&address).await?;
        let version = link.any_version(api).ok_or_else(|| unserved(api))?;
        finish(begin(&link, version, request, self.request_timeout)).await
    }

    /// A connection to that address, dialled when there is none.
    pub async fn link(&mut self, address: &Address) -> Result<Arc<Link>, Failed> {
        self.links.retain(|_, link| !link.connection.is_closed());
        if let Some(link) = self.links.get(address) {
            return Ok(link.clone());
        }
        let dialled = self.dial(address).await;
        if dialled.is_err() {
            self.is_stale = true;
        }
        let link = Arc::new(dialled?);
        self.links.insert(address.clone(), link.clone());
        Ok(link)
    }

    async fn dial(&mut self, (host, port): &Address) -> Result<Link, Failed> {
        let connection = Connection::connect(&*self.network, host, *port, &self.connect).await?;
        let mut asked = if self.rng.bool() { 4 } else { self.rng.i16(0..=4) };
        loop {
            let request = ApiVersionsRequest::default()
                .with_client_software_name(text(if asked >= 3 { "kastle-sim" } else { "" }))
                .with_client_software_version(text(if asked >= 3 { "1" } else { "" }));
            let answer = connection.send(asked, request, self.request_timeout).await;
            let refused = |error: String| Failed::NotSent(format!("no versions: {error}"));
            let response = match answer.map_err(|error| refused(error.to_string()))? {
                ResponseKind::ApiVersions(response) => response,
                other => return Err(refused(format!("{other:?}"))),
            };
            if response.error_code != 0 && asked > 0 {
                asked = 0;
                continue;
            }
            let offered = response.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version));
            return Ok(Link { connection, versions: draw_versions(&mut self.rng, offered) });
        }
    }

    /// All topics, or sometimes only those that are known.
    fn metadata_request(&mut self, version: i16) -> MetadataRequest {
        let every = MetadataRequest::default().with_topics((version == 0).then(Vec::new));
        if version < 4 {
            // Before version 4 naming a topic could create it.
            return every;
        }
        let every = every.with_allow_auto_topic_creation(false);
        if self.topics.is_empty() || self.rng.u8(..4) > 0 {
            return every;
        }
        let named = |name: &String| MetadataRequestTopic::default().with_name(Some(topic(name)));
        every.with_topics(Some(self.topics.keys().map(named).collect()))
    }

    fn take_metadata(&mut self, response: &MetadataResponse, version: i16) -> bool {
        if response.brokers.is_empty() {
            return false;
        }
        self.nodes = response
            .brokers
            .iter()
            .filter_map(|broker| {
                Some((broker.node_id.0, (broker.host.to_string(), u16::try_from(broker.port).ok()?)))
            })
            .collect();
        let mut before = std::mem::take(&mut self.topics);
        for found in &response.topics {
            let Some(name) = found.name.as_ref().filter(|_| found.error_code == 0) else { continue };
            let mut view = before.remove(name.0.as_str()).unwrap_or_default();
            if version >= 10 && view.id != found.topic_id {
                view = TopicView { id: found.topic_id, ..TopicView::default() };
            }
            for partition in &found.partitions {
                let epoch = if version >= 7 { partition.leader_epoch } else { -1 };
                let leader = Leader { node: partition.leader_id.0, epoch };
                let known = view.partitions.entry(partition.partition_index).or_insert(leader);
                // A node that lags behind may tell of an older leader than another did.
                if leader.epoch < 0 || leader.epoch >= known.epoch {
                    *known = leader;
                }
            }
            self.topics.insert(name.0.to_string(), view);
        }
        self.refreshed = Some(Instant::now());
        self.is_stale = false;
        true
    }
}

/// What a node that does not serve an API is told it is.
fn unserved(api: ApiKey) -> Failed {
    Failed::NotSent(format!("{api:?} is not served in any version that is spoken here"))
}

/// Of what the node offers and we speak, the newest half of the time and any otherwise.
fn draw_versions(rng: &mut Rng, offered: impl Iterator<Item = (i16, i16, i16)>) -> BTreeMap<i16, Spoken> {
    let mut drawn = BTreeMap::new();
    for (key, min, max) in offered {
        let Some(api) = Api::of_number(key) else { continue };
        let (min, max) = (min.max(api.min), max.min(api.max));
        if min <= max {
            let version = if rng.bool() { max } else { rng.i16(min..=max) };
            drawn.insert(key, Spoken { min, max, drawn: version });
        }
    }
    drawn
}
