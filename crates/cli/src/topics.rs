//! `kastle topics`: create, show, change and delete topics.

mod alter;
mod create;
mod delete;
mod describe;
mod list;

use clap::Subcommand;

use crate::failure::{Failure, Outcome};

#[derive(Subcommand)]
pub enum Command {
    /// Create topics.
    Create(create::Arguments),
    /// List the topics.
    List(list::Arguments),
    /// Show partitions, replicas and configs.
    Describe(describe::Arguments),
    /// Add partitions and change configs.
    Alter(alter::Arguments),
    /// Delete topics.
    Delete(delete::Arguments),
}

pub fn run(command: Command) -> Outcome {
    match command {
        Command::Create(arguments) => create::run(&arguments),
        Command::List(arguments) => list::run(&arguments),
        Command::Describe(arguments) => describe::run(&arguments),
        Command::Alter(arguments) => alter::run(&arguments),
        Command::Delete(arguments) => delete::run(&arguments),
    }
}

/// The resource type of a topic in config requests.
const TOPIC_RESOURCE: i8 = 2;
/// How long the cluster may take.
const TIMEOUT_MS: i32 = 25_000;

/// Cuts `KEY=VALUE`.
fn split_config<'a>(flag: &str, text: &'a str) -> Outcome<(&'a str, &'a str)> {
    let pair = text.split_once('=').map(|(key, value)| (key.trim(), value));
    pair.ok_or_else(|| {
        Failure::typed_wrong(format!("cannot read {flag} {text}: it has no '='; write {flag} KEY=VALUE"))
    })
}
