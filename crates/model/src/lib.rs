//! The vocabulary of Kastle: a type for every number and name with a meaning.
//!
//! No crate below this one, no dependency on the wire or the disk. A type here
//! offers only the operations that mean something: an [`Offset`] moves by a
//! record count, a [`LeaderEpoch`] has a successor, and neither adds to the other.

mod cluster_id;
mod error_code;
mod mutant;
mod names;
mod numbers;
mod time;
mod uuid;

pub use cluster_id::{ClusterId, ClusterIdError};
pub use error_code::ErrorCode;
pub use mutant::Mutant;
pub use names::{METADATA_TOPIC, METADATA_TOPIC_ID, TopicName, TopicNameError, TopicPartition};
pub use numbers::{
    BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch, PartitionIndex, ProducerEpoch, ProducerId,
};
pub use time::{Millis, Timestamp};
pub use uuid::{DirectoryId, IncarnationId, TopicId, Uuid, UuidError};
