//! What is done to a cluster: each a file, each run at full size by the binary and in short form by a test.

pub mod chaos;
pub mod codecs;
pub mod copier;
pub mod crowd;
pub mod exactly_once;
pub mod failover;
mod reader;
pub mod scale;
pub mod startup;
pub mod trouble;
