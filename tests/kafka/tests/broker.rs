//! A Kafka broker follows our controllers, and copies from our leaders as we do from it.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use cluster::{Cluster, Shape};
use kastle_kafka_tests::Kafka;

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const PRODUCER: &str = "org.apache.kafka.tools.VerifiableProducer";
/// Its node id.
const KAFKA: i32 = 10;
const COPIED_WITHIN: Duration = Duration::from_secs(20);

#[test]
fn a_kafka_broker_holds_replicas_beside_ours() {
    let Some(kafka) = Kafka::find().expect("the jars are where they are said to be") else { return };
    let cluster = Cluster::start(Shape::of(3)).expect("three nodes");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = dir.path().join("kafka.properties");
    fs::write(&config, properties(&cluster, &dir.path().join("data"))).expect("it can be written");
    let _broker = kafka.broker(&config, &cluster_id(&cluster)).expect("our controllers take it in");
    let server = cluster.bootstrap();
    let topic = |arguments: &[&str], expected: &[&str]| {
        let arguments = [&["--bootstrap-server", &server], arguments].concat();
        kafka.check(TOPICS, &arguments, expected).expect("it succeeds")
    };
    // One is led by a node of ours, the other by Kafka's.
    for (name, replicas) in [("ours", "1:10:2"), ("theirs", "10:1:2")] {
        let created = format!("Created topic {name}.");
        topic(&["--create", "--topic", name, "--replica-assignment", replicas], &[&created]);
        let sent = ["--bootstrap-server", &server, "--topic", name, "--max-messages", "5000", "--acks", "-1"];
        kafka.check(PRODUCER, &sent, &["\"sent\":5000,\"acked\":5000"]).expect("its leader takes records");
        let segment = Path::new(&format!("{name}-0")).join("00000000000000000000.log");
        for id in [1, 2] {
            until_same(&dir.path().join("data").join(&segment), &cluster.data_dir(id).join(&segment));
        }
    }
    let described = topic(&["--describe"], &[]);
    for isr in described.lines().filter_map(|line| line.split_once("Isr: ")) {
        let mut ids: Vec<&str> = isr.1.split('\t').next().unwrap_or_default().split(',').collect();
        ids.sort_unstable();
        assert_eq!(ids, ["1", "10", "2"], "{described}");
    }
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
