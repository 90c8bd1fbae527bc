//! One partition's replication, as pure state machines.
//!
//! A [`Replica`] is what one node knows of its part in one partition: leader,
//! follower or offline. It is fed what the metadata says, what the log did and
//! what followers asked for, and answers with effects. It never touches a log, a
//! socket or a clock, so a test can run a year of it in a second.
//!
//! ```text
//!              leader = me            leader = another
//!   Offline ---------------> Leader <------------------> Follower
//!                              |   a higher leader epoch    |
//!                              +---------> Offline <--------+
//! ```
//!
//! What it never does: truncate by watermark (only epochs decide, KIP-101), or
//! count an in-sync set that the controller has not committed (KIP-497).

mod assignment;
mod follower;
mod leader;

pub use assignment::{Assignment, Replica, Role, Transition};
pub use follower::{Divergence, EpochEnd, Follower, Lookup};
pub use leader::{
    AckState, Effect, Holder, Input, IsrAnswer, IsrMember, IsrProposal, Leader, LeaderOptions, WriteRefused,
};
