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

#[cfg(test)]
mod tests {
    use wire::messages::{BrokerId, UnregisterBrokerRequest};

    use super::{decide, refuse};
    use crate::testing::{assert_lines, cluster};

    #[track_caller]
    fn check(broker: i32, outcome: &str) {
        let mut cluster = cluster("broker 1\n broker 2\n t-0 replicas=1,2 isr=1,2 leader=1");
        let request = UnregisterBrokerRequest::default().with_broker_id(BrokerId(broker));
        let described = match decide(&cluster.view(), &request) {
            Ok(decision) => cluster.take(decision).0,
            Err(error) => refuse(&error).error_message.expect("a refusal says why").to_string(),
        };
        assert_lines(&described, outcome);
    }

    #[test]
    fn a_forgotten_broker_leads_nothing_first() {
        check(1, "t-0 leader=2 isr=2\n -broker 1");
        check(9, "Broker ID 9 is not currently registered");
    }
}
