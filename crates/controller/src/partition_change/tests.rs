//! Partitions, wishes, and the records that bring them about, as text.
//!
//! The lines of `cases.txt` were drawn at random, and each one's record is the one that Kafka 4.3.1
//! makes of it at metadata.version 4.0-IV1. Left out are three cases in which this crate means to differ:
//! a replica that leaves stays eligible nowhere (Kafka remembers it, and might elect it), a partition
//! that had no leader has no last leader to remember (Kafka writes -1), and an unclean leader recovers
//! whatever else the change wished.

use std::collections::BTreeMap;

use metadata::{LeaderRecoveryState, Partition};
use model::{LeaderEpoch, NodeId, PartitionEpoch, PartitionIndex, Uuid};
use proto::metadata::PartitionChangeRecord;

use super::{PartitionChange, Rules, ids};
use crate::elect::Election;
use crate::testing::{describe_sets, list};

fn fields(text: &str) -> BTreeMap<&str, &str> {
    text.split_whitespace().filter_map(|word| word.split_once('=')).collect()
}

fn nodes(text: Option<&&str>) -> Vec<NodeId> {
    let ids = text.unwrap_or(&"").split(',').filter(|id| !id.is_empty());
    ids.map(|id| NodeId::new(id.parse().expect("an id"))).collect()
}

fn directory(node: NodeId) -> Uuid {
    Uuid::from_u128((7 << 64) + node.get() as u128)
}

fn describe(record: Option<PartitionChangeRecord>) -> String {
    let Some(record) = record else { return String::new() };
    let mut out = describe_sets(&record);
    if let Some(directories) = record.directories {
        let ids: Vec<i32> = directories.iter().map(|id| i32::from(id.as_bytes()[15])).collect();
        out += &format!(" dirs={}", list(&ids));
    }
    out
}

fn decide(before: &str, wish: &str) -> String {
    let (before, wish) = (fields(before), fields(wish));
    let replicas = nodes(before.get("replicas"));
    let recovering = before.contains_key("recovering");
    let state = Partition {
        directories: replicas.iter().copied().map(directory).collect(),
        replicas: replicas.into(),
        isr: nodes(before.get("isr")).into(),
        removing: nodes(before.get("removing")).into_iter().collect(),
        adding: nodes(before.get("adding")).into_iter().collect(),
        elr: nodes(before.get("elr")).into_iter().collect(),
        last_known_elr: nodes(before.get("last")).into_iter().collect(),
        leader: nodes(before.get("leader")).first().copied(),
        leader_recovery_state: if recovering {
            LeaderRecoveryState::Recovering
        } else {
            LeaderRecoveryState::Recovered
        },
        leader_epoch: LeaderEpoch::new(5),
        partition_epoch: PartitionEpoch::new(9),
    };
    let rules = Rules {
        min_insync_replicas: before["min"].parse().expect("a number"),
        elr_enabled: before.contains_key("elr"),
    };
    let mut change = PartitionChange::new(&state, rules);
    change.isr = nodes(wish.get("isr"));
    if wish.contains_key("replicas") {
        change.replicas = nodes(wish.get("replicas"));
    }
    change.recovering &= wish.get("recovering") != Some(&"0");
    change.unclean_shutdown = nodes(wish.get("unclean")).first().copied();
    change.election = match wish.get("election") {
        Some(&"preferred") => Election::Preferred,
        Some(&"unclean") => Election::Unclean,
        _ => Election::Online,
    };
    let live = nodes(before.get("live"));
    let place = (Uuid::from_u128(500), PartitionIndex::new(3));
    describe(change.build(place, |node| live.contains(&node), directory))
}

fn check(line: &str) {
    let parts: Vec<&str> = line.split('|').collect();
    let [before, wish, outcome] = parts[..] else { panic!("not a case: {line}") };
    assert_eq!(decide(before, wish).trim(), outcome.trim(), "{before}|{wish}");
}

#[test]
fn records_are_those_kafka_writes() {
    include_str!("cases.txt").lines().for_each(check);
}

#[test]
fn a_lost_leader_is_replaced_and_leaves_the_in_sync_set() {
    check("replicas=1,2,3 isr=1,2,3 leader=1 live=2,3 min=1 | isr=2,3 | leader=2 isr=2,3");
}

#[test]
fn the_last_in_sync_replica_stays_in_the_set_when_there_is_nothing_eligible_to_remember() {
    check("replicas=1,2 isr=1 leader=1 live=2 min=1 | isr= | leader=-1");
}

#[test]
fn below_the_minimum_whoever_was_in_sync_stays_eligible() {
    check("replicas=1,2,3 isr=1,2 elr= leader=1 live=2,3 min=2 | isr=2 | leader=2 isr=2 elr=1");
    check("replicas=1,2,3 isr=2 elr=1 leader=2 live=3 min=2 | isr= | leader=-1 isr= elr=1,2 last=2");
    check("replicas=1,2,3 isr= elr=1,2 last=2 live=1,3 min=2 | isr= | leader=1 isr=1 elr=2 last=");
    check("replicas=1,2,3 isr=1 elr=2 leader=1 live=1,2,3 min=2 | isr=1,2 | isr=1,2 elr=");
}

#[test]
fn an_unclean_shutdown_ends_eligibility() {
    check("replicas=1,2,3 isr= elr=1,2 last=2 live= min=2 | isr= unclean=1 | elr=2");
}

#[test]
fn an_unclean_leader_recovers_alone() {
    check("replicas=1,2 isr=1 leader=1 live=2 min=1 | isr=1 election=unclean | leader=2 isr=2 recovering=1");
}

#[test]
fn nothing_to_do_is_no_record() {
    check("replicas=1,2 isr=1,2 leader=1 live=1,2 min=1 | isr=1,2 |");
    assert_eq!(ids(&[NodeId::new(3)]), [3]);
}
