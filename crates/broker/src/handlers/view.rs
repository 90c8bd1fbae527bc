//! How the metadata looks to a client at one listener; shared by the handlers that show it.

use metadata::{Broker, Image, Partition};
use model::NodeId;
use wire::messages::BrokerId;

/// All that may be done to a cluster where nothing is forbidden, as Kafka's bits: create, alter,
/// describe, cluster action, describe configs, alter configs, idempotent write.
pub const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;
/// The same of a topic: read, write, create, delete, alter, describe, describe and alter configs.
pub const TOPIC_OPERATIONS: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;

/// Topics that Kafka's own machinery writes.
pub fn is_internal(name: &str) -> bool {
    matches!(name, "__consumer_offsets" | "__transaction_state" | "__share_group_state")
}

/// Where `broker` is reached on the listener of that name.
pub fn endpoint<'a>(broker: &'a Broker, listener: &str) -> Option<(&'a str, u16)> {
    let found = broker.listeners.iter().find(|candidate| candidate.name == listener)?;
    Some((&found.host, found.port))
}

/// Replicas that cannot be reached at that listener now.
pub fn offline_replicas(image: &Image, partition: &Partition, listener: &str) -> Vec<NodeId> {
    let online = |node: &NodeId| {
        let broker = image.broker(*node).filter(|broker| !broker.fenced);
        broker.is_some_and(|broker| endpoint(broker, listener).is_some())
    };
    partition.replicas.iter().copied().filter(|node| !online(node)).collect()
}

/// Node ids as messages carry them.
pub fn wire_ids(nodes: &[NodeId]) -> Vec<BrokerId> {
    nodes.iter().map(|node| BrokerId(node.get())).collect()
}
