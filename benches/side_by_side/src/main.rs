//! `kastle-side-by-side`: Kastle, Apache Kafka 4.3.1 and the floor on the same work in one run.
//!
//! ```text
//! cargo run --release -p kastle-side-by-side -- [--scenario NAME ...] [--short] [--rounds N] [--json]
//! ```
//!
//! The servers take turns on the same disk, the load comes from one lean generator
//! with requests encoded beforehand, and each figure is the median over the rounds.
//! The floor is the least program that could do the work: it shows what the machine
//! allows. Progress goes to standard error, the table to standard output.

mod arguments;
mod client;
mod floor;
mod load;
mod report;
mod rounds;
mod scenario;
mod server;

use anyhow::{Result, ensure};
use clap::Parser;

use crate::arguments::{Arguments, Part};
use crate::report::Report;
use crate::server::Software;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(Part::Floor { port, dir }) = &arguments.part {
        return floor::serve(*port, dir);
    }
    let scale = arguments.scale();
    let scenarios = scenario::chosen(&arguments.scenarios, arguments.huge);
    if arguments.list {
        scenarios.iter().for_each(|scenario| println!("{:<24} {}", scenario.name, scenario.about));
        return Ok(());
    }
    ensure!(!scenarios.is_empty(), "no scenario is named like {:?}; --list names all", arguments.scenarios);
    raise_file_limit()?;
    let software = Software::find(&arguments.servers)?;
    let dir = arguments.data_dir()?;
    let mut report = Report::default();
    let plan = rounds::Plan { software: &software, kinds: &arguments.servers, scale, dir: dir.path() };
    rounds::run(&plan, &scenarios, arguments.rounds(), &mut report);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report.json())?);
    } else {
        println!("{}", report.table());
    }
    Ok(())
}

/// As many open files as allowed: ten thousand connections have two ends, and servers inherit it.
fn raise_file_limit() -> Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
