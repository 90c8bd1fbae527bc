//! UnregisterBroker: an operator says that a broker will not come back.

use model::{ErrorCode, NodeId};
use proto::metadata::UnregisterBrokerRecord;
use wire::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use crate::decision::{Decision, Refusal};
use crate::fence::clean_up;
use crate::view::View;

/// No such broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Broker ID {0} is not currently registered")]
pub struct NotRegistered(i32);

impl NotRegistered {
    /// What the operator is told.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::BrokerIdNotRegistered
    }
}

/// Forgets the broker. Its replicas stay assigned to it until they are moved.
pub fn decide(
    view: &View<'_>,
    request: &UnregisterBrokerRequest,
) -> Result<Decision<UnregisterBrokerResponse>, NotRegistered> {
    let id = *request.broker_id;
    let broker = view.image.broker(NodeId::new(id)).ok_or(NotRegistered(id))?;
    let mut records = Vec::new();
    clean_up(view, broker.id, true, &mut records);
    records.push(UnregisterBrokerRecord { broker_id: id, broker_epoch: broker.epoch.get() }.into());
    Ok(Decision::new(records, UnregisterBrokerResponse::default().with_error_message(None)))
}

/// The answer when there is nothing to forget.
pub fn refuse(error: &NotRegistered) -> UnregisterBrokerResponse {
    let refusal = Refusal::new(error.code(), error);
    UnregisterBrokerResponse::default()
        .with_error_code(refusal.code.code())
        .with_error_message(refusal.text())
}
