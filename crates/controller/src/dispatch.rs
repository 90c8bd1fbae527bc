//! One door to all decisions, for a loop that takes requests as they come.

use wire::messages::{RequestKind, ResponseKind};

use crate::decision::Decision;
use crate::view::View;
use crate::{
    allocate_producer_ids, alter_configs, alter_partition, assign_replicas_to_dirs, create_partitions,
    create_topics, delete_topics, elect_leaders, heartbeat, reassign, register_broker, register_controller,
    unregister_broker, update_features,
};

/// Decides a request in `version` of its API; `None` for one that is not the controller's to decide.
pub fn decide(view: &View<'_>, version: i16, request: &RequestKind) -> Option<Decision<ResponseKind>> {
    use RequestKind as K;
    Some(match request {
        K::CreateTopics(request) => create_topics::decide(view, request).map(Into::into),
        K::DeleteTopics(request) => delete_topics::decide(view, version, request).map(Into::into),
        K::CreatePartitions(request) => create_partitions::decide(view, request).map(Into::into),
        K::ElectLeaders(request) => elect_leaders::decide(view, request).map(Into::into),
        K::IncrementalAlterConfigs(request) => alter_configs::decide(view, request).map(Into::into),
        K::AlterConfigs(request) => alter_configs::decide_all(view, request).map(Into::into),
        K::UpdateFeatures(request) => update_features::decide(view, version, request).map(Into::into),
        K::AlterPartitionReassignments(request) => reassign::decide(view, request).map(Into::into),
        K::ListPartitionReassignments(request) => Decision::answer(reassign::list(view, request).into()),
        K::AlterPartition(request) => {
            settled(alter_partition::decide(view, request), alter_partition::refuse)
        }
        K::AllocateProducerIds(request) => {
            settled(allocate_producer_ids::decide(view, request), allocate_producer_ids::refuse)
        }
        K::AssignReplicasToDirs(request) => {
            settled(assign_replicas_to_dirs::decide(view, request), assign_replicas_to_dirs::refuse)
        }
        K::BrokerHeartbeat(request) => settled(heartbeat::decide(view, request), heartbeat::refuse),
        K::BrokerRegistration(request) => {
            settled(register_broker::decide(view, request), register_broker::refuse)
        }
        K::UnregisterBroker(request) => {
            settled(unregister_broker::decide(view, request), unregister_broker::refuse)
        }
        K::ControllerRegistration(request) => {
            settled(register_controller::decide(view, request), register_controller::refuse)
        }
        _ => return None,
    })
}

/// A decision, or the answer that refuses it.
fn settled<R: Into<ResponseKind>, E>(
    outcome: Result<Decision<R>, E>,
    refuse: impl FnOnce(&E) -> R,
) -> Decision<ResponseKind> {
    match outcome {
        Ok(decision) => decision.map(Into::into),
        Err(error) => Decision::answer(refuse(&error).into()),
    }
}
