//! Inconsistent offsets: one offset with two values, across what was read and acknowledged.
//!
//! After a legal loss an offset may be used again for another value. So two values are an
//! anomaly without excuse only when each was seen within one and the same calm time.

use model::Offset;

use super::index::{Cell, Partition};
use super::{Anomaly, Class, Findings};

pub(super) fn find(partition: &Partition<'_>, findings: &mut Findings) {
    for cells in partition.cells.chunk_by(|a, b| a.offset == b.offset) {
        if cells.len() > 1 {
            findings.add(contradicted(partition, cells[0].offset, cells));
        }
    }
}

fn contradicted(partition: &Partition<'_>, offset: Offset, cells: &[Cell]) -> Anomaly {
    let pairs =
        cells.iter().enumerate().flat_map(|(at, one)| cells[at + 1..].iter().map(move |two| (one, two)));
    let found = pairs.map(|(one, two)| partition.contradiction(one, two));
    // Two of one era weigh more than any number with an excuse.
    let (one, two, excuse) = found.min_by_key(|(_, _, excuse)| excuse.is_some()).expect("two cells or more");
    let values: Vec<u64> = cells.iter().map(|cell| cell.value).collect();
    let what = format!("offset {offset} was seen with the values {values:?}");
    Anomaly {
        offset: Some(offset),
        values,
        excuse,
        ..partition.anomaly(Class::InconsistentOffsets, vec![one, two], what)
    }
}
