//! Offset checkpoints: one number a partition, for a whole log directory.
//!
//! ```text
//! 0
//! 2
//! orders 0 4711
//! orders 1 12
//! ```
//!
//! Version, count, and a line a partition: Kafka's own files. Each is replaced
//! whole, so a crash leaves the old or the new one.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use model::{Offset, PartitionIndex, TopicName, TopicPartition};

use crate::disk::{Disk, read_file, write_atomically};

/// Everything below survives a power cut; recovery begins here.
pub const RECOVERY_POINT: &str = "recovery-point-offset-checkpoint";
/// The high watermark, as last known.
pub const HIGH_WATERMARK: &str = "replication-offset-checkpoint";
/// The first offset that is served, where it is not the first segment's.
pub const LOG_START: &str = "log-start-offset-checkpoint";
/// Where the part of a compacted log begins that was not cleaned yet.
pub const CLEANED: &str = "cleaner-offset-checkpoint";

/// What the next start takes for true of a log, whatever it finds in it.
pub const OF_EACH_LOG: [&str; 3] = [RECOVERY_POINT, HIGH_WATERMARK, LOG_START];

/// What a checkpoint says.
pub type Lines = BTreeMap<TopicPartition, Offset>;

/// A line has at most some 300 bytes; a directory holds far fewer than a million partitions.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// Why a checkpoint cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The disk.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not the format.
    #[error(
        "line {line} is malformed: '{text}'; expected version 0, a count, and lines 'topic partition offset'"
    )]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
}

/// Reads the checkpoint `name` in `dir`; a missing one is empty.
pub fn read(disk: &dyn Disk, dir: &Path, name: &str) -> Result<Lines, CheckpointError> {
    let path = dir.join(name);
    if !disk.exists(&path)? {
        return Ok(Lines::new());
    }
    let bytes = read_file(disk, &path, FILE_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = (1..).zip(text.lines());
    let malformed = |line: usize, text: &str| CheckpointError::Malformed { line, text: text.to_owned() };
    match lines.next() {
        Some((_, "0")) => {}
        other => return Err(malformed(1, other.map_or("", |(_, text)| text))),
    }
    let (line, count) = lines.next().ok_or_else(|| malformed(2, ""))?;
    let count: usize = count.parse().map_err(|_| malformed(line, count))?;
    let mut offsets = Lines::new();
    for (line, text) in lines {
        let (partition, offset) = parse(text).ok_or_else(|| malformed(line, text))?;
        offsets.insert(partition, offset);
    }
    if let Some((line, last)) = unfinished(&text) {
        return Err(malformed(line, last));
    }
    if offsets.len() == count { Ok(offsets) } else { Err(malformed(2, &count.to_string())) }
}

/// Replaces the checkpoint `name` in `dir`.
pub fn write(disk: &dyn Disk, dir: &Path, name: &str, offsets: &Lines) -> io::Result<()> {
    let mut text = format!("0\n{}\n", offsets.len());
    for (partition, offset) in offsets {
        text.push_str(&format!("{} {} {offset}\n", partition.topic, partition.partition));
    }
    write_atomically(disk, &dir.join(name), text.as_bytes())
}

fn parse(line: &str) -> Option<(TopicPartition, Offset)> {
    let mut words = line.split(' ');
    let topic = TopicName::new(words.next()?).ok()?;
    let partition = PartitionIndex::from_wire(words.next()?.parse().ok()?)?;
    let offset = Offset::from_wire(words.next()?.parse().ok()?)?;
    words.next().is_none().then_some((TopicPartition { topic, partition }, offset))
}

/// The last line of a checkpoint, and its number, if it does not end: cut within its number it would say a smaller one.
pub(crate) fn unfinished(text: &str) -> Option<(usize, &str)> {
    (1..).zip(text.lines()).last().filter(|_| !text.ends_with('\n'))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{HIGH_WATERMARK, read, write};
    use crate::disk::{Disk, MemDisk, OpenMode, read_file};

    fn disk_with(text: &str) -> MemDisk {
        let disk = MemDisk::new();
        disk.create_dir_all(Path::new("/d")).expect("no fault");
        let file = disk.open(&Path::new("/d").join(HIGH_WATERMARK), OpenMode::ReadWrite).expect("no fault");
        file.write_at(text.as_bytes(), 0).expect("no fault");
        disk
    }

    fn check(text: &str, outcome: &str) {
        let said = match read(&disk_with(text), Path::new("/d"), HIGH_WATERMARK) {
            Ok(offsets) => {
                offsets.iter().map(|(partition, offset)| format!("{partition}@{offset} ")).collect()
            }
            Err(error) => error.to_string().split(';').next().unwrap_or_default().to_owned(),
        };
        assert_eq!(said.trim(), outcome);
    }

    #[test]
    fn a_checkpoint_is_read_as_kafka_writes_it() {
        check("0\n2\na.b 0 12\nc-d 11 0\n", "a.b-0@12 c-d-11@0");
        check("0\n0\n", "");
    }

    #[test]
    fn what_is_none_is_named_by_line() {
        check("1\n0\n", "line 1 is malformed: '1'");
        check("", "line 1 is malformed: ''");
        check("0\nx\n", "line 2 is malformed: 'x'");
        check("0\n2\na 0 1\n", "line 2 is malformed: '2'");
        check("0\n1\na 0\n", "line 3 is malformed: 'a 0'");
        check("0\n1\na 0 -1\n", "line 3 is malformed: 'a 0 -1'");
        check("0\n1\na/b 0 1\n", "line 3 is malformed: 'a/b 0 1'");
        check("0\n1\na 0 47", "line 3 is malformed: 'a 0 47'");
    }

    #[test]
    fn one_that_was_cut_anywhere_is_none() {
        let text = "0\n2\na.b 0 12\nc-d 11 4711\n";
        for len in 0..text.len() {
            let read = read(&disk_with(&text[..len]), Path::new("/d"), HIGH_WATERMARK);
            assert!(read.is_err(), "cut at {len}: {read:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back_to_the_byte() {
        let text = "0\n2\na 0 12\na 1 7\n";
        let disk = disk_with(text);
        let offsets = read(&disk, Path::new("/d"), HIGH_WATERMARK).expect("readable");
        write(&disk, Path::new("/d"), HIGH_WATERMARK, &offsets).expect("no fault");
        let bytes = read_file(&disk, &Path::new("/d").join(HIGH_WATERMARK), 100).expect("written");
        assert_eq!(bytes, text.as_bytes());
    }
}
