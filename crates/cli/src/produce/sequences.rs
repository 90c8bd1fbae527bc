//! The producer id and the next sequence of each partition (KIP-98).
//!
//! A partition's leader takes a batch only if it continues the last one, and answers a
//! repeated one without writing it. It never starts over by itself: a sequence that the
//! leader finds out of order means that records were lost, and that ends the command.

use std::collections::BTreeMap;

use model::{ErrorCode, ProducerEpoch, ProducerId};
use tokio::time::Instant;
use wire::batch::Producer;
use wire::messages::{self, InitProducerIdRequest};

use crate::client::{Cluster, PATIENCE, PAUSE, To, answer, refused};
use crate::failure::Outcome;

/// Nothing of this producer's is ever left open.
const NO_TIMEOUT_MS: i32 = i32::MAX;

/// An idempotent producer.
pub struct Sequences {
    id: ProducerId,
    epoch: ProducerEpoch,
    next: BTreeMap<i32, i32>,
}

impl Sequences {
    /// Has the cluster give out a producer id; waits out errors that pass.
    pub async fn begin(cluster: &mut Cluster) -> Outcome<Self> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let request = InitProducerIdRequest::default()
                .with_transactional_id(None)
                .with_transaction_timeout_ms(NO_TIMEOUT_MS)
                .with_producer_id(messages::ProducerId(-1))
                .with_producer_epoch(-1);
            let response = answer!(InitProducerId, cluster.ask(To::Any, request).await?);
            let code = ErrorCode::from_code(response.error_code);
            if !code.is_error() {
                let id = ProducerId::new(response.producer_id.0);
                return Ok(Self::new(id, ProducerEpoch::new(response.producer_epoch)));
            }
            if !code.is_retriable() || Instant::now() >= deadline {
                return Err(refused("get a producer id", code, None));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn new(id: ProducerId, epoch: ProducerEpoch) -> Self {
        Self { id, epoch, next: BTreeMap::new() }
    }

    /// What the next batch for `partition` is marked with.
    pub fn next(&self, partition: i32) -> Producer {
        let base_sequence = self.next.get(&partition).copied().unwrap_or(0);
        Producer { id: self.id, epoch: self.epoch, base_sequence }
    }

    /// A batch of `count` records was written to `partition`.
    pub fn advance(&mut self, partition: i32, count: i32) {
        let next = self.next.entry(partition).or_insert(0);
        // After the highest sequence comes 0.
        *next = next.wrapping_add(count) & i32::MAX;
    }
}

#[cfg(test)]
mod tests {
    use model::{ProducerEpoch, ProducerId};

    use super::Sequences;

    #[test]
    fn each_partition_counts_for_itself_and_starts_over_after_the_highest() {
        let mut sequences = Sequences::new(ProducerId::new(7), ProducerEpoch::new(0));
        sequences.advance(0, 3);
        sequences.advance(0, 2);
        sequences.advance(1, i32::MAX);
        assert_eq!([0, 1, 2].map(|partition| sequences.next(partition).base_sequence), [5, i32::MAX, 0]);
        sequences.advance(1, 1);
        assert_eq!(sequences.next(1).base_sequence, 0);
    }
}
