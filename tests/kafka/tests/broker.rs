//! A Kafka broker follows our controllers, and copies from our leaders as we do from it.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cluster::{Cluster, Shape};
use kastle_kafka_tests::Kafka;

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const PRODUCER: &str = "org.apache.kafka.tools.VerifiableProducer";
const COPIER: &str = "org.apache.kafka.tools.TransactionalMessageCopier";
/// Its node id.
const KAFKA: i32 = 10;
const COPIED_WITHIN: Duration = Duration::from_secs(20);

/// Three nodes of ours, and a Kafka broker beside them.
struct Beside {
    kafka: Kafka,
    cluster: Cluster,
    dir: tempfile::TempDir,
    _broker: kastle_kafka_tests::Broker,
}

impl Beside {
    fn start(kafka: Kafka, cluster: Cluster) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = dir.path().join("kafka.properties");
        fs::write(&config, properties(&cluster, &dir.path().join("data"))).expect("it can be written");
        let broker = kafka.broker(&config, &cluster_id(&cluster)).expect("our controllers take it in");
        Self { kafka, cluster, dir, _broker: broker }
    }

    fn topic(&self, arguments: &[&str], expected: &[&str]) -> String {
        let server = self.cluster.bootstrap();
        let arguments = [&["--bootstrap-server", &server], arguments].concat();
        self.kafka.check(TOPICS, &arguments, expected).expect("it succeeds")
    }

    /// Makes a topic with these replicas, of which Kafka's is one, and writes to it; nodes of ours and Kafka's
    /// have the same bytes then.
    fn fill(&self, name: &str, replicas: &str, ours: &[i32]) {
        let created = format!("Created topic {name}.");
        self.topic(&["--create", "--topic", name, "--replica-assignment", replicas], &[&created]);
        let server = self.cluster.bootstrap();
        let sent = ["--bootstrap-server", &server, "--topic", name, "--max-messages", "5000", "--acks", "-1"];
        let acked = "\"sent\":5000,\"acked\":5000";
        self.kafka.check(PRODUCER, &sent, &[acked]).expect("its leader takes records");
        let segment = Path::new(&format!("{name}-0")).join("00000000000000000000.log");
        for &id in ours {
            until_same(&self.data().join(&segment), &self.cluster.data_dir(id).join(&segment));
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}

#[test]
fn a_kafka_broker_holds_replicas_beside_ours() {
    let Some(kafka) = Kafka::find().expect("Kafka's jars, and Java") else { return };
    let beside = Beside::start(kafka, Cluster::start(Shape::of(3)).expect("three nodes"));
    // One is led by a node of ours, the other by Kafka's.
    beside.fill("ours", "1:10:2", &[1, 2]);
    beside.fill("theirs", "10:1:2", &[1, 2]);
    let described = beside.topic(&["--describe"], &[]);
    for isr in described.lines().filter_map(|line| line.split_once("Isr: ")) {
        let mut ids: Vec<&str> = isr.1.split('\t').next().unwrap_or_default().split(',').collect();
        ids.sort_unstable();
        assert_eq!(ids, ["1", "10", "2"], "{described}");
    }
    // Our coordinator tells Kafka's broker how each transaction ended, or the next one would not begin.
    let server = beside.cluster.bootstrap();
    let told = [
        ["--broker-list", &server],
        ["--input-topic", "ours"],
        ["--input-partition", "0"],
        ["--output-topic", "theirs"],
        ["--max-messages", "1000"],
        ["--consumer-group", "copiers"],
        ["--transactional-id", "copier"],
    ];
    let copied = beside.kafka.check(COPIER, told.as_flattened(), &["\"totalProcessed\":1000"]);
    copied.expect("transactions end where Kafka leads");
}

#[test]
fn a_kafka_broker_begins_with_a_snapshot_and_outlives_its_controller() {
    let Some(kafka) = Kafka::find().expect("Kafka's jars, and Java") else { return };
    let shape = Shape::of(3)
        .with("metadata.log.segment.bytes=8388608")
        .with("metadata.log.max.record.bytes.between.snapshots=1000000")
        .with("metadata.max.retention.bytes=2000000");
    let cluster = Cluster::start(shape).expect("three nodes");
    let log_start = grow_metadata(&cluster);
    let mut beside = Beside::start(kafka, cluster);
    let fetched = checkpoints(&beside.data());
    assert!(
        fetched.last().is_some_and(|end| *end >= log_start),
        "{fetched:?}: the log begins at {log_start}"
    );
    let controller = active_controller(&beside.cluster);
    beside.cluster.node(controller).kill().expect("it ran");
    let others: Vec<i32> = (1..=3).filter(|&id| id != controller).collect();
    beside.fill("after", &format!("10:{}:{}", others[0], others[1]), &others);
}

/// Writes so much metadata that the log's first segment goes. Answers where the log begins then.
fn grow_metadata(cluster: &Cluster) -> i64 {
    let server = cluster.bootstrap();
    kastle(&["topics", "create", "--bootstrap-server", &server, "large", "--partitions", "1"]);
    let deadline = Instant::now() + Duration::from_secs(120);
    for round in 0.. {
        let replicas: Vec<String> = (0..4_000).map(|at| format!("{at}:{}", round % 10)).collect();
        let config = format!("follower.replication.throttled.replicas={}", replicas.join(","));
        kastle(&["topics", "alter", "--bootstrap-server", &server, "large", "--set", &config]);
        let start = (1..=3).map(|id| log_start(&cluster.data_dir(id))).min().expect("three nodes");
        if start > 0 {
            return start;
        }
        assert!(Instant::now() < deadline, "the metadata log still begins at 0 after {round} changes");
    }
    unreachable!("the loop ends by itself")
}

fn kastle(arguments: &[&str]) {
    cluster::run(arguments).unwrap_or_else(|error| panic!("{:?}: {error:#}", &arguments[..2]));
}

/// The base offset of the oldest file of a node's metadata log.
fn log_start(data: &Path) -> i64 {
    offsets(data, ".log").first().copied().unwrap_or(0)
}

/// Where the metadata snapshots that a broker has end, but for the one that formatting left.
fn checkpoints(data: &Path) -> Vec<i64> {
    offsets(data, ".checkpoint").into_iter().filter(|end| *end > 0).collect()
}

/// The numbers that the names of the metadata log's files begin with, in order.
fn offsets(data: &Path, extension: &str) -> Vec<i64> {
    let entries = fs::read_dir(data.join("__cluster_metadata-0")).expect("a directory of metadata");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut found: Vec<i64> = names
        .filter(|name| name.ends_with(extension))
        .filter_map(|name| name.get(..20)?.parse().ok())
        .collect();
    found.sort_unstable();
    found
}

fn active_controller(cluster: &Cluster) -> i32 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let metadata = runtime.block_on(cluster.metadata_of(1)).expect("node 1 serves");
    metadata.controller_id.0
}

/// Whatever was acknowledged is in sync, the last byte may still be on its way.
fn until_same(theirs: &Path, ours: &Path) {
    let deadline = Instant::now() + COPIED_WITHIN;
    loop {
        let (theirs, ours) = (fs::read(theirs).unwrap_or_default(), fs::read(ours).unwrap_or_default());
        if !theirs.is_empty() && theirs == ours {
            return;
        }
        assert!(Instant::now() < deadline, "{} bytes there, {} here", theirs.len(), ours.len());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn properties(cluster: &Cluster, data: &Path) -> String {
    let voters: Vec<String> =
        cluster.nodes.iter().map(|node| format!("{}@127.0.0.1:{}", node.id, node.controller_port)).collect();
    let free =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let lines = [
        "process.roles=broker".to_owned(),
        format!("node.id={KAFKA}"),
        format!("controller.quorum.voters={}", voters.join(",")),
        format!("listeners=PLAINTEXT://{free}"),
        "controller.listener.names=CONTROLLER".to_owned(),
        "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned(),
        format!("log.dirs={}", data.display()),
    ];
    lines.join("\n") + "\n"
}

fn cluster_id(cluster: &Cluster) -> String {
    let written = fs::read_to_string(cluster.data_dir(1).join("meta.properties")).expect("it was formatted");
    let id = written.lines().find_map(|line| line.strip_prefix("cluster.id=")).expect("the cluster's id");
    id.to_owned()
}
