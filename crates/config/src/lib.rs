//! Every config key: its type, default, bounds and documentation; `server.properties` files.
//!
//! [`Properties`] reads a file, [`NodeConfig`] makes it typed and reports every problem at
//! once, [`TopicConfig`] resolves a topic's overrides over the broker's values, [`describe`]
//! lists what a resource is set to and where each value comes from, [`alter`] says whether
//! a change is one Kafka would take.
//!
//! The table in `keys.txt` is the one place that knows a key; nothing here knows what a
//! key does, and nothing reads a file, an environment or a clock.

pub mod alter;
mod cleaner;
pub mod describe;
mod groups;
mod key;
mod layers;
mod listener;
mod node;
mod problem;
mod properties;
mod quorum;
mod reader;
mod selector;
mod table;
mod topic;

pub use cleaner::CleanerConfig;
pub use groups::{
    Bounded, ConsumerGroupsConfig, GroupsConfig, InternalTopicConfig, OffsetsCodec, TransactionLogConfig,
    TransactionsConfig,
};
pub use key::{Default, Importance, InvalidValue, Key, Kind, Scope, Update, Valid, Value};
pub use layers::{Layers, Overrides, Source};
pub use listener::{Listener, Protocol};
pub use node::{
    LogConfig, NetworkConfig, NodeConfig, ReplicationConfig, Roles, SessionConfig, TopicDefaults,
};
pub use problem::{ConfigErrors, Problem};
pub use properties::{Entry, Place, Properties, SyntaxError, escape_value};
pub use quorum::{QuorumConfig, QuorumVoter};
pub use selector::ReplicaSelector;
pub use table::{find, keys, nearest};
pub use topic::{Cleanup, Compression, TimestampType, TopicConfig};
