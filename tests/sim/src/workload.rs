//! What the cluster is used for while it is harmed: clients that speak Kafka's own frames.
//!
//! ```text
//! queue      the whole: who takes part, start, stop, the final reading
//!   producer   unique values at acks=all, idempotent or not
//!   consumer   assigned partitions, every record held against what was sent
//!   group      members of a consumer group: join, share, read, commit
//!   transaction  producers that commit and abort, and readers of what is committed
//!   admin      topics, partitions, leaders, replicas, settings
//!     coordinator  which node answers for a group or a transactional id
//!     client     connections, negotiated versions, metadata
//!     board      what the clients share: topics, values, what is still to be seen
//!     record     what they note in the history that the judge reads
//! ```
//!
//! Clients are outside of the cluster: they reach it through a [`net::Network`] alone and
//! know nothing that an answer did not tell them.

pub mod admin;
pub mod board;
pub mod client;
pub mod consumer;
pub mod coordinator;
pub mod group;
pub mod producer;
pub mod queue;
pub mod record;
pub mod transaction;
