//! Added partitions and refusals, as text.

use wire::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use wire::messages::{BrokerId, CreatePartitionsRequest, topic};

use super::decide;
use crate::testing::{assert_lines, cluster, ids};

const CLUSTER: &str = "
    broker 1
    broker 2
    broker 3 fenced
    t-0 replicas=1,2 isr=1,2 leader=1
    t-1 replicas=2,1 isr=2,1 leader=2
";

/// Topics separated by `;`: `t 4 on=1,2/2,1`.
fn request(asked: &str) -> CreatePartitionsRequest {
    let topics = asked.split(';').map(|one| {
        let words: Vec<&str> = one.split_whitespace().collect();
        let assignments = words.get(2).and_then(|word| word.strip_prefix("on=")).map(|on| {
            let of = |list: &str| ids(list).into_iter().map(BrokerId).collect();
            on.split('/')
                .map(|list| CreatePartitionsAssignment::default().with_broker_ids(of(list)))
                .collect()
        });
        CreatePartitionsTopic::default()
            .with_name(topic(words[0]))
            .with_count(words[1].parse().expect("a count"))
            .with_assignments(assignments)
    });
    CreatePartitionsRequest::default().with_topics(topics.collect())
}

#[track_caller]
fn check_request(request: &CreatePartitionsRequest, outcome: &str) {
    let mut cluster = cluster(CLUSTER);
    let decision = decide(&cluster.view(), request);
    let (records, response) = cluster.take(decision);
    let answers = response.results.iter().map(|result| {
        let code = model::ErrorCode::from_code(result.error_code);
        format!("-> {code} {}", result.error_message.as_deref().unwrap_or_default()).trim().to_owned()
    });
    assert_lines(&format!("{records}\n{}", answers.collect::<Vec<_>>().join("\n")), outcome);
}

#[track_caller]
fn check(asked: &str, outcome: &str) {
    check_request(&request(asked), outcome);
}

#[test]
fn partitions_are_added_behind_those_there_are() {
    check(
        "t 4 on=1,2/2,3",
        "
        +t-2 replicas=1,2 isr=1,2 leader=1
        +t-3 replicas=2,3 isr=2 leader=2
        -> NONE
        ",
    );
}

#[test]
fn placed_partitions_have_as_many_replicas_as_the_first() {
    let mut cluster = cluster(CLUSTER);
    let decision = decide(&cluster.view(), &request("t 6"));
    cluster.take(decision);
    let topic = cluster.image.topic("t").expect("there");
    assert_eq!(topic.partition_count(), 6);
    assert!(
        topic.partitions().all(|(_, partition)| partition.replicas.len() == 2 && partition.leader.is_some())
    );
}

#[test]
fn a_count_must_grow() {
    check("t 2", "-> INVALID_PARTITIONS Topic already has 2 partition(s).");
    check(
        "t 1",
        "-> INVALID_PARTITIONS The topic t currently has 2 partition(s); 1 would not be an increase.",
    );
    check(
        "t -5",
        "-> INVALID_PARTITIONS The topic t currently has 2 partition(s); -5 would not be an increase.",
    );
    check("t 10003", "-> POLICY_VIOLATION Excessively large number of partitions per request.");
}

#[test]
fn bad_assignments_and_topics_are_refused() {
    check("u 4", "-> UNKNOWN_TOPIC_OR_PARTITION This server does not host this topic-partition.");
    check("t 4; t 5", "-> INVALID_REQUEST Duplicate topic name.");
    check(
        "t 4 on=1,2",
        "-> INVALID_REPLICA_ASSIGNMENT Attempted to add 2 additional partition(s), but only 1 assignment(s) were \
         specified.",
    );
    check(
        "t 3 on=1",
        "-> INVALID_REPLICA_ASSIGNMENT The manual partition assignment includes a partition with 1 replica(s), but \
         this is not consistent with previous partitions, which have 2 replica(s).",
    );
    check(
        "t 3 on=1,9",
        "-> INVALID_REPLICA_ASSIGNMENT The manual partition assignment includes broker 9, but no such broker is \
         registered.",
    );
}

#[test]
fn a_validation_adds_nothing() {
    check_request(&request("t 4 on=1,2/2,3").with_validate_only(true), "-> NONE");
}
