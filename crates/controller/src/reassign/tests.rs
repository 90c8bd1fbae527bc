//! Reassignments begun, cancelled and listed, as text.

use wire::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use wire::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, ListPartitionReassignmentsRequest, topic,
};

use super::{decide, list};
use crate::testing::{assert_lines, cluster, ids};

const CLUSTER: &str = "
    broker 1
    broker 2
    broker 3
    t-0 replicas=1,2 isr=1,2 leader=1
    m-0 replicas=2,3,1 isr=1,2 leader=1 adding=3 removing=1
";

/// `t-0=2,3`, `t-0=` to cancel; what comes of it, and what is under way afterwards.
#[track_caller]
fn check(asked: &str, flexible: bool, outcome: &str) {
    let mut cluster = cluster(CLUSTER);
    let (place, replicas) = asked.split_once('=').expect("place=replicas");
    let (name, index) = place.rsplit_once('-').expect("topic-partition");
    let replicas = (!replicas.is_empty()).then(|| ids(replicas).into_iter().map(BrokerId).collect());
    let partition = ReassignablePartition::default()
        .with_partition_index(index.parse().expect("an index"))
        .with_replicas(replicas);
    let request = AlterPartitionReassignmentsRequest::default()
        .with_allow_replication_factor_change(flexible)
        .with_topics(vec![
            ReassignableTopic::default().with_name(topic(name)).with_partitions(vec![partition]),
        ]);
    let decision = decide(&cluster.view(), &request);
    let (records, response) = cluster.take(decision);
    let answer = &response.responses[0].partitions[0];
    let code = model::ErrorCode::from_code(answer.error_code);
    let message = answer.error_message.as_deref().unwrap_or_default();
    let under_way = list(&cluster.view(), &ListPartitionReassignmentsRequest::default().with_topics(None));
    let names: Vec<&str> = under_way.topics.iter().map(|topic| topic.name.as_str()).collect();
    let got = format!("{records}\n-> {}\nmoving: {}", format!("{code} {message}").trim(), names.join(" "));
    assert_lines(&got, outcome);
}

#[test]
fn new_replicas_join_before_old_ones_leave() {
    check(
        "t-0=2,3",
        true,
        "
        t-0 replicas=2,3,1 removing=1 adding=3 directories
        -> NONE
        moving: m t
        ",
    );
}

#[test]
fn what_only_removes_or_reorders_is_done_at_once() {
    check(
        "t-0=2",
        true,
        "
        t-0 leader=2 isr=2 replicas=2 directories
        -> NONE
        moving: m
        ",
    );
    check(
        "t-0=2,1",
        true,
        "
        t-0 replicas=2,1 directories
        -> NONE
        moving: m
        ",
    );
}

#[test]
fn cancelling_goes_back_to_the_replicas_before() {
    check(
        "m-0=",
        true,
        "
        m-0 leader=1 replicas=2,1 removing= adding= directories
        -> NONE
        moving:
        ",
    );
    check(
        "t-0=",
        true,
        "-> NO_REASSIGNMENT_IN_PROGRESS No partition reassignment is in progress.\n moving: m",
    );
}

#[test]
fn bad_targets_are_refused() {
    check(
        "t-0=1,9",
        true,
        "
        -> INVALID_REPLICA_ASSIGNMENT The manual partition assignment includes broker 9, but no such broker is registered.
        moving: m
        ",
    );
    check(
        "t-0=1",
        false,
        "-> INVALID_REPLICATION_FACTOR The replication factor is changed from 2 to 1\n moving: m",
    );
    check("u-0=1", true, "-> UNKNOWN_TOPIC_OR_PARTITION Unable to find a topic named u.\n moving: m");
    check("t-7=1", true, "-> UNKNOWN_TOPIC_OR_PARTITION Unable to find partition t:7.\n moving: m");
}
