//! Duplicate: one value at several offsets.
//!
//! Never with idempotence, unless the first copy was lost legally before the second was
//! written. Without, each attempt may append a copy, so as many as there were attempts.

use super::index::{Cell, Partition};
use super::{Anomaly, Class, Excuse, Findings};
use crate::history::{OpId, Producer};

pub(super) fn find(partition: &Partition<'_>, findings: &mut Findings) {
    for cells in partition.values_seen().filter(|cells| cells.len() > 1) {
        // A value that nobody sent is another class.
        if let Some((sent, _)) = partition.send_of(cells[0].value) {
            let (ops, contradicted) = contradiction(partition, &cells);
            let attempts = sent.batch.attempts.max(1) as usize;
            let excuse = match sent.batch.producer {
                Producer::Idempotent(_) => contradicted,
                Producer::OneInFlight | Producer::ManyInFlight if cells.len() <= attempts => {
                    Some(Excuse::Retried)
                }
                Producer::OneInFlight | Producer::ManyInFlight => None,
            };
            let offsets: Vec<i64> = cells.iter().map(|cell| cell.offset.get()).collect();
            let value = cells[0].value;
            let what = format!("{value} lies at the offsets {offsets:?} after {attempts} attempt(s)");
            let ops = [vec![sent.op.id], ops].concat();
            findings.add(Anomaly {
                offset: Some(cells[0].offset),
                values: vec![value],
                excuse,
                ..partition.anomaly(Class::Duplicate, ops, what)
            });
        }
    }
}

fn contradiction(partition: &Partition<'_>, cells: &[&Cell]) -> (Vec<OpId>, Option<Excuse>) {
    let pairs =
        cells.iter().enumerate().flat_map(|(at, one)| cells[at + 1..].iter().map(move |two| (one, two)));
    let found = pairs.map(|(one, two)| partition.contradiction(one, two));
    let (one, two, excuse) = found.min_by_key(|(_, _, excuse)| excuse.is_some()).expect("two cells or more");
    (vec![one, two], excuse)
}
