//! What a decision sees, and what it gives: nothing is changed by deciding.

use std::sync::Arc;

use imbl::OrdMap;
use model::{Offset, ProducerEpoch, ProducerId};
use wire::messages::ResponseKind;

use super::refusal::Refusal;
use super::settings::Settings;
use super::transaction::Transaction;
use crate::call::Now;

/// All transactional ids of a shard; a copy costs nothing.
pub(super) type Transactions = OrdMap<Arc<str>, Arc<Transaction>>;

/// What a decision sees.
pub(super) struct View<'a> {
    pub now: Now,
    pub settings: &'a Settings,
    /// What is committed.
    pub known: &'a Transactions,
    /// Ids with a record that is not committed yet.
    pub pending: &'a OrdMap<Arc<str>, Offset>,
    /// A producer id to give out.
    pub producer_id: Option<ProducerId>,
}

/// What comes of a request.
pub(super) enum Decision {
    /// This answer, now.
    Answer(ResponseKind),
    /// These records, and this answer once they are committed.
    Write { steps: Vec<Step>, answer: ResponseKind },
    /// To be decided again when there is a producer id.
    WantsProducerId,
}

/// A record to be: what is known of an id from there on.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub id: Arc<str>,
    pub next: Option<Arc<Transaction>>,
    /// It used the producer id that it was offered.
    pub took_producer_id: bool,
}

impl Step {
    /// To `next`.
    pub fn to(id: &Arc<str>, next: Transaction) -> Self {
        Self { id: id.clone(), next: Some(Arc::new(next)), took_producer_id: false }
    }
}

/// Why a step is not taken, or not yet.
pub(super) enum Stop {
    Refused(Refusal),
    WantsProducerId,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl View<'_> {
    /// An id's transaction, unless a step of it is under way: a record, or the markers of its end.
    ///
    /// Asked before anything else: a producer is told whom to go on as when its end is decided, which is true only
    /// once the markers are written. What it sends until then must come again, not be refused for good.
    pub fn at_rest(&self, id: &str) -> Result<Option<&Arc<Transaction>>, Refusal> {
        let known = self.known.get(id);
        let ends = known.is_some_and(|known| known.state.prepared().is_some());
        match ends || self.pending.contains_key(id) {
            true => Err(Refusal::Concurrent),
            false => Ok(known),
        }
    }

    /// A producer id to give out.
    pub fn draw(&self) -> Result<ProducerId, Stop> {
        self.producer_id.ok_or(Stop::WantsProducerId)
    }
}

/// The producer that a request shows; `None` when it shows none.
pub(super) fn shown(id: i64, epoch: i16) -> Result<Option<(ProducerId, ProducerEpoch)>, Refusal> {
    match (id, epoch) {
        (-1, -1) => Ok(None),
        (-1, _) | (_, -1) => Err(Refusal::InvalidRequest),
        (id, epoch) => Ok(Some((ProducerId::new(id), ProducerEpoch::new(epoch)))),
    }
}
