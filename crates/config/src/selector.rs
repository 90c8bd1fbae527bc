//! `replica.selector.class`: where consumers are sent to read.
//!
//! Kafka names a Java class here. Its own two are known by their names; both have a short
//! one besides, for files that are written anew. A class of somebody else's cannot run
//! here, and to ignore it would send consumers across the racks that it keeps them in.

use crate::reader::Reader;

const KEY: &str = "replica.selector.class";

/// Which replica a consumer is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaSelector {
    /// The leader, always.
    Leader,
    /// One in the consumer's rack that has what it asks for (KIP-392).
    RackAware,
}

pub(crate) fn read(reader: &mut Reader<'_>) -> ReplicaSelector {
    match reader.text(KEY).as_deref() {
        None | Some("org.apache.kafka.common.replica.LeaderSelector" | "leader") => ReplicaSelector::Leader,
        Some("org.apache.kafka.common.replica.RackAwareReplicaSelector" | "rack-aware") => {
            ReplicaSelector::RackAware
        }
        Some(_) => {
            let expected =
                "Kastle runs no classes; it knows rack-aware and leader, by Kafka's names for them too";
            reader.problem(KEY, expected, "write rack-aware, or remove the line to read from leaders alone");
            ReplicaSelector::Leader
        }
    }
}
