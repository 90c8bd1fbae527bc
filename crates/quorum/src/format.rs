//! What `storage format` writes for the quorum.
//!
//! | file | holds |
//! |---|---|
//! | `bootstrap.checkpoint` | the records that the first leader of a new cluster appends |
//! | `__cluster_metadata-0/00000000000000000000-0000000000.checkpoint` | the first voters, unless they are static |
//!
//! Both are Kafka's own files in Kafka's own format.

use std::io;
use std::path::{Path, PathBuf};

use log::Disk;
use model::{LeaderEpoch, Offset, Timestamp};
use proto::metadata::MetadataRecord;

use crate::level::Level;
use crate::quorum::log_dir;
use crate::snapshot::{SnapshotHead, SnapshotId, read_snapshot, write_snapshot};
use crate::voters::Voters;

const BOOTSTRAP_FILE: &str = "bootstrap.checkpoint";
/// The snapshot before the first record.
const FIRST: SnapshotId = SnapshotId { end_offset: Offset::ZERO, epoch: LeaderEpoch::new(0) };

/// Why a directory cannot be formatted, or its formatted files cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The disk said no.
    #[error("cannot write {path}: {source}")]
    Io {
        /// What.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// A file is damaged.
    #[error("{0}; format the directory again, or restore the file")]
    Damaged(String),
    /// A record does not fit the metadata.version that the records set.
    #[error("a bootstrap record cannot be encoded: {0}")]
    Encode(String),
}

/// Writes `bootstrap.checkpoint` into the metadata log directory `dir`.
pub fn write_bootstrap(
    disk: &dyn Disk,
    dir: &Path,
    records: &[MetadataRecord],
    now: Timestamp,
) -> Result<(), FormatError> {
    let level = Level::default().for_snapshot(records);
    let mut values = Vec::with_capacity(records.len());
    for record in records {
        let mut value = Vec::new();
        record.to_value(level, &mut value).map_err(|error| FormatError::Encode(error.to_string()))?;
        values.push(value);
    }
    let head = SnapshotHead { id: FIRST, timestamp: now, position: None, voters: None };
    place(disk, &dir.join(BOOTSTRAP_FILE), &head, values)
}

/// The records of `bootstrap.checkpoint`; `None` where there is no such file.
pub fn read_bootstrap(disk: &dyn Disk, dir: &Path) -> Result<Option<Vec<MetadataRecord>>, FormatError> {
    Ok(read_first(disk, &dir.join(BOOTSTRAP_FILE))?.map(|(_, records)| records))
}

/// Writes the first voters into `__cluster_metadata-0` beneath the metadata log directory `dir`:
/// `--standalone` and `--initial-controllers`.
pub fn write_voters(disk: &dyn Disk, dir: &Path, voters: &Voters, now: Timestamp) -> Result<(), FormatError> {
    let log_dir = log_dir(dir);
    disk.create_dir_all(&log_dir).map_err(|source| FormatError::Io { path: log_dir.clone(), source })?;
    let head = SnapshotHead { id: FIRST, timestamp: now, position: None, voters: Some(voters.clone()) };
    place(disk, &log_dir.join(FIRST.file_name()), &head, Vec::new())?;
    disk.sync_dir(dir).map_err(|source| FormatError::Io { path: dir.to_owned(), source })
}

/// The voters that were formatted into the metadata log directory `dir`; `None` where there are none.
pub fn read_voters(disk: &dyn Disk, dir: &Path) -> Result<Option<Voters>, FormatError> {
    formatted_voters(disk, &log_dir(dir))
}

/// The same for the log's own directory.
pub(crate) fn formatted_voters(disk: &dyn Disk, log_dir: &Path) -> Result<Option<Voters>, FormatError> {
    Ok(read_first(disk, &log_dir.join(FIRST.file_name()))?.and_then(|(head, _)| head.voters))
}

fn place(disk: &dyn Disk, path: &Path, head: &SnapshotHead, values: Vec<Vec<u8>>) -> Result<(), FormatError> {
    let io = |source| FormatError::Io { path: path.to_owned(), source };
    let part = path.with_extension("checkpoint.part");
    write_snapshot(disk, &part, head, values.into_iter())
        .map_err(|error| FormatError::Damaged(error.to_string()))?;
    disk.rename(&part, path).map_err(io)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new("."))).map_err(io)
}

fn read_first(
    disk: &dyn Disk,
    path: &Path,
) -> Result<Option<(SnapshotHead, Vec<MetadataRecord>)>, FormatError> {
    let exists = disk.exists(path).map_err(|source| FormatError::Io { path: path.to_owned(), source })?;
    if !exists {
        return Ok(None);
    }
    let content = read_snapshot(disk, path, FIRST, true);
    let content = content.map_err(|error| FormatError::Damaged(error.to_string()))?;
    Ok(Some((content.head, content.records)))
}
