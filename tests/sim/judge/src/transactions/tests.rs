//! Each rule on a history that holds and on one that does not.

use std::collections::BTreeMap;

use model::{Millis, Offset, PartitionIndex, TopicName, TopicPartition};

use super::{End, SessionId, TransactionHistory, TransactionId};
use crate::promise::{FaultsSeen, Promise, Span};

fn partition(topic: &str, index: i32) -> TopicPartition {
    TopicPartition { topic: TopicName::new(topic).expect("legal"), partition: PartitionIndex::new(index) }
}

/// One line an event, at ten milliseconds each: `init PRODUCER`, `begin SESSION`,
/// `send TRANSACTION PARTITION VALUE..`, `offset TRANSACTION O`, `commit TRANSACTION`,
/// `committed|aborted TRANSACTION`, `read|final PARTITION TO OFFSET@VALUE..`, `hang PARTITION`, `at O|-|?`.
fn history(text: &str) -> TransactionHistory {
    let mut history = TransactionHistory::default();
    for (number, line) in text.split(';').enumerate() {
        let at = Millis::new(10 * number as u64);
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |word: usize| words[word].parse::<u32>().expect("a number");
        let place = |word: usize| partition("x", i32::try_from(number(word)).expect("small"));
        let id = || TransactionId(number(1) as usize);
        let offset = |text: &str| Offset::new(text.parse().expect("a number"));
        match words[0] {
            "init" => drop(history.session_began(at, words[1])),
            "begin" => drop(history.began(SessionId(number(1) as usize))),
            "send" => {
                let values: Vec<u64> = (3..words.len()).map(|word| u64::from(number(word))).collect();
                history.sends(id(), &place(2), &values);
            }
            "offset" => history.sends_offset(id(), partition("in", 0), offset(words[2])),
            "commit" => history.commit_began(at, id()),
            "committed" => history.ended(id(), End::Committed),
            "aborted" => history.ended(id(), End::Aborted),
            "read" | "final" => {
                let pass = history.pass("r", place(1));
                let records: Vec<(Offset, u64)> = words[3..]
                    .iter()
                    .map(|word| {
                        let (at, value) = word.split_once('@').expect("OFFSET@VALUE");
                        (offset(at), value.parse().expect("a number"))
                    })
                    .collect();
                history.saw(at, pass, &records, offset(words[2]));
                if words[0] == "final" {
                    history.finally_read(pass);
                }
            }
            "hang" => history.hangs(place(1), Offset::ZERO),
            "at" if words[1] == "?" => history.offsets_hang(),
            "at" => {
                let told = (words[1] != "-").then(|| offset(words[1]));
                history.finally_at(partition("in", 0), told);
            }
            other => panic!("{other} is no event"),
        }
    }
    history
}

fn kinds(text: &str, lossy: &[TopicPartition]) -> Vec<String> {
    let always = Span { from: Millis::default(), until: None };
    let unclean_elections = lossy.iter().map(|one| (one.clone(), always)).collect();
    let promise = Promise::new(FaultsSeen { unclean_elections, ..FaultsSeen::default() }, BTreeMap::new());
    let violations = history(text).judge(&promise, &partition("state", 0), &partition("offsets", 0));
    let kind = |told: &String| {
        let told = told.trim_start_matches("transactions: ");
        let words = told.split(':').next().expect("one");
        words.split(" on ").next().expect("one").split(" of ").next().expect("one").to_owned()
    };
    violations.iter().map(kind).collect()
}

fn check(text: &str, expected: &[&str]) {
    assert_eq!(kinds(text, &[]), expected, "{text}");
    assert!(kinds(text, &[partition("state", 0)]).is_empty(), "decisions that are lost excuse: {text}");
}

const ONE: &str = "init a; begin 0; send 0 0 1 2; send 0 1 3; offset 0 7";

#[test]
fn what_was_committed_is_read_once_and_in_order_and_what_was_aborted_is_not() {
    let read = "read 0 3 0@1 1@2; final 0 3 0@1 1@2; final 1 2 0@3; at 7";
    check(&format!("{ONE}; commit 0; committed 0; {read}"), &[]);
    check(&format!("{ONE}; commit 0; {read}"), &[]);
    check(&format!("{ONE}; commit 0; final 0 0; final 1 0; at -"), &[]);
    check(&format!("{ONE}; aborted 0; final 0 3; final 1 2; at -"), &[]);
}

#[test]
fn reading_what_is_aborted_or_not_decided_is_noticed() {
    check(&format!("{ONE}; aborted 0; read 0 2 0@1"), &["aborted read"]);
    check(&format!("{ONE}; read 0 1 0@1; commit 0; committed 0"), &["aborted read"]);
    check(&format!("{ONE}; read 0 1 0@1"), &["aborted read"]);
    check("init a; begin 0; read 0 1 0@9", &["aborted read"]);
    check(&format!("{ONE}; init a; commit 0; read 0 1 0@1"), &["aborted read"]);
    let text = format!("{ONE}; aborted 0; read 0 2 0@1");
    assert!(kinds(&text, &[partition("x", 0)]).is_empty(), "its marker may be lost");
}

#[test]
fn a_commit_of_a_fenced_session_is_noticed() {
    check(&format!("{ONE}; init a; commit 0; committed 0"), &["zombie commit"]);
    check(&format!("{ONE}; init b; commit 0; committed 0"), &[]);
    check(&format!("{ONE}; commit 0; init a; committed 0"), &[]);
    check(&format!("{ONE}; init a; commit 0; aborted 0"), &[]);
}

#[test]
fn a_committed_transaction_with_a_record_missing_is_noticed_and_half_of_an_unknown_one() {
    let half = "final 0 3 0@1 1@2; final 1 2";
    check(&format!("{ONE}; commit 0; committed 0; {half}"), &["lost"]);
    check(&format!("{ONE}; commit 0; {half}"), &["torn"]);
    let text = format!("{ONE}; commit 0; committed 0; {half}");
    assert!(kinds(&text, &[partition("x", 1)]).is_empty(), "it may be lost there");
}

#[test]
fn a_record_that_is_there_twice_or_before_an_earlier_one_is_noticed() {
    let begin = "init a; begin 0; send 0 0 1 2; commit 0; committed 0";
    check(&format!("{begin}; final 0 4 0@1 1@2 2@2"), &["doubled"]);
    check(&format!("{begin}; final 0 4 0@2 1@1"), &["reordered"]);
    check(&format!("{begin}; final 0 4 0@1 3@2"), &[]);
}

#[test]
fn a_reader_that_passed_over_a_record_or_saw_another_is_noticed() {
    let begin = "init a; begin 0; send 0 0 1 2; commit 0; committed 0";
    check(&format!("{begin}; read 0 2 0@1; final 0 3 0@1 1@2"), &["skipped"]);
    check(&format!("{begin}; read 0 1 0@1; final 0 3 0@1 1@2"), &[]);
    check(&format!("{begin}; read 0 2 0@1 1@2; final 0 3 0@1 2@2"), &["differing"]);
}

#[test]
fn a_transaction_that_stays_open_is_noticed() {
    check(&format!("{ONE}; hang 0"), &["hanging"]);
    check(&format!("{ONE}; at ?"), &["hanging"]);
    assert!(kinds(&format!("{ONE}; hang 0"), &[partition("x", 0)]).is_empty(), "its marker may be lost");
    assert!(kinds(&format!("{ONE}; at ?"), &[partition("offsets", 0)]).is_empty(), "and there as well");
}

#[test]
fn a_group_that_is_not_where_the_last_commit_brought_it_is_noticed() {
    let two =
        "init a; begin 0; send 0 0 1; offset 0 5; commit 0; committed 0; begin 0; send 1 0 2; offset 1 6";
    check(&format!("{two}; commit 1; committed 1; final 0 3 0@1 1@2; at 6"), &[]);
    check(&format!("{two}; aborted 1; final 0 3 0@1; at 5"), &[]);
    check(&format!("{two}; aborted 1; final 0 3 0@1; at 6"), &["offset"]);
    check(&format!("{two}; commit 1; final 0 3 0@1 1@2; at 5"), &["offset"]);
    check(&format!("{two}; aborted 1; final 0 3 0@1; at -"), &["offset"]);
    let text = format!("{two}; aborted 1; final 0 3 0@1; at 6");
    assert!(kinds(&text, &[partition("offsets", 0)]).is_empty(), "what groups committed may be lost");
}
