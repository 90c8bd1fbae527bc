//! Nodes of one kind that form a cluster, on ports and in directories of their own.
//!
//! Both brokers get the same `server.properties`: Kafka's defaults but for
//! replication, and for a short delay before deleted files go, so that one
//! scenario's pages are not written back under the next.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::client::{Client, NewTopic};
use crate::server::process::Process;
use crate::server::{Kind, Software};

/// A node may replay and recover for so long before it serves.
const START_MAX: Duration = Duration::from_secs(180);
/// Deleted topics' files are gone after that.
const DELETE_MAX: Duration = Duration::from_secs(30);
const POLL_PAUSE: Duration = Duration::from_millis(2);

/// A node of a cluster.
pub struct Node {
    /// `node.id`.
    pub id: i32,
    /// Where clients connect.
    pub port: u16,
    /// Where its data are.
    pub data: PathBuf,
    controller_port: u16,
    config: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

/// A cluster; ends with this value.
pub struct Cluster<'a> {
    /// What it runs.
    pub kind: Kind,
    /// Its nodes, by id from 1.
    pub nodes: Vec<Node>,
    software: &'a Software,
    _dir: tempfile::TempDir,
}

impl Node {
    fn new(id: i32, dir: &Path) -> Result<Self> {
        Ok(Self {
            id,
            port: free_port()?,
            data: dir.join(format!("data{id}")),
            controller_port: free_port()?,
            config: dir.join(format!("node{id}.properties")),
            log: dir.join(format!("node{id}.log")),
            process: None,
        })
    }

    /// Its process.
    pub fn process(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("the node does not run")
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("the node does not run")?.kill()
    }

    /// SIGTERM and the wait for the end.
    pub fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the node does not run")?;
        process.ask_to_stop()?;
        process.await_end()
    }
}

impl<'a> Cluster<'a> {
    /// Formats and starts a cluster in a directory of its own under `dir` and waits until it serves.
    pub fn start(software: &'a Software, kind: Kind, nodes: i32, dir: &Path) -> Result<Self> {
        let dir = tempfile::tempdir_in(dir)?;
        let nodes = (1..=nodes).map(|id| Node::new(id, dir.path())).collect::<Result<Vec<_>>>()?;
        let mut cluster = Self { kind, nodes, software, _dir: dir };
        for node in &cluster.nodes {
            fs::create_dir_all(&node.data)?;
            fs::write(&node.config, cluster.properties(node))?;
            software.format(kind, &node.config)?;
        }
        for id in 1..=cluster.nodes.len() {
            cluster.spawn(i32::try_from(id)?)?;
        }
        cluster.await_serving()?;
        Ok(cluster)
    }

    fn properties(&self, node: &Node) -> String {
        let voters: Vec<String> =
            self.nodes.iter().map(|node| format!("{}@127.0.0.1:{}", node.id, node.controller_port)).collect();
        let replicas = self.nodes.len().min(3);
        let in_sync = replicas.div_ceil(2);
        let (id, port, controller, data) = (node.id, node.port, node.controller_port, node.data.display());
        let lines = [
            "process.roles=broker,controller".to_owned(),
            format!("node.id={id}"),
            format!("controller.quorum.voters={}", voters.join(",")),
            format!("listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"),
            "controller.listener.names=CONTROLLER".to_owned(),
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned(),
            format!("log.dirs={data}"),
            format!("default.replication.factor={replicas}"),
            format!("min.insync.replicas={in_sync}"),
            format!("offsets.topic.replication.factor={replicas}"),
            format!("transaction.state.log.replication.factor={replicas}"),
            format!("transaction.state.log.min.isr={in_sync}"),
            "log.segment.delete.delay.ms=1000".to_owned(),
            // Members of a large group speak up twice a second: the servers are measured, not the silence.
            "group.consumer.min.heartbeat.interval.ms=500".to_owned(),
            "group.consumer.heartbeat.interval.ms=500".to_owned(),
        ];
        lines.join("\n") + "\n"
    }

    /// The node with that id.
    pub fn node(&mut self, id: i32) -> Result<&mut Node> {
        self.nodes.iter_mut().find(|node| node.id == id).with_context(|| format!("there is no node {id}"))
    }

    /// Starts a node that does not run, without waiting.
    pub fn spawn(&mut self, id: i32) -> Result<()> {
        let (software, kind) = (self.software, self.kind);
        let node = self.node(id)?;
        let command = software.node(kind, &node.config, node.port, &node.data);
        node.process = Some(Process::spawn(command, node.log.clone())?);
        Ok(())
    }

    /// Waits until every node that runs knows of all of them.
    pub fn await_serving(&mut self) -> Result<()> {
        let kind = self.kind;
        let brokers = self.nodes.iter().filter(|node| node.process.is_some()).count();
        let deadline = Instant::now() + START_MAX;
        for node in self.nodes.iter_mut().filter(|node| node.process.is_some()) {
            let (id, port) = (node.id, node.port);
            let process = node.process()?;
            while !serves(kind, port, brokers) {
                process.check()?;
                let is_early = Instant::now() < deadline;
                ensure!(is_early, "node {id} does not serve after {START_MAX:?}:\n{}", process.log_end());
                std::thread::sleep(POLL_PAUSE);
            }
        }
        Ok(())
    }

    /// A connection to the first node that runs.
    pub fn client(&self) -> Result<Client> {
        let node = self.nodes.iter().find(|node| node.process.is_some()).context("no node runs")?;
        Client::connect(node.port)
    }

    /// Creates a topic and waits until it has leaders; the port of each partition's leader.
    pub fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        configs: &[(&'static str, &'static str)],
    ) -> Result<Vec<u16>> {
        let count = usize::try_from(partitions)?;
        if self.kind == Kind::Floor {
            return Ok(vec![self.nodes[0].port; count]);
        }
        let mut client = self.client()?;
        client.create(&[NewTopic { name: name.to_owned(), partitions, configs: configs.to_vec() }])?;
        let metadata = client.await_leaders(Some(name), count)?;
        let mut ports = vec![0; count];
        for partition in metadata.topics.iter().flat_map(|topic| &topic.partitions) {
            let leader = self.nodes.iter().find(|node| node.id == partition.leader_id.0);
            let place = ports.get_mut(usize::try_from(partition.partition_index)?);
            *place.context("a partition too many")? = leader.context("a leader that is no node")?.port;
        }
        self.nodes.iter().try_for_each(|node| await_served(node.port, name, &ports))?;
        Ok(ports)
    }

    /// Deletes a topic and waits until its files are gone.
    pub fn delete_topic(&mut self, name: &str) -> Result<()> {
        if self.kind == Kind::Floor {
            return self.empty_floor();
        }
        self.client()?.delete(name)?;
        let begun = Instant::now();
        let is_its =
            |file: &str| file.starts_with(&format!("{name}-")) || file.starts_with(&format!("{name}."));
        for node in &self.nodes {
            while fs::read_dir(&node.data)?
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .any(|file| is_its(&file))
            {
                ensure!(
                    begun.elapsed() < DELETE_MAX,
                    "{name} is on disk {DELETE_MAX:?} after it was deleted"
                );
                std::thread::sleep(POLL_PAUSE);
            }
        }
        Ok(())
    }

    /// The floor deletes nothing: it starts anew.
    fn empty_floor(&mut self) -> Result<()> {
        self.node(1)?.kill()?;
        let data = self.node(1)?.data.clone();
        fs::remove_dir_all(&data)?;
        fs::create_dir_all(&data)?;
        self.spawn(1)?;
        self.await_serving()
    }

    /// Processor time of all nodes that run.
    pub fn cpu_seconds(&self) -> Result<f64> {
        self.nodes.iter().filter_map(|node| node.process.as_ref()).map(Process::cpu_seconds).sum()
    }

    /// Resident memory of all nodes that run.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.nodes.iter().filter_map(|node| node.process.as_ref()).map(Process::resident_bytes).sum()
    }

    /// What all nodes that run read from disks.
    pub fn disk_read_bytes(&self) -> u64 {
        self.nodes.iter().filter_map(|node| node.process.as_ref()).map(Process::disk_read_bytes).sum()
    }
}

/// Waits until the node at `port` serves what it leads: metadata may tell of a leader before it is one.
fn await_served(port: u16, name: &str, leaders: &[u16]) -> Result<()> {
    let led = (0..).zip(leaders).filter(|&(_, &leader)| leader == port).map(|(index, _)| index);
    let led: Vec<i32> = led.collect();
    let mut client = Client::connect(port)?;
    let begun = Instant::now();
    while !led.is_empty() && !client.serves(name, &led)? {
        ensure!(begun.elapsed() < START_MAX, "the leaders of {name} do not serve after {START_MAX:?}");
        std::thread::sleep(POLL_PAUSE);
    }
    Ok(())
}

fn serves(kind: Kind, port: u16, brokers: usize) -> bool {
    if kind == Kind::Floor {
        return TcpStream::connect(("127.0.0.1", port)).is_ok();
    }
    let metadata = Client::connect(port).and_then(|mut client| client.metadata(Some("nothing")));
    metadata.is_ok_and(|metadata| metadata.brokers.len() == brokers)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
