//! What a pass has to know of transactions: which batches were aborted, which markers are idle.
//!
//! Records of an aborted transaction go, and do not count as the latest of their keys. A
//! marker goes once nothing of its transaction is left, not even a batch without records,
//! and not before `delete.retention.ms` after that was seen: a producer's transaction that
//! lost its end would keep readers of committed data waiting for ever. Fed with every
//! batch in the log's order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::{Offset, ProducerId};
use wire::batch::{BatchHeader, BatchRef, EndMarker};

use crate::transactions::Aborted;

/// An aborted transaction whose marker was not met yet.
struct Open {
    transaction: Aborted,
    has_batches: bool,
    /// The first of its batches that stays, without records.
    left_from: Option<Offset>,
}

/// The transactions that reach to where a pass is.
pub(super) struct Transactions {
    /// Those that begin further on.
    ahead: VecDeque<Aborted>,
    aborted: BTreeMap<ProducerId, Open>,
    /// Producers of batches that belong to no known aborted transaction, so far without a marker.
    others: BTreeSet<ProducerId>,
    /// Aborted ones of which something is left: the new transaction index.
    left: Vec<Aborted>,
}

impl Transactions {
    /// All that were aborted.
    pub(super) fn new(aborted: &[Aborted]) -> Self {
        let mut ahead: Vec<Aborted> = aborted.to_vec();
        ahead.sort_by_key(|transaction| transaction.first);
        let (aborted, others) = (BTreeMap::new(), BTreeSet::new());
        Self { ahead: ahead.into(), aborted, others, left: Vec::new() }
    }

    /// Whether a batch of records was aborted.
    pub(super) fn is_aborted(&mut self, header: &BatchHeader) -> bool {
        self.come_to(header.last_offset());
        let Some(producer) = header.producer().filter(|_| header.is_transactional()) else { return false };
        match self.aborted.get_mut(&producer.id) {
            Some(open) => {
                open.has_batches = true;
                true
            }
            None => {
                self.others.insert(producer.id);
                false
            }
        }
    }

    /// A batch stays. The transaction index names the first of an aborted transaction.
    pub(super) fn note_left(&mut self, header: &BatchHeader) {
        let producer = header.producer().filter(|_| header.is_transactional() && !header.is_control());
        if let Some(open) = producer.and_then(|producer| self.aborted.get_mut(&producer.id)) {
            open.left_from.get_or_insert(header.base_offset);
        }
    }

    /// Whether a control batch is needed no more.
    pub(super) fn is_idle(&mut self, batch: &BatchRef<'_>) -> bool {
        self.come_to(batch.header.last_offset());
        if batch.header.count == 0 {
            // Its marker was taken out before.
            return true;
        }
        let (Some(marker), Some(producer)) = (EndMarker::read(batch), batch.header.producer()) else {
            return false;
        };
        let had_others = self.others.remove(&producer.id);
        if marker.commit {
            return !had_others;
        }
        let Some(open) = self.aborted.remove(&producer.id) else { return !had_others };
        let left = open.left_from.map(|first| Aborted { first, ..open.transaction });
        self.left.extend(left);
        !open.has_batches && !had_others
    }

    /// Takes out the aborted transactions that are left up to here.
    pub(super) fn take_left(&mut self) -> Vec<Aborted> {
        std::mem::take(&mut self.left)
    }

    fn come_to(&mut self, offset: Offset) {
        while self.ahead.front().is_some_and(|next| next.first <= offset)
            && let Some(transaction) = self.ahead.pop_front()
        {
            let open = Open { transaction, has_batches: false, left_from: None };
            self.aborted.entry(transaction.producer).or_insert(open);
        }
    }
}
