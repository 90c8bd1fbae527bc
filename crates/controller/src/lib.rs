//! Decisions: pure functions from an image and a request to records and a response.
//!
//! One file a decision, `decide(&View, &Request) -> Decision<Response>`. A decision
//! changes nothing: its records change the image once replayed, its contact the
//! [`Sessions`]. The caller replays the records into its working image before it
//! asks for the next decision, and lets the response go when they are committed.
//!
//! Time, offsets and chance come in with the [`View`]; no clock, log or socket is
//! known here, so that a test can run a year of a cluster in a second.

pub mod allocate_producer_ids;
pub mod alter_configs;
pub mod alter_partition;
pub mod assign_replicas_to_dirs;
pub mod bootstrap;
mod chance;
pub mod create_partitions;
pub mod create_topics;
pub mod decision;
pub mod delete_topics;
mod dispatch;
pub mod elect;
pub mod elect_leaders;
pub mod fence;
pub mod heartbeat;
pub mod partition_change;
pub mod placement;
#[cfg(test)]
mod random;
pub mod reassign;
pub mod register_broker;
pub mod register_controller;
pub mod sessions;
pub mod settings;
#[cfg(test)]
mod testing;
pub mod topics;
pub mod unregister_broker;
pub mod update_features;
pub mod view;

pub use decision::{Decision, Refusal};
pub use dispatch::decide;
pub use fence::{expire_one, gone};
pub use sessions::{Contact, Sessions};
pub use settings::Settings;
pub use view::View;
