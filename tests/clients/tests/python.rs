//! confluent-kafka from PyPI: its own librdkafka, and its admin client.

use cluster::{Cluster, Shape};

#[test]
fn confluent_kafka_administers_writes_and_reads() {
    let Some(python) = kastle_clients::python().expect("a Python with confluent-kafka") else { return };
    let cluster = Cluster::start(Shape::of(3)).expect("three nodes");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/roundtrip.py");
    let output = python.run(&[script, &cluster.bootstrap(), "500"], b"").expect("the round trip holds");
    assert_eq!(output, b"ok\n");
}
