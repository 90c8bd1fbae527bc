//! Real time: a send that was invoked after another was acknowledged lies behind it.
//!
//! At `acks=all` this holds across processes: whoever acknowledges has every record that was
//! acknowledged before, for it was elected from the in-sync set or has its consent, and it
//! appends at its log's end. A leader that was replaced finds no in-sync set to acknowledge with.

use model::Offset;

use super::highest::Highest;
use super::index::{Partition, Sent};
use super::{Anomaly, Class, Findings};

pub(super) fn find(partition: &Partition<'_>, findings: &mut Findings) {
    let ended = |sent: &Sent<'_>| sent.op.completed.map_or(u32::MAX, |completed| completed.order);
    let promised = partition.sends.iter().filter(|sent| sent.batch.is_promised());
    let acked: Vec<(&Sent<'_>, Offset)> =
        promised.filter_map(|sent| Some((sent, sent.batch.base()?))).collect();
    let mut by_end = acked.clone();
    by_end.sort_by_key(|(sent, _)| ended(sent));
    let mut ends = by_end.into_iter().peekable();
    let mut highest = Highest::default();
    for (sent, base) in acked {
        while let Some((before, base)) = ends.next_if(|(other, _)| ended(other) < sent.op.invoked.order) {
            let last = base.get().saturating_add(before.batch.values.len() as i64 - 1);
            highest.note(before.era, Offset::new(last), before.op.id);
        }
        if let Some((before, earlier, excuse)) = highest.reaching(sent.era, base) {
            let what =
                format!("a send got {base}, though one up to {before} was acknowledged before it began");
            findings.add(Anomaly {
                offset: Some(base),
                values: sent.batch.values.clone(),
                excuse,
                ..partition.anomaly(Class::Realtime, vec![earlier, sent.op.id], what)
            });
        }
    }
}
