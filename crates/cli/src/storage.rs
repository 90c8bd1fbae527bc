//! `kastle storage`: what Kafka's storage tool does, with its exit statuses.

mod features;
mod format;
mod info;
mod random_uuid;
mod scram;

use clap::Subcommand;

use crate::failure::{Kind, Outcome};

pub use format::{Plan, format as format_dirs};
pub use random_uuid::random_id;

#[derive(Subcommand)]
pub enum Command {
    /// Print a new cluster id.
    RandomUuid,
    /// Write what a node's directories need before its first start.
    Format(format::Arguments),
    /// Show what a node's directories hold.
    Info(info::Arguments),
}

/// Runs it. Kafka's tool ends with 1 whatever is wrong.
pub fn run(command: Command) -> Outcome {
    let outcome = match command {
        Command::RandomUuid => random_uuid::run(),
        Command::Format(arguments) => format::run(&arguments),
        Command::Info(arguments) => info::run(&arguments),
    };
    outcome.map_err(|mut failure| {
        failure.kind = Kind::Refused;
        failure
    })
}
