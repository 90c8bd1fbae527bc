//! `kastle transactions`: look at transactions, find those that nobody will end, and abort them.

mod abort;
mod coordinator;
mod describe;
mod find_hanging;
mod list;
mod producers;

use clap::Subcommand;

use crate::failure::Outcome;

#[derive(Subcommand)]
pub enum Command {
    /// List transactional ids and what their transactions are at.
    List(list::Arguments),
    /// Show producers, states and partitions of transactional ids.
    Describe(describe::Arguments),
    /// Abort an open transaction in one partition, whose coordinator knows nothing of it.
    Abort(abort::Arguments),
    /// Find open transactions that no coordinator will end.
    FindHanging(find_hanging::Arguments),
}

pub fn run(command: Command) -> Outcome {
    match command {
        Command::List(arguments) => list::run(&arguments),
        Command::Describe(arguments) => describe::run(&arguments),
        Command::Abort(arguments) => abort::run(&arguments),
        Command::FindHanging(arguments) => find_hanging::run(&arguments),
    }
}

/// Milliseconds since 1970.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
