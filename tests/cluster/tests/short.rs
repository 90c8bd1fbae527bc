//! The cluster work in short form: real processes, real kills, librdkafka.

use std::path::Path;
use std::time::Duration;

use kastle_cluster::work::trouble::Trouble;
use kastle_cluster::work::{chaos, codecs, copier, crowd, exactly_once, failover, scale};
use kastle_cluster::{Cluster, Shape};

#[test]
fn what_librdkafka_writes_with_any_codec_it_reads_back() {
    let cluster = Cluster::start(Shape::of(3)).expect("three nodes");
    codecs::run(&cluster, 500).expect("as it was sent");
}

#[test]
fn answers_keep_their_order_while_connections_change_threads() {
    let answered = crowd::run().expect("each in its order");
    assert!(answered > 0);
}

fn check(trouble: Trouble, strikes: u32) {
    let (records, interval) = (20_000, Duration::from_secs(4));
    let work = chaos::Chaos { records, trouble, strikes, interval, idempotent: true };
    let outcome = chaos::run(&work).unwrap_or_else(|error| panic!("{trouble:?}: {error:#}"));
    assert_eq!((outcome.lost, outcome.duplicates, outcome.conflicts), (0, 0, 0), "{trouble:?}: {outcome:?}");
    assert_eq!(outcome.acknowledged, work.records, "{trouble:?}: {outcome:?}");
}

#[test]
fn nothing_acknowledged_is_lost_while_nodes_are_killed_in_turn_or_all_at_once() {
    check(Trouble::Kill, 3);
    check(Trouble::KillAll, 2);
}

#[test]
fn nothing_acknowledged_is_lost_while_nodes_stand_still_restart_or_lack_room() {
    check(Trouble::Pause, 2);
    check(Trouble::Restart, 3);
    check(Trouble::NoRoom, 2);
}

#[test]
fn nothing_acknowledged_is_lost_while_replicas_move_and_nodes_are_killed() {
    check(Trouble::Reassign, 3);
}

#[test]
fn librdkafka_copies_exactly_once_while_it_and_its_coordinator_and_a_node_are_killed() {
    let work = exactly_once::ExactlyOnce { records: 6_000, strikes: 3, interval: Duration::from_secs(3) };
    let program = Path::new(env!("CARGO_BIN_EXE_kastle-cluster"));
    let outcome = exactly_once::run(&work, copier::command(program)).expect("all is copied");
    assert!(outcome.holds() && outcome.read == work.records, "{outcome:?}");
}

#[tokio::test]
async fn every_partition_of_a_killed_node_gets_a_new_leader() {
    let topics = scale::Topics { count: 10, partitions: 10, per_call: 10 };
    for kill_controller in [false, true] {
        let outcome = failover::run(topics, kill_controller).await.expect("new leaders");
        assert!(outcome.led > 0);
    }
}
