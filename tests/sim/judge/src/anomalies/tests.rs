//! Every class on histories that hold and on histories that do not.

mod random;

use std::collections::{BTreeMap, BTreeSet};

use model::{Millis, NodeId, TopicName};

use super::script::history;
use super::{Anomaly, explain, find};
use crate::promise::{FaultsSeen, Harm, Harmed, Promise, Span, TopicPromise};

/// What is found in a history of topic `t`, whose records may be lost legally within `losses`:
/// `class` and values, and whether it is a violation.
fn found(losses: &[(u64, u64)], text: &str) -> BTreeSet<String> {
    let harm = |&(from, until): &(u64, u64)| Harmed {
        node: NodeId::new(1),
        harm: Harm::PowerLost,
        partition: None,
        span: Span { from: Millis::new(from), until: Some(Millis::new(until)) },
    };
    let faults = FaultsSeen { harms: losses.iter().map(harm).collect(), ..FaultsSeen::default() };
    let topic = (TopicName::new("t").unwrap(), TopicPromise { min_insync: 1, flushes: false });
    let promise = Promise::new(faults, BTreeMap::from([topic]));
    let (history, mut told) = (history(text), BTreeSet::new());
    let findings = find(&history, &promise);
    let violations = promise.judge(&findings).violations;
    for anomaly in &findings.anomalies {
        let verdict = if violations.contains(anomaly) { "" } else { "allowed " };
        let Anomaly { class, values, .. } = anomaly;
        let values: Vec<String> = values.iter().map(u64::to_string).collect();
        told.insert(format!("{verdict}{class} {}", values.join(" ")).trim().to_owned());
        let story = explain(&history, anomaly);
        assert!(story.starts_with(&anomaly.to_string()), "{story}");
        assert_eq!(
            story.matches("\n> ").count(),
            anomaly.ops.iter().collect::<BTreeSet<_>>().len(),
            "{story}"
        );
    }
    told
}

/// Exactly these are found.
fn check(text: &str, expected: &[&str]) {
    check_with(&[], text, expected);
}

/// Exactly these are found, where records may be lost legally within `losses`.
fn check_with(losses: &[(u64, u64)], text: &str, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|&line| line.to_owned()).collect();
    assert_eq!(found(losses, text), expected, "in{text}");
}

#[test]
fn a_history_of_one_log_has_no_anomaly() {
    check(
        "a send t 1 2 => 0
         b assign t
         b poll t 0:1
         a send t 3 => 2
         b poll t 1:2 2:3
         - final
         f assign t
         f poll t 0:1 1:2 2:3
         f ends t 3",
        &[],
    );
}

#[test]
fn an_offset_with_two_values_is_inconsistent_whoever_saw_them() {
    check("a send t 1 x2 => 0\n b send t 2 x2 => 0\n", &["inconsistent-offsets 1 2", "realtime 2"]);
    check(
        "[0..50] a send t 1 => unknown
         [0..50] b send t 2 => unknown
         c poll t 0:1
         d poll t 0:2",
        &["inconsistent-offsets 1 2"],
    );
    check("[0..50] a send t 1 => 0\n [0..50] b send t 2 => 1\n c poll t 0:1 1:2", &[]);
}

const REUSED: &str = "a send t 1 2 => 0
     b poll t 0:1 1:2
     [50..55] b cut t 2 to 1
     [60..65] c send t 3 => 1
     [70..75] b poll t 1:3";

#[test]
fn an_offset_may_be_used_again_after_a_legal_loss_but_not_without_one() {
    let violations = ["inconsistent-offsets 2 3", "realtime 3", "allowed end-regress"];
    check(REUSED, &violations);
    let allowed = ["allowed inconsistent-offsets 2 3", "allowed realtime 3", "allowed end-regress"];
    check_with(&[(30, 40)], REUSED, &allowed);
    check_with(&[(12, 13)], REUSED, &allowed);
    check_with(&[(80, 90)], REUSED, &violations);
}

#[test]
fn after_a_loss_a_calm_time_is_judged_in_full() {
    let text = "a send t 1 => 0
         [60..65] c send t 3 => 0
         [70..75] b poll t 0:3
         [80..85] d poll t 0:1";
    let found = ["inconsistent-offsets 1 3", "allowed realtime 3"];
    check_with(&[(30, 40)], text, &found);
    check_with(&[(30, 40), (77, 78)], text, &["allowed inconsistent-offsets 1 3", "allowed realtime 3"]);
    check_with(&[(30, 40), (77, 82)], text, &["allowed inconsistent-offsets 1 3", "allowed realtime 3"]);
}

#[test]
fn an_epoch_writes_an_offset_once_whatever_was_lost() {
    let text = |one: &str, two: &str| {
        format!(
            "[0..2] a send t 1 => unknown
             [0..2] a send t 2 s7 => unknown
             [10..15] b poll t {one} 0:1
             [50..55] b poll t {two} 0:2"
        )
    };
    let moved = "nonmonotonic-poll 2";
    check_with(
        &[(20, 40)],
        &text("e3", "e3"),
        &["forked-epoch 1 2", "allowed inconsistent-offsets 1 2", moved],
    );
    check_with(&[(20, 40)], &text("e3", "e4"), &["allowed inconsistent-offsets 1 2", moved]);
    check_with(&[(20, 40)], &text("", ""), &["allowed inconsistent-offsets 1 2", moved]);
}

#[test]
fn a_value_lies_at_one_offset_with_idempotence_and_at_one_for_each_attempt_without() {
    let text = |how: &str| format!("a send t 1 {how} => 1\n b assign t\n b poll t 0:1 1:1");
    check(&text(""), &["duplicate 1"]);
    check(&text("x3"), &["duplicate 1"]);
    check(&text("plain"), &["duplicate 1"]);
    check(&text("plain x2"), &["allowed duplicate 1"]);
    check(&text("many x3"), &["allowed duplicate 1"]);
    check("a send t 1 plain x2 => 2\n b poll t 0:1 1:1 2:1", &["duplicate 1"]);
}

#[test]
fn a_copy_is_excused_by_a_loss_only_when_the_first_one_was_lost() {
    let text = "a send t 1 x2 => 0\n [50..55] b poll t 1:1\n";
    check(text, &["duplicate 1"]);
    check_with(&[(20, 40)], text, &["allowed duplicate 1"]);
    let both = format!("{text} [60..65] c poll t 0:1 1:1");
    check_with(&[(20, 40)], &both, &["duplicate 1"]);
}

#[test]
fn what_was_acknowledged_and_overtaken_by_reading_is_lost() {
    check("a send t 1 => 0\n a send t 2 => 1\n b poll t 1:2", &["lost-write 1"]);
    check("a send t 1 => 0\n a send t 2 => 1\n b poll t 0:1", &[]);
    check("a send t 1 acks=1 => 0\n a send t 2 => 1\n b poll t 1:2", &[]);
    check("a send t 1 => unknown\n a send t 2 s5 => 1\n b poll t 1:2", &[]);
    check("a send t 1 => 0\n a send t 2 => 1\n b poll t 1:2\n - delete t", &[]);
}

#[test]
fn a_loss_excuses_what_was_sent_before_its_end() {
    let text = "a send t 1 => 0\n a send t 2 => 1\n b poll t 1:2";
    check_with(&[(2, 3)], text, &["allowed lost-write 1"]);
    check_with(&[(100, 110)], text, &["allowed lost-write 1"]);
    let text = "[50..55] a send t 1 => 0\n [60..65] a send t 2 => 1\n [70..75] b poll t 1:2";
    check_with(&[(2, 3)], text, &["lost-write 1"]);
}

#[test]
fn what_was_read_before_must_be_there_at_the_end() {
    let text = |last: &str| {
        format!(
            "a send t 1 => 0
             [10..60] a send t 2 s5 => unknown
             a send t 3 s6 => 2
             b poll t 0:1 1:2 2:3
             - final
             {last}"
        )
    };
    check(&text("f poll t 0:1 1:2 2:3"), &[]);
    check(&text("f poll t 0:1 2:3"), &["lost-write 2", "int-poll-skip 2"]);
    check(&text("f poll t 0:1 1:2"), &["unseen 3"]);
    check(&text("f poll t"), &["unseen 1", "unseen 2", "unseen 3"]);
}

#[test]
fn what_was_acknowledged_is_seen_by_the_end_of_the_final_phase() {
    let text = "a send t 1 => 0\n a send t 2 => ok\n a send t 3 => 5\n";
    check(text, &[]);
    check(&format!("{text} - final\n f poll t 0:1"), &["unseen 2", "unseen 3"]);
    check(&format!("{text} - final\n f poll t 0:1 1:2 5:3"), &[]);
    check(&format!("{text} - final\n f poll t 0:1\n - delete t"), &[]);
    let found = ["allowed unseen 2", "allowed unseen 3"];
    check_with(&[(12, 22)], &format!("{text} - final\n f poll t 0:1"), &found);
}

#[test]
fn a_refused_value_is_never_read_not_even_after_a_loss() {
    let text = "a send t 1 => refused\n b poll t 0:1";
    check(text, &["aborted-read 1"]);
    check_with(&[(2, 8)], text, &["aborted-read 1"]);
    check("a send t 1 => refused\n a send t 2 s4 => 0\n b poll t 0:2", &[]);
    check("a send t 1 => unknown\n b poll t 0:1", &[]);
}

#[test]
fn what_nobody_sent_or_nobody_had_sent_yet_is_a_phantom() {
    check("b poll t 0:1", &["phantom-read 1"]);
    check("a send u 1 => 0\n b poll t 0:1", &["phantom-read 1"]);
    check("b poll t 0:1\n a send t 1 => 0", &["phantom-read 1"]);
    check("[0..50] b poll t 0:1\n [5..20] a send t 1 => 0", &[]);
    check_with(&[(0, 100)], "b corrupt t 4", &["phantom-read"]);
}

#[test]
fn a_consumer_that_was_not_moved_skips_nothing() {
    let sent = "a send t 1 2 3 4 => 0\n c poll t 0:1 1:2 2:3 3:4\n";
    let check = |polls: &str, expected: &[&str]| check(&format!("{sent}{polls}"), expected);
    check("b assign t\n b poll t 0:1 1:2\n b poll t 2:3", &[]);
    check("b assign t\n b poll t 0:1\n b poll t 2:3", &["poll-skip 2"]);
    check("b assign t\n b poll t 1:2", &["poll-skip 1"]);
    check("b assign t@1\n b poll t 1:2", &[]);
    check("b poll t 1:2", &[]);
    check("b assign t\n b poll t 0:1\n b assign t@2\n b poll t 2:3", &[]);
    check("b subscribe t\n b poll t 0:1\n b poll t 2:3", &["allowed poll-skip 2"]);
    check("b assign t\n b poll t 0:1 2:3", &["int-poll-skip 2"]);
    check("b subscribe t\n b poll t 0:1 2:3", &["int-poll-skip 2"]);
}

#[test]
fn offsets_at_which_nothing_is_known_to_be_are_not_skipped() {
    check("a send t 1 => 0\n a send t 2 => 2\n b assign t\n b poll t 0:1 2:2", &[]);
    check("a send t 1 => 0\n a send t 2 => 2\n b assign t\n b poll t 0:1\n b poll t 2:2", &[]);
}

#[test]
fn what_lay_there_before_a_loss_need_not_be_read_after_it() {
    let text = "a send t 1 => 0
         c poll t 0:1
         [60..65] a send t 2 s9 => 1
         [70..75] b assign t
         [80..85] b poll t 1:2";
    check(text, &["poll-skip 1"]);
    check_with(&[(30, 40)], text, &["allowed poll-skip 1"]);
}

#[test]
fn a_consumer_that_was_not_moved_does_not_go_back() {
    let sent = "a send t 1 2 3 => 0\n";
    let check = |polls: &str, expected: &[&str]| check(&format!("{sent}{polls}"), expected);
    check("b poll t 0:1 1:2\n b poll t 1:2 2:3", &["nonmonotonic-poll 2"]);
    check("b poll t 0:1 1:2\n b assign t@1\n b poll t 1:2 2:3", &[]);
    check("b assign t@1\n b poll t 0:1", &["nonmonotonic-poll 1"]);
    check("b subscribe t\n b poll t 0:1 1:2\n b poll t 1:2", &["allowed nonmonotonic-poll 2"]);
    check("b poll t 1:2 0:1", &["int-nonmonotonic-poll 2 1"]);
    check("b subscribe t\n b poll t 0:1 0:1", &["int-nonmonotonic-poll 1 1"]);
}

#[test]
fn a_consumer_that_is_told_of_a_cut_log_moves() {
    let text = "a send t 1 2 => 0\n b poll t n3 0:1 1:2\n b cut t 2 to 1 n3\n b poll t n3 1:2";
    check(text, &["end-regress"]);
    check_with(&[(12, 18)], text, &["allowed end-regress"]);
}

#[test]
fn a_process_sends_in_order_unless_it_has_several_batches_under_way_without_idempotence() {
    let text =
        |one: &str, two: &str| format!("[0..50] a send t 1 {one} => 1\n [5..50] a send t 2 {two} => 0");
    check(&text("s1", "s2"), &["nonmonotonic-send 2"]);
    check(&text("plain", "plain"), &["nonmonotonic-send 2"]);
    check(&text("many", "many"), &[]);
    check(&text("", ""), &["nonmonotonic-send 2", "reordered-send 2"]);
    check("[0..50] a send t 1 => 0\n [5..50] a send t 2 => 1", &[]);
    check(
        "[0..50] a send t 1 2 => 0\n [5..50] a send t 3 plain => 1",
        &["nonmonotonic-send 3", "inconsistent-offsets 2 3"],
    );
    let lost = "a send t 1 => 4\n [50..55] a send t 2 s8 => 1";
    check_with(&[(20, 30)], lost, &["allowed nonmonotonic-send 2", "allowed realtime 2"]);
}

#[test]
fn the_log_keeps_the_order_of_one_producer_id_even_for_what_was_never_acknowledged() {
    let text = |one: &str, two: &str| {
        format!("[0..5] a send t 1 {one} => unknown\n [2..9] a send t 2 {two} => unknown\n b poll t 0:2 1:1")
    };
    check(&text("s1", "s1"), &["reordered-send 2"]);
    check(&text("s1", "s2"), &[]);
    check(&text("plain", "plain"), &[]);
}

#[test]
fn a_batch_lies_in_one_piece() {
    check("a send t 1 2 => unknown\n b send t 3 => 1\n c poll t 0:1 1:3 2:2", &["torn-batch 1 2 3"]);
    check("a send t 1 2 => unknown\n c poll t 0:2 1:1", &["torn-batch 1 2"]);
    check(
        "a send t 1 2 plain x2 => 2\n c poll t 0:1 1:2 2:1 3:2",
        &["allowed duplicate 1", "allowed duplicate 2"],
    );
}

#[test]
fn offsets_follow_real_time_between_processes() {
    check("a send t 1 => 5\n b send t 2 => 3", &["realtime 2"]);
    check("a send t 1 => 3\n b send t 2 => 5", &[]);
    check("[0..50] a send t 1 => 5\n [10..20] b send t 2 => 3", &[]);
    check("a send t 1 => 5\n b send u 2 => 3", &[]);
    check("a send t 1 acks=1 => 5\n b send t 2 => 3", &[]);
    check_with(&[(7, 8)], "a send t 1 => 5\n b send t 2 => 3", &["allowed realtime 2"]);
    check_with(&[(30, 40)], "a send t 1 => 5\n b send t 2 => 3", &["realtime 2"]);
}

#[test]
fn a_log_does_not_end_before_what_was_read_of_it() {
    let sent = "a send t 1 2 => 0\n b poll t n3 0:1 1:2\n";
    let check = |rest: &str, expected: &[&str]| check(&format!("{sent}{rest}"), expected);
    check("b ends t 1 n3", &["end-regress"]);
    check("b ends t 1 n2", &["allowed end-regress"]);
    check("b ends t 1", &["allowed end-regress"]);
    check("b ends t 2 n3", &[]);
    check("c ends t 1 n3", &[]);
    check("b out t 2 n4", &["end-regress"]);
    check("b out t 5 n4", &[]);
    check("b cut t 2 to 1 n3", &["end-regress"]);
}

#[test]
fn a_watermark_may_lag_behind_what_was_read() {
    check("a send t 1 2 => 0\n b poll t hw 2 0:1 1:2\n b poll t hw 1", &["allowed watermark-regress"]);
    check("a send t 1 2 => 0\n b poll t hw 2 0:1 1:2\n b poll t hw 2", &[]);
}

#[test]
fn a_story_tells_every_operation_on_the_key_and_marks_the_evidence() {
    let history = history(
        "a send t 1 => 0
         a send t 2 => 1
         c send u 9 => 0
         b poll t 1:2",
    );
    let findings = find(&history, &Promise::new(FaultsSeen::default(), BTreeMap::new()));
    assert_eq!(findings.anomalies.len(), 1);
    let story = explain(&history, &findings.anomalies[0]);
    let expected = [
        "lost-write on t-0: 1 was acknowledged at offset 0; it was not read, though offset 1 was",
        ">       0..5       ms     #0 a        sends [1] to t-0 (idempotent 0, 1 attempts): acknowledged at 0",
        ">      30..35      ms     #3 b        polls t-0 from 1: offsets 1 to 1, with 1:2",
        "",
    ];
    assert_eq!(story, expected.join("\n"));
}
