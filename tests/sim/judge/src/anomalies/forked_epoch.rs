//! Forked epoch: one offset read with two values whose batches are of one leader epoch.
//!
//! An epoch has one leader, and it writes an offset once. Whatever power was lost, an offset
//! is used again only by a later epoch; so this holds where inconsistent offsets are excused.

use model::LeaderEpoch;

use super::index::{Cell, Partition};
use super::{Anomaly, Class, Findings};

pub(super) fn find(partition: &Partition<'_>, findings: &mut Findings) {
    for cells in partition.cells.chunk_by(|a, b| a.offset == b.offset) {
        for (at, one) in cells.iter().enumerate() {
            for two in &cells[at + 1..] {
                findings_of(partition, one, two).into_iter().for_each(|anomaly| findings.add(anomaly));
            }
        }
    }
}

fn findings_of(partition: &Partition<'_>, one: &Cell, two: &Cell) -> Option<Anomaly> {
    let (first, second, epoch) = partition.seen(one).iter().find_map(|first| {
        let epoch: LeaderEpoch = first.epoch?;
        let second = partition.seen(two).iter().find(|second| second.epoch == Some(epoch))?;
        Some((first.op, second.op, epoch))
    })?;
    let (offset, values) = (one.offset, vec![one.value, two.value]);
    let what = format!("epoch {epoch} holds both {} and {} at offset {offset}", one.value, two.value);
    let anomaly = partition.anomaly(Class::ForkedEpoch, vec![first, second], what);
    Some(Anomaly { offset: Some(offset), values, ..anomaly })
}
