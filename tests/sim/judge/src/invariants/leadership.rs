//! One leader for each leader epoch of a partition, and epochs that only grow.
//!
//! Held for the whole run, over all nodes and restarts, and never suspended: two nodes
//! that ever lead the same epoch could both acknowledge. The metadata names the leader of
//! an epoch; a node that leads the epoch of another one's, or an image that changes the
//! leader without an epoch, breaks it as well.

use std::collections::BTreeMap;

use model::{LeaderEpoch, NodeId};

use super::{Bench, Rule};
use crate::view::{Key, NodeView, Part};

#[derive(Debug, Default)]
pub(super) struct Leadership {
    /// Who leads, as the metadata says.
    named: BTreeMap<(Key, LeaderEpoch), Option<NodeId>>,
    /// Who was seen to lead.
    led: BTreeMap<(Key, LeaderEpoch), NodeId>,
    /// What each living node knew last.
    known: BTreeMap<(NodeId, Key), LeaderEpoch>,
}

impl Leadership {
    pub(super) fn observe(&mut self, view: &NodeView, bench: &mut Bench) {
        for key in &view.news.assignments {
            let Some(assignment) = view.metadata.assignments.get(key) else { continue };
            let (epoch, leader) = (assignment.leader_epoch, assignment.leader);
            let named = *self.named.entry((*key, epoch)).or_insert(leader);
            if named != leader {
                let what = format!(
                    "{}: the metadata names {} and {} as leader of epoch {epoch}",
                    assignment.name,
                    node_or_none(named),
                    node_or_none(leader)
                );
                bench.break_of(Rule::OneLeaderPerEpoch, Some(*key), what);
            }
        }
        for key in &view.news.partitions {
            self.look(view, *key, bench);
        }
    }

    fn look(&mut self, view: &NodeView, key: Key, bench: &mut Bench) {
        let me = view.node;
        let Some((seen, epoch)) = view.partitions.get(&key).and_then(|seen| Some((seen, seen.leader_epoch?)))
        else {
            self.known.remove(&(me, key));
            return;
        };
        if let Some(had) = self.known.insert((me, key), epoch).filter(|had| epoch < *had) {
            let what = format!("{}: went from leader epoch {had} back to {epoch}", seen.name);
            bench.break_of(Rule::LeaderEpochGrows, Some(key), what);
        }
        if seen.part != Part::Leader {
            return;
        }
        let first = *self.led.entry((key, epoch)).or_insert(me);
        let named = self.named.get(&(key, epoch)).copied().unwrap_or(Some(me));
        if first != me {
            let what = format!("{}: nodes {first} and {me} both led epoch {epoch}", seen.name);
            bench.break_of(Rule::OneLeaderPerEpoch, Some(key), what);
        } else if named != Some(me) {
            let what = format!("{}: node {me} leads epoch {epoch} of {}", seen.name, node_or_none(named));
            bench.break_of(Rule::OneLeaderPerEpoch, Some(key), what);
        }
    }

    pub(super) fn restarted(&mut self, node: NodeId) {
        self.known.retain(|(of, _), _| *of != node);
    }
}

fn node_or_none(node: Option<NodeId>) -> String {
    node.map_or_else(|| "nobody".to_owned(), |node| format!("node {node}"))
}
