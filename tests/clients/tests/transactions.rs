//! Transactions of real clients.

use cluster::{Cluster, Shape};

#[test]
fn confluent_kafka_commits_aborts_and_copies_exactly_once() {
    let Some(python) = kastle_clients::python().expect("a Python with confluent-kafka") else { return };
    let shape = Shape::of(3).with("group.initial.rebalance.delay.ms=0");
    let cluster = Cluster::start(shape).expect("three nodes");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/transactions.py");
    let output = python.run(&[script, &cluster.bootstrap(), "2000"], b"").expect("exactly once");
    assert_eq!(output, b"ok\n");
}
