//! Reordered send: batches of one producer id and epoch lie in the log in another order than
//! that in which they were invoked.
//!
//! Sequence numbers forbid it, whatever was sent again and whether or not the producer ever
//! learnt what became of a batch; so this also judges sends that were never acknowledged.

use std::collections::BTreeMap;

use model::Offset;

use super::highest::Highest;
use super::index::{Era, Partition, Sent};
use super::{Anomaly, Class, Findings};
use crate::history::{OpId, Producer, Session};

pub(super) fn find(partition: &Partition<'_>, findings: &mut Findings) {
    let mut highest: BTreeMap<Session, Highest> = BTreeMap::new();
    for sent in &partition.sends {
        let Producer::Idempotent(session) = sent.batch.producer else { continue };
        let highest = highest.entry(session).or_default();
        let bases = bases(partition, sent);
        let found = bases.iter().filter_map(|&(era, base, seen)| {
            let (before, earlier, excuse) = highest.reaching(era, base)?;
            Some((before, earlier, base, seen, excuse))
        });
        if let Some((before, earlier, base, seen, excuse)) = found.min_by_key(|found| found.4.is_some()) {
            let what = format!("a batch lies at {base}, one that the producer sent before it at {before}");
            findings.add(Anomaly {
                offset: Some(base),
                values: sent.batch.values.clone(),
                excuse,
                ..partition.anomaly(Class::ReorderedSend, vec![earlier, sent.op.id, seen], what)
            });
        }
        for (era, base, _) in bases {
            highest.note(era, base, sent.op.id);
        }
    }
}

/// Where the batch was seen to begin, once for each era; of copies, which are another class, the first.
fn bases(partition: &Partition<'_>, sent: &Sent<'_>) -> Vec<(Era, Offset, OpId)> {
    let mut bases: Vec<(Era, Offset, OpId)> = Vec::new();
    for (&value, place) in sent.batch.values.iter().zip(0..) {
        for cell in partition.cells_of(value) {
            let base = Offset::new(cell.offset.get().saturating_sub(place));
            for (era, op) in partition.eras(cell) {
                match bases.iter_mut().find(|known| known.0 == era) {
                    Some(known) if known.1 > base => *known = (era, base, op),
                    Some(_) => {}
                    None => bases.push((era, base, op)),
                }
            }
        }
    }
    bases
}
