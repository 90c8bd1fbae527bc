//! Kafka's tools look at groups and move them; its consumers are in groups of the new protocol (KIP-848).
//!
//! They need Kafka's jars, as all tests here do.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cluster::{Cluster, Shape};
use kastle_kafka_tests::{Kafka, Program};

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const GROUP: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const GROUPS: &str = "org.apache.kafka.tools.GroupsCommand";
const PRODUCER: &str = "org.apache.kafka.tools.VerifiableProducer";
const CONSUMER: &str = "org.apache.kafka.tools.VerifiableConsumer";
const CONFIGS: &str = "kafka.admin.ConfigCommand";
/// A consumer that got nowhere by then never will.
const PATIENCE: Duration = Duration::from_secs(60);
const RECORDS: u32 = 6_000;

/// Three nodes that miss a dead member soon.
fn three_nodes() -> Option<(Kafka, Cluster)> {
    let kafka = Kafka::find().expect("Kafka's jars, and Java")?;
    let lines = ["min.session.timeout.ms=6000", "session.timeout.ms=6000", "min.heartbeat.interval.ms=300"];
    let shape = lines.iter().fold(Shape::of(3), |shape, line| shape.with(&format!("group.consumer.{line}")));
    let shape = shape.with("group.consumer.heartbeat.interval.ms=300");
    let cluster = Cluster::start(shape.with("group.initial.rebalance.delay.ms=100")).expect("three nodes");
    Some((kafka, cluster))
}

/// One tool, with arguments that are written in a row.
fn check(kafka: &Kafka, class: &str, server: &str, arguments: &str, expected: &[&str]) -> String {
    let mut words = vec!["--bootstrap-server", server];
    words.extend(arguments.split_whitespace());
    kafka.check(class, &words, expected).expect("it succeeds and prints what Kafka's nodes have it print")
}

/// What it prints, with each run of spaces as one.
fn columns(text: &str) -> String {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The numbers that a consumer says it has read.
fn read(consumer: &Program) -> BTreeSet<u32> {
    let text = consumer.text();
    let events = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let records = events.filter(|event| event["name"] == "record_data");
    records.filter_map(|event| event["value"].as_str()?.parse().ok()).collect()
}

#[test]
fn kafkas_tools_list_describe_reset_and_delete_groups() {
    let Some((kafka, cluster)) = three_nodes() else { return };
    let server = cluster.bootstrap();
    let group = |arguments: &str, expected: &[&str]| check(&kafka, GROUP, &server, arguments, expected);
    check(&kafka, TOPICS, &server, "--create --topic t --partitions 1", &["Created topic t."]);
    check(&kafka, PRODUCER, &server, "--topic t --max-messages 100 --acks -1", &["\"acked\":100"]);
    for (id, protocol) in [("old", "CLASSIC"), ("new", "CONSUMER")] {
        let consume = format!("--topic t --group-id {id} --group-protocol {protocol} --max-messages 100");
        check(&kafka, CONSUMER, &server, &consume, &["offsets_committed"]);
    }
    let listed = columns(&check(&kafka, GROUPS, &server, "--list", &[]));
    assert!(
        listed.contains("old Classic consumer\n") && listed.contains("new Consumer consumer\n"),
        "{listed}"
    );
    let described = columns(&group("--describe --all-groups", &["has no active members"]));
    assert!(described.contains("old t 0 100 100 0 - - -\n"), "{described}");
    assert!(described.contains("new t 0 100 100 0 - - -\n"), "{described}");
    let state = columns(&group("--describe --group new --state", &[]));
    assert!(state.contains(" Empty 0\n"), "{state}");
    for (how, offset) in [
        ("--to-earliest", 0),
        ("--to-latest", 100),
        ("--to-current", 100),
        ("--to-offset 40", 40),
        ("--shift-by -30", 70),
        ("--by-duration PT1H", 0),
        ("--to-datetime 2100-01-01T00:00:00.000", 100),
    ] {
        let planned = columns(&group(&format!("--reset-offsets --group old --topic t {how} --dry-run"), &[]));
        assert!(planned.contains(&format!("old t 0 {offset}\n")), "{how}: {planned}");
    }
    for id in ["old", "new"] {
        group(&format!("--reset-offsets --group {id} --topic t --to-offset 40 --execute"), &[]);
        let moved = columns(&group(&format!("--describe --group {id}"), &[]));
        assert!(moved.contains(&format!("{id} t 0 40 100 60 - - -\n")), "{moved}");
    }
    group(
        "--delete-offsets --group old --topic t",
        &["Request succeeded for deleting offsets from group old"],
    );
    group("--delete --group old --group new", &["Deletion of requested consumer groups", "was successful."]);
    assert!(!check(&kafka, GROUPS, &server, "--list", &[]).contains("consumer"));
    let gone =
        kafka.tool(GROUP, &["--bootstrap-server", &server, "--describe", "--group", "old"]).expect("it runs");
    assert!(gone.text.contains("Group old not found."), "{gone:?}");
    let set = "--alter --entity-type groups --entity-name g --add-config consumer.session.timeout.ms=7000";
    check(&kafka, CONFIGS, &server, set, &["Completed updating config for group g."]);
    let shown = "consumer.session.timeout.ms=7000 sensitive=false synonyms={DYNAMIC_GROUP_CONFIG";
    check(&kafka, CONFIGS, &server, "--describe --entity-type groups --entity-name g", &[shown]);
}

#[test]
fn kafkas_consumers_move_to_the_new_protocol_lose_a_member_and_read_every_record() {
    let Some((kafka, cluster)) = three_nodes() else { return };
    let server = cluster.bootstrap();
    let dir = tempfile::tempdir().expect("a directory");
    check(&kafka, TOPICS, &server, "--create --topic t --partitions 6", &["Created topic t."]);
    let start = |class: &str, name: &str, arguments: &str| {
        let mut words = vec!["--bootstrap-server", &server];
        words.extend(arguments.split_whitespace());
        kafka.start(class, &words, &dir.path().join(name)).expect("it starts")
    };
    let consumer = |name: &str, protocol: &str| {
        let arguments = format!("--topic t --group-id g --verbose --group-protocol {protocol}");
        let consumer = start(CONSUMER, name, &arguments);
        wait("it gets no partitions", || consumer.text().contains("\"name\":\"records_consumed\""));
        consumer
    };
    let sent = format!("--topic t --acks -1 --throughput 200 --max-messages {RECORDS}");
    let producer = start(PRODUCER, "producer", &sent);
    let mut classic = consumer("classic", "CLASSIC");
    let first = consumer("first", "CONSUMER");
    let mut mortal = consumer("mortal", "CONSUMER");
    let listed = columns(&check(&kafka, GROUPS, &server, "--list", &[]));
    assert!(listed.contains("g Consumer consumer\n"), "both protocols are in it: {listed}");
    mortal.kill().expect("it is killed");
    classic.stop().expect("it ends");
    let second = consumer("second", "CONSUMER");
    let members = columns(&check(&kafka, GROUP, &server, "--describe --group g --members --verbose", &[]));
    assert!(members.contains("t:"), "{members}");
    wait("not all is produced", || producer.text().contains(&format!("\"acked\":{RECORDS}")));
    let all = [&classic, &first, &mortal, &second];
    let every: BTreeSet<u32> = (0..RECORDS).collect();
    let seen = || all.iter().flat_map(|consumer| read(consumer)).collect::<BTreeSet<u32>>();
    wait("records are missing", || seen() == every);
    wait("offsets are missing", || {
        let described = columns(&check(&kafka, GROUP, &server, "--describe --group g", &[]));
        let committed: u32 =
            described.lines().filter_map(|line| line.split(' ').nth(3)?.parse::<u32>().ok()).sum();
        assert!(committed <= RECORDS, "{described}");
        committed == RECORDS
    });
    for text in all.map(Program::text) {
        assert!(!text.contains("Exception"), "{text}");
    }
}
