//! What tests need and a machine may lack: programs, and Kafka's jars.
//!
//! A test without what it needs is skipped with a word on how to get it; in CI
//! (`CI=true`), where `.ci/run` gets all that the short forms need, it fails. So no
//! check passes there that was never made.

pub mod jars;

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Nothing, on a machine of somebody's own; in CI an error. `what` is missing and to be had by `how`.
pub fn missing<T>(what: &str, how: &str) -> Result<Option<T>> {
    let missing = format!("{what}; to get it: {how}");
    if std::env::var("CI").is_ok_and(|value| value == "true") {
        bail!(missing);
    }
    eprintln!("skipped: {missing}");
    Ok(None)
}

/// Whether a trial run of a program succeeds.
pub fn runs(program: &Path, trial: &[&str]) -> bool {
    let tried = Command::new(program).args(trial).stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// Something if a trial run of `program` succeeds; else it is `missing`.
pub fn program(program: &Path, trial: &[&str], how: &str) -> Result<Option<()>> {
    match runs(program, trial) {
        true => Ok(Some(())),
        false => missing(&format!("{} cannot be run", program.display()), how),
    }
}
