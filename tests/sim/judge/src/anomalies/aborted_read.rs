//! Aborted read (G1a): a value was read, and its send is known to have failed.
//!
//! A send is refused only when no attempt appended anything, so nothing ever excuses this.

use super::index::Partition;
use super::{Anomaly, Class, Findings};

pub(super) fn find(partition: &Partition<'_>, findings: &mut Findings) {
    for sent in partition.sends.iter().filter(|sent| sent.is_refused()) {
        for &value in &sent.batch.values {
            let read = partition.cells_of(value).find_map(|cell| {
                let read = partition.reads(cell).next()?;
                Some((cell.offset, read.op))
            });
            let Some((offset, reader)) = read else { continue };
            let what = format!("{value} was read at offset {offset}, and its send was refused");
            findings.add(Anomaly {
                offset: Some(offset),
                values: vec![value],
                ..partition.anomaly(Class::AbortedRead, vec![sent.op.id, reader], what)
            });
        }
    }
}
