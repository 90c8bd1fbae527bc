//! What time alone does: transactions that are open for too long are aborted, ids that nobody uses are forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use model::{Millis, Timestamp};

use super::ask::{Step, View};
use super::transaction::Transaction;
use crate::call::Now;

/// Most steps in one turn, so that its batch stays far below `max.message.bytes`.
pub(super) const STEPS_MAX: usize = 200;
/// Most ids looked at in one turn.
const LOOKED_AT_MAX: usize = 2000;

/// When the time of open transactions is up.
///
/// Wall clocks jump, and those of two brokers differ. So the time that a transaction may be open is measured by the
/// coordinator's monotonic clock; only of a transaction that it finds open, on loading, it takes the record's word for
/// when that began, and gives it no more than its whole time again.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    by_time: BTreeSet<(Millis, Arc<str>)>,
    by_id: BTreeMap<Arc<str>, Deadline>,
}

#[derive(Clone, Copy, Debug)]
struct Deadline {
    opened_at: Timestamp,
    at: Millis,
}

impl Deadlines {
    /// Takes in that the transaction of `id` is at `known` since `now`.
    pub(super) fn see(&mut self, id: &Arc<str>, known: Option<&Transaction>, now: Now) {
        let opened = known.and_then(|known| known.opened_at().map(|at| (at, known.timeout_ms)));
        let before = self.by_id.get(id).copied();
        if before.map(|before| before.opened_at) == opened.map(|(at, _)| at) {
            return;
        }
        if let Some(before) = before {
            self.by_id.remove(id);
            self.by_time.remove(&(before.at, id.clone()));
        }
        if let Some((opened_at, timeout_ms)) = opened {
            let timeout_ms = i64::from(timeout_ms.max(0));
            let passed = now.time.get().saturating_sub(opened_at.get()).clamp(0, timeout_ms);
            let left = Duration::from_millis(timeout_ms.abs_diff(passed));
            let at = now.clock.after(left);
            self.by_id.insert(id.clone(), Deadline { opened_at, at });
            self.by_time.insert((at, id.clone()));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_time.is_empty()
    }

    fn late(&self, now: Millis) -> impl Iterator<Item = &Arc<str>> {
        self.by_time.iter().take_while(move |(at, _)| *at < now).map(|(_, id)| id)
    }
}

/// The steps that abort transactions whose time is up. A producer that is late finds itself shut out.
pub(super) fn abort_late(view: &View<'_>, deadlines: &Deadlines) -> Vec<Step> {
    let now = view.now;
    let late = deadlines.late(now.clock).filter_map(|id| {
        let known = view.at_rest(id).ok()??;
        known.opened_at()?;
        Some(Step::to(id, known.fenced().prepared(false, view.settings.version, None, now.time)))
    });
    late.take(STEPS_MAX).collect()
}

/// The next steps that forget ids which nobody used for long, and where to go on; `None` at the end.
pub(super) fn forget_unused(view: &View<'_>, after: Option<&Arc<str>>) -> (Vec<Step>, Option<Arc<str>>) {
    let retention = i64::try_from(view.settings.id_expiration.as_millis()).unwrap_or(i64::MAX);
    let limit = view.now.time.get().saturating_sub(retention);
    let from = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.clone()));
    let (mut steps, mut last) = (Vec::new(), None);
    let mut rest = view.known.range((from, Bound::Unbounded));
    for (id, known) in rest.by_ref().take(LOOKED_AT_MAX) {
        last = Some(id.clone());
        let unused = known.state.is_idle() && known.updated_at.get() <= limit;
        if unused && view.at_rest(id).is_ok() {
            steps.push(Step { id: id.clone(), next: None, took_producer_id: false });
        }
        if steps.len() == STEPS_MAX {
            break;
        }
    }
    let more = rest.next().is_some();
    (steps, last.filter(|_| more))
}
