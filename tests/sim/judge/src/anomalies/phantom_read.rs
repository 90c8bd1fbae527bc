//! Phantom read: a value that nobody sent to this partition, or that was read before it was
//! sent, or bytes that cannot be a record of anyone.

use super::index::{Index, Partition};
use super::{Anomaly, Class, Findings};
use crate::history::Kind;

pub(super) fn find(index: &Index<'_>, partition: &Partition<'_>, findings: &mut Findings) {
    for cell in &partition.cells {
        let (value, offset) = (cell.value, cell.offset);
        let sent = partition.send_of(value).map(|(sent, _)| sent.op);
        let early = |op| sent.is_none_or(|sent| index.history.op(op).is_before(sent));
        let Some(read) = partition.reads(cell).find(|read| early(read.op)) else { continue };
        let (ops, what) = match sent {
            None => (vec![read.op], format!("{value} was read at offset {offset}, and nobody sent it")),
            Some(sent) => {
                let what = format!("{value} was read at offset {offset} before it was sent");
                (vec![read.op, sent.id], what)
            }
        };
        findings.add(Anomaly {
            offset: Some(offset),
            values: vec![value],
            ..partition.anomaly(Class::PhantomRead, ops, what)
        });
    }
    for op in &partition.told {
        // Where bits flipped, the reader was given damaged bytes and refused them, as it should.
        if let Kind::Corrupt { position, reason, .. } = &op.kind
            && !partition.is_flipped
        {
            let what = format!("what was read at position {position} is nobody's: {reason}");
            let anomaly = partition.anomaly(Class::PhantomRead, vec![op.id], what);
            findings.add(Anomaly { offset: Some(*position), ..anomaly });
        }
    }
}
