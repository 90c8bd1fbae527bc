//! `kastle groups`: look at consumer groups, see how far behind they are, move and delete their offsets.
//!
//! Both kinds of group are shown alike: classic ones, and those of the new protocol (KIP-848). Whatever moves
//! offsets shows first what it would do, and does it with `--execute`.

mod age;
mod coordinator;
mod delete;
mod delete_offsets;
mod describe;
mod described;
mod lag;
mod list;
mod members;
mod offsets;
mod reset;
mod scope;
mod time;

use clap::Subcommand;

use crate::failure::Outcome;

#[derive(Subcommand)]
pub enum Command {
    /// List the groups.
    List(list::Arguments),
    /// Show a group's state, its members' number and how far it is behind.
    Describe(describe::Arguments),
    /// Show a group's members and which partitions each has.
    Members(members::Arguments),
    /// Show how far groups are behind, partition by partition, in records and in seconds.
    Lag(lag::Arguments),
    /// Move the offsets of a group without members; shows what it would do unless told to --execute.
    ResetOffsets(reset::Arguments),
    /// Delete groups without members, offsets and all.
    Delete(delete::Arguments),
    /// Delete a group's offsets of topics that it does not read.
    DeleteOffsets(delete_offsets::Arguments),
}

pub fn run(command: Command) -> Outcome {
    match command {
        Command::List(arguments) => list::run(&arguments),
        Command::Describe(arguments) => describe::run(&arguments),
        Command::Members(arguments) => members::run(&arguments),
        Command::Lag(arguments) => lag::run(&arguments),
        Command::ResetOffsets(arguments) => reset::run(&arguments),
        Command::Delete(arguments) => delete::run(&arguments),
        Command::DeleteOffsets(arguments) => delete_offsets::run(&arguments),
    }
}
