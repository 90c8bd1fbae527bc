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
