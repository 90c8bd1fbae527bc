//! Changes of configs and their refusals, as text.

use wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use wire::messages::{AlterConfigsRequest, IncrementalAlterConfigsRequest, alter_configs_request, text};

use super::{decide, decide_all};
use crate::testing::{assert_lines, cluster};

const CLUSTER: &str = "
    broker 1
    t-0 replicas=1 isr=1 leader=1
    config topic t retention.ms=5
    config topic t cleanup.policy=compact
";

fn kind(word: &str) -> i8 {
    match word {
        "topic" => 2,
        "broker" => 4,
        "logger" => 8,
        "client" => 16,
        "group" => 32,
        other => other.parse().expect("a kind"),
    }
}

/// Resources separated by `;`: `topic t set retention.ms=7 delete cleanup.policy append k=v`.
fn resources(asked: &str) -> Vec<AlterConfigsResource> {
    let resource = |one: &str| {
        let words: Vec<&str> = one.split_whitespace().collect();
        let configs = words[2..].chunks(2).map(|pair| {
            let operation = match pair[0] {
                "set" => 0,
                "delete" => 1,
                "append" => 2,
                "subtract" => 3,
                other => other.parse().expect("an operation"),
            };
            let (name, value) = match pair[1].split_once('=') {
                Some((name, value)) => (name, Some(text(value))),
                None => (pair[1], None),
            };
            AlterableConfig::default()
                .with_name(text(name))
                .with_config_operation(operation)
                .with_value(value)
        });
        AlterConfigsResource::default()
            .with_resource_type(kind(words[0]))
            .with_resource_name(text(words[1].trim_matches('-')))
            .with_configs(configs.collect())
    };
    asked.split(';').map(resource).collect()
}

#[track_caller]
fn check_in(spec: &str, asked: &str, outcome: &str) {
    let mut cluster = cluster(spec);
    let request = IncrementalAlterConfigsRequest::default().with_resources(resources(asked));
    let decision = decide(&cluster.view(), &request);
    let validated = decide(&cluster.view(), &request.with_validate_only(true));
    assert_eq!(validated.response, decision.response);
    assert!(validated.records.is_empty());
    let (records, response) = cluster.take(decision);
    let answers = response.responses.iter().map(|answer| match &answer.error_message {
        None => "-> ok".to_owned(),
        Some(message) => {
            format!("-> {}: {}", model::ErrorCode::from_code(answer.error_code), message.as_str())
        }
    });
    assert_lines(&format!("{records}\n{}", answers.collect::<Vec<_>>().join("\n")), outcome);
}

#[track_caller]
fn check(asked: &str, outcome: &str) {
    check_in(CLUSTER, asked, outcome);
}

/// The old request: `topic t retention.ms=7 ...`.
#[track_caller]
fn check_all(asked: &str, outcome: &str) {
    let mut cluster = cluster(CLUSTER);
    let words: Vec<&str> = asked.split_whitespace().collect();
    let configs = words[2..].iter().map(|word| {
        let (name, value) = word.split_once('=').expect("key=value");
        alter_configs_request::AlterableConfig::default().with_name(text(name)).with_value(Some(text(value)))
    });
    let resource = alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(kind(words[0]))
        .with_resource_name(text(words[1]))
        .with_configs(configs.collect());
    let request = AlterConfigsRequest::default().with_resources(vec![resource]);
    let decision = decide_all(&cluster.view(), &request);
    let (records, response) = cluster.take(decision);
    let code = model::ErrorCode::from_code(response.responses[0].error_code);
    assert_lines(&format!("{records}\n-> {code}"), outcome);
}

#[test]
fn values_are_set_and_unset_when_they_differ() {
    check(
        "topic t set retention.ms=7 delete cleanup.policy set segment.ms=9",
        "
        config 2 't' cleanup.policy unset
        config 2 't' retention.ms =7
        config 2 't' segment.ms =9
        -> ok
        ",
    );
    check("topic t set retention.ms=5 delete segment.ms", "-> ok");
}

#[test]
fn lists_grow_and_shrink() {
    check(
        "topic t append cleanup.policy=delete",
        "
        config 2 't' cleanup.policy =compact,delete
        -> ok
        ",
    );
    check("topic t append cleanup.policy=compact", "-> ok");
    check(
        "topic t append retention.ms=1",
        "-> INVALID_CONFIG: Can't APPEND to key retention.ms because its type is not LIST.",
    );
    check(
        "topic t subtract no.such=1",
        "-> INVALID_CONFIG: Can't SUBTRACT to key no.such because its type is not LIST.",
    );
}

#[test]
fn each_resource_fails_alone() {
    check(
        "topic t set retention.ms=7; topic u set retention.ms=7; topic - set retention.ms=1; broker 9 set x=1",
        "
        config 2 't' retention.ms =7
        -> ok
        -> UNKNOWN_TOPIC_OR_PARTITION: The topic 'u' does not exist.
        -> INVALID_REQUEST: Default topic resources are not allowed.
        -> BROKER_ID_NOT_REGISTERED: No node with id 9 found.
        ",
    );
}

#[test]
fn malformed_changes_are_refused() {
    check(
        "topic t set retention.ms=7; topic t set retention.ms=8",
        "
        -> INVALID_REQUEST: Each resource must appear at most once.
        -> INVALID_REQUEST: Each resource must appear at most once.
        ",
    );
    check(
        "topic t set retention.ms=7 set retention.ms=8",
        "-> INVALID_REQUEST: Error due to duplicate config keys",
    );
    check("topic t 9 retention.ms=7", "-> INVALID_REQUEST: Unknown operations type 9");
    check("topic t set retention.ms", "-> INVALID_REQUEST: Null value not supported for : retention.ms");
    check("logger 1 set x=y", "-> INVALID_REQUEST: Unexpected resource type 8.");
    check("topic t set no.such=1", "-> INVALID_CONFIG: Unknown topic config name: no.such");
    let long = format!("topic t set retention.ms={}", "1".repeat(32_768));
    check(
        &long,
        "-> INVALID_CONFIG: The configuration value cannot be added because it exceeds the maximum value size of \
         32767 bytes.",
    );
}

#[test]
fn brokers_groups_and_subscriptions_have_configs_too() {
    check(
        "broker - set log.retention.ms=7; group g set consumer.session.timeout.ms=50000; client c set interval.ms=1000",
        "
        config 4 '' log.retention.ms =7
        config 32 'g' consumer.session.timeout.ms =50000
        config 16 'c' interval.ms =1000
        -> ok
        -> ok
        -> ok
        ",
    );
    check("broker x set a=b", "-> INVALID_REQUEST: Unable to parse broker name as a base 10 number.");
}

#[test]
fn a_new_minimum_begins_eligibility_anew_and_is_the_clusters_to_set() {
    let elr = format!(
        "feature eligible.leader.replicas.version=1\n config broker - min.insync.replicas=1\n{CLUSTER}"
    );
    check_in(
        &elr,
        "topic t set min.insync.replicas=2",
        "
        config 2 't' min.insync.replicas =2
        clear elr 't'
        -> ok
        ",
    );
    check_in(
        &elr,
        "broker - set min.insync.replicas=2; broker 1 set min.insync.replicas=2",
        "
        config 4 '' min.insync.replicas =2
        clear elr ''
        -> ok
        -> INVALID_CONFIG: Broker-level min.insync.replicas cannot be altered while ELR is enabled.
        ",
    );
    check_in(
        &elr,
        "broker - delete min.insync.replicas",
        "-> INVALID_CONFIG: Cluster-level min.insync.replicas cannot be removed while ELR is enabled.",
    );
}

#[test]
fn the_old_request_replaces_everything() {
    check_all(
        "topic t segment.ms=9",
        "
        config 2 't' cleanup.policy unset
        config 2 't' retention.ms unset
        config 2 't' segment.ms =9
        -> NONE
        ",
    );
    check_all("topic u segment.ms=9", "-> UNKNOWN_TOPIC_OR_PARTITION");
}
