//! Offsets in transactions: TxnOffsetCommit on its way to a group's shard, and the markers that end it.
//!
//! Before offsets become part of a transaction its coordinator is asked, as for any batch that opens
//! one in a partition (KIP-890). That takes a round to another broker, so all of it is the answer's
//! second stage: a producer waits for its offsets before it ends a transaction, and nothing else on
//! its connection has to be in order with them.

use std::sync::{Arc, Weak};

use coordinator::producer_of;
use log::producers::TransactionEnd;
use model::{ErrorCode, PartitionIndex};
use wire::messages::{RequestKind, ResponseKind};

use crate::data::{Data, Ended, Entering, MarkerWriter};
use crate::dispatch::RequestContext;
use crate::groups::shell::Within;
use crate::groups::topics::Finish;
use crate::groups::{ANSWERS, Groups, asked, refused};
use crate::publish::Picture;
use crate::server::{Answer, Reply};

/// From this version on the partition is added to the transaction by us (transactions of version 2).
const ADDS_FROM: i16 = 5;
/// From this version on a client knows TRANSACTION_ABORTABLE.
const ABORTABLE_FROM: i16 = 4;
/// Before this version a client cannot bear COORDINATOR_LOAD_IN_PROGRESS (KAFKA-7296).
const LOADING_FROM: i16 = 2;

impl Groups {
    /// Has the groups' shards end transactions in their partitions.
    pub fn end_transactions_of(self: &Arc<Self>, data: &Data) {
        data.write_markers_with(Arc::new(Ends(Arc::downgrade(self))));
    }

    /// Answers a TxnOffsetCommit of which `finish` has what is refused already.
    pub(super) fn commit_in_transaction(
        &self,
        asker: &RequestContext,
        picture: &Arc<Picture>,
        partition: i32,
        request: RequestKind,
        finish: Finish,
    ) -> Answer {
        let version = asker.version;
        let Some(shell) = self.host.shell(partition) else {
            let refused = refused(&request, version, ErrorCode::NotCoordinator);
            return Answer::message(finish.with(refused, version));
        };
        let entering = entering(&request, version);
        let (call, picture) = (asked::call(asker, self.draw(), request), picture.clone());
        Answer::Later(Box::pin(async move {
            let (producer, epoch) = (entering.producer, entering.epoch);
            let response = match shell.seat().enter(&picture.image, entering).await {
                Ok(entered) => {
                    let within = Within { producer, epoch, entered };
                    let asked = ANSWERS.asked(version, shell.ask_within(call, Some(within)));
                    ANSWERS.join_all(vec![asked], version).await
                }
                Err(code) => refused(&call.request, version, told(code, version)),
            };
            Reply::message(bearable(finish.with(response, version), version))
        }))
    }
}

fn entering(request: &RequestKind, version: i16) -> Entering {
    let (producer, epoch) = producer_of(request).expect("it is a producer's");
    let RequestKind::TxnOffsetCommit(request) = request else { unreachable!("asked about before") };
    let transactional_id = request.transactional_id.as_str().to_owned();
    Entering { transactional_id, producer, epoch, adds: version >= ADDS_FROM }
}

/// What a producer of that version makes the best of.
fn told(code: ErrorCode, version: i16) -> ErrorCode {
    match code {
        ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
        ErrorCode::TransactionAbortable if version < ABORTABLE_FROM => ErrorCode::InvalidTxnState,
        // Clients try this one again without looking for another coordinator.
        ErrorCode::NetworkException => ErrorCode::CoordinatorLoadInProgress,
        ErrorCode::UnknownTopicOrPartition | ErrorCode::NotEnoughReplicas | ErrorCode::RequestTimedOut => {
            ErrorCode::CoordinatorNotAvailable
        }
        code => code,
    }
}

/// The answer in words that a client of that version bears.
fn bearable(mut response: ResponseKind, version: i16) -> ResponseKind {
    if let ResponseKind::TxnOffsetCommit(response) = &mut response
        && version < LOADING_FROM
    {
        let partitions = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        let loading = |code: i16| ErrorCode::from_code(code) == ErrorCode::CoordinatorLoadInProgress;
        for partition in partitions.filter(|partition| loading(partition.error_code)) {
            partition.error_code = ErrorCode::CoordinatorNotAvailable.code();
        }
    }
    response
}

/// Ends transactions in the shards of groups that may be gone.
struct Ends(Weak<Groups>);

impl MarkerWriter for Ends {
    fn write(&self, partition: PartitionIndex, end: &TransactionEnd) -> Result<Ended, ErrorCode> {
        let shell = self.0.upgrade().and_then(|groups| groups.host.shell(partition.get()));
        shell.ok_or(ErrorCode::NotLeaderOrFollower)?.end_transaction(end)
    }
}

#[cfg(test)]
mod tests {
    use model::ErrorCode;
    use wire::messages::{ResponseKind, TxnOffsetCommitRequest, topic, txn_offset_commit_request};

    use super::{bearable, told};

    fn check(code: ErrorCode, by_version: [ErrorCode; 3]) {
        assert_eq!([3, 4, 5].map(|version| told(code, version)), by_version, "{code}");
    }

    #[test]
    fn a_producer_is_told_what_its_version_makes_the_best_of() {
        use ErrorCode as E;
        check(E::ProducerFenced, [E::InvalidProducerEpoch; 3]);
        check(
            E::TransactionAbortable,
            [E::InvalidTxnState, E::TransactionAbortable, E::TransactionAbortable],
        );
        check(E::NetworkException, [E::CoordinatorLoadInProgress; 3]);
        check(E::UnknownTopicOrPartition, [E::CoordinatorNotAvailable; 3]);
        check(E::ConcurrentTransactions, [E::ConcurrentTransactions; 3]);
    }

    #[test]
    fn the_oldest_clients_do_not_hear_that_a_coordinator_loads() {
        let partition = txn_offset_commit_request::TxnOffsetCommitRequestPartition::default();
        let committed = txn_offset_commit_request::TxnOffsetCommitRequestTopic::default();
        let committed = committed.with_name(topic("t")).with_partitions(vec![partition]);
        let request = TxnOffsetCommitRequest::default().with_topics(vec![committed]).into();
        let told = [1, 2].map(|version| {
            let refused = crate::groups::refused(&request, version, ErrorCode::CoordinatorLoadInProgress);
            let ResponseKind::TxnOffsetCommit(answer) = bearable(refused, version) else {
                panic!("no answer")
            };
            ErrorCode::from_code(answer.topics[0].partitions[0].error_code)
        });
        assert_eq!(told, [ErrorCode::CoordinatorNotAvailable, ErrorCode::CoordinatorLoadInProgress]);
    }
}
