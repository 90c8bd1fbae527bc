//! Poll skip: a consumer's poll began behind where its poll before ended, with values between.
//!
//! Only values that are known to lie there count: offsets may be taken by what is no record.
//! A log is read in order, so whoever sees a record could have seen all before it.

use model::Offset;

use super::index::{Era, Partition, Step};
use super::{Anomaly, Class, Excuse, Findings};
use crate::history::OpId;

/// Skipped values that are named.
const NAMED_MAX: usize = 10;

pub(super) fn find(partition: &Partition<'_>, findings: &mut Findings) {
    for step in &partition.steps {
        let (Some(expected), Some(first)) = (step.expected, step.run.records.first()) else { continue };
        let Some(skipped) = skipped(partition, step.era, expected, first.offset) else { continue };
        let what = format!(
            "the position was {expected} and the poll began at {}, without {:?} at {} ...",
            first.offset, skipped.values, skipped.first
        );
        findings.add(skipped.anomaly(partition, Class::PollSkip, step, what));
    }
}

/// Values between two offsets.
pub(super) struct Skipped {
    first: Offset,
    pub(super) values: Vec<u64>,
    witness: OpId,
    excuse: Option<Excuse>,
}

/// The values that are known to lie at `from..until`, as one who reads at `era` should see them.
pub(super) fn skipped(partition: &Partition<'_>, era: Era, from: Offset, until: Offset) -> Option<Skipped> {
    if from >= until {
        return None;
    }
    let cells = partition.cells_between(from, until);
    let of_era = cells.iter().filter_map(|cell| {
        let mut seen = partition.seen(cell).iter();
        Some((cell, seen.find(|seen| era.is_some() && seen.era == era)?.op))
    });
    let of_era: Vec<_> = of_era.take(NAMED_MAX).collect();
    let excuse = of_era.is_empty().then_some(Excuse::LegalLoss);
    let any = cells.iter().map(|cell| (cell, partition.seen(cell)[0].op)).take(NAMED_MAX);
    let found = if of_era.is_empty() { any.collect() } else { of_era };
    let &(first, witness) = found.first()?;
    let values = found.iter().map(|(cell, _)| cell.value).collect();
    Some(Skipped { first: first.offset, values, witness, excuse })
}

impl Skipped {
    pub(super) fn anomaly(
        self,
        partition: &Partition<'_>,
        class: Class,
        step: &Step<'_>,
        what: String,
    ) -> Anomaly {
        let rebalanced = step.is_subscribed.then_some(Excuse::Rebalanced);
        Anomaly {
            offset: Some(self.first),
            values: self.values,
            excuse: self.excuse.or(rebalanced),
            ..partition.anomaly(class, vec![step.op.id, self.witness], what)
        }
    }
}
