//! What time alone does: transactions that are open for too long are aborted, ids that nobody uses are forgotten.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use super::ask::{Step, View};

/// Most steps in one turn, so that its batch stays far below `max.message.bytes`.
pub(super) const STEPS_MAX: usize = 200;
/// Most ids looked at in one turn.
const LOOKED_AT_MAX: usize = 2000;

/// The steps that abort transactions whose time is up. A producer that is late finds itself shut out.
pub(super) fn abort_late(view: &View<'_>, deadlines: &BTreeSet<(i64, Arc<str>)>) -> Vec<Step> {
    let now = view.now.time;
    let late = deadlines.iter().take_while(|(at, _)| *at < now.get()).filter_map(|(_, id)| {
        let known = view.at_rest(id).ok()??;
        known.expires_at()?;
        Some(Step::to(id, known.fenced().prepared(false, view.settings.version, None, now)))
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
