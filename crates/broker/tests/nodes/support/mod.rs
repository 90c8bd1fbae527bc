//! A cluster in one process: nodes over pipes and disks in memory, on tokio's paused clock.

pub mod content;
pub mod groups;
pub mod records;
pub mod transactions;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use config::{NodeConfig, Properties};
use kastle_broker::identity::{META_PROPERTIES, MetaProperties};
use kastle_broker::{Node, NodeOptions};
use log::Disk;
use log::disk::{MemDisk, OpenMode, read_file, write_atomically};
use model::{NodeId, Timestamp, Uuid};
use net::pipe::PipeNetwork;
use net::{ConnectOptions, Connection, Network, Stream, Threads, VirtualClock};
use quorum::Blocking;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::LocalSet;
use wire::messages::{DescribeClusterRequest, RequestKind, ResponseKind};

pub const CLUSTER: Uuid = Uuid::from_u128(0x4b41_5354_4c45);
const LONG: Duration = Duration::from_secs(60);

/// Runs a test on one thread, in virtual time.
pub fn run(test: impl Future<Output = ()>) {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .try_init();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
    // On a paused clock a wait in vain would not end, but spin through the years.
    let in_time = async { tokio::time::timeout(Duration::from_secs(600), test).await };
    let in_time = LocalSet::new().block_on(&runtime, in_time);
    in_time.expect("the test waits for something that does not come");
}

/// Nodes 1 to `size`, on hosts `n1`, `n2`...
pub struct Cluster {
    pub network: PipeNetwork,
    /// How many vote; the others are brokers alone.
    voters: i32,
    size: i32,
    disks: BTreeMap<i32, MemDisk>,
    nodes: BTreeMap<i32, Node>,
    dead: Vec<Node>,
    starts: u64,
    /// When the first of them started.
    began: tokio::time::Instant,
    /// Lines added to every node's configuration; `{id}` is the node's.
    extra: &'static str,
}

impl Cluster {
    /// All of them controllers and brokers.
    pub async fn start(size: i32) -> Self {
        Self::start_with(size, size).await
    }

    /// Formats the disks and starts every node; the first `voters` are controllers too.
    pub async fn start_with(voters: i32, size: i32) -> Self {
        Self::start_configured(voters, size, "").await
    }

    /// The same with lines of configuration for every node.
    pub async fn start_configured(voters: i32, size: i32, extra: &'static str) -> Self {
        let network = PipeNetwork::new();
        let mut cluster = Self {
            network,
            voters,
            size,
            disks: BTreeMap::new(),
            nodes: BTreeMap::new(),
            dead: Vec::new(),
            starts: 0,
            began: tokio::time::Instant::now(),
            extra,
        };
        for id in 1..=size {
            cluster.network.host(&format!("n{id}"));
            cluster.disks.insert(id, formatted(id));
        }
        for id in 1..=size {
            cluster.boot(id).await;
        }
        for id in 1..=size {
            cluster.ready(id).await;
        }
        cluster
    }

    /// Starts node `id` on its disk.
    pub async fn boot(&mut self, id: i32) {
        self.try_boot(id).await.unwrap_or_else(|error| panic!("node {id}: {error}"));
    }

    /// The same where it may refuse.
    pub async fn try_boot(&mut self, id: i32) -> Result<(), String> {
        self.starts += 1;
        let options = NodeOptions {
            config: self.config(id),
            disk: Arc::new(self.disks[&id].clone()),
            network: Arc::new(self.network.host(&format!("n{id}"))),
            clock: Arc::new(VirtualClock::starting_at(self.wall())),
            seed: self.starts,
            boot: Some("boot".to_owned()),
            blocking: Blocking::Inline,
            threads: Threads::none(),
        };
        let node = Node::start(options).await.map_err(|error| error.to_string())?;
        self.nodes.insert(id, node);
        Ok(())
    }

    /// What the clocks on the walls say.
    fn wall(&self) -> Timestamp {
        let passed = i64::try_from(self.began.elapsed().as_millis()).expect("a test is short");
        Timestamp::new(1_700_000_000_000 + passed)
    }

    pub async fn ready(&self, id: i32) {
        let ready = tokio::time::timeout(LONG, self.nodes[&id].ready()).await;
        ready
            .unwrap_or_else(|_| panic!("node {id} does not serve"))
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// The next sync on the disk of node `id` fails; why the node gives up then.
    pub async fn fail_next_sync(&self, id: i32) -> String {
        self.disks[&id].fail_next_sync();
        let failed = tokio::time::timeout(LONG, self.nodes[&id].failed()).await;
        failed.unwrap_or_else(|_| panic!("node {id} goes on")).to_string()
    }

    /// The disk of node `id`.
    pub fn disk(&self, id: i32) -> &MemDisk {
        &self.disks[&id]
    }

    /// Stops node `id` in order.
    pub async fn stop(&mut self, id: i32) {
        let node = self.nodes.remove(&id).expect("it runs");
        node.stop().await;
    }

    /// Node `id`'s process dies. What is left of it runs on without a network.
    pub fn kill(&mut self, id: i32) {
        self.network.kill(&format!("n{id}"));
        self.dead.push(self.nodes.remove(&id).expect("it runs"));
    }

    /// Kills node `id`, if it runs. What is left of its process keeps the old disk, so that the next one
    /// finds it as it is at this moment.
    pub fn kill_to_return(&mut self, id: i32) {
        if self.nodes.contains_key(&id) {
            self.kill(id);
        }
        self.insert(id, copied(&self.disks[&id]));
    }

    /// Node `id`, which does not run, gets another disk.
    pub fn insert(&mut self, id: i32, disk: MemDisk) {
        assert!(!self.nodes.contains_key(&id), "its disk is in use");
        self.disks.insert(id, disk);
    }

    /// The node whose controller is active.
    pub async fn controller(&self) -> i32 {
        let network = self.network.host("client");
        let connection = Connection::connect(&network, "n1", 9093, &ConnectOptions::default()).await;
        let connection = connection.unwrap_or_else(|error| panic!("{error}"));
        match connection.send(1, DescribeClusterRequest::default().with_endpoint_type(2), LONG).await {
            Ok(ResponseKind::DescribeCluster(response)) => response.controller_id.0,
            other => panic!("{other:?}"),
        }
    }

    /// Sends `bytes` to a port of node `id`; how many come back before the connection closes.
    pub async fn throw(&self, id: i32, port: u16, bytes: &[u8]) -> usize {
        let stream = self.network.host("client").connect(&format!("n{id}"), port).await;
        let (mut read, mut write) = stream.and_then(Stream::split).unwrap_or_else(|error| panic!("{error}"));
        // It may be closed before all is written.
        let _ = write.write_all(bytes).await;
        let mut got = Vec::new();
        let _ = tokio::time::timeout(LONG, read.read_to_end(&mut got)).await.expect("it closes");
        got.len()
    }

    /// Sends `bytes` to a port of node `id`, waits a moment for whatever comes, and hangs up.
    pub async fn shout(&self, id: i32, port: u16, bytes: &[u8]) {
        let stream = self.network.host("client").connect(&format!("n{id}"), port).await;
        let (mut read, mut write) = stream.and_then(Stream::split).unwrap_or_else(|error| panic!("{error}"));
        let _ = write.write_all(bytes).await;
        let mut got = [0; 4096];
        let _ = tokio::time::timeout(Duration::from_millis(2), read.read(&mut got)).await;
    }

    /// A running node.
    pub fn node(&self, id: i32) -> &Node {
        &self.nodes[&id]
    }

    pub async fn stop_all(mut self) {
        for id in 1..=self.size {
            if self.nodes.contains_key(&id) {
                self.stop(id).await;
            }
        }
    }

    fn config(&self, id: i32) -> NodeConfig {
        let voters: Vec<String> = (1..=self.voters).map(|id| format!("{id}@n{id}:9093")).collect();
        let (roles, listeners) = if id <= self.voters {
            ("broker,controller", format!("PLAINTEXT://n{id}:9092,CONTROLLER://n{id}:9093"))
        } else {
            ("broker", format!("PLAINTEXT://n{id}:9092"))
        };
        let text = format!(
            "process.roles={roles}\nnode.id={id}\nlog.dirs=/data\nlisteners={listeners}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
             controller.quorum.voters={}\n{}",
            voters.join(","),
            self.extra.replace("{id}", &id.to_string())
        );
        let properties = Properties::parse("test.properties", text.as_bytes()).expect("well-formed");
        NodeConfig::from_properties(&properties).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A client's connection to node `id`.
    pub async fn client(&self, id: i32) -> Client {
        let network = self.network.host("client");
        let options = ConnectOptions::default();
        let connection = Connection::connect(&network, &format!("n{id}"), 9092, &options).await;
        Client { connection: connection.unwrap_or_else(|error| panic!("{error}")) }
    }

    /// The same where the node may be gone.
    pub async fn try_client(&self, id: i32) -> Option<Client> {
        let network = self.network.host("client");
        let options = ConnectOptions::default();
        let connection = Connection::connect(&network, &format!("n{id}"), 9092, &options).await.ok()?;
        Some(Client { connection })
    }
}

pub struct Client {
    connection: Connection,
}

impl Client {
    pub async fn ask(&self, version: i16, request: impl Into<RequestKind>) -> ResponseKind {
        let answer = self.connection.send(version, request, LONG).await;
        answer.unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same where the node may be gone.
    pub async fn try_ask(&self, version: i16, request: impl Into<RequestKind>) -> Option<ResponseKind> {
        self.connection.send(version, request, LONG).await.ok()
    }
}

/// A disk with the same files, all of it durable.
pub fn copied(disk: &MemDisk) -> MemDisk {
    let copy = MemDisk::new();
    for (path, len) in disk.files() {
        let dir = path.parent().expect("a file lies in a directory");
        copy.create_dir_all(dir).expect("an empty disk takes directories");
        let bytes = read_file(disk, &path, len).expect("it was just listed");
        let file = copy.open(&path, OpenMode::ReadWrite).expect("there is room");
        file.write_at(&bytes, 0).and_then(|()| file.sync()).expect("there is room");
        copy.sync_dir(dir).expect("no fault");
    }
    copy
}

fn formatted(id: i32) -> MemDisk {
    let disk = MemDisk::new();
    let dir = Path::new("/data");
    disk.create_dir_all(dir).expect("an empty disk takes directories");
    let directory = Uuid::from_u128(1_000 + u128::from(id.unsigned_abs()));
    let meta = MetaProperties { cluster: CLUSTER.into(), node: NodeId::new(id), directory };
    let text = meta.to_text();
    write_atomically(&disk, &dir.join(META_PROPERTIES), text.as_bytes()).expect("there is room");
    disk
}
