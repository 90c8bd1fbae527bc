//! What can be asked for on the command line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use crate::scenario::Scale;
use crate::server::Kind;

/// Kastle, Apache Kafka 4.3.1 and the floor on the same work.
#[derive(Parser)]
#[command(version)]
pub struct Arguments {
    /// Only the scenario of that name, or those whose names begin so; may be given several times.
    #[arg(long = "scenario", value_name = "NAME")]
    pub scenarios: Vec<String>,
    /// Names the scenarios and ends.
    #[arg(long)]
    pub list: bool,
    /// A tenth of the work, one round.
    #[arg(long)]
    pub short: bool,
    /// How often each server has its turn; figures are medians. 3, or 1 with --short.
    #[arg(long)]
    pub rounds: Option<usize>,
    /// Which servers take part.
    #[arg(long, value_delimiter = ',', default_value = "kafka,kastle,floor")]
    pub servers: Vec<Kind>,
    /// Bytes of each record's value.
    #[arg(long, default_value_t = 100)]
    pub value_bytes: usize,
    /// Where the servers keep their data; emptied at the end. `target/side_by_side` if not given.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// With the scenarios of 50,000 partitions, which take long.
    #[arg(long)]
    pub huge: bool,
    /// JSON instead of a table.
    #[arg(long)]
    pub json: bool,
    /// A part that this program starts by itself.
    #[command(subcommand)]
    pub part: Option<Part>,
}

/// What this program starts of itself.
#[derive(Subcommand)]
pub enum Part {
    /// The floor's server.
    #[command(hide = true)]
    Floor {
        /// Its port on 127.0.0.1.
        #[arg(long)]
        port: u16,
        /// Where it keeps its files.
        #[arg(long)]
        dir: PathBuf,
    },
}

impl Arguments {
    /// How much is done.
    pub fn scale(&self) -> Scale {
        Scale { short: self.short, value_bytes: self.value_bytes }
    }

    /// How often.
    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.short { 1 } else { 3 }).max(1)
    }

    /// A directory of this run, on the disk that was asked for.
    pub fn data_dir(&self) -> Result<tempfile::TempDir> {
        let parent = self.dir.clone().unwrap_or_else(|| target_dir().join("side_by_side"));
        std::fs::create_dir_all(&parent).with_context(|| format!("cannot make {}", parent.display()))?;
        Ok(tempfile::Builder::new().prefix("run").tempdir_in(parent)?)
    }
}

/// The workspace's `target`.
pub fn target_dir() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    workspace.canonicalize().unwrap_or(workspace).join("target")
}
