//! The bound on what a leader sends to replicas that are being moved (KIP-73).
//!
//! A follower that is held back is answered like one at the log's end: its position counts,
//! it gets no records, and the next look may have some. What is sent of a throttled
//! partition counts against the bound whoever gets it, but one in sync is never held back.

use model::{Millis, PartitionIndex};

use crate::data::fetch::encode::PartitionOut;
use crate::data::fetch::plan::{Plan, Want};
use crate::server::Chunk;

/// What is left of the bound during one look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    is_limited: bool,
    left: usize,
}

impl Plan {
    /// The bound at this moment.
    pub(super) fn pace(&self, now: Millis) -> Pace {
        let throttle = &self.plane.throttles.leader;
        let is_limited = self.reader.is_some() && throttle.is_limited();
        Pace { is_limited, left: if is_limited { throttle.allowance(now) } else { usize::MAX } }
    }

    /// Whether the partition's records are held back from this follower.
    pub(super) fn holds_back(&self, pace: &Pace, want: &Want) -> bool {
        pace.is_limited && pace.left == 0 && self.is_throttled(want) && !self.is_in_sync(want)
    }

    /// Notes what a look found.
    pub(super) fn take_pace(&self, pace: &mut Pace, want: &Want, out: &PartitionOut) {
        let bytes = out.records.as_ref().map_or(0, Chunk::len);
        if pace.is_limited && bytes > 0 && self.is_throttled(want) {
            pace.left = pace.left.saturating_sub(bytes);
        }
    }

    /// Counts what is sent.
    pub(super) fn spend(&self, want: &Want, out: &PartitionOut) {
        let bytes = out.records.as_ref().map_or(0, Chunk::len);
        let throttle = &self.plane.throttles.leader;
        if self.reader.is_some() && bytes > 0 && throttle.is_limited() && self.is_throttled(want) {
            throttle.spend(self.plane.options.clock.now(), bytes);
        }
    }

    fn is_throttled(&self, want: &Want) -> bool {
        let (Ok(partition), Some(reader)) = (&want.partition, self.reader) else { return false };
        let (topic, index) = partition.key;
        let picture = self.plane.options.published.get();
        let known = picture.image.partition(topic, index);
        let is_added = known.is_some_and(|known| known.adding.contains(&reader.node));
        partition.look().settings.throttled_leaders.holds(PartitionIndex::new(want.index), is_added)
    }

    fn is_in_sync(&self, want: &Want) -> bool {
        let (Ok(partition), Some(reader)) = (&want.partition, self.reader) else { return true };
        match partition.look().replica.role() {
            replica::Role::Leader(leader) => leader.isr().any(|node| node == reader.node),
            _ => true,
        }
    }
}
