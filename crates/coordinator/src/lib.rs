//! Group coordinators: state machines over the records of `__consumer_offsets`, without IO.
//!
//! One [`Shard`] a partition of that topic. What it knows is of two kinds, and the difference is the design:
//!
//! - **Hard** ([`hard`]): what the log's records say. Only replaying records changes it, when a shard loads and
//!   when it decides alike, so that living through a history and replaying it give the same state.
//! - **Soft** ([`classic`]): who waits for an answer, who was heard when, which phase a rebalance is in. It is
//!   lost with the leadership, and begun afresh from the hard state by whoever leads next.
//!
//! Both are persistent maps, so a copy of everything is O(1), and that is how a failed append is undone: each
//! request and each timer is one *turn* on a copy, kept when its records are appended, dropped when not. Nothing
//! of a failed turn remains; whoever waited before it still waits. Committed offsets have a third copy, the one
//! up to the high watermark, which is what OffsetFetch reads unless asked to wait.
//!
//! # The seam
//!
//! ```text
//! cluster   set_cluster(view of topics and groups' settings) before loaded, and whenever the metadata changed;
//!           before a request that may follow such a change (it costs nothing, so before each will do)
//! load      Shard::new, replay(record) for each record of the partition, then loaded(now)
//! request   batch = handle(now, call); empty: done. Else append it as one batch, all or nothing, and say
//!           appended(offset of its last record) or append_failed(now, why). Nothing else is asked in between.
//! time      at next_deadline(): tick(now) until it gives None, each batch appended as above
//! commits   committed(high_watermark) when it moves
//! ends      a batch of a transaction goes in with its producer (producer_of), and is replayed with it; when the
//!           marker of one is in the log: end_transaction(now, producer, commit, offset), replay_end in a load
//! answers   replies() after each of these: what may go out now; rebalanced(): what the node's log is to tell
//! the end   resign(): everybody who waits is told NOT_COORDINATOR; then drop the shard
//! ```
//!
//! The shell finds the shards ([`route`], [`join`]), asks for authorisation and quotas before `handle` (one place a
//! kind of request), and answers COORDINATOR_LOAD_IN_PROGRESS while a shard loads and NOT_COORDINATOR where it does
//! not lead ([`refuse`]). It resolves topic ids, and takes topics that do not exist or may not be used out of
//! OffsetCommit, OffsetFetch and OffsetDelete. When a topic is deleted it tells each shard: [`Shard::forget_topic`].
//!
//! # Where this differs from Kafka
//!
//! - An append that fails undoes the whole turn. Kafka would begin a rebalance where the leader's SyncGroup could
//!   not be written; here the leader may send it again, and the others wait on.
//! - A request that a client sends again releases the one before (REBALANCE_IN_PROGRESS); Kafka never answers that.
//! - A JoinGroup that is refused leaves no empty group behind.
//! - The initial delay runs once from the first member, longer only while others come less than half of it apart. Kafka
//!   looks once a delay whether somebody came, so it waits twice as long for members that start together.
//! - A member of a KIP-848 group is asked to heartbeat after a second while something is to come for it (large groups:
//!   0.2 ms a member), not after the usual interval.
//! - It is told what it is to have until it says that it has it: the first answer may be lost. Kafka tells once.
//! - A group that was divided among one member may be divided again after a fifth of the interval.
//! - An empty group whose next member holds a fresh id is not deleted under it.
//! - A regular expression is looked up within the heartbeat that brings it, not in the background: its member has its
//!   topics with the first answer. The records are Kafka's, the expression's right before the raised epoch.
//! - `uniform` lets those keep one partition more than others who have it already; Kafka goes by the order of a map.
//! - A partition that a classic assignor gave twice has one owner after the upgrade; Kafka fails there.

pub mod alarm;
pub mod call;
mod cause;
pub mod classic;
pub mod cluster;
pub mod consumer;
mod delete_groups;
mod describe_groups;
mod dispatch;
mod expire;
pub mod group;
pub mod hard;
mod list_groups;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
pub mod offsets;
mod overrule;
mod partition;
pub mod pending_offsets;
pub mod record;
pub mod refusal;
mod refuse;
mod route;
pub mod settings;
pub mod shard;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod transactions;
mod turn;
mod txn_offset_commit;

pub use call::{Call, Caller, Client, Now, Reply, Token};
pub use cause::{Cause, Rebalanced};
pub use cluster::Cluster;
pub use dispatch::is_ours;
pub use group::{Group, GroupKind};
pub use partition::partition_of;
pub use record::{Record, ReplayError};
pub use refuse::refuse;
pub use route::{Route, join, route};
pub use settings::{ConsumerSettings, Migration, Settings};
pub use shard::{AppendFailure, Shard};
pub use txn_offset_commit::producer_of;
