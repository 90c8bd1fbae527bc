//! `partition.metadata`: which topic a partition's directory belongs to.

use std::io;
use std::path::Path;

use model::TopicId;

use crate::disk::{DirEntry, Disk, read_file, write_atomically};
use crate::partition::LogError;

/// The file's name, in the partition's directory.
pub const FILE_NAME: &str = "partition.metadata";
const FILE_BYTES_MAX: u64 = 4 << 10;

/// Writes it, so that a crash leaves all of it or none.
pub fn write(disk: &dyn Disk, dir: &Path, topic_id: TopicId) -> io::Result<()> {
    let text = format!("version: 0\ntopic_id: {topic_id}");
    write_atomically(disk, &dir.join(FILE_NAME), text.as_bytes())
}

/// Reads it; `None` when it is not among `names`, or empty as a power cut may leave it.
pub fn read(disk: &dyn Disk, dir: &Path, names: &[DirEntry]) -> Result<Option<TopicId>, LogError> {
    if !names.iter().any(|entry| entry.name == FILE_NAME) {
        return Ok(None);
    }
    let path = dir.join(FILE_NAME);
    let bytes = read_file(disk, &path, FILE_BYTES_MAX).map_err(LogError::io("read", &path))?;
    if bytes.iter().all(|&byte| byte == 0) {
        return Ok(None);
    }
    let damaged = |reason: String| LogError::Damaged { path: path.clone(), reason };
    let text = std::str::from_utf8(&bytes).map_err(|error| damaged(error.to_string()))?;
    let id = text.lines().find_map(|line| line.strip_prefix("topic_id: "));
    let id = id.ok_or_else(|| damaged("it has no line 'topic_id: <id>'".to_owned()))?;
    id.trim().parse().map(Some).map_err(|error: model::UuidError| damaged(error.to_string()))
}
