//! Which decision answers which request.

use controller::{Decision, View};
use wire::messages::{RequestKind, ResponseKind};

/// The decision on a request; none where nobody decides such requests.
pub(super) fn decide(view: &View<'_>, version: i16, request: &RequestKind) -> Option<Decision<ResponseKind>> {
    use RequestKind as K;
    use controller as c;
    Some(match request {
        K::BrokerHeartbeat(request) => settle(c::heartbeat::decide(view, request), c::heartbeat::refuse),
        K::BrokerRegistration(request) => {
            let decided = c::register_broker::decide(view, request);
            if let Err(error) = &decided {
                tracing::warn!(broker = request.broker_id.0, %error, "controller: a broker is not registered");
            }
            settle(decided, c::register_broker::refuse)
        }
        K::CreateTopics(request) => c::create_topics::decide(view, request).map(Into::into),
        K::DeleteTopics(request) => c::delete_topics::decide(view, request).map(Into::into),
        K::CreatePartitions(request) => c::create_partitions::decide(view, request).map(Into::into),
        K::ElectLeaders(request) => c::elect_leaders::decide(view, request).map(Into::into),
        K::AlterPartition(request) => {
            settle(c::alter_partition::decide(view, request), c::alter_partition::refuse)
        }
        K::AllocateProducerIds(request) => {
            settle(c::allocate_producer_ids::decide(view, request), c::allocate_producer_ids::refuse)
        }
        K::AssignReplicasToDirs(request) => {
            settle(c::assign_replicas_to_dirs::decide(view, request), c::assign_replicas_to_dirs::refuse)
        }
        K::ControllerRegistration(request) => {
            settle(c::register_controller::decide(view, request), c::register_controller::refuse)
        }
        K::UnregisterBroker(request) => {
            settle(c::unregister_broker::decide(view, request), c::unregister_broker::refuse)
        }
        K::IncrementalAlterConfigs(request) => c::alter_configs::decide(view, request).map(Into::into),
        K::AlterConfigs(request) => c::alter_configs::decide_all(view, request).map(Into::into),
        K::UpdateFeatures(request) => c::update_features::decide(view, version, request).map(Into::into),
        K::AlterPartitionReassignments(request) => c::reassign::decide(view, request).map(Into::into),
        K::ListPartitionReassignments(request) => Decision::answer(c::reassign::list(view, request).into()),
        _ => return None,
    })
}

/// A decision, or the answer that refuses it.
fn settle<R: Into<ResponseKind>, E>(
    decided: Result<Decision<R>, E>,
    refuse: impl FnOnce(&E) -> R,
) -> Decision<ResponseKind> {
    match decided {
        Ok(decision) => decision.map(Into::into),
        Err(error) => Decision::answer(refuse(&error).into()),
    }
}
