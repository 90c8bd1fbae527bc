//! Segmented logs on disk in Kafka's format, behind the Disk seam.
//!
//! Plain synchronous files: no tasks, no clock (time is an argument), no network.
//! The formats are Kafka's own, so that a data directory can be adopted from Kafka
//! and given back.

pub mod disk;

pub use disk::Disk;
