//! Who reads the log and how far each reader is.

use std::collections::BTreeMap;
use std::sync::Mutex;

use model::{DirectoryId, NodeId, Offset, Timestamp};

use crate::describe::ReplicaState;

/// An observer that was not heard for so long is no longer described; Kafka's own span.
const SESSION_MS: i64 = 300_000;
/// Observers remembered; one that comes on top of them is not described.
const OBSERVERS_MAX: usize = 10_000;

/// Those who fetch and do not vote.
#[derive(Default)]
pub(super) struct Observers(Mutex<BTreeMap<(NodeId, DirectoryId), ReplicaState>>);

impl Observers {
    /// `replica` has everything below `offset`.
    pub(super) fn note(
        &self,
        replica: (NodeId, DirectoryId),
        offset: Offset,
        high_watermark: Offset,
        now: Timestamp,
    ) {
        let mut known = self.0.lock().expect("no holder of this lock panics");
        if known.len() >= OBSERVERS_MAX && !known.contains_key(&replica) {
            known.retain(|_, state| is_recent(state, now));
            if known.len() >= OBSERVERS_MAX {
                return;
            }
        }
        let (id, directory) = replica;
        let (log_end, last_fetch) = (Some(offset), Some(now));
        let before = known.get(&replica).and_then(|state| state.last_caught_up);
        let last_caught_up = if offset >= high_watermark { Some(now) } else { before };
        known.insert(replica, ReplicaState { id, directory, log_end, last_fetch, last_caught_up });
    }

    /// Those heard of late, by id.
    pub(super) fn recent(&self, now: Timestamp) -> Vec<ReplicaState> {
        let mut known = self.0.lock().expect("no holder of this lock panics");
        known.retain(|_, state| is_recent(state, now));
        known.values().copied().collect()
    }
}

fn is_recent(state: &ReplicaState, now: Timestamp) -> bool {
    state.last_fetch.is_some_and(|last| now.get() - last.get() <= SESSION_MS)
}
