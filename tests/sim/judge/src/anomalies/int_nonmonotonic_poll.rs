//! Non-monotonic inside one poll: a record lies before, or at, the one that came before it.
//!
//! One answer is one log, read in one direction: nothing excuses it.

use super::index::Partition;
use super::{Anomaly, Class, Findings};

pub(super) fn find(partition: &Partition<'_>, findings: &mut Findings) {
    for step in &partition.steps {
        for pair in step.run.records.windows(2).filter(|pair| pair[1].offset <= pair[0].offset) {
            let what = format!("{} follows {} in one poll", pair[1].offset, pair[0].offset);
            findings.add(Anomaly {
                offset: Some(pair[1].offset),
                values: vec![pair[0].value, pair[1].value],
                ..partition.anomaly(Class::IntNonmonotonicPoll, vec![step.op.id], what)
            });
        }
    }
}
