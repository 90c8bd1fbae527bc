//! Non-monotonic send: of two sends of one process, the later one was acknowledged at the
//! earlier offset.
//!
//! Promised to who is idempotent or has one batch of a partition under way at a time.

use std::collections::BTreeMap;

use model::Offset;

use super::highest::Highest;
use super::index::Partition;
use super::{Anomaly, Class, Findings};
use crate::history::{ProcessId, Producer};

pub(super) fn find(partition: &Partition<'_>, findings: &mut Findings) {
    let mut highest: BTreeMap<ProcessId, Highest> = BTreeMap::new();
    let ordered = partition.sends.iter().filter(|sent| sent.batch.producer != Producer::ManyInFlight);
    for sent in ordered.filter(|sent| sent.batch.is_promised()) {
        let Some(base) = sent.batch.base() else { continue };
        let highest = highest.entry(sent.op.process).or_default();
        if let Some((before, earlier, excuse)) = highest.reaching(sent.era, base) {
            let what = format!("a later send was acknowledged at {base}, the earlier one up to {before}");
            findings.add(Anomaly {
                offset: Some(base),
                values: sent.batch.values.clone(),
                excuse,
                ..partition.anomaly(Class::NonmonotonicSend, vec![earlier, sent.op.id], what)
            });
        }
        let last = base.get().saturating_add(sent.batch.values.len() as i64 - 1);
        highest.note(sent.era, Offset::new(last), sent.op.id);
    }
}
