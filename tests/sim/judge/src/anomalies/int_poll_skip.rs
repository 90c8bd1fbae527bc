//! Poll skip inside one poll: two records that follow each other have known values between.

use super::index::Partition;
use super::poll_skip::skipped;
use super::{Class, Findings};

pub(super) fn find(partition: &Partition<'_>, findings: &mut Findings) {
    for step in &partition.steps {
        for pair in step.run.records.windows(2) {
            let (before, after) = (pair[0].offset, pair[1].offset);
            if after.get() <= before.get().saturating_add(1) {
                continue;
            }
            let next = before.plus(1);
            let Some(skipped) = skipped(partition, step.era, next, after) else { continue };
            let what = format!("{after} follows {before} in one poll, without {:?}", skipped.values);
            findings.add(skipped.anomaly(partition, Class::IntPollSkip, step, what));
        }
    }
}
