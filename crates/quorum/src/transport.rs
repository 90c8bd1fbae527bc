//! What voters say to each other: prost messages in Kafka frames.
//!
//! ```text
//! openraft ──> Peer (client) ──frame──> controller listener ──> Server ──> openraft
//! ```
//!
//! The listener, with its TLS, SASL and bounds, belongs to the broker; this module
//! only makes and answers bodies. Every request says who asks whom, in which cluster
//! and from which directory; one that is not meant for this node is refused.

mod client;
mod convert;
mod peers;
mod receive;
mod server;
mod watchdog;

pub(crate) use client::PeerFactory;
pub(crate) use peers::{Peers, PeersOptions};
pub(crate) use receive::Receiving;
pub(crate) use server::{Raft, Server};
pub(crate) use watchdog::{Led, watch_leader};
