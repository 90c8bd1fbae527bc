//! Which decision answers which request.

use std::collections::BTreeMap;

use controller::{Decision, View};
use wire::messages::{RequestKind, ResponseKind};

/// So many refusals are remembered.
const REFUSED_MAX: usize = 1_000;

/// Why each broker's last registration was refused: it tries again twice a second, and is told once.
pub(super) type Refused = BTreeMap<i32, String>;

/// The decision on a request; none where nobody decides such requests.
pub(super) fn decide(
    view: &View<'_>,
    version: i16,
    request: &RequestKind,
    refused: &mut Refused,
) -> Option<Decision<ResponseKind>> {
    use RequestKind as K;
    use controller as c;
    Some(match request {
        K::BrokerHeartbeat(request) => settle(c::heartbeat::decide(view, request), c::heartbeat::refuse),
        K::BrokerRegistration(request) => {
            let decided = c::register_broker::decide(view, request);
            note_registration(request.broker_id.0, &decided, refused);
            settle(decided, c::register_broker::refuse)
        }
        K::CreateTopics(request) => c::create_topics::decide(view, request).map(Into::into),
        K::DeleteTopics(request) => c::delete_topics::decide(view, version, request).map(Into::into),
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

fn note_registration<R, E: ToString>(broker: i32, decided: &Result<R, E>, refused: &mut Refused) {
    let Err(error) = decided else {
        refused.remove(&broker);
        return;
    };
    // Ids are what a peer says: the list does not grow with its imagination.
    if refused.len() >= REFUSED_MAX && !refused.contains_key(&broker) {
        refused.clear();
    }
    let reason = error.to_string();
    if refused.get(&broker) != Some(&reason) {
        tracing::warn!(broker, error = reason, "controller: a broker is not registered");
        refused.insert(broker, reason);
    }
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
