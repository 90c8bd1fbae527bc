//! Each rule on a history that holds and on one that does not.

use std::collections::BTreeMap;

use model::{Millis, NodeId, Offset, PartitionIndex, TopicName, TopicPartition};

use super::{GroupHistory, Outcome};
use crate::promise::{FaultsSeen, Harm, Harmed, Promise, Span};

fn partition(topic: &str) -> TopicPartition {
    TopicPartition { topic: TopicName::new(topic).expect("legal"), partition: PartitionIndex::new(0) }
}

/// One line an event, at ten milliseconds each:
/// `commit G O ok|unknown|refused`, `fetch O|-` (`two` behind them: answered by node 2, and no other), `assign MEMBER G`, `read FROM TO`, `end O`.
fn history(text: &str) -> GroupHistory {
    let mut history = GroupHistory::default();
    for (number, line) in text.split(';').enumerate() {
        let at = Millis::new(10 * number as u64);
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |word: usize| words[word].parse::<i64>().expect("a number");
        let offset = |word: usize| Offset::new(number(word));
        match words[0] {
            "commit" => {
                let generation = i32::try_from(number(1)).expect("small");
                let id = history.commit_began(at, generation, partition("t"), offset(2));
                let outcome = match words[3] {
                    "ok" => Outcome::Acked,
                    "refused" => Outcome::Refused,
                    _ => Outcome::Unknown,
                };
                let node = words.get(4).map(|_| NodeId::new(2));
                history.commit_ended(at, id, outcome, node);
            }
            "fetch" => {
                let invoked = history.moment(at);
                let told = (words[1] != "-").then(|| offset(1));
                let node = words.get(2).map(|_| NodeId::new(2));
                history.fetched(invoked, at, partition("t"), told, node);
            }
            "assign" => {
                let generation = i32::try_from(number(2)).expect("small");
                history.assigned(at, words[1], generation, vec![partition("t")]);
            }
            "read" => history.read(partition("t"), offset(1), offset(2)),
            "end" => history.ended_at(partition("t"), offset(1)),
            other => panic!("{other} is no event"),
        }
    }
    history
}

fn kinds(text: &str, promise: &Promise) -> Vec<String> {
    let violations = history(text).judge(promise, &partition("__consumer_offsets"));
    let kind = |told: &String| {
        let words = told.trim_start_matches("group: ").split(" on ").next().expect("one");
        words.split(" of ").next().expect("one").to_owned()
    };
    violations.iter().map(kind).collect()
}

fn check(text: &str, expected: &[&str]) {
    assert_eq!(kinds(text, &Promise::default()), expected, "{text}");
}

#[test]
fn an_acknowledged_commit_stands_until_a_later_one() {
    check("fetch -; commit 1 5 ok; fetch 5; commit 1 9 ok; fetch 9", &[]);
    check("commit 1 5 ok; fetch -", &["stale offsets"]);
    check("commit 1 5 ok; commit 1 9 ok; fetch 5", &["stale offsets"]);
    check("commit 1 5 ok; fetch 7", &["stale offsets"]);
    check("commit 1 5 ok; commit 1 9 refused; fetch 9", &["stale offsets"]);
}

#[test]
fn a_coordinator_that_was_replaced_knows_what_it_took_itself() {
    check("commit 1 5 ok two; commit 1 9 ok; fetch 5 two", &[]);
    check("commit 1 5 ok two; commit 1 9 ok two; fetch 5 two", &["stale offsets"]);
    check("commit 1 5 ok two; commit 1 9 ok; fetch 5", &["stale offsets"]);
}

#[test]
fn a_commit_of_unknown_outcome_may_take_effect_at_any_time_and_never() {
    check("commit 1 5 ok; commit 1 9 unknown; fetch 5; fetch 9", &[]);
    check("commit 1 9 unknown; commit 1 12 ok; fetch 9; fetch 12", &[]);
}

#[test]
fn a_generation_ends_where_the_next_one_is_handed_out() {
    check("assign a 1; commit 1 5 ok; assign b 2; commit 2 6 ok; commit 1 7 refused", &[]);
    check("assign a 1; assign b 2; commit 1 5 ok", &["zombie commit"]);
}

#[test]
fn a_generation_has_one_owner_of_a_partition() {
    check("assign a 1; assign a 1; assign b 2", &[]);
    check("assign a 1; assign b 1", &["two owners"]);
}

#[test]
fn what_the_group_is_past_of_was_read() {
    check("read 0 4; read 3 9; commit 1 9 ok; end 9", &[]);
    check("read 0 4; read 5 9; commit 1 9 ok; end 9", &["skipped"]);
}

#[test]
fn a_legal_loss_of_the_offsets_excuses_what_touches_it() {
    let span = |from, until| Span { from: Millis::new(from), until: Some(Millis::new(until)) };
    let power = |span| Harmed { node: NodeId::new(1), harm: Harm::PowerLost, partition: None, span };
    let during = |span| {
        let faults = FaultsSeen { harms: vec![power(span)], ..FaultsSeen::default() };
        Promise::new(faults, BTreeMap::new())
    };
    let text = "commit 1 5 ok; commit 1 9 ok; fetch 5";
    assert_eq!(kinds(text, &during(span(15, 18))), Vec::<String>::new());
    assert_eq!(kinds(text, &during(span(50, 80))), ["stale offsets"]);
}
