//! Whole clusters in one process: the real nodes on simulated machines, under faults,
//! judged after every step. One seed decides everything, and replays bit for bit.

pub mod workload;
