//! `kastle log dump FILE...`: what any file of a data directory holds.
//!
//! Segments and snapshots are streamed batch by batch, so a file of any size takes the
//! memory of its largest batch. A damaged file is read up to the damage, which is named
//! with its position.

mod batches;
mod indexes;
mod json;
mod small;

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::failure::{Failure, Outcome};

#[derive(Args)]
pub struct Arguments {
    /// Segments, indexes, snapshots, checkpoints.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Show batches without their records.
    #[arg(long)]
    batches_only: bool,
    /// A JSON object a line.
    #[arg(long)]
    json: bool,
}

/// What a file is, as its name and directory say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileKind {
    /// Batches of records that clients wrote.
    Records,
    /// Batches of cluster metadata.
    Metadata,
    OffsetIndex,
    TimeIndex,
    Producers,
    /// Lines of text, shown as they are.
    Text,
}

impl FileKind {
    fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        // Relative names need the directory they are in, too: `cd __cluster_metadata-0`.
        let full = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let dir = full.parent().and_then(Path::file_name).and_then(|dir| dir.to_str()).unwrap_or_default();
        let is_metadata = dir.starts_with("__cluster_metadata-");
        let name = name.trim_end_matches(".deleted").trim_end_matches(".cleaned").trim_end_matches(".swap");
        Some(match name {
            "meta.properties" | "partition.metadata" | "quorum-state" | "leader-epoch-checkpoint" => {
                Self::Text
            }
            _ if name.ends_with("-checkpoint") => Self::Text,
            _ if name.ends_with(".checkpoint") || name.ends_with(".checkpoint.part") => Self::Metadata,
            _ if name.ends_with(".log") => {
                if is_metadata {
                    Self::Metadata
                } else {
                    Self::Records
                }
            }
            _ if name.ends_with(".index") => Self::OffsetIndex,
            _ if name.ends_with(".timeindex") => Self::TimeIndex,
            _ if name.ends_with(".snapshot") => Self::Producers,
            _ => return None,
        })
    }
}

/// Where lines go, and in which form.
struct Out<W> {
    to: W,
    json: bool,
    with_records: bool,
}

/// Why a dump ends early.
enum Stop {
    /// The file is damaged here.
    Damage(String),
    /// The file or the output failed.
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<W: Write> Out<W> {
    /// One item: text for people, an object for programs.
    fn item(&mut self, indent: usize, text: &str, object: &serde_json::Value) -> Result<(), Stop> {
        if self.json {
            writeln!(self.to, "{object}")?;
        } else {
            writeln!(self.to, "{:indent$}{text}", "")?;
        }
        Ok(())
    }
}

pub fn run(arguments: &Arguments) -> Outcome {
    let stdout = io::stdout().lock();
    let mut out =
        Out { to: BufWriter::new(stdout), json: arguments.json, with_records: !arguments.batches_only };
    let mut failures = Vec::new();
    for file in &arguments.files {
        let outcome = dump(file, &mut out).and_then(|()| out.to.flush().map_err(Stop::Io));
        match outcome {
            Ok(()) => {}
            Err(Stop::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Err(Failure::refused(""));
            }
            Err(Stop::Io(error)) => {
                failures.push(format!("{}: {error}; can this user read it?", file.display()))
            }
            Err(Stop::Damage(what)) => {
                failures.push(format!("{}: {what}; what came before it was shown", file.display()));
            }
        }
    }
    out.to.flush().ok();
    if failures.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(format!("cannot dump {}", failures.join("\ncannot dump "))))
}

fn dump<W: Write>(path: &Path, out: &mut Out<W>) -> Result<(), Stop> {
    let kind = FileKind::of(path).ok_or_else(|| {
        Stop::Damage(
            "its name is none of a data directory's (*.log, *.index, *.timeindex, *.checkpoint...)"
                .to_owned(),
        )
    })?;
    if !out.json {
        writeln!(out.to, "{}", path.display())?;
    }
    match kind {
        FileKind::Records => batches::dump(path, false, out),
        FileKind::Metadata => batches::dump(path, true, out),
        FileKind::OffsetIndex => indexes::offsets(path, out),
        FileKind::TimeIndex => indexes::times(path, out),
        FileKind::Producers => small::producers(path, out),
        FileKind::Text => small::text(path, out),
    }
}

#[cfg(test)]
mod tests;
