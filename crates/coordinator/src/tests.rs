//! Lives of groups, told as scripts; each file is one subject.

mod consumer;
mod failures;
mod loading;
mod offsets;
mod random;
mod rebalances;
mod static_members;
