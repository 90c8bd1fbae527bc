//! Clients that people use, as programs of their own, against real nodes.
//!
//! A client that is not installed skips its test with a word on how to get it; in
//! CI (`CI=true`), where `.ci/run` installs those that the short forms need, its
//! absence is a failure.
//!
//! `life` is the life of a group of ten, the same for every client; `judge` says
//! whether its members saw and committed what they had to.

mod find;
pub mod judge;
pub mod life;
mod member;
mod speech;

pub use find::{
    Client, confluent_kafka, franz_go, java, kafka_python, kafkajs, kcat, kcat_in_groups, python, rdkafka,
};
