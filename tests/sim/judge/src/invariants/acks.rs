//! What was acknowledged is in the log of the newest leader.
//!
//! Precisely: let E be the newest leader epoch in which any node was seen to lead. From the
//! moment at which a producer was told that offset o is written, the log of the leader of E
//! ends above o, and so does that of every leader of a later epoch when it begins. It does
//! not matter who told the producer: a fenced leader whose answer arrives after E began may
//! have told it only if the new leader has the record. That the record there is the same
//! one is for `committed` to say, and for the history of the clients.
//!
//! Suspended for a lossy partition: what its new leader lacks is forgotten then.

use std::collections::BTreeMap;

use model::{LeaderEpoch, NodeId, Offset};

use super::{Bench, Rule};
use crate::view::{Key, NodeView, Part};

#[derive(Debug)]
struct Leader {
    name: String,
    epoch: LeaderEpoch,
    node: NodeId,
    end: Offset,
}

#[derive(Debug, Default)]
pub(super) struct Acks {
    newest: BTreeMap<Key, Leader>,
    /// The end of what was acknowledged.
    ends: BTreeMap<Key, Offset>,
}

impl Acks {
    pub(super) fn observe(&mut self, view: &NodeView, bench: &mut Bench) {
        for key in &view.news.partitions {
            let seen = view.partitions.get(key).filter(|seen| seen.part == Part::Leader);
            let Some((seen, epoch, log)) = seen.and_then(|seen| Some((seen, seen.leader_epoch?, seen.log?)))
            else {
                continue;
            };
            if self.newest.get(key).is_some_and(|newest| newest.epoch > epoch) {
                continue;
            }
            let leader = Leader { name: seen.name.clone(), epoch, node: view.node, end: log.end };
            self.newest.insert(*key, leader);
            self.check(*key, bench);
        }
    }

    pub(super) fn acked(&mut self, key: Key, offset: Offset, bench: &mut Bench) {
        let end = Offset::new(offset.get().saturating_add(1));
        let known = self.ends.entry(key).or_insert(end);
        *known = end.max(*known);
        self.check(key, bench);
    }

    /// What the newest leader lacks by now was lost legally.
    pub(super) fn loss_ended(&mut self, key: Key) {
        if let (Some(leader), Some(acked)) = (self.newest.get(&key), self.ends.get_mut(&key)) {
            *acked = leader.end.min(*acked);
        }
    }

    fn check(&mut self, key: Key, bench: &mut Bench) {
        let (Some(leader), Some(acked)) = (self.newest.get(&key), self.ends.get_mut(&key)) else { return };
        if leader.end >= *acked {
            return;
        }
        if !bench.is_lossy(key) {
            let Leader { name, epoch, node, end } = leader;
            let what = format!(
                "{name}: everything below {acked} was acknowledged, the log of node {node}, leader of epoch \
                 {epoch}, ends at {end}"
            );
            bench.break_of(Rule::AckedIsKept, Some(key), what);
        }
        *acked = leader.end;
    }
}
