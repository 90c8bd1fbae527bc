//! Generated codecs: metadata records, control records, the records of `__consumer_offsets` and of
//! `__transaction_state`, the quorum's own RPCs.
//!
//! The facts are in `proto/*.schema` and `proto/quorum.proto`; `build/` turns them into Rust;
//! `codec` holds what every record's codec shares. Nothing here knows what a record is for.
//!
//! Decoding trusts no length: memory follows the bytes that are there, never a count they claim.

pub mod codec;
pub mod control;
pub mod metadata;
pub mod offsets;
pub mod rebalances;
pub mod transactions;

pub use codec::{DecodeError, EncodeError, Float64, Message};

/// What the quorum's voters say to each other: `proto/quorum.proto`.
#[allow(clippy::all, missing_docs)]
pub mod quorum {
    include!(concat!(env!("OUT_DIR"), "/kastle.quorum.rs"));
}
