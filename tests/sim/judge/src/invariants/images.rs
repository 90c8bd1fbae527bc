//! The same log gives the same cluster: at equal offsets images have equal digests.
//!
//! Held for the whole run, over restarts and snapshots. What a living node has applied does
//! not go back; a restart begins at its newest snapshot. Never suspended.

use std::collections::BTreeMap;

use model::{NodeId, Offset};

use super::{Bench, Rule};
use crate::view::NodeView;

#[derive(Debug, Default)]
pub(super) struct Images {
    /// The digest at each end, and who had it first.
    digests: BTreeMap<Offset, (u128, NodeId)>,
    /// What each living node has in its image, and has committed.
    applied: BTreeMap<NodeId, (Offset, Offset)>,
}

impl Images {
    pub(super) fn observe(&mut self, view: &NodeView, bench: &mut Bench) {
        if !view.news.metadata && !view.news.quorum {
            return;
        }
        let now = (view.metadata.end, view.quorum.committed);
        if let Some(had) = self.applied.insert(view.node, now)
            && (now.0 < had.0 || now.1 < had.1)
        {
            let what = format!(
                "the image went from offset {} to {}, what is committed from {} to {}",
                had.0, now.0, had.1, now.1
            );
            bench.break_of(Rule::AppliedGrows, None, what);
        }
        let Some(digest) = view.metadata.digest.filter(|_| view.news.metadata) else { return };
        let (first, of) = *self.digests.entry(view.metadata.end).or_insert((digest, view.node));
        if first != digest {
            let what = format!(
                "at offset {} the image is {digest:032x}, on node {of} it was {first:032x}",
                view.metadata.end
            );
            bench.break_of(Rule::ImagesAgree, None, what);
        }
    }

    pub(super) fn restarted(&mut self, node: NodeId) {
        self.applied.remove(&node);
    }
}
