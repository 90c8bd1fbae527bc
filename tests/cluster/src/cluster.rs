//! Several nodes that form one cluster.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use net::{ConnectOptions, Connection, TcpNetwork};
use wire::messages::{MetadataRequest, MetadataResponse, ResponseKind};

use crate::binary::binary;
use crate::node::Node;

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Combined controller and broker nodes.
    pub nodes: i32,
    /// Further lines for each `server.properties`.
    pub extra: Vec<String>,
}

impl Shape {
    /// So many combined nodes, with Kafka's defaults but for replication: every topic on up to
    /// three nodes, two of which must have a record before `acks=all` is answered.
    pub fn of(nodes: i32) -> Self {
        Self { nodes, extra: Vec::new() }
    }

    /// Adds a line to each `server.properties`; `{id}` in it is the node's.
    pub fn with(mut self, line: &str) -> Self {
        self.extra.push(line.to_owned());
        self
    }
}

/// A cluster; ends with this value.
pub struct Cluster {
    /// Its nodes, by id from 1.
    pub nodes: Vec<Node>,
    shape: Shape,
    id: String,
    dir: tempfile::TempDir,
}

const METADATA_VERSION: i16 = 12;
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);

impl Cluster {
    /// Formats and starts a cluster and waits until every node serves.
    pub fn start(shape: Shape) -> Result<Self> {
        let mut cluster = Self::prepare(shape)?;
        cluster.format()?;
        cluster.spawn_all()?;
        Ok(cluster)
    }

    /// Writes the configuration, no more.
    pub fn prepare(shape: Shape) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let nodes = (1..=shape.nodes).map(|id| Node::new(id, dir.path())).collect::<Result<Vec<_>>>()?;
        let id = run(&["storage", "random-uuid"])?.trim().to_owned();
        let cluster = Self { nodes, shape, id, dir };
        for node in &cluster.nodes {
            fs::write(node.config(), cluster.properties(node))?;
        }
        Ok(cluster)
    }

    /// Formats every node's storage.
    pub fn format(&self) -> Result<()> {
        for node in &self.nodes {
            let config = node.config().to_str().context("a plain path")?;
            run(&["storage", "format", "--cluster-id", &self.id, "--config", config])?;
        }
        Ok(())
    }

    /// Starts every node that does not run, all at once, and waits for them.
    pub fn spawn_all(&mut self) -> Result<()> {
        let mut idle: Vec<&mut Node> = self.nodes.iter_mut().filter(|node| node.pid().is_none()).collect();
        idle.iter_mut().try_for_each(|node| node.spawn())?;
        idle.iter_mut().try_for_each(|node| node.await_serving())
    }

    /// For a client's `bootstrap.servers`.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<String> =
            self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.client_port)).collect();
        addresses.join(",")
    }

    /// The node with that id.
    pub fn node(&mut self, id: i32) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.id == id).expect("ids go from 1 to the number of nodes")
    }

    /// Where node `id` keeps its data.
    pub fn data_dir(&self, id: i32) -> PathBuf {
        self.dir.path().join(format!("data{id}"))
    }

    /// What node `id` says of all topics.
    pub async fn metadata_of(&self, id: i32) -> Result<MetadataResponse> {
        let node = self.nodes.iter().find(|node| node.id == id).context("no such node")?;
        let connection =
            Connection::connect(&TcpNetwork, "127.0.0.1", node.client_port, &ConnectOptions::default())
                .await?;
        metadata(&connection).await
    }

    fn properties(&self, node: &Node) -> String {
        let voters: Vec<String> =
            self.nodes.iter().map(|node| format!("{}@127.0.0.1:{}", node.id, node.controller_port)).collect();
        let replicas = self.shape.nodes.min(3);
        let mut lines = vec![
            "process.roles=broker,controller".to_owned(),
            format!("node.id={}", node.id),
            format!("controller.quorum.voters={}", voters.join(",")),
            format!(
                "listeners=PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:{}",
                node.client_port, node.controller_port
            ),
            "controller.listener.names=CONTROLLER".to_owned(),
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned(),
            format!("log.dirs={}", self.data_dir(node.id).display()),
            format!("default.replication.factor={replicas}"),
            format!("min.insync.replicas={}", (replicas + 1) / 2),
        ];
        lines.extend(self.shape.extra.iter().map(|line| line.replace("{id}", &node.id.to_string())));
        lines.join("\n") + "\n"
    }
}

/// Everything a node says of all topics, over a connection that is kept.
pub async fn metadata(connection: &Connection) -> Result<MetadataResponse> {
    let request = MetadataRequest::default().with_topics(None);
    match connection.send(METADATA_VERSION, request, METADATA_TIMEOUT).await? {
        ResponseKind::Metadata(response) => Ok(response),
        other => bail!("a metadata request was answered with {other:?}"),
    }
}

/// Runs the binary with `arguments`; what it printed.
pub fn run(arguments: &[&str]) -> Result<String> {
    let output = Command::new(binary()?).args(arguments).output()?;
    if !output.status.success() {
        bail!("kastle {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
