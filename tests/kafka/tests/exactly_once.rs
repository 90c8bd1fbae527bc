//! Java's clients copy in transactions while they, their coordinator and nodes are killed (KIP-890's transactions).
//!
//! In short, and in full: `KASTLE_RECORDS=100000 cargo test --release -p kastle-kafka-tests --test exactly_once -- --nocapture`

use std::time::Duration;

use cluster::work::exactly_once::{self, ExactlyOnce, SINK, SOURCE};
use kastle_kafka_tests::Kafka;

const COPIER: &str = "org.apache.kafka.tools.TransactionalMessageCopier";
const RECORDS: &str = "KASTLE_RECORDS";
/// More than there are: it waits for more until it is killed.
const NEVER_ENOUGH: &str = "1000000000";

/// Three kills, or twelve where the environment says how many records there are.
fn work() -> ExactlyOnce {
    let interval = Duration::from_secs(5);
    match std::env::var(RECORDS) {
        Ok(records) => ExactlyOnce { records: records.parse().expect(RECORDS), strikes: 12, interval },
        Err(_) => ExactlyOnce { records: 6_000, strikes: 3, interval },
    }
}

#[test]
fn javas_client_copies_exactly_once_while_it_and_its_coordinator_and_a_node_are_killed() {
    let Some(kafka) = Kafka::find().expect("Kafka's jars, and Java") else { return };
    let work = work();
    let copier = |job: exactly_once::Job<'_>| {
        let (id, partition) = (job.id(), job.partition.to_string());
        let told = [
            ["--broker-list", job.bootstrap],
            ["--input-topic", SOURCE],
            ["--input-partition", &partition],
            ["--output-topic", SINK],
            ["--max-messages", NEVER_ENOUGH],
            ["--consumer-group", "copiers"],
            ["--transaction-size", "100"],
            ["--transactional-id", &id],
        ];
        kafka.command(COPIER, told.as_flattened())
    };
    let outcome = exactly_once::run(&work, copier).expect("all is copied");
    println!("{outcome:#?}");
    assert!(outcome.holds() && outcome.read == work.records, "{outcome:?}");
}
