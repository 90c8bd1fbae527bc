//! Whole nodes in one process, as their clients see them.
//!
//! One program: each that runs nodes takes a minute to build. `cargo test -p kastle-broker --test nodes groups`
//! runs one file of it.

mod admin;
mod checkpoints;
mod cluster;
mod compaction;
mod exactly_once;
mod followers;
mod full_disks;
mod groups;
mod inspect;
mod lies;
mod noise;
mod records;
mod replication;
mod sessions;
mod support;
mod torn;
mod transactions;
