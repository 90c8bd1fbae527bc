//! Which faults cost which promise.

use std::collections::BTreeMap;

use model::{Millis, NodeId};

use super::{FaultsSeen, Harm, Harmed, Promise, Span, TopicPromise, excuses};
use crate::anomalies::script::partition;
use crate::anomalies::{Class, Excuse};

/// Harms as text: `power 1 10..20, disk 2 15..`; the losses of a topic as text.
fn losses(min_insync: usize, flushes: bool, harms: &str) -> String {
    let promise = promise(min_insync, flushes, harms);
    let tell = |span: &Span| {
        let until = span.until.map_or(String::new(), |until| until.get().to_string());
        format!("{}..{until}", span.from.get())
    };
    promise.losses(&partition("t")).iter().map(tell).collect::<Vec<_>>().join(" ")
}

fn promise(min_insync: usize, flushes: bool, harms: &str) -> Promise {
    let mut faults = FaultsSeen { voters: (1..=3).map(NodeId::new).collect(), ..FaultsSeen::default() };
    for text in harms.split(", ").filter(|text| !text.is_empty()) {
        let words: Vec<&str> = text.split(' ').collect();
        let (from, until) = words[2].split_once("..").unwrap();
        let at = |text: &str| text.parse().ok().map(Millis::new);
        let span = Span { from: at(from).unwrap(), until: at(until) };
        let harm = match words[0] {
            "power" => Harm::PowerLost,
            "sync" => Harm::SyncFailed,
            "bits" => Harm::BitsFlipped,
            "disk" => Harm::DiskLost,
            "unclean" => {
                faults.unclean_elections.push((partition(words[1]), span));
                continue;
            }
            other => panic!("no harm is named '{other}'"),
        };
        let partition = words.get(3).map(|topic| partition(topic));
        let node = NodeId::new(words[1].parse().unwrap());
        faults.harms.push(Harmed { node, harm, partition, span });
    }
    let topic = TopicPromise { min_insync, flushes };
    Promise::new(faults, BTreeMap::from([(partition("t").topic, topic)]))
}

fn check(min_insync: usize, flushes: bool, harms: &str, expected: &str) {
    assert_eq!(losses(min_insync, flushes, harms), expected, "min {min_insync}, {harms}");
}

#[test]
fn fewer_nodes_than_min_insync_replicas_may_lose_power_at_once() {
    check(2, false, "", "");
    check(2, false, "power 1 10..20", "");
    check(2, false, "power 1 10..20, power 2 30..40", "");
    check(2, false, "power 1 10..20, power 2 15..40", "15..40");
    check(3, false, "power 1 10..20, power 2 15..40", "");
    check(1, false, "power 1 10..20, power 1 30..40", "10..20 30..40");
    check(2, false, "power 1 10..20, power 1 15..40", "");
}

#[test]
fn a_loss_lasts_until_the_last_node_of_those_that_hang_together_is_whole() {
    check(2, false, "power 1 10..50, power 2 20..30, power 3 45..90", "20..90");
    check(2, false, "power 1 10.., power 2 20..30", "20..");
    check(2, false, "power 3 45..90, power 2 20..30, power 1 10..30", "20..30");
    check(3, false, "power 1 10..30, power 2 20..50, power 3 40..60", "");
}

#[test]
fn what_is_flushed_before_it_is_acknowledged_survives_power_loss_but_no_lost_disks() {
    check(2, true, "power 1 10.., power 2 10.., power 3 10..", "");
    check(2, true, "sync 1 10.., sync 2 10..", "");
    check(2, false, "sync 1 10..20, power 2 10..20", "10..20");
    check(2, true, "disk 1 10..30, bits 2 20..30", "20..30");
}

#[test]
fn a_flipped_bit_costs_only_its_partition_a_copy() {
    check(1, false, "bits 1 10..20 t", "10..20");
    check(1, false, "bits 1 10..20 u", "");
}

#[test]
fn an_unclean_election_costs_its_partition_what_the_elected_lacks() {
    check(2, true, "unclean t 10..20", "10..20");
    check(2, true, "unclean u 10..20", "");
    check(1, false, "unclean t 15..30, power 1 10..20", "10..30");
}

#[test]
fn a_topic_that_nobody_described_is_promised_the_least() {
    let promise = promise(3, true, "power 1 10..20");
    assert!(promise.is_lossy(&partition("u"), Millis::new(15)));
    assert!(!promise.is_lossy(&partition("t"), Millis::new(15)));
    assert!(!promise.is_lossy(&partition("u"), Millis::new(21)));
}

#[test]
fn metadata_is_lost_only_with_a_majority_of_the_voters_disks() {
    let lost = |harms| promise(2, true, harms).metadata_lost();
    assert_eq!(lost("power 1 10.., power 2 10.., power 3 10.."), None);
    assert_eq!(lost("disk 1 10.."), None);
    assert_eq!(lost("disk 1 10..20, disk 2 30..40"), None);
    assert_eq!(lost("disk 1 10.., disk 4 20.., disk 5 20.."), None, "brokers do not vote");
    assert_eq!(lost("disk 1 10.., disk 2 20.."), Some(Millis::new(20)));
    check(3, true, "disk 1 10..40, disk 2 20..40", "20..");
}

#[test]
fn a_loss_never_excuses_what_one_log_alone_contradicts() {
    let never = Class::ALL.into_iter().filter(|&class| !excuses(class, Excuse::LegalLoss));
    let never: Vec<&str> = never.map(Class::name).collect();
    let expected = [
        "forked-epoch",
        "aborted-read",
        "phantom-read",
        "nonmonotonic-poll",
        "int-nonmonotonic-poll",
        "torn-batch",
    ];
    assert_eq!(never, expected);
}
