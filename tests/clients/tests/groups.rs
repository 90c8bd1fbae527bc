//! Consumer groups of real clients, growing and shrinking while records flow.

use cluster::{Cluster, Shape};

#[test]
fn a_group_of_confluent_kafka_sees_every_record_and_its_offsets_never_go_back() {
    let Some(python) = kastle_clients::python().expect("a Python with confluent-kafka") else { return };
    let cluster = Cluster::start(Shape::of(3)).expect("three nodes");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/groups.py");
    let output = python.run(&[script, &cluster.bootstrap(), "5000"], b"").expect("the group holds");
    assert_eq!(output, b"ok\n");
}

#[test]
fn members_of_the_new_protocol_come_go_and_die_and_a_group_goes_there_and_back() {
    let Some(python) = kastle_clients::python().expect("a Python with confluent-kafka") else { return };
    // A member that was killed is missed after six seconds, and told what to do three times a second.
    let shape = [
        "min.session.timeout.ms=6000",
        "session.timeout.ms=6000",
        "min.heartbeat.interval.ms=300",
        "heartbeat.interval.ms=300",
    ]
    .iter()
    .fold(Shape::of(3), |shape, line| shape.with(&format!("group.consumer.{line}")));
    let cluster = Cluster::start(shape.with("group.initial.rebalance.delay.ms=100")).expect("three nodes");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/consumer_protocol.py");
    let output = python.run(&[script, &cluster.bootstrap(), "5000"], b"").expect("the groups hold");
    assert_eq!(output, b"ok\n");
}

#[test]
fn kcat_reads_in_a_group_and_goes_on_where_it_stopped() {
    let Some(kcat) = kastle_clients::kcat().expect("kcat") else { return };
    let cluster =
        Cluster::start(Shape::of(3).with("group.initial.rebalance.delay.ms=0")).expect("three nodes");
    let bootstrap = cluster.bootstrap();
    let run = |arguments: &[&str], input: &str| {
        let arguments = [&["-b", &bootstrap], arguments].concat();
        let output = kcat.run(&arguments, input.as_bytes()).expect("kcat succeeds");
        String::from_utf8(output).expect("UTF-8")
    };
    let lines = |from: usize, to: usize| (from..to).map(|number| format!("{number}\n")).collect::<String>();
    let read = |count: &str| {
        let earliest = "auto.offset.reset=earliest";
        run(&["-G", "readers", "-q", "-X", earliest, "-c", count, "-f", "%s\n", "words"], "")
    };
    run(&["-P", "-t", "words", "-p", "0", "-X", "acks=all"], &lines(0, 100));
    assert_eq!(read("60"), lines(0, 60));
    run(&["-P", "-t", "words", "-p", "0", "-X", "acks=all"], &lines(100, 150));
    assert_eq!(read("90"), lines(60, 150));
}
