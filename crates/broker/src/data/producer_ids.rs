//! Producer ids: blocks from the controller, given out one by one.
//!
//! The next block is asked for before the last one ends, so that nobody waits for
//! the controller but the first. An id is never given twice: what a crash leaves of
//! a block is lost.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::{ErrorCode, ProducerId};
use tokio::sync::watch;
use tokio::time::Instant;
use wire::messages::{
    AllocateProducerIdsRequest, BrokerId, InitProducerIdRequest, InitProducerIdResponse,
    ProducerId as WireProducerId, ResponseKind,
};

use crate::data::plane::Plane;

const VERSION: i16 = 0;
/// How long the controller is waited for.
const TIMEOUT: Duration = Duration::from_secs(5);
/// With so few ids left the next block is asked for; Kafka's blocks have 1,000.
const LOW: i64 = 100;

/// The blocks at hand.
#[derive(Default)]
pub struct ProducerIds {
    blocks: Mutex<Blocks>,
    /// Counts the answers of the controller.
    answers: watch::Sender<u64>,
}

#[derive(Default)]
struct Blocks {
    current: Range<i64>,
    next: Option<Range<i64>>,
    asking: bool,
}

impl Blocks {
    fn take(&mut self) -> Option<ProducerId> {
        if self.current.is_empty()
            && let Some(next) = self.next.take()
        {
            self.current = next;
        }
        self.current.next().map(ProducerId::new)
    }

    fn is_low(&self) -> bool {
        self.next.is_none() && self.current.end - self.current.start < LOW
    }
}

impl ProducerIds {
    fn lock(&self) -> MutexGuard<'_, Blocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next id, unless the controller has to be waited for; asks it when few are left.
    fn take(plane: &Arc<Plane>) -> Option<ProducerId> {
        let mut blocks = plane.producer_ids.lock();
        let taken = blocks.take();
        if blocks.is_low() && !blocks.asking {
            blocks.asking = true;
            plane.tasks.spawn(refill(plane.clone()));
        }
        taken
    }

    /// The next id, after one round to the controller at most.
    async fn draw(plane: &Arc<Plane>) -> Option<ProducerId> {
        let mut answers = plane.producer_ids.answers.subscribe();
        if let Some(taken) = Self::take(plane) {
            return Some(taken);
        }
        let answered = tokio::time::timeout(TIMEOUT, answers.changed()).await;
        answered.ok()?.ok()?;
        Self::take(plane)
    }
}

/// Asks for one block.
async fn refill(plane: Arc<Plane>) {
    let block = tokio::select! {
        block = ask(&plane) => block,
        () = plane.stop.cancelled() => None,
    };
    {
        let mut blocks = plane.producer_ids.lock();
        blocks.asking = false;
        if block.is_some() {
            blocks.next = block;
        }
    }
    plane.producer_ids.answers.send_modify(|answers| *answers += 1);
}

async fn ask(plane: &Plane) -> Option<Range<i64>> {
    let epoch = plane.options.broker.get().epoch?;
    let request = AllocateProducerIdsRequest::default()
        .with_broker_id(BrokerId(plane.options.node.get()))
        .with_broker_epoch(epoch.get());
    let answer = plane.options.controllers.request(VERSION, request, Instant::now() + TIMEOUT).await;
    match answer {
        Ok(ResponseKind::AllocateProducerIds(response)) if response.error_code == ErrorCode::None.code() => {
            let start = response.producer_id_start.0;
            let end = start.checked_add(i64::from(response.producer_id_len))?;
            (start >= 0).then_some(start..end)
        }
        Ok(ResponseKind::AllocateProducerIds(response)) => {
            let code = ErrorCode::from_code(response.error_code);
            tracing::info!(node = %plane.options.node, %code, "no producer ids were given");
            None
        }
        Ok(_) => None,
        Err(error) => {
            tracing::info!(node = %plane.options.node, %error, "no producer ids were given");
            None
        }
    }
}

/// A producer id that nobody has; `None` when the controller gives none.
pub async fn draw(plane: &Arc<Plane>) -> Option<ProducerId> {
    ProducerIds::draw(plane).await
}

/// InitProducerId without a transactional id: a producer that is idempotent, no more.
pub async fn handle(plane: Arc<Plane>, request: InitProducerIdRequest) -> InitProducerIdResponse {
    debug_assert!(request.transactional_id.is_none(), "those are their coordinator's to answer");
    let response =
        InitProducerIdResponse::default().with_producer_id(WireProducerId(-1)).with_producer_epoch(-1);
    match ProducerIds::draw(&plane).await {
        Some(id) => response.with_producer_id(WireProducerId(id.get())).with_producer_epoch(0),
        // Kafka's clients try this one again.
        None => response.with_error_code(ErrorCode::CoordinatorLoadInProgress.code()),
    }
}

#[cfg(test)]
mod tests {
    use super::Blocks;

    #[test]
    fn ids_go_from_one_block_to_the_next_and_none_is_given_twice() {
        let mut blocks = Blocks { current: 5..7, next: Some(1_000..1_002), asking: false };
        let taken: Vec<i64> = std::iter::from_fn(|| blocks.take()).map(|id| id.get()).collect();
        assert_eq!(taken, [5, 6, 1_000, 1_001]);
        assert!(blocks.is_low());
    }
}
