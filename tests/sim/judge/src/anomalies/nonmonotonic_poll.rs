//! Non-monotonic poll: a consumer's poll began before where its poll before ended, though the
//! consumer had not moved.
//!
//! Even a legal loss does not send a consumer back by itself: it is told that the log was cut
//! or that its position is out of range, and then moves, which is noted.

use super::index::Partition;
use super::{Anomaly, Class, Excuse, Findings};

pub(super) fn find(partition: &Partition<'_>, findings: &mut Findings) {
    for step in &partition.steps {
        let (Some(expected), Some(first)) = (step.expected, step.run.records.first()) else { continue };
        if first.offset < expected {
            let what = format!("the position was {expected} and the poll began at {}", first.offset);
            findings.add(Anomaly {
                offset: Some(first.offset),
                values: vec![first.value],
                excuse: step.is_subscribed.then_some(Excuse::Rebalanced),
                ..partition.anomaly(Class::NonmonotonicPoll, vec![step.op.id], what)
            });
        }
    }
}
