//! The Kafka protocol: framing, bounds, versions, messages, record batches, codecs.
//!
//! The only crate that names kafka-protocol, whose messages are re-exported as
//! [`messages`]. It turns bytes into messages and back; it knows no connection
//! and keeps no state. No input makes it panic or allocate out of proportion.

pub mod api;
pub mod batch;
pub mod bounds;
pub mod client;
pub mod codec;
pub mod cordoned;
pub mod errors;
pub mod frame;
pub mod header;
pub mod markers;
pub mod messages;
pub mod request;
pub mod response;
pub mod topic_ids;

pub mod varint;

mod kinds;
mod rewrite;
