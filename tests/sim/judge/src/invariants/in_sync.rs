//! A leader's in-sync set is the committed one, and the watermark waits for enough of it.
//!
//! At the same partition epoch a leader and the metadata name the same set, and it is part
//! of the replicas: a leader that counts a set before it is committed acknowledges what the
//! next leader may lack. A watermark that moves with fewer than `min.insync.replicas` (or
//! than all, where a topic has fewer replicas) acknowledges too early. Nobody joins while
//! it is fenced. Never suspended.

use std::collections::{BTreeMap, BTreeSet};

use model::{LeaderEpoch, NodeId, Offset, PartitionEpoch};

use super::{Bench, Rule};
use crate::view::{AssignmentView, Key, NodeView, Part, PartitionView};

#[derive(Debug)]
struct Set {
    isr: BTreeSet<NodeId>,
    replicas: BTreeSet<NodeId>,
}

#[derive(Debug)]
struct Led {
    epoch: Option<LeaderEpoch>,
    partition_epoch: Option<PartitionEpoch>,
    watermark: Offset,
    in_sync: usize,
}

#[derive(Debug, Default)]
pub(super) struct InSync {
    committed: BTreeMap<(Key, PartitionEpoch), Set>,
    led: BTreeMap<(NodeId, Key), Led>,
}

impl InSync {
    pub(super) fn observe(&mut self, view: &NodeView, bench: &mut Bench) {
        for key in &view.news.assignments {
            let Some(assignment) = view.metadata.assignments.get(key) else { continue };
            let at = (*key, assignment.partition_epoch);
            let set = Set {
                isr: assignment.isr.iter().copied().collect(),
                replicas: assignment.replicas.iter().copied().collect(),
            };
            if !set.isr.is_subset(&set.replicas) {
                let what = format!(
                    "{}: {:?} in sync, out of {:?}",
                    assignment.name,
                    ids(&set.isr),
                    ids(&set.replicas)
                );
                bench.break_of(Rule::InSyncIsCommitted, Some(*key), what);
            }
            self.check_joiners(*key, assignment, view, bench);
            self.committed.entry(at).or_insert(set);
        }
        for key in &view.news.partitions {
            match view.partitions.get(key).filter(|seen| seen.part == Part::Leader) {
                Some(seen) => self.look(view.node, *key, seen, bench),
                None => drop(self.led.remove(&(view.node, *key))),
            }
        }
    }

    /// Who joins is neither fenced nor on its way down (KIP-841). The state before is known where no
    /// change was skipped.
    fn check_joiners(&self, key: Key, assignment: &AssignmentView, view: &NodeView, bench: &mut Bench) {
        let before = assignment.partition_epoch.get().checked_sub(1).map(PartitionEpoch::new);
        let Some(before) = before.and_then(|before| self.committed.get(&(key, before))) else { return };
        for joiner in assignment.isr.iter().filter(|node| !before.isr.contains(node)) {
            let broker = view.metadata.brokers.get(joiner);
            let led_alone = assignment.isr.len() == 1;
            if !led_alone && broker.is_none_or(|broker| broker.fenced) {
                let what = format!("{}: node {joiner} is fenced and joins the in-sync set", assignment.name);
                bench.break_of(Rule::InSyncIsCommitted, Some(key), what);
            }
        }
    }

    fn look(&mut self, node: NodeId, key: Key, seen: &PartitionView, bench: &mut Bench) {
        let in_sync: BTreeSet<NodeId> = seen.isr.iter().copied().collect();
        let set = seen.partition_epoch.and_then(|epoch| self.committed.get(&(key, epoch)));
        if let Some(set) = set.filter(|set| set.isr != in_sync) {
            let epoch = seen.partition_epoch.unwrap_or_default();
            let what = format!(
                "{}: the leader takes {:?} for in sync at partition epoch {epoch}, committed is {:?}",
                seen.name,
                ids(&in_sync),
                ids(&set.isr)
            );
            bench.break_of(Rule::InSyncIsCommitted, Some(key), what);
        }
        let min = set.map_or(seen.min_isr, |set| seen.min_isr.min(set.replicas.len()));
        let now = Led {
            epoch: seen.leader_epoch,
            partition_epoch: seen.partition_epoch,
            watermark: seen.high_watermark,
            in_sync: in_sync.len(),
        };
        let Some(had) = self.led.insert((node, key), now).filter(|had| had.epoch == seen.leader_epoch) else {
            return;
        };
        // The set may have shrunk in the same step, after the watermark moved; and it may have grown before
        // it shrank, where the step took in more than one change.
        let most = had.in_sync.max(in_sync.len());
        let steps = |epoch: Option<PartitionEpoch>| epoch.map_or(0, PartitionEpoch::get);
        let unseen = steps(seen.partition_epoch) > steps(had.partition_epoch) + 1;
        if seen.high_watermark > had.watermark && most < min && !unseen {
            let what = format!(
                "{}: the watermark moved from {} to {} with {most} in sync, {min} are asked for",
                seen.name, had.watermark, seen.high_watermark
            );
            bench.break_of(Rule::EnoughInSync, Some(key), what);
        }
    }

    pub(super) fn restarted(&mut self, node: NodeId) {
        self.led.retain(|(of, _), _| *of != node);
    }
}

fn ids(nodes: &BTreeSet<NodeId>) -> Vec<i32> {
    nodes.iter().map(|node| node.get()).collect()
}
