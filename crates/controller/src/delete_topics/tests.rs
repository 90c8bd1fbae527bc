//! Deletions by name and id, as text.

use wire::messages::delete_topics_request::DeleteTopicState;
use wire::messages::{DeleteTopicsRequest, to_wire_uuid, topic};

use super::decide;
use crate::testing::{assert_lines, cluster, topic_id};

/// Words: `name`, `#name` for its id, `name#name` for both, `-` for neither.
#[track_caller]
fn check(asked: &str, outcome: &str) {
    let mut cluster = cluster(
        "
        broker 1
        t-0 replicas=1 isr=1 leader=1
        t-1 replicas=1 isr=1 leader=1
        u-0 replicas=1 isr=1 leader=1
        config topic t retention.ms=5
        ",
    );
    let state = |word: &str| {
        let (name, id) = word.split_once('#').unwrap_or((word, ""));
        let name = (!name.is_empty() && name != "-").then(|| topic(name));
        let id = if id.is_empty() { model::Uuid::ZERO } else { topic_id(id) };
        DeleteTopicState::default().with_name(name).with_topic_id(to_wire_uuid(id))
    };
    let request = DeleteTopicsRequest::default().with_topics(asked.split_whitespace().map(state).collect());
    let (records, response) = {
        let decision = decide(&cluster.view(), 6, &request);
        cluster.take(decision)
    };
    let answers = response.responses.iter().map(|result| {
        let name = result.name.as_ref().map_or("-", |name| name.as_str());
        let code = model::ErrorCode::from_code(result.error_code);
        format!("-> {name}: {code} {}", result.error_message.as_deref().unwrap_or_default())
    });
    let answers: Vec<String> = answers.map(|answer| answer.trim().to_owned()).collect();
    assert_lines(&format!("{records}\n{}", answers.join("\n")), outcome);
    let configs = cluster.image.configs(&metadata::ConfigResource::topic("t"));
    assert_eq!(configs.is_some(), cluster.image.topic("t").is_some());
}

#[test]
fn topics_go_by_name_and_by_id_with_their_configs() {
    check(
        "t #u",
        "
        -topic t
        -topic u
        -> t: NONE
        -> u: NONE
        ",
    );
}

#[test]
fn unknown_topics_are_named() {
    check(
        "nope #nope t",
        "
        -topic t
        -> nope: UNKNOWN_TOPIC_OR_PARTITION This server does not host this topic-partition.
        -> -: UNKNOWN_TOPIC_ID This server does not host this topic ID.
        -> t: NONE
        ",
    );
}

#[test]
fn what_is_named_twice_or_not_at_all_stays() {
    check("t t", "-> t: INVALID_REQUEST Duplicate topic name.");
    check("#t #t", "-> -: INVALID_REQUEST Duplicate topic id.");
    check("t#t", "-> t: INVALID_REQUEST You may not specify both topic name and topic id.");
    check("-", "-> -: INVALID_REQUEST Neither topic name nor id were specified.");
}

#[test]
fn a_name_whose_id_is_given_too_is_refused() {
    check(
        "t #t",
        "
        -topic t
        -> t: INVALID_REQUEST The provided topic name maps to an ID that was already supplied.
        -> t: NONE
        ",
    );
}

#[test]
fn nothing_is_deleted_where_deletion_is_disabled() {
    let mut cluster = cluster("broker 1\nt-0 replicas=1 isr=1 leader=1");
    cluster.settings.may_delete_topics = false;
    let request = DeleteTopicsRequest::default().with_topic_names(vec![topic("t")]);
    let codes = [3, 2].map(|version| {
        let decision = decide(&cluster.view(), version, &request);
        assert!(decision.records.is_empty());
        model::ErrorCode::from_code(decision.response.responses[0].error_code)
    });
    assert_eq!(codes, [model::ErrorCode::TopicDeletionDisabled, model::ErrorCode::InvalidRequest]);
}
