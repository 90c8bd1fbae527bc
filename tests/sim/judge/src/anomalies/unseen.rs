//! Unseen: what was acknowledged, or read and thereby committed, is not read by the end of the
//! final phase, and the final reading did not get past it: the log's tail is lost, or nobody
//! serves it.

use super::index::{Index, Partition};
use super::lost_write::kept;
use super::{Anomaly, Class, Findings};

pub(super) fn find(index: &Index<'_>, partition: &Partition<'_>, findings: &mut Findings) {
    if partition.is_deleted || index.final_phase.is_none() {
        return;
    }
    let ends_at = partition.cells.iter().rev().find(|cell| {
        let mut reads = partition.reads(cell);
        reads.any(|read| index.is_final(read.op))
    });
    let highest_ever = partition.cells.iter().rev().find(|cell| partition.reads(cell).next().is_some());
    for kept in kept(index, partition) {
        let limit = if kept.is_read { ends_at } else { highest_ever };
        let is_lost = limit.is_some_and(|cell| kept.offset.is_some_and(|offset| offset < cell.offset));
        if is_lost {
            continue;
        }
        let value = kept.value;
        let how = if kept.is_read { "was read before" } else { "was acknowledged" };
        let place = kept.offset.map_or("an unknown offset".to_owned(), |offset| format!("offset {offset}"));
        let end = ends_at.map_or("found nothing".to_owned(), |cell| format!("ended with {}", cell.offset));
        let what = format!("{value} {how} at {place}; the final reading {end} and never saw it");
        findings.add(Anomaly {
            offset: kept.offset,
            values: vec![value],
            excuse: partition.excuse_since(kept.since),
            ..partition.anomaly(Class::Unseen, vec![kept.op], what)
        });
    }
}
