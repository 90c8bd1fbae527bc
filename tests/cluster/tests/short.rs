//! The cluster work in short form: real processes, real kills, librdkafka.

use std::time::Duration;

use kastle_cluster::work::{chaos, codecs, failover, scale};
use kastle_cluster::{Cluster, Shape};

#[test]
fn what_librdkafka_writes_with_any_codec_it_reads_back() {
    let cluster = Cluster::start(Shape::of(3)).expect("three nodes");
    codecs::run(&cluster, 500).expect("as it was sent");
}

#[test]
fn nothing_acknowledged_is_lost_while_nodes_are_killed_in_turn() {
    let work = chaos::Chaos { records: 20_000, kills: 3, interval: Duration::from_secs(4), idempotent: true };
    let outcome = chaos::run(&work).expect("it runs to its end");
    assert_eq!((outcome.lost, outcome.duplicates, outcome.conflicts), (0, 0, 0), "{outcome:?}");
    assert_eq!(outcome.acknowledged, work.records, "{outcome:?}");
}

#[tokio::test]
async fn every_partition_of_a_killed_node_gets_a_new_leader() {
    let topics = scale::Topics { count: 10, partitions: 10, per_call: 10 };
    for kill_controller in [false, true] {
        let outcome = failover::run(topics, kill_controller).await.expect("new leaders");
        assert!(outcome.led > 0);
    }
}
