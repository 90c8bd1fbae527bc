//! Segmented logs on disk in Kafka's format, behind the Disk seam.
//!
//! Plain synchronous files: no tasks, no clock (time is an argument), no network.
//! The formats are Kafka's own, so that a data directory can be adopted from Kafka
//! and given back.

pub mod checkpoint;
pub mod cleaner;
pub mod disk;
pub mod epochs;
pub mod index;
pub mod open_files;
mod partition;
pub mod partition_metadata;
pub mod producers;
mod segment;
pub mod transactions;

pub use disk::Disk;
pub use partition::{
    AppendError, Appended, ClientBatch, FileSlice, FoundTimestamp, LeaderRules, Log, LogError, LogOptions,
    Opening, RecoveryReport, Retention, Synced, Unsynced,
};
pub use segment::DELETED_SUFFIX;
