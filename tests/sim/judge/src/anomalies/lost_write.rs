//! Lost write: what was acknowledged, or read and thereby committed, is not there, though the
//! log goes on behind it.
//!
//! Jepsen's rule: nobody ever read a value that was acknowledged below the highest offset read.
//! And ours: the final reading went past the offset of a value and did not find it, even if
//! somebody had read it before. What the final reading did not reach is `unseen`.

use model::{Millis, Offset};

use super::index::{Index, Partition};
use super::{Anomaly, Class, Findings};
use crate::history::OpId;

pub(super) fn find(index: &Index<'_>, partition: &Partition<'_>, findings: &mut Findings) {
    if partition.is_deleted {
        return;
    }
    let reached = Reached::of(index, partition);
    for kept in kept(index, partition) {
        let (Some((highest, reader)), Some(offset)) = (reached.behind(&kept), kept.offset) else { continue };
        if offset < highest {
            let value = kept.value;
            let how = if kept.is_read { "was read before" } else { "was acknowledged" };
            let what =
                format!("{value} {how} at offset {offset}; it was not read, though offset {highest} was");
            findings.add(Anomaly {
                offset: Some(offset),
                values: vec![value],
                excuse: partition.excuse_since(kept.since),
                ..partition.anomaly(Class::LostWrite, vec![kept.op, reader], what)
            });
        }
    }
}

/// A value that must be there, and was not found where it should be.
pub(super) struct Kept {
    pub(super) value: u64,
    /// Where it was, if that is known.
    pub(super) offset: Option<Offset>,
    /// What proves that it must be there.
    pub(super) op: OpId,
    /// From when on.
    pub(super) since: Millis,
    /// Somebody read it, though not at the end.
    pub(super) is_read: bool,
}

/// The values that were acknowledged or read, and not read by the end.
pub(super) fn kept<'i>(
    index: &'i Index<'_>,
    partition: &'i Partition<'_>,
) -> impl Iterator<Item = Kept> + 'i {
    let places =
        partition.sends.iter().flat_map(|sent| (0..sent.batch.values.len()).map(move |at| (sent, at)));
    places.filter_map(move |(sent, at)| {
        let value = sent.batch.values[at];
        let mut first_read: Option<(Offset, OpId)> = None;
        for cell in partition.cells_of(value) {
            // The final reading comes last.
            let Some(last) = partition.reads(cell).next_back() else { continue };
            if index.final_phase.is_none() || index.is_final(last.op) {
                return None;
            }
            let first = partition.reads(cell).next().unwrap_or(last);
            first_read = first_read.or(Some((cell.offset, first.op)));
        }
        let acked = sent.batch.base().map(|base| Offset::new(base.get().saturating_add(at as i64)));
        let since = sent.op.invoked.at;
        match first_read {
            Some((offset, op)) => Some(Kept { value, offset: Some(offset), op, since, is_read: true }),
            None if sent.batch.is_promised() => {
                Some(Kept { value, offset: acked, op: sent.op.id, since, is_read: false })
            }
            None => None,
        }
    })
}

/// How far the partition was read.
struct Reached {
    ever: Option<(Offset, OpId)>,
    at_last: Option<(Offset, OpId)>,
}

impl Reached {
    fn of(index: &Index<'_>, partition: &Partition<'_>) -> Self {
        let last = |is_final: bool| {
            partition.cells.iter().rev().find_map(|cell| {
                let read = partition.reads(cell).find(|read| !is_final || index.is_final(read.op))?;
                Some((cell.offset, read.op))
            })
        };
        Self { ever: last(false), at_last: last(true) }
    }

    /// What was read of the log in which the value should have been found.
    fn behind(&self, kept: &Kept) -> Option<(Offset, OpId)> {
        if kept.is_read { self.at_last } else { self.ever }
    }
}
