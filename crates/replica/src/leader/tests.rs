//! Situations of a leader and their outcome, as text.
//!
//! A script is a line an input; what the leader does about it is the outcome:
//! `at MS` sets the time, `append N`, `fetch NODE at OFFSET [fenced]`, `tick`,
//! `committed ISR epoch N`, `refused`, `unknown`, `metadata ISR epoch N`.

use std::time::Duration;

use model::{LeaderEpoch, Millis, NodeId, Offset, PartitionEpoch};

use super::{AckState, Effect, Input, IsrAnswer, Leader, LeaderOptions};
use crate::assignment::Assignment;

const LAG_MAX: Duration = Duration::from_millis(1_000);

struct Script {
    leader: Leader,
    now: Millis,
    outcome: Vec<String>,
}

fn nodes(text: &str) -> Vec<NodeId> {
    text.split(',').map(|node| NodeId::new(node.parse().expect("a node id"))).collect()
}

fn assignment(isr: &str, partition_epoch: i32) -> Assignment {
    Assignment {
        replicas: nodes("1,2,3"),
        isr: nodes(isr),
        leader: Some(NodeId::new(1)),
        leader_epoch: LeaderEpoch::new(5),
        partition_epoch: PartitionEpoch::new(partition_epoch),
    }
}

impl Script {
    /// Node 1 leads p with replicas 1,2,3 from offset 10 on; the watermark stands at 10.
    fn new(isr: &str, min_isr: usize) -> Self {
        let options = LeaderOptions { lag_max: LAG_MAX, min_isr, waits_for_sync: false };
        let start = Offset::new(10);
        let leader = Leader::new(NodeId::new(1), Millis::new(0), &assignment(isr, 0), start, start, options);
        Self { leader, now: Millis::new(0), outcome: Vec::new() }
    }

    fn run(mut self, script: &str) -> Self {
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.line(line);
        }
        self
    }

    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |word: &str| word.parse::<i64>().expect("a number");
        let mut effects = Vec::new();
        match words[..] {
            ["at", ms] => self.now = Millis::new(ms.parse().expect("a time")),
            ["append", end] => self.step(Input::Appended { end: Offset::new(number(end)) }, &mut effects),
            ["fetch", from, "at", at] => self.fetch(from, number(at), true, &mut effects),
            ["fetch", from, "at", at, "fenced"] => self.fetch(from, number(at), false, &mut effects),
            ["tick"] => self.step(Input::Ticked, &mut effects),
            ["committed", isr, "epoch", epoch] => {
                let partition_epoch = PartitionEpoch::new(epoch.parse().expect("an epoch"));
                let answer = IsrAnswer::Committed { isr: nodes(isr), partition_epoch };
                self.step(Input::IsrAnswered(answer), &mut effects);
            }
            ["refused"] => self.step(Input::IsrAnswered(IsrAnswer::Refused), &mut effects),
            ["unknown"] => self.step(Input::IsrAnswered(IsrAnswer::Unknown), &mut effects),
            ["metadata", isr, "epoch", epoch] => {
                let state = assignment(isr, epoch.parse().expect("an epoch"));
                self.leader.assign(self.now, &state, &mut effects);
            }
            _ => panic!("no such line: {line}"),
        }
        self.outcome.extend(effects.iter().map(describe));
    }

    fn step(&mut self, input: Input, effects: &mut Vec<Effect>) {
        self.leader.step(self.now, input, effects);
    }

    fn fetch(&mut self, from: &str, at: i64, eligible: bool, effects: &mut Vec<Effect>) {
        let from = NodeId::new(from.parse().expect("a node id"));
        let at = Offset::new(at);
        self.step(Input::FollowerFetched { from, broker_epoch: None, at, eligible }, effects);
    }
}

fn describe(effect: &Effect) -> String {
    match effect {
        Effect::HighWatermark(offset) => format!("watermark {offset}"),
        Effect::ProposeIsr(proposal) => {
            let isr: Vec<String> = proposal.isr.iter().map(|member| member.node.to_string()).collect();
            format!("propose {} on {}", isr.join(","), proposal.partition_epoch)
        }
    }
}

fn check(isr: &str, min_isr: usize, script: &str, outcome: &[&str]) {
    assert_eq!(Script::new(isr, min_isr).run(script).outcome, outcome);
}

#[test]
fn the_watermark_is_what_every_in_sync_replica_has() {
    check(
        "1,2,3",
        2,
        "append 20\n fetch 2 at 20\n fetch 3 at 15\n fetch 3 at 20",
        &["watermark 15", "watermark 20"],
    );
}

/// Who could serve a reader at `at`, after `script`.
fn check_holders(script: &str, at: i64, outcome: &[&str]) {
    let mut script = Script::new("1,2,3", 1).run(script);
    script.leader.note_log_start(NodeId::new(3), Offset::new(12));
    let holders =
        script.leader.holders(Offset::new(at)).map(|holder| format!("{} to {}", holder.node, holder.end));
    assert_eq!(holders.collect::<Vec<_>>(), outcome, "at {at}");
}

#[test]
fn a_follower_holds_what_lies_in_its_log_while_it_is_in_sync() {
    let script = "append 20\n fetch 2 at 15\n fetch 3 at 20";
    check_holders(script, 11, &["2 to 15"]);
    check_holders(script, 15, &["2 to 15", "3 to 20"]);
    check_holders(script, 16, &["3 to 20"]);
    check_holders(script, 21, &[]);
    check_holders("append 20", 10, &[]);
    check_holders(&format!("{script}\n metadata 1,2 epoch 1"), 15, &["2 to 15"]);
}

#[test]
fn a_lone_leader_commits_at_once_unless_the_topic_asks_for_more() {
    check("1", 1, "append 20", &["watermark 20"]);
    check("1", 2, "append 20", &[]);
}

#[test]
fn a_follower_that_reached_the_watermark_is_proposed_and_waited_for() {
    check(
        "1,2",
        1,
        "
        append 20
        fetch 2 at 20
        fetch 3 at 12
        fetch 3 at 20
        append 30
        fetch 2 at 30
        fetch 3 at 30
        ",
        &["watermark 20", "propose 1,2,3 on 0", "watermark 30"],
    );
}

#[test]
fn a_fenced_follower_is_not_proposed() {
    check("1,2", 1, "append 20\n fetch 2 at 20\n fetch 3 at 20 fenced", &["watermark 20"]);
}

#[test]
fn a_follower_that_the_controller_removed_is_not_waited_for_until_it_fetches_again() {
    check(
        "1,2,3",
        2,
        "
        append 20
        fetch 2 at 20
        fetch 3 at 20
        metadata 1,2 epoch 1
        append 30
        fetch 2 at 30
        append 40
        fetch 3 at 30
        fetch 2 at 40
        ",
        &["watermark 20", "watermark 30", "propose 1,2,3 on 1"],
    );
}

#[test]
fn a_silent_follower_is_waited_for_until_its_removal_is_committed() {
    check(
        "1,2,3",
        1,
        "
        append 20
        fetch 2 at 20
        at 900
        fetch 2 at 20
        tick
        at 1001
        tick
        tick
        committed 1,2 epoch 1
        ",
        &["propose 1,2 on 0", "watermark 20"],
    );
}

#[test]
fn a_follower_that_lags_but_keeps_pace_stays() {
    // Each fetch reaches what was the end at the fetch before: never equal to the end, always close.
    check(
        "1,2",
        1,
        "
        append 20
        at 600
        fetch 2 at 15
        append 30
        at 1200
        fetch 2 at 20
        append 40
        at 1600
        tick
        ",
        &["watermark 15", "watermark 20"],
    );
}

#[test]
fn a_refused_growth_is_forgotten_and_an_unknown_one_sent_again() {
    check(
        "1,2",
        1,
        "fetch 3 at 10\n refused\n fetch 3 at 10\n unknown\n tick\n tick",
        &["propose 1,2,3 on 0", "propose 1,2,3 on 0", "propose 1,2,3 on 0"],
    );
}

#[test]
fn while_a_growth_is_unknown_the_watermark_waits_for_the_larger_set() {
    check(
        "1",
        1,
        "
        fetch 2 at 10
        unknown
        append 20
        at 5000
        metadata 1 epoch 1
        ",
        &["propose 1,2 on 0", "watermark 20"],
    );
}

#[test]
fn the_metadata_settles_what_was_pending() {
    check(
        "1,2",
        1,
        "fetch 3 at 10\n metadata 1,2,3 epoch 1\n committed 1,2,3 epoch 1\n fetch 3 at 10",
        &["propose 1,2,3 on 0"],
    );
}

#[test]
fn a_follower_behind_the_epochs_start_does_not_join() {
    // Its log may still hold what lost the election.
    check("1,2", 1, "fetch 3 at 9\n fetch 3 at 10", &["propose 1,2,3 on 0"]);
}

#[test]
fn acks_all_needs_the_minimum_before_and_after() {
    let script = Script::new("1,2", 2).run("append 20");
    assert_eq!(script.leader.ack_state(Offset::new(20)), AckState::Waiting);
    let script = script.run("fetch 2 at 20");
    assert_eq!(script.leader.ack_state(Offset::new(20)), AckState::Done);
    let script = script.run("metadata 1 epoch 1");
    assert_eq!(script.leader.ack_state(Offset::new(20)), AckState::TooFewReplicas);
    assert!(script.leader.admit_acks_all().is_err());
}

#[test]
fn a_node_outside_the_replicas_counts_for_nothing() {
    check("1,2", 1, "append 20\n fetch 9 at 20", &[]);
}

#[test]
fn the_low_watermark_is_the_least_log_start_of_the_live_replicas() {
    let assignment = assignment("1,2,3", 0);
    let options = LeaderOptions { lag_max: Duration::from_secs(30), min_isr: 1, waits_for_sync: false };
    let (end, watermark) = (Offset::new(20), Offset::new(10));
    let mut leader = Leader::new(NodeId::new(1), Millis::new(0), &assignment, end, watermark, options);
    let low = |leader: &Leader, dead: i32| leader.low_watermark(Offset::new(9), |it| it.get() != dead);
    assert_eq!(low(&leader, 0), None, "nobody has told yet");
    assert!(leader.note_log_start(NodeId::new(2), Offset::new(4)));
    assert!(!leader.note_log_start(NodeId::new(2), Offset::new(4)), "it is known");
    assert!(!leader.note_log_start(NodeId::new(7), Offset::new(4)), "no replica");
    assert_eq!((low(&leader, 0), low(&leader, 3)), (None, Some(Offset::new(4))));
    assert!(leader.note_log_start(NodeId::new(3), Offset::new(12)));
    assert_eq!((low(&leader, 0), low(&leader, 2)), (Some(Offset::new(4)), Some(Offset::new(9))));
}

#[test]
fn where_every_record_is_flushed_the_leaders_copy_counts_once_it_is_synced() {
    let options = LeaderOptions { lag_max: LAG_MAX, min_isr: 1, waits_for_sync: true };
    let (now, start) = (Millis::new(0), Offset::new(10));
    let mut leader = Leader::new(NodeId::new(1), now, &assignment("1", 0), start, start, options);
    let mut effects = Vec::new();
    leader.step(now, Input::Appended { end: Offset::new(15) }, &mut effects);
    assert_eq!((leader.high_watermark(), leader.ack_state(Offset::new(15))), (start, AckState::Waiting));
    leader.step(now, Input::Synced { end: Offset::new(12) }, &mut effects);
    assert_eq!(leader.high_watermark(), Offset::new(12));
    leader.step(now, Input::Synced { end: Offset::new(15) }, &mut effects);
    assert_eq!(leader.ack_state(Offset::new(15)), AckState::Done);
}

#[test]
fn an_answer_about_another_leaders_set_changes_nothing() {
    let options = LeaderOptions { lag_max: LAG_MAX, min_isr: 1, waits_for_sync: false };
    let (now, start) = (Millis::new(0), Offset::new(10));
    let mut leader = Leader::new(NodeId::new(1), now, &assignment("1,2", 0), start, start, options);
    let late = IsrAnswer::Committed { isr: nodes("2"), partition_epoch: PartitionEpoch::new(5) };
    leader.step(now, Input::IsrAnswered(late), &mut Vec::new());
    assert_eq!(leader.isr().collect::<Vec<_>>(), nodes("1,2"));
    assert_eq!(leader.partition_epoch(), PartitionEpoch::new(0));
}
