//! Broker epochs only grow: each registration of a broker is a later one.
//!
//! A process keeps its epoch or takes a higher one; the next process of the node takes a
//! higher one than any before it. In the metadata, a later image never has a lower epoch.
//! Never suspended: a reused epoch would let a replica that lost its tail pass for whole.

use std::collections::BTreeMap;

use model::{BrokerEpoch, NodeId, Offset};

use super::{Bench, Rule};
use crate::view::NodeView;

#[derive(Debug, Default)]
pub(super) struct Brokers {
    /// The last epoch of each node, and whether its present process has it.
    own: BTreeMap<NodeId, (BrokerEpoch, bool)>,
    /// What the longest image had.
    in_image: BTreeMap<NodeId, (Offset, BrokerEpoch)>,
}

impl Brokers {
    pub(super) fn observe(&mut self, view: &NodeView, bench: &mut Bench) {
        if let Some(epoch) = view.broker_epoch.filter(|_| view.news.broker) {
            let had = self.own.insert(view.node, (epoch, true));
            if let Some((had, is_same_process)) = had
                && (epoch < had || (epoch == had && !is_same_process))
            {
                let what = format!("registered with broker epoch {epoch} after {had}");
                bench.break_of(Rule::BrokerEpochGrows, None, what);
            }
        }
        if !view.news.metadata {
            return;
        }
        let end = view.metadata.end;
        for (&id, broker) in &view.metadata.brokers {
            let (known_end, known) = *self.in_image.entry(id).or_insert((end, broker.epoch));
            if end >= known_end {
                if broker.epoch < known {
                    let what =
                        format!("in the metadata broker {id} went from epoch {known} to {}", broker.epoch);
                    bench.break_of(Rule::BrokerEpochGrows, None, what);
                }
                self.in_image.insert(id, (end, broker.epoch));
            }
        }
    }

    pub(super) fn restarted(&mut self, node: NodeId) {
        if let Some((_, is_same_process)) = self.own.get_mut(&node) {
            *is_same_process = false;
        }
    }
}
