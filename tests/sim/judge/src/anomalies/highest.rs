//! The highest offset so far, in each era: what comes after should lie above it.

use std::collections::BTreeMap;

use model::Offset;

use super::Excuse;
use super::index::Era;
use crate::history::OpId;

/// Highest offsets, with the operation that shows each.
#[derive(Clone, Debug, Default)]
pub(super) struct Highest {
    by_era: BTreeMap<u32, (Offset, OpId)>,
    overall: Option<(Offset, OpId)>,
}

impl Highest {
    /// An offset was seen.
    pub(super) fn note(&mut self, era: Era, offset: Offset, op: OpId) {
        let is_higher = |known: &(Offset, OpId)| known.0 < offset;
        if self.overall.as_ref().is_none_or(is_higher) {
            self.overall = Some((offset, op));
        }
        if let Some(era) = era
            && self.by_era.get(&era).is_none_or(is_higher)
        {
            self.by_era.insert(era, (offset, op));
        }
    }

    /// What was seen at `offset` or above it: first in the same era, where nothing excuses it.
    pub(super) fn reaching(&self, era: Era, offset: Offset) -> Option<(Offset, OpId, Option<Excuse>)> {
        let same = era.and_then(|era| self.by_era.get(&era)).filter(|known| known.0 >= offset);
        let any = self.overall.as_ref().filter(|known| known.0 >= offset);
        match (same, any) {
            (Some(&(offset, op)), _) => Some((offset, op, None)),
            (None, Some(&(offset, op))) => Some((offset, op, Some(Excuse::LegalLoss))),
            (None, None) => None,
        }
    }
}
