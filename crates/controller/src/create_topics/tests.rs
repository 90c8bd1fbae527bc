//! Topics created and refused, as text.

use wire::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use wire::messages::{BrokerId, CreateTopicsRequest, text, topic};

use super::decide;
use crate::testing::{TestCluster, assert_lines, cluster, ids};

const THREE: &str = "
    broker 1
    broker 2
    broker 3
    taken.name-0 replicas=1 isr=1 leader=1
";

/// Topics separated by `;`: `name partitions=2 replicas=1 key=value on=0:1,2/1:2,3`.
fn request(asked: &str) -> CreateTopicsRequest {
    let topics = asked.split(';').map(|one| {
        let mut words = one.split_whitespace();
        let name = words.next().unwrap_or_default().trim_matches('\'');
        let mut creatable = CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(-1)
            .with_replication_factor(-1);
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            match key {
                "partitions" => creatable.num_partitions = value.parse().expect("a number"),
                "replicas" => creatable.replication_factor = value.parse().expect("a number"),
                "on" => creatable.assignments = value.split('/').map(assignment).collect(),
                key => {
                    let value = (value != "null").then(|| text(value));
                    creatable
                        .configs
                        .push(CreatableTopicConfig::default().with_name(text(key)).with_value(value));
                }
            }
        }
        creatable
    });
    CreateTopicsRequest::default().with_topics(topics.collect())
}

fn assignment(one: &str) -> CreatableReplicaAssignment {
    let (index, brokers) = one.split_once(':').expect("index:brokers");
    CreatableReplicaAssignment::default()
        .with_partition_index(index.parse().expect("an index"))
        .with_broker_ids(ids(brokers).into_iter().map(BrokerId).collect())
}

/// Records, then each topic's answer.
fn create(cluster: &mut TestCluster, request: &CreateTopicsRequest) -> String {
    let decision = decide(&cluster.view(), request);
    let (records, response) = cluster.take(decision);
    let answers = response.topics.iter().map(|result| match &result.error_message {
        None => {
            assert!(!result.topic_id.is_nil());
            assert!(result.configs.as_ref().is_some_and(|configs| configs.len() > 20));
            let (name, partitions) = (result.name.as_str(), result.num_partitions);
            format!("-> {name}: {partitions} x {}", result.replication_factor)
        }
        Some(message) => {
            let code = model::ErrorCode::from_code(result.error_code);
            format!("-> {}: {code} {}", result.name.as_str(), message.as_str())
        }
    });
    format!("{records}\n{}", answers.collect::<Vec<_>>().join("\n"))
}

#[track_caller]
fn check(asked: &str, outcome: &str) {
    assert_lines(&create(&mut cluster(THREE), &request(asked)), outcome);
}

#[test]
fn an_assignment_says_all_about_replicas() {
    check(
        "t replicas=1 on=0:1",
        "-> t: INVALID_REQUEST A manual partition assignment was specified, but replication factor was not set to -1.",
    );
}

#[test]
fn assigned_partitions_go_where_they_are_assigned() {
    check(
        "t retention.ms=5 on=1:3,2/0:1,2",
        "
        +topic t
        config 2 't' retention.ms =5
        +t-0 replicas=1,2 isr=1,2 leader=1
        +t-1 replicas=3,2 isr=3,2 leader=3
        -> t: 2 x 2
        ",
    );
}

#[test]
fn placed_partitions_spread_over_the_live_brokers() {
    let mut cluster = cluster(THREE);
    create(&mut cluster, &request("t partitions=3 replicas=3"));
    let topic = cluster.image.topic("t").expect("created");
    let mut leaders: Vec<_> = topic.partitions().filter_map(|(_, partition)| partition.leader).collect();
    leaders.sort();
    assert_eq!(leaders.iter().map(|leader| leader.get()).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(topic.partitions().all(|(_, partition)| partition.isr.len() == 3));
}

#[test]
fn defaults_come_from_the_configuration() {
    let mut cluster = cluster(THREE);
    cluster.settings.num_partitions = 4;
    cluster.settings.default_replication_factor = 2;
    let answer = create(&mut cluster, &request("t"));
    assert_lines(answer.lines().last().unwrap_or_default(), "-> t: 4 x 2");
}

#[test]
fn fenced_replicas_are_assigned_but_not_in_sync() {
    let mut cluster = cluster("broker 1\n broker 2 fenced\n broker 3 stopping");
    let answer = create(&mut cluster, &request("t on=0:2,1,3"));
    assert_lines(
        &answer,
        "
        +topic t
        +t-0 replicas=2,1,3 isr=1 leader=1
        -> t: 1 x 3
        ",
    );
}

#[test]
fn bad_names_are_refused_in_kafkas_words() {
    check("''", "-> : INVALID_TOPIC_EXCEPTION Topic name is invalid: the empty string is not allowed");
    check("..", "-> ..: INVALID_TOPIC_EXCEPTION Topic name is invalid: '..' is not allowed");
    check(
        "a/b",
        "-> a/b: INVALID_TOPIC_EXCEPTION Topic name is invalid: 'a/b' contains one or more characters other than \
         ASCII alphanumerics, '.', '_' and '-'",
    );
    check("taken.name", "-> taken.name: TOPIC_ALREADY_EXISTS Topic 'taken.name' already exists.");
    check(
        "taken_name",
        "-> taken_name: INVALID_TOPIC_EXCEPTION Topic 'taken_name' collides with existing topic: taken.name",
    );
    check(
        "__cluster_metadata",
        "-> __cluster_metadata: INVALID_REQUEST Creation of internal topic __cluster_metadata is prohibited.",
    );
}

#[test]
fn topics_of_one_request_neither_repeat_nor_collide() {
    check("t on=0:1; t on=0:1", "-> t: INVALID_REQUEST Duplicate topic name.");
    check(
        "a.b on=0:1; a_b on=0:1",
        "
        +topic a.b
        +a.b-0 replicas=1 isr=1 leader=1
        -> a.b: 1 x 1
        -> a_b: INVALID_TOPIC_EXCEPTION Topic 'a_b' collides with existing topic: a.b
        ",
    );
}

#[test]
fn bad_counts_are_refused() {
    check(
        "t partitions=1 replicas=4",
        "-> t: INVALID_REPLICATION_FACTOR Unable to replicate the partition 4 time(s): The target replication factor \
         of 4 cannot be reached because only 3 broker(s) are registered or some \
         brokers have all their log directories cordoned.",
    );
    check(
        "t partitions=1 replicas=0",
        "-> t: INVALID_REPLICATION_FACTOR Replication factor must be larger than 0, or -1 to use the default value.",
    );
    check(
        "t partitions=0 replicas=1",
        "-> t: INVALID_PARTITIONS Number of partitions was set to an invalid non-positive value.",
    );
    check(
        "t partitions=10001 replicas=1; u partitions=1",
        "
        -> t: POLICY_VIOLATION Excessively large number of partitions per request.
        -> u: POLICY_VIOLATION Excessively large number of partitions per request.
        ",
    );
    let mut fenced = cluster("broker 1 fenced");
    assert_lines(
        &create(&mut fenced, &request("t partitions=1 replicas=1")),
        "-> t: INVALID_REPLICATION_FACTOR Unable to replicate the partition 1 time(s): All brokers are currently \
         fenced, or have all their log directories cordoned.",
    );
}

#[test]
fn bad_assignments_are_refused() {
    let bad = |on: &str, message: &str| {
        check(&format!("t on={on}"), &format!("-> t: INVALID_REPLICA_ASSIGNMENT {message}"));
    };
    bad("0:1/2:2", "partitions should be a consecutive 0-based integer sequence");
    bad("0:1/0:2", "Found multiple manual partition assignments for partition 0");
    bad("0:1,9", "The manual partition assignment includes broker 9, but no such broker is registered.");
    bad("0:1,1", "The manual partition assignment includes the broker 1 more than once.");
    bad("0:", "The manual partition assignment includes an empty replica list.");
    bad(
        "0:1,2/1:3",
        "The manual partition assignment includes a partition with 1 replica(s), but this is not consistent with \
         previous partitions, which have 2 replica(s).",
    );
    check(
        "t partitions=1 on=0:1",
        "-> t: INVALID_REQUEST A manual partition assignment was specified, but numPartitions was not set to -1.",
    );
    let mut fenced = cluster("broker 1 fenced");
    assert_lines(
        &create(&mut fenced, &request("t on=0:1")),
        "-> t: INVALID_REPLICA_ASSIGNMENT All brokers specified in the manual partition assignment for partition 0 \
         are fenced or in controlled shutdown.",
    );
}

#[test]
fn bad_configs_fail_their_topic_alone() {
    check(
        "t on=0:1 no.such=1; u on=0:1 retention.ms=null; v on=0:1",
        "
        +topic v
        +v-0 replicas=1 isr=1 leader=1
        -> t: INVALID_CONFIG Unknown topic config name: no.such
        -> u: INVALID_CONFIG Null value not supported for topic configs: retention.ms
        -> v: 1 x 1
        ",
    );
}

#[test]
fn a_validation_answers_alike_and_creates_nothing() {
    let mut request = request("t on=0:1; taken.name on=0:1");
    request.validate_only = true;
    assert_lines(
        &create(&mut cluster(THREE), &request),
        "
        -> t: 1 x 1
        -> taken.name: TOPIC_ALREADY_EXISTS Topic 'taken.name' already exists.
        ",
    );
}

#[test]
fn topic_ids_differ_between_topics_and_seeds() {
    let mut cluster = cluster(THREE);
    let mut id = |name: &str| {
        create(&mut cluster, &request(&format!("{name} on=0:1")));
        cluster.image.topic(name).expect("created").id
    };
    assert_ne!(id("t"), id("u"));
}

#[test]
fn a_broker_all_of_whose_directories_are_cordoned_takes_no_new_replicas() {
    let spec = "
        broker 1
        broker 2 dirs=7,8 cordoned=7,8
        broker 3 dirs=9,10 cordoned=9
    ";
    let outcome = create(&mut cluster(spec), &request("t partitions=9 replicas=2; u replicas=3"));
    let placed: Vec<&str> = outcome.lines().filter(|line| line.starts_with("+t-")).collect();
    assert_eq!(placed.len(), 9, "{outcome}");
    assert!(
        placed.iter().all(|line| line.contains("replicas=1,3") || line.contains("replicas=3,1")),
        "{outcome}"
    );
    assert!(outcome.contains("-> u: INVALID_REPLICATION_FACTOR"), "{outcome}");
    let manual = create(&mut cluster(spec), &request("t on=0:2"));
    assert!(manual.contains("-> t: 1 x 1"), "who names a broker means it: {manual}");
}
