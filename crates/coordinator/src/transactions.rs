//! Transaction coordinators: state machines over the records of `__transaction_state`, without IO.
//!
//! One [`Shard`] a partition of that topic. Each transactional id is at one place of Kafka's drawing:
//!
//! ```text
//!             AddPartitionsToTxn            EndTxn, or its time is up
//!   Empty ------------------------> Ongoing --------------------------> PrepareCommit | PrepareAbort
//!     ^                                ^                                            | every partition has its marker
//!     | InitProducerId                 | AddPartitionsToTxn                         v
//!     +--------------------------------+-------------------------------- CompleteCommit | CompleteAbort
//! ```
//!
//! Each step is one record, and it counts when that record is committed, not before: until then the id is *pending*
//! and whoever asks for another step is told CONCURRENT_TRANSACTIONS, as in Kafka. So there is nothing to undo when
//! an append fails, and nobody is ever told, nor any partition marked, what a new leader would not know. A prepared
//! transaction is decided: whoever leads next goes on with its markers.
//!
//! # The seam
//!
//! That of the groups ([`crate`]), and two effects to carry out:
//!
//! ```text
//! load       Shard::new, replay(key, value, offset) for each record, then loaded(now)
//! request    batch = handle(now, call); append it as one batch, then appended(last) or append_failed(now, why)
//! time       at next_deadline(), and after marked and give_producer_ids: tick(now) until it gives nothing, each
//!            batch appended as above
//! commits    committed(high_watermark) when it moves
//! answers    replies() after each of these
//! markers    markers() after each of these: send each to the leaders of its partitions (WriteTxnMarkers), and say
//!            marked(now, ..) for each partition once, whatever came of it; the shard has it sent again when it is due
//! ids        producer_ids_wanted() after each of these: ask for that many, then give_producer_ids(ids), or
//!            no_producer_ids(): some requests wait for them
//! the end    resign()
//! ```
//!
//! The shell knows which partitions exist ([`judge_partitions`]) and who may do what; see [`route`], [`malformed`] and
//! [`refuse`]. It tells the shard what the metadata says ([`Shard::see`]) before a request that may follow a change.
//!
//! # Where this differs from Kafka
//!
//! - What was appended and is not committed yet when a coordinator loads is pending as well. Kafka takes it for
//!   committed, and may send markers for a transaction whose record the next leader does not have.
//! - An append whose commit takes too long stays pending. Kafka goes back to the state before, though the record may
//!   be committed later.
//! - The epoch of a fence that could not be appended is not used up.

mod add_partitions;
mod ask;
mod describe;
mod end_txn;
mod init_producer_id;
mod markers;
mod record;
mod refusal;
mod refuse;
mod route;
mod settings;
mod shard;
mod state;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod time;
mod transaction;

pub use add_partitions::judge_partitions;
pub use describe::list_none;
pub use markers::{Marked, Marker, Outcome};
pub use record::{ReplayError, read, write};
pub use refusal::Refusal;
pub use refuse::{is_ours, malformed, refuse};
pub use route::{join, route};
pub use settings::Settings;
pub use shard::Shard;
pub use state::State;
pub use transaction::{Place, Transaction};
