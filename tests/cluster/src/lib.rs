//! Clusters of real processes on this machine, for tests and measurements.
//!
//! [`Cluster`] formats and starts `kastle` nodes from `server.properties` files as
//! an operator would, kills and restarts them, and cleans up. `work` holds what is
//! done to them; the `kastle-cluster` binary runs it at full size, the tests in
//! short form.

mod binary;
mod cluster;
mod node;
pub mod work;

pub use binary::binary;
pub use cluster::{Cluster, Shape, run};
pub use node::Node;
