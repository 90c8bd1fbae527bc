//! Elections asked for and unasked, as text.

use wire::messages::elect_leaders_request::TopicPartitions;
use wire::messages::{ElectLeadersRequest, topic};

use super::{balance, decide, elect_unclean};
use crate::testing::{assert_lines, cluster};

const CLUSTER: &str = "
    broker 1
    broker 2
    broker 3 fenced
    t-0 replicas=1,2 isr=1,2 leader=2
    t-1 replicas=2,1 isr=2,1 leader=2
    t-2 replicas=3,2 isr=3
    t-3 replicas=3,2 isr=3,2 leader=2
    t-4 replicas=3 isr=3
";

/// `preferred t-0 t-1`, `unclean` (all).
#[track_caller]
fn check(asked: &str, outcome: &str) {
    let mut cluster = cluster(CLUSTER);
    let mut words = asked.split_whitespace();
    let election = match words.next() {
        Some("preferred") => 0,
        Some("unclean") => 1,
        _ => 9,
    };
    let asked: Vec<TopicPartitions> = words
        .filter_map(|word| word.rsplit_once('-'))
        .map(|(name, index)| {
            let index = index.parse().expect("an index");
            TopicPartitions::default().with_topic(topic(name)).with_partitions(vec![index])
        })
        .collect();
    let request = ElectLeadersRequest::default()
        .with_election_type(election)
        .with_topic_partitions((!asked.is_empty()).then_some(asked));
    let decision = decide(&cluster.view(), &request);
    let (records, response) = cluster.take(decision);
    let mut lines = vec![records];
    if response.error_code != 0 {
        lines.push(format!("-> {}", model::ErrorCode::from_code(response.error_code)));
    }
    for topic in &response.replica_election_results {
        lines.extend(topic.partition_result.iter().map(|result| {
            let code = model::ErrorCode::from_code(result.error_code);
            let message = result.error_message.as_deref().unwrap_or_default();
            format!("-> {}-{}: {code} {message}", topic.topic.as_str(), result.partition_id).trim().to_owned()
        }));
    }
    assert_lines(&lines.join("\n"), outcome);
}

#[test]
fn a_preferred_replica_in_sync_leads_again() {
    check(
        "preferred t-0",
        "
        t-0 leader=1
        -> t-0: NONE
        ",
    );
}

#[test]
fn no_election_is_held_where_none_is_needed_or_possible() {
    check("preferred t-1", "-> t-1: ELECTION_NOT_NEEDED Leader election not needed for topic partition.");
    check("preferred t-3", "-> t-3: PREFERRED_LEADER_NOT_AVAILABLE The preferred leader was not available.");
    check("unclean t-0", "-> t-0: ELECTION_NOT_NEEDED Leader election not needed for topic partition.");
    check(
        "unclean t-4",
        "-> t-4: ELIGIBLE_LEADERS_NOT_AVAILABLE Eligible topic partition leaders are not available.",
    );
    check("preferred u-0", "-> u-0: UNKNOWN_TOPIC_OR_PARTITION No such topic as u");
    check("preferred t-9", "-> t-9: UNKNOWN_TOPIC_OR_PARTITION No such partition as t-9");
    check("other", "-> INVALID_REQUEST");
}

#[test]
fn an_operator_may_choose_an_unclean_leader() {
    check(
        "unclean t-2",
        "
        t-2 leader=2 isr=2 recovering=1
        -> t-2: NONE
        ",
    );
}

#[test]
fn asked_for_all_only_those_in_need_are_answered() {
    check(
        "preferred",
        "
        t-0 leader=1
        -> t-0: NONE
        -> t-2: PREFERRED_LEADER_NOT_AVAILABLE The preferred leader was not available.
        -> t-3: PREFERRED_LEADER_NOT_AVAILABLE The preferred leader was not available.
        -> t-4: PREFERRED_LEADER_NOT_AVAILABLE The preferred leader was not available.
        ",
    );
}

#[test]
fn leaders_are_balanced_where_the_share_of_the_displaced_is_large() {
    let ten = |displaced: usize| {
        let leader = |index: usize| if index < displaced { 2 } else { 1 };
        let line = |index: usize| format!("t-{index} replicas=1,2 isr=1,2 leader={}\n", leader(index));
        format!("broker 1\n broker 2\n{}", (0..10).map(line).collect::<String>())
    };
    let check = |displaced: usize, outcome: &str| {
        let mut cluster = cluster(&ten(displaced));
        let decision = balance(&cluster.view());
        assert!(!decision.response);
        assert_lines(&cluster.take(decision).0, outcome);
    };
    check(1, "");
    check(
        2,
        "
        t-0 leader=1
        t-1 leader=1
        ",
    );
}

#[test]
fn an_unclean_leader_is_chosen_unasked_only_where_the_topic_allows_it() {
    let mut cluster = cluster(&format!(
        "{CLUSTER}
        u-0 replicas=3,2 isr=3
        config topic u unclean.leader.election.enable=true
        "
    ));
    let decision = elect_unclean(&cluster.view());
    assert_lines(&cluster.take(decision).0, "u-0 leader=2 isr=2 recovering=1");
}
