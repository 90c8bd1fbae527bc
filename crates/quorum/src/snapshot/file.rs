//! A snapshot file, written and read.
//!
//! ```text
//! control  SnapshotHeader { last timestamp, [tag 10000: Raft position] }
//! control  KRaftVersion, Voters (or, of static voters, a LeaderChange without a leader)
//! data     records ...
//! control  SnapshotFooter
//! ```
//!
//! A file without its footer was not written to its end and is not a snapshot.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Buf;
use log::Disk;
use log::disk::{DiskFile, OpenMode};
use model::{LeaderEpoch, Offset, Timestamp};
use proto::control::{ControlRecord, SnapshotFooterRecord, SnapshotHeaderRecord};
use proto::metadata::MetadataRecord;

use super::SnapshotId;
use crate::store::{
    BatchError, Scan, ScanEnd, Stamp, control_pair, decode_control, encode_control, encode_pairs,
    encode_records, read_batch, voters_in, voters_records,
};
use crate::voters::Voters;

/// The tagged field of the header record that carries the Raft position. Kafka's own tags count up
/// from 0.
const POSITION_TAG: u32 = 10_000;
/// The header record's version and timestamp, which come before its tagged fields.
const HEADER_FIELD_BYTES: usize = 10;
/// A data batch is closed when it holds this much.
const BATCH_BYTES: usize = 1 << 20;
/// ... or this many records.
const BATCH_RECORDS: usize = 10_000;

/// Why a file is no snapshot that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error("cannot read or write {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path} is damaged at byte {position}: {cause}")]
    Damaged { path: PathBuf, position: u64, cause: String },
    #[error("{path} has no {missing}")]
    Incomplete { path: PathBuf, missing: &'static str },
}

/// Where in the Raft log a snapshot stands; what Kafka's header has no field for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// Index of the last entry in it; its epoch is that of the snapshot's name.
    pub(crate) index: u64,
    /// Epoch and index of the entry that set the voters.
    pub(crate) voters: Option<(LeaderEpoch, u64)>,
}

/// What stands before the records.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SnapshotHead {
    pub(crate) id: SnapshotId,
    pub(crate) timestamp: Timestamp,
    /// `None` in a file that Kafka wrote.
    pub(crate) position: Option<Position>,
    pub(crate) voters: Option<Voters>,
}

/// A whole snapshot.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SnapshotContent {
    pub(crate) head: SnapshotHead,
    pub(crate) records: Vec<MetadataRecord>,
}

/// Writes a snapshot to `path`, which is a temporary name; the caller renames it. Synced when done.
pub(crate) fn write(
    disk: &dyn Disk,
    path: &Path,
    head: &SnapshotHead,
    values: impl Iterator<Item = Vec<u8>>,
) -> Result<u64, SnapshotError> {
    let io = |source| SnapshotError::Io { path: path.to_owned(), source };
    let file = disk.open(path, OpenMode::ReadWrite).map_err(io)?;
    file.truncate(0).map_err(io)?;
    let mut writer = Writer { file, position: 0, offset: Offset::ZERO, head };
    let mut opening = vec![header_pair(head)];
    if let Some(voters) = &head.voters {
        opening.extend(voters_records(voters).iter().map(control_pair));
    }
    writer.put(&encode_pairs(&writer.stamp(), &opening), opening.len()).map_err(io)?;
    let mut batch = Vec::new();
    let mut bytes = 0;
    for value in values {
        bytes += value.len();
        batch.push(value);
        if bytes >= BATCH_BYTES || batch.len() >= BATCH_RECORDS {
            writer.put(&encode_records(&writer.stamp(), &batch), batch.len()).map_err(io)?;
            batch.clear();
            bytes = 0;
        }
    }
    if !batch.is_empty() {
        writer.put(&encode_records(&writer.stamp(), &batch), batch.len()).map_err(io)?;
    }
    let footer = ControlRecord::SnapshotFooter(SnapshotFooterRecord { version: 0 });
    writer.put(&encode_control(&writer.stamp(), &[footer]), 1).map_err(io)?;
    writer.file.sync().map_err(io)?;
    Ok(writer.position)
}

struct Writer<'a> {
    file: Arc<dyn DiskFile>,
    position: u64,
    offset: Offset,
    head: &'a SnapshotHead,
}

impl Writer<'_> {
    fn stamp(&self) -> Stamp {
        Stamp { base_offset: self.offset, epoch: self.head.id.epoch, timestamp: self.head.timestamp }
    }

    fn put(&mut self, bytes: &[u8], records: usize) -> std::io::Result<()> {
        self.file.write_at(bytes, self.position)?;
        self.position += bytes.len() as u64;
        self.offset = self.offset.plus(i64::try_from(records).expect("bounded by the batch"));
        Ok(())
    }
}

/// Reads and checks the whole file; the records only when `with_records`.
pub(crate) fn read(
    disk: &dyn Disk,
    path: &Path,
    id: SnapshotId,
    with_records: bool,
) -> Result<SnapshotContent, SnapshotError> {
    let io = |source| SnapshotError::Io { path: path.to_owned(), source };
    let file = disk.open(path, OpenMode::Read).map_err(io)?;
    let mut scan = Scan::new(file.as_ref(), Offset::ZERO, None);
    let mut reader = Reader::new(id);
    loop {
        let at = scan.position();
        let damaged = |cause: String| SnapshotError::Damaged { path: path.to_owned(), position: at, cause };
        let Some((header, position)) = scan.next_header().map_err(io)? else { break };
        if header.is_control || with_records {
            let taken = reader.take(scan.bytes_of(&header, position));
            taken.map_err(|error| damaged(error.to_string()))?;
        }
    }
    let position = scan.position();
    match scan.end() {
        ScanEnd::Clean => {}
        ScanEnd::Bad(cause) => {
            return Err(SnapshotError::Damaged { path: path.to_owned(), position, cause });
        }
    }
    reader.finish().map_err(|missing| SnapshotError::Incomplete { path: path.to_owned(), missing })
}

/// What was read so far.
struct Reader {
    id: SnapshotId,
    header: Option<(Timestamp, Option<Position>)>,
    voters: Option<Voters>,
    records: Vec<MetadataRecord>,
    has_footer: bool,
}

impl Reader {
    fn new(id: SnapshotId) -> Self {
        Self { id, header: None, voters: None, records: Vec::new(), has_footer: false }
    }

    fn take(&mut self, batch: &[u8]) -> Result<(), BatchError> {
        read_batch(batch, |key, value| {
            if key.is_none() {
                let decoded = MetadataRecord::from_value(value);
                self.records.push(decoded.map_err(|error| BatchError::Value(error.to_string()))?);
                return Ok(());
            }
            match decode_control(key, value)? {
                ControlRecord::SnapshotHeader(header) => {
                    let timestamp = Timestamp::new(header.last_contained_log_timestamp);
                    self.header = Some((timestamp, position_of(value)?));
                }
                ControlRecord::SnapshotFooter(_) => self.has_footer = true,
                other => {
                    if let Some(voters) = voters_in(other)? {
                        self.voters = Some(voters);
                    }
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    fn finish(self) -> Result<SnapshotContent, &'static str> {
        let (timestamp, position) = self.header.ok_or("header")?;
        if !self.has_footer {
            return Err("footer: it was not written to its end");
        }
        let head = SnapshotHead { id: self.id, timestamp, position, voters: self.voters };
        Ok(SnapshotContent { head, records: self.records })
    }
}

/// The header record, with the Raft position as its only tagged field.
fn header_pair(head: &SnapshotHead) -> ([u8; 4], Vec<u8>) {
    let timestamp = head.timestamp.get();
    let header = SnapshotHeaderRecord { version: 0, last_contained_log_timestamp: timestamp };
    let (key, mut value) = control_pair(&ControlRecord::SnapshotHeader(header));
    let Some(position) = head.position else { return (key, value) };
    let mut field = position.index.to_be_bytes().to_vec();
    if let Some((epoch, index)) = position.voters {
        field.extend_from_slice(&epoch.get().to_be_bytes());
        field.extend_from_slice(&index.to_be_bytes());
    }
    let no_fields = value.pop();
    assert_eq!(no_fields, Some(0), "the header record ends with its number of tagged fields");
    value.push(1);
    put_unsigned(POSITION_TAG, &mut value);
    put_unsigned(field.len() as u32, &mut value);
    value.extend_from_slice(&field);
    (key, value)
}

/// The Raft position among the tagged fields of a header record that was decoded already.
fn position_of(value: &[u8]) -> Result<Option<Position>, BatchError> {
    let cut = || BatchError::Value("the snapshot header's Raft position is cut short".to_owned());
    let mut rest = value.get(HEADER_FIELD_BYTES..).ok_or_else(cut)?;
    let count = unsigned(&mut rest).ok_or_else(cut)?;
    for _ in 0..count {
        let tag = unsigned(&mut rest).ok_or_else(cut)?;
        let length = unsigned(&mut rest).ok_or_else(cut)? as usize;
        let (mut field, after) = rest.split_at_checked(length).ok_or_else(cut)?;
        rest = after;
        if tag == POSITION_TAG {
            let index = field.try_get_u64().map_err(|_| cut())?;
            let voters = match (field.try_get_i32(), field.try_get_u64()) {
                (Ok(epoch), Ok(index)) => Some((LeaderEpoch::new(epoch), index)),
                _ => None,
            };
            return Ok(Some(Position { index, voters }));
        }
    }
    Ok(None)
}

fn put_unsigned(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn unsigned(bytes: &mut &[u8]) -> Option<u32> {
    let mut value = 0u32;
    for shift in (0..35).step_by(7) {
        let byte = bytes.try_get_u8().ok()?;
        value |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
