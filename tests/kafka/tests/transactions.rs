//! Java's clients make transactions, and Kafka's tools look at them, at their log, and for those that hang.
//!
//! They need Kafka's jars, as all tests here do.

use std::fs;
use std::path::PathBuf;

use cluster::{Cluster, Shape};
use kastle_kafka_tests::Kafka;

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const PRODUCER: &str = "org.apache.kafka.tools.VerifiableProducer";
const COPIER: &str = "org.apache.kafka.tools.TransactionalMessageCopier";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const TRANSACTIONS: &str = "org.apache.kafka.tools.TransactionsCommand";
const DUMP: &str = "org.apache.kafka.tools.DumpLogSegments";
const RECORDS: usize = 1_000;

/// One tool, with arguments that are written in a row.
fn check(kafka: &Kafka, class: &str, arguments: &str, expected: &[&str]) -> String {
    let words: Vec<&str> = arguments.split_whitespace().collect();
    kafka.check(class, &words, expected).expect("it succeeds and prints what Kafka's nodes have it print")
}

/// The segments of an internal topic on node 1.
fn segments(cluster: &Cluster, topic: &str) -> Vec<PathBuf> {
    let dirs = fs::read_dir(cluster.data_dir(1)).expect("a data directory");
    let dirs = dirs.filter_map(|entry| Some(entry.ok()?.path()));
    let ours = dirs.filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&format!("{topic}-")))
    });
    // One that nobody wrote to has no file yet.
    ours.map(|dir| dir.join("00000000000000000000.log")).filter(|log| log.is_file()).collect()
}

#[test]
fn javas_clients_copy_exactly_once_and_kafkas_tools_look_at_their_transactions() {
    let Some(kafka) = Kafka::find().expect("Kafka's jars, and Java") else { return };
    let shape = Shape::of(3).with("group.initial.rebalance.delay.ms=0");
    let shape = shape.with("transaction.state.log.num.partitions=2");
    let cluster = Cluster::start(shape).expect("three nodes");
    let server = cluster.bootstrap();
    for topic in ["source", "sink"] {
        let arguments = format!("--bootstrap-server {server} --create --topic {topic} --partitions 1");
        check(&kafka, TOPICS, &arguments, &["Created topic"]);
    }
    let produce = format!("--bootstrap-server {server} --topic source --max-messages {RECORDS} --acks -1");
    check(&kafka, PRODUCER, &produce, &["\"acked\":1000"]);
    let copy = format!(
        "--broker-list {server} --input-topic source --input-partition 0 --output-topic sink \
         --max-messages {RECORDS} --consumer-group copiers --transaction-size 50 --transactional-id copier \
         --enable-random-aborts --group-mode --use-group-metadata"
    );
    check(&kafka, COPIER, &copy, &["\"remaining\":0", "\"totalProcessed\":1000"]);
    let read = format!(
        "--bootstrap-server {server} --topic sink --from-beginning --timeout-ms 10000 \
         --isolation-level read_committed"
    );
    let words: Vec<&str> = read.split_whitespace().collect();
    let printed = kafka.tool(CONSUMER, &words).expect("it runs").text;
    let values: Vec<usize> = printed.lines().filter_map(|line| line.trim().parse().ok()).collect();
    assert!(values.iter().copied().eq(0..RECORDS), "{} values: {values:?}", values.len());
    let tool = |arguments: &str, expected: &[&str]| {
        check(&kafka, TRANSACTIONS, &format!("--bootstrap-server {server} {arguments}"), expected)
    };
    tool("list", &["copier", "CompleteCommit"]);
    tool("describe --transactional-id copier", &["copier", "CompleteCommit"]);
    tool("describe-producers --topic sink --partition 0", &["ProducerId", "None"]);
    let hanging = tool("find-hanging --topic sink --partition 0", &["Topic"]);
    assert!(!hanging.contains("sink"), "{hanging}");
    let logs = segments(&cluster, "__transaction_state");
    let dumped: String = logs
        .iter()
        .map(|log| {
            let files = format!("--files {} --transaction-log-decoder", log.display());
            check(&kafka, DUMP, &files, &["Log starting offset"])
        })
        .collect();
    assert!(dumped.contains("copier") && dumped.contains("\"transactionStatus\":4"), "{dumped}");
}
