//! Who may ask what of transactions: the one place that will ask for authorisation and quotas.
//!
//! There is no access control yet (see `crate::groups::admit`); what each request needs is written down
//! all the same, as Kafka has it. From version 4 on AddPartitionsToTxn is other brokers' to ask, and needs
//! CLUSTER_ACTION.

use model::ErrorCode;
use wire::messages::{RequestKind, TransactionalId};

use crate::dispatch::RequestContext;
use crate::groups::admit::{Operation, Resource, permits};

/// Whether a request may be asked at all. Topics are looked at one by one where they are judged.
pub fn admit(asker: &RequestContext, request: &RequestKind) -> Result<(), ErrorCode> {
    use RequestKind as K;
    let may = |operation, id: &TransactionalId| permits(asker, operation, Resource::TransactionalId(id));
    let allowed = match request {
        K::InitProducerId(request) => {
            request.transactional_id.as_ref().is_none_or(|id| may(Operation::Write, id))
        }
        K::AddPartitionsToTxn(request) if request.transactions.is_empty() => {
            may(Operation::Write, &request.v3_and_below_transactional_id)
        }
        K::AddPartitionsToTxn(_) => permits(asker, Operation::Write, Resource::Cluster),
        K::AddOffsetsToTxn(request) => {
            if !permits(asker, Operation::Read, Resource::Group(&request.group_id)) {
                return Err(ErrorCode::GroupAuthorizationFailed);
            }
            may(Operation::Write, &request.transactional_id)
        }
        K::EndTxn(request) => may(Operation::Write, &request.transactional_id),
        K::DescribeTransactions(request) => {
            request.transactional_ids.iter().all(|id| may(Operation::Describe, id))
        }
        // Each is shown to whoever may describe it.
        K::ListTransactions(_) => true,
        _ => true,
    };
    if allowed { Ok(()) } else { Err(ErrorCode::TransactionalIdAuthorizationFailed) }
}

/// Whether a topic may become part of a transaction.
pub fn may_write(asker: &RequestContext, topic: &str) -> bool {
    permits(asker, Operation::Write, Resource::Topic(topic))
}
