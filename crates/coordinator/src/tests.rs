//! Lives of groups, told as scripts; each file is one subject.

mod causes;
mod consumer;
mod failures;
mod loading;
mod migration;
mod offsets;
mod random;
mod random_consumer;
mod rebalances;
mod static_members;
