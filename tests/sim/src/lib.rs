//! Whole clusters in one process: the real nodes on simulated machines, under faults,
//! judged after every step. One seed decides everything, and replays bit for bit.

pub mod campaign;
pub mod cluster;
pub mod faults;
pub mod observe;
mod panics;
pub mod run;
pub mod shape;
mod story;
pub mod verdict;
mod watch;
pub mod workload;
