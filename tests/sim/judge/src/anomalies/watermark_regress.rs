//! Watermark regress: a leader's high watermark, as a fetch tells it, is below what the same
//! process had read.
//!
//! Kafka does not promise more: a new leader has every committed record, but learns that they
//! are committed only when its followers fetch. Counted, since a cluster in which it never
//! happened was not tried hard.

use std::collections::BTreeMap;

use model::Offset;

use super::index::Partition;
use super::{Anomaly, Class, Excuse, Findings};
use crate::history::{OpId, ProcessId};

pub(super) fn find(partition: &Partition<'_>, findings: &mut Findings) {
    let mut ends: BTreeMap<ProcessId, (Offset, OpId)> = BTreeMap::new();
    for step in &partition.steps {
        let known = ends.get(&step.op.process).copied();
        if let (Some((end, reader)), Some(watermark)) = (known, step.run.high_watermark)
            && watermark < end
        {
            let what = format!("the log was read up to {end}, and then the high watermark was {watermark}");
            findings.add(Anomaly {
                offset: Some(watermark),
                excuse: Some(Excuse::Lagging),
                ..partition.anomaly(Class::WatermarkRegress, vec![reader, step.op.id], what)
            });
        }
        let Some(last) = step.run.records.last() else { continue };
        let end = Offset::new(last.offset.get().saturating_add(1));
        if known.is_none_or(|(known, _)| known < end) {
            ends.insert(step.op.process, (end, step.op.id));
        }
    }
}
