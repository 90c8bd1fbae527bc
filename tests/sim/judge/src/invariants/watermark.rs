//! The high watermark lies within the log, and does not go back within an epoch.
//!
//! Promised on each node while its process lives; a restart begins at the checkpoint, which
//! may be older. A leader's never goes back in its epoch, whatever was lost. A follower's
//! goes back with its log, which is cut below the watermark only where records may be lost.

use std::collections::BTreeMap;

use model::{LeaderEpoch, NodeId, Offset};

use super::{Bench, Rule};
use crate::view::{Key, NodeView, Part, PartitionView};

#[derive(Debug, Default)]
pub(super) struct Watermark {
    known: BTreeMap<(NodeId, Key), (Option<LeaderEpoch>, Offset)>,
}

impl Watermark {
    pub(super) fn observe(&mut self, view: &NodeView, bench: &mut Bench) {
        for key in &view.news.partitions {
            let Some(seen) = view.partitions.get(key) else {
                self.known.remove(&(view.node, *key));
                continue;
            };
            within_log(*key, seen, bench);
            let now = (seen.leader_epoch, seen.high_watermark);
            let Some((epoch, had)) = self.known.insert((view.node, *key), now) else { continue };
            let excused = seen.part != Part::Leader && bench.is_lossy(*key);
            if epoch == seen.leader_epoch && seen.high_watermark < had && !excused {
                let epoch = epoch.map_or_else(|| "none".to_owned(), |epoch| epoch.to_string());
                let (name, got) = (&seen.name, seen.high_watermark);
                let what = format!("{name}: the watermark went from {had} back to {got} in epoch {epoch}");
                bench.break_of(Rule::WatermarkGrows, Some(*key), what);
            }
        }
    }

    pub(super) fn restarted(&mut self, node: NodeId) {
        self.known.retain(|(of, _), _| *of != node);
    }
}

fn within_log(key: Key, seen: &PartitionView, bench: &mut Bench) {
    let Some(log) = seen.log.filter(|_| seen.part != Part::Offline) else { return };
    let watermark = seen.high_watermark;
    if !(log.start <= watermark && watermark <= log.end) {
        let what =
            format!("{}: the watermark {watermark} is not within {} to {}", seen.name, log.start, log.end);
        bench.break_of(Rule::WatermarkWithinLog, Some(key), what);
    }
}
