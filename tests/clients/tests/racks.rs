//! A consumer of confluent-kafka with `client.rack` reads from the replica in its rack (KIP-392).

use cluster::{Cluster, Shape};

#[test]
fn confluent_kafka_reads_from_the_replica_in_its_rack() {
    let Some(python) = kastle_clients::python().expect("a Python with confluent-kafka") else { return };
    let shape = Shape::of(3).with("broker.rack=r{id}").with("replica.selector.class=rack-aware");
    let cluster = Cluster::start(shape).expect("three nodes");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/racks.py");
    for node in 1..=3 {
        let output = python.run(&[script, &cluster.bootstrap(), &node.to_string()], b"");
        let output = output.unwrap_or_else(|error| panic!("rack r{node}: {error}"));
        assert_eq!(output, b"ok\n");
    }
}
