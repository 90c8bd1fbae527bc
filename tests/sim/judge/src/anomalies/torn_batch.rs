//! Torn batch: the records of one batch do not lie beside each other in their order.
//!
//! A batch is appended, replicated, recovered and cut as a whole. Where one of its records
//! was read, the places of all others follow; another value there is the anomaly. Copies of
//! a batch are each judged for themselves.

use model::Offset;

use super::index::{Cell, Partition};
use super::{Anomaly, Class, Findings};

pub(super) fn find(partition: &Partition<'_>, findings: &mut Findings) {
    for sent in partition.sends.iter().filter(|sent| sent.batch.values.len() > 1) {
        let torn = sent.batch.values.iter().zip(0..).find_map(|(&value, place)| {
            let mut cells = partition.cells_of(value);
            cells.find_map(|cell| tear(partition, &sent.batch.values, place, cell))
        });
        let torn = torn.or_else(|| spread(partition, &sent.batch.values));
        if let Some(anomaly) = torn {
            findings.add(anomaly);
        }
    }
}

/// Two records of the batch that cannot both lie where they do. Said only of batches without copies.
fn spread(partition: &Partition<'_>, values: &[u64]) -> Option<Anomaly> {
    let mut only: Vec<(i64, &Cell)> = Vec::new();
    for (&value, place) in values.iter().zip(0..) {
        let mut cells = partition.cells_of(value);
        only.extend(cells.next().map(|cell| (cell.offset.get().saturating_sub(place), cell)));
        if cells.next().is_some() {
            return None;
        }
    }
    let (base, first) = *only.first()?;
    let (_, other) = only.iter().find(|(other, _)| *other != base)?;
    let (one, two, excuse) = partition.contradiction(first, other);
    let what = format!(
        "{} lies at {} and {} of the same batch at {}",
        first.value, first.offset, other.value, other.offset
    );
    let anomaly = partition.anomaly(Class::TornBatch, vec![one, two], what);
    let values = vec![first.value, other.value];
    excuse.is_none().then_some(Anomaly { offset: Some(other.offset), values, ..anomaly })
}

/// A place around `cell` that belongs to the batch and holds something else.
fn tear(partition: &Partition<'_>, values: &[u64], place: i64, cell: &Cell) -> Option<Anomaly> {
    let base = cell.offset.get().saturating_sub(place);
    values.iter().zip(0..).find_map(|(&value, at)| {
        let offset = Offset::new(base.saturating_add(at));
        let others = partition.cells_between(offset, Offset::new(offset.get().saturating_add(1)));
        // Where its own value was seen too, offsets are inconsistent, which is another class.
        let is_there = others.iter().any(|other| other.value == value);
        let mut wrong = others.iter().filter(|other| !is_there && other.value != value);
        // Of another era it says nothing: that log may have been another one.
        let found = wrong.find_map(|other| {
            let (one, two, excuse) = partition.contradiction(cell, other);
            excuse.is_none().then_some((other.value, vec![one, two]))
        });
        let (stranger, ops) = found?;
        let what = format!(
            "{} lies at {}, so {value} of the same batch should lie at {offset}, where {stranger} is",
            cell.value, cell.offset
        );
        let anomaly = partition.anomaly(Class::TornBatch, ops, what);
        Some(Anomaly { offset: Some(offset), values: vec![cell.value, value, stranger], ..anomaly })
    })
}
