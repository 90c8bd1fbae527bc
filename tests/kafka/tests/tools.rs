//! Kafka's tools administer, write, read, and dump what was written.

use std::fs;
use std::path::Path;

use cluster::{Cluster, Shape};
use kastle_kafka_tests::Kafka;

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";
const QUORUM: &str = "org.apache.kafka.tools.MetadataQuorumCommand";
const FEATURES: &str = "org.apache.kafka.tools.FeatureCommand";
const CLUSTER: &str = "org.apache.kafka.tools.ClusterTool";
const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
const PRODUCER: &str = "org.apache.kafka.tools.VerifiableProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const DUMP: &str = "org.apache.kafka.tools.DumpLogSegments";

fn three_nodes() -> Option<(Kafka, Cluster)> {
    let kafka = Kafka::find().expect("Kafka's jars, and Java")?;
    Some((kafka, Cluster::start(Shape::of(3)).expect("three nodes")))
}

/// One tool at one address, with arguments that are written in a row.
fn check(kafka: &Kafka, class: &str, server: &str, arguments: &str, expected: &[&str]) -> String {
    let mut words = vec!["--bootstrap-server", server];
    words.extend(arguments.split_whitespace());
    kafka.check(class, &words, expected).expect("it succeeds and prints what Kafka's nodes have it print")
}

#[test]
fn kafkas_tools_administer_the_cluster() {
    let Some((kafka, cluster)) = three_nodes() else { return };
    let server = cluster.bootstrap();
    let tool = |class: &str, arguments: &str, expected: &[&str]| {
        check(&kafka, class, &server, arguments, expected);
    };
    let create = "--create --topic t --partitions 2 --replication-factor 3 --config retention.ms=3600000";
    tool(TOPICS, create, &["Created topic t."]);
    tool(TOPICS, "--alter --topic t --partitions 3", &[]);
    let described =
        ["PartitionCount: 3", "ReplicationFactor: 3", "retention.ms=3600000", "Partition: 2\tLeader: "];
    tool(TOPICS, "--describe --topic t", &described);
    tool(
        CONFIGS,
        "--alter --entity-type topics --entity-name t --add-config cleanup.policy=compact",
        &["Completed updating config for topic t."],
    );
    let set =
        ["cleanup.policy=compact sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:cleanup.policy=compact"];
    tool(CONFIGS, "--describe --entity-type topics --entity-name t", &set);
    tool(QUORUM, "describe --status", &["MaxFollowerLag:         0", "\"id\": 3", "CONTROLLER://127.0.0.1:"]);
    tool(FEATURES, "describe", &["FinalizedVersionLevel: 4.3-IV0"]);
    let endpoints = ["list-endpoints", "--bootstrap-server", &server];
    kafka.check(CLUSTER, &endpoints, &["unfenced   broker"]).expect("it lists the brokers");
    let again = ["--bootstrap-server", &server, "--create", "--topic", "t"];
    let refused = kafka.tool(TOPICS, &again).expect("it runs");
    assert!(!refused.ok && refused.text.contains("Topic 't' already exists."), "{refused:?}");
}

#[test]
fn kafkas_clients_write_and_read_and_its_dump_tool_reads_the_files() {
    let Some((kafka, mut cluster)) = three_nodes() else { return };
    let server = cluster.bootstrap();
    let create = "--create --topic t --partitions 1 --replication-factor 3";
    check(&kafka, TOPICS, &server, create, &["Created topic t."]);
    let sent = "--topic t --max-messages 200 --acks -1";
    check(&kafka, PRODUCER, &server, sent, &["\"sent\":200,\"acked\":200"]);
    check(&kafka, OFFSETS, &server, "--topic t", &["t:0:200"]);
    let all = "--topic t --partition 0 --offset earliest --max-messages 200 --timeout-ms 30000";
    let read = check(&kafka, CONSUMER, &server, all, &["Processed a total of 200 messages"]);
    let values: Vec<&str> = read.lines().filter(|line| line.parse::<u32>().is_ok()).collect();
    let expected: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    assert_eq!(values, expected);
    for id in 1..=3 {
        assert!(cluster.node(id).stop().expect("an orderly end").success());
    }
    let data = cluster.data_dir(1);
    let records = files(&data.join("t-0"));
    let expected = ["isvalid: true", "lastOffset: 199", "payload: 199"];
    let dumped = dump(&kafka, &["--deep-iteration", "--print-data-log"], &records, &expected);
    assert!(!dumped.contains("isvalid: false") && !dumped.contains("mismatch"), "{dumped}");
    let metadata = files(&data.join("__cluster_metadata-0"));
    let expected =
        ["LeaderChange", "KRaftVersion", "\"type\":\"TOPIC_RECORD\"", "REGISTER_CONTROLLER_RECORD"];
    let dumped = dump(&kafka, &["--cluster-metadata-decoder"], &metadata, &expected);
    assert!(!dumped.contains("isvalid: false"), "{dumped}");
}

/// What the dump tool reads, as a list that it takes.
fn files(dir: &Path) -> String {
    let entries = fs::read_dir(dir).expect("the directory is there");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let dumped = |path: &Path| {
        let known = ["log", "index", "timeindex", "snapshot", "checkpoint"];
        path.extension().is_some_and(|extension| known.iter().any(|known| extension == *known))
    };
    let names: Vec<String> =
        paths.filter(|path| dumped(path)).map(|path| path.display().to_string()).collect();
    names.join(",")
}

fn dump(kafka: &Kafka, how: &[&str], files: &str, expected: &[&str]) -> String {
    kafka.check(DUMP, &[how, &["--files", files]].concat(), expected).expect("Kafka reads our files")
}
