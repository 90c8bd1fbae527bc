//! Which replica a consumer shall read from: one in its own rack (KIP-392).
//!
//! The leader answers this instead of records, and the consumer goes there with its next
//! fetch. It looks at followers that are in sync and have what is asked for, by what they
//! told last; whoever is sent to one that has lost it since is sent back by its refusal.

use metadata::Image;
use model::{ErrorCode, NodeId};

use crate::data::fetch::encode::PartitionOut;
use crate::data::fetch::plan::{Plan, Want};
use crate::data::partition::{ReadAt, State};

impl Plan {
    /// The answer that sends a consumer to a replica nearer to it, if there is one.
    pub(super) fn send_nearer(&self, want: &Want, at: &ReadAt, state: &mut State) -> Option<PartitionOut> {
        let rack = self.rack.as_deref()?;
        let (log, leader) = state.lead_in(at.current_epoch).ok()?;
        let picture = self.plane.options.published.get();
        let stands_there = |node| stands_in(&picture.image, node, &self.listener.name, rack);
        if stands_there(self.plane.options.node) {
            return None;
        }
        // The same choice as Kafka's: the longest log, then the one that was complete last.
        let nearest = leader
            .holders(at.offset)
            .filter(|holder| stands_there(holder.node))
            .max_by_key(|holder| (holder.end, holder.caught_up_at, holder.node))?;
        let high_watermark = leader.high_watermark();
        Some(PartitionOut {
            high_watermark: Some(high_watermark),
            last_stable: Some(log.last_stable(high_watermark)),
            log_start: Some(log.start()),
            preferred: Some(nearest.node),
            ..PartitionOut::failed(want.index, ErrorCode::None)
        })
    }
}

/// Whether `node` can be reached at `listener` and stands in `rack`.
fn stands_in(image: &Image, node: NodeId, listener: &str, rack: &str) -> bool {
    image.broker(node).is_some_and(|broker| {
        let serves = !broker.fenced && !broker.in_controlled_shutdown && broker.listener(listener).is_some();
        serves && broker.rack.as_deref() == Some(rack)
    })
}
