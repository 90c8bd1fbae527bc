//! `kastle`: one binary for the node and its tools.
//!
//! Each command is one file with its arguments, its output and its test. Messages are
//! `cannot <do>: <cause>; <what to try>`, and the exit status says what kind of failure
//! it was: 0 done, 1 the cluster said no, 2 typed wrong, 3 could not reach it.

mod client;
mod config_file;
mod consume;
mod coordinator;
mod dev;
mod dump;
mod failure;
mod groups;
mod output;
mod produce;
mod quorum_describe;
mod run;
mod start;
mod storage;
mod topics;
mod transactions;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Failure;

/// Returns memory to the system and holds small objects tightly.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A Kafka-compatible broker cluster in one binary.
#[derive(Parser)]
#[command(name = "kastle", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prepare the directories of a node.
    #[command(subcommand)]
    Storage(storage::Command),
    /// Run a node.
    Start(start::Arguments),
    /// Run a single node for development, with nothing to configure.
    Dev(dev::Arguments),
    /// Create, show, change and delete topics.
    #[command(subcommand)]
    Topics(topics::Command),
    /// Look at transactions, and abort those that hang.
    #[command(subcommand)]
    Transactions(transactions::Command),
    /// Write lines of stdin or a file to a topic.
    Produce(produce::Arguments),
    /// Read a topic's records.
    Consume(consume::Arguments),
    /// Look at consumer groups and how far behind they are; move and delete their offsets.
    #[command(subcommand)]
    Groups(groups::Command),
    /// Look at the metadata quorum.
    #[command(subcommand)]
    Quorum(QuorumCommand),
    /// Look into the files of a data directory.
    #[command(subcommand)]
    Log(LogCommand),
}

#[derive(Subcommand)]
enum QuorumCommand {
    /// Show its leader, its voters and how far each has come.
    Describe(quorum_describe::Arguments),
}

#[derive(Subcommand)]
enum LogCommand {
    /// Show what segments, indexes, snapshots and checkpoints hold.
    Dump(dump::Arguments),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let outcome = match arguments.command {
        Command::Storage(command) => storage::run(command),
        Command::Start(arguments) => start::run(&arguments),
        Command::Dev(arguments) => dev::run(&arguments),
        Command::Topics(command) => topics::run(command),
        Command::Transactions(command) => transactions::run(command),
        Command::Produce(arguments) => produce::run(&arguments),
        Command::Consume(arguments) => consume::run(&arguments),
        Command::Groups(command) => groups::run(command),
        Command::Quorum(QuorumCommand::Describe(arguments)) => quorum_describe::run(&arguments),
        Command::Log(LogCommand::Dump(arguments)) => dump::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Help is no error; the storage tool's exit status for a usage error is Kafka's.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    let is_storage = std::env::args().nth(1).is_some_and(|command| command == "storage");
    match (error.use_stderr(), is_storage) {
        (false, _) => ExitCode::SUCCESS,
        (true, true) => Failure::refused("").exit_code(),
        (true, false) => Failure::typed_wrong("").exit_code(),
    }
}
