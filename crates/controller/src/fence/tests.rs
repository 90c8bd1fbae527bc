//! What becomes of partitions when brokers go and come, as text.

use model::NodeId;

use super::{clean_up, fence, unfence};
use crate::decision::Decision;
use crate::testing::{assert_lines, broker_epoch, cluster, epochs};

#[track_caller]
fn check(spec: &str, event: &str, outcome: &str) {
    let mut cluster = cluster(spec);
    let (event, node) = event.split_once(' ').expect("event node");
    let node = NodeId::new(node.parse().expect("an id"));
    let mut records = Vec::new();
    match event {
        "fence" => fence(&cluster.view(), node, &mut records),
        "unfence" => unfence(&cluster.view(), node, &mut records),
        "lost" => clean_up(&cluster.view(), node, false, &mut records),
        other => panic!("no such event: {other}"),
    }
    assert_lines(&cluster.take(Decision::new(records, ())).0, outcome);
}

#[test]
fn a_fenced_broker_leaves_every_set_it_is_in() {
    check(
        "
        broker 1
        broker 2
        broker 3
        t-0 replicas=1,2,3 isr=3,1 leader=1
        t-1 replicas=2,3,1 isr=2,3,1 leader=2
        u-0 replicas=2,3 isr=2,3 leader=2
        u-1 replicas=1,2 isr=2 leader=2
        ",
        "fence 1",
        "
        t-0 leader=3 isr=3
        t-1 isr=2,3
        broker 1 fenced
        ",
    );
    check("broker 1 fenced", "fence 1", "");
}

#[test]
fn only_live_brokers_that_stay_are_elected() {
    check(
        "
        broker 1
        broker 2 stopping
        broker 3
        t-0 replicas=1,2,3 isr=1,2,3 leader=1
        ",
        "fence 1",
        "
        t-0 leader=3 isr=2,3
        broker 1 fenced
        ",
    );
}

#[test]
fn the_last_in_sync_replica_keeps_its_place_or_its_eligibility() {
    let alone = "
        broker 1
        broker 2
        t-0 replicas=1,2 isr=1 leader=1
    ";
    check(
        alone,
        "fence 1",
        "
        t-0 leader=-1
        broker 1 fenced
        ",
    );
    check(
        &format!("feature eligible.leader.replicas.version=1\n{alone}"),
        "fence 1",
        "
        t-0 leader=-1 isr= elr=1 last=1
        broker 1 fenced
        ",
    );
}

#[test]
fn an_unclean_leader_follows_where_the_topic_allows_it() {
    check(
        "
        broker 1
        broker 2
        t-0 replicas=1,2 isr=1 leader=1
        config broker - unclean.leader.election.enable=true
        u-0 replicas=1,2 isr=1 leader=1
        config topic u unclean.leader.election.enable=false
        ",
        "fence 1",
        "
        t-0 leader=2 isr=2 recovering=1
        u-0 leader=-1
        broker 1 fenced
        ",
    );
}

#[test]
fn an_eligible_broker_leads_when_it_returns_and_one_that_lost_data_only_as_the_last_known() {
    let elr = "feature eligible.leader.replicas.version=1";
    check(
        &format!("{elr}\n broker 1 fenced\n t-0 replicas=1,2 isr= elr=1 last=1"),
        "unfence 1",
        "
        broker 1 unfenced
        t-0 leader=1 isr=1 elr= last=
        ",
    );
    check(
        &format!("{elr}\n broker 1 fenced\n t-0 replicas=1,2 isr= last=1"),
        "unfence 1",
        "
        broker 1 unfenced
        t-0 leader=1 isr=1 last= recovering=1
        ",
    );
    check(&format!("{elr}\n broker 1 fenced\n t-0 replicas=1,2 isr= elr=1,2 last=1"), "lost 1", "t-0 elr=2");
}

#[test]
fn a_new_leader_has_a_new_epoch_and_a_smaller_set_alone_has_none() {
    let mut cluster = cluster(
        "
        broker 1
        broker 2
        t-0 replicas=1,2 isr=1,2 leader=1
        t-1 replicas=2,1 isr=1,2 leader=2
        ",
    );
    let decision = crate::gone(&cluster.view(), NodeId::new(1), broker_epoch(&cluster, 1));
    cluster.take(decision);
    assert_eq!(epochs(&cluster, "t", 0), (6, 10));
    assert_eq!(epochs(&cluster, "t", 1), (5, 10));
}

/// Every one of a dead broker's partitions must have a new leader within a second, all told; deciding
/// is to be a hundredth of that. Unoptimised builds are granted ten times as much.
#[test]
fn fencing_the_leader_of_a_third_of_ten_thousand_partitions_is_quick() {
    let partition = |index: i32| {
        let [first, second, third] = [index % 3, (index + 1) % 3, (index + 2) % 3].map(|id| id + 1);
        let all = format!("{first},{second},{third}");
        format!("topic{}-{} replicas={all} isr={all} leader={first}\n", index / 10, index % 10)
    };
    let spec: String = (0..10_000).map(partition).collect();
    let cluster = cluster(&format!("broker 1\n broker 2\n broker 3\n{spec}"));
    let mut records = Vec::new();
    let began = std::time::Instant::now();
    fence(&cluster.view(), NodeId::new(1), &mut records);
    let took = began.elapsed();
    assert_eq!(records.len(), 10_001);
    println!("fenced in {took:?}");
    assert!(took.as_millis() < 1_000, "fencing took {took:?}");
}
