//! Record batches of the metadata log: what `wire` reads, held to the log's own rules.
//!
//! Everything that is read from a disk or a peer passes [`check`]: size, checksum, no
//! compression, dense offsets. After that a batch is trusted.

use bytes::Bytes;
use model::{LeaderEpoch, Offset, Timestamp};
use wire::batch::{BatchBuilder, BatchHeader, BatchRef, NewRecord, RecordError};
use wire::codec::Codec;

pub(crate) use wire::batch::HEADER_BYTES;

/// Largest batch written or read. `Quorum::append` refuses values above 8 MiB, Kafka's own
/// bound for metadata batches; the rest is framing.
pub(crate) const BATCH_BYTES_MAX: usize = 10 << 20;

/// What is wrong with a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BatchError {
    #[error(transparent)]
    Batch(#[from] wire::batch::BatchError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("{0} bytes follow the batch")]
    Trailing(usize),
    #[error("a compressed batch, the metadata log has none")]
    Compressed,
    #[error("{records} records, but a last offset delta of {last_delta}")]
    Count { records: i32, last_delta: i32 },
    #[error("a negative leader epoch, {0}")]
    Epoch(LeaderEpoch),
    #[error("a record that cannot be read: {0}")]
    Value(String),
}

/// The parts of a batch header that count here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) base_offset: Offset,
    /// Bytes of the whole batch.
    pub(crate) length: usize,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) is_control: bool,
    pub(crate) timestamp: Timestamp,
    pub(crate) records: i32,
}

/// Bytes of the batch that `bytes` begin with, header included.
pub(crate) fn total_length(bytes: &[u8]) -> Result<usize, BatchError> {
    Ok(BatchHeader::parse(bytes)?.size_bytes)
}

/// Checks `bytes`, exactly one batch.
pub(crate) fn check(bytes: &[u8]) -> Result<Header, BatchError> {
    let batch = BatchRef::parse(bytes)?;
    if batch.bytes().len() != bytes.len() {
        return Err(BatchError::Trailing(bytes.len() - batch.bytes().len()));
    }
    batch.check_crc()?;
    let header = batch.header;
    if header.codec() != Some(Codec::None) {
        return Err(BatchError::Compressed);
    }
    let (records, last_delta) = (header.count, header.last_offset_delta);
    if records < 1 || last_delta != records - 1 {
        return Err(BatchError::Count { records, last_delta });
    }
    if header.leader_epoch < LeaderEpoch::new(0) {
        return Err(BatchError::Epoch(header.leader_epoch));
    }
    Ok(Header {
        base_offset: header.base_offset,
        length: header.size_bytes,
        epoch: header.leader_epoch,
        is_control: header.is_control(),
        timestamp: header.max_timestamp,
        records,
    })
}

/// Checks `bytes`, exactly one batch, and shows `each` the key and value of every record.
pub(crate) fn read(
    bytes: &[u8],
    mut each: impl FnMut(Option<&[u8]>, &[u8]) -> Result<(), BatchError>,
) -> Result<Header, BatchError> {
    let header = check(bytes)?;
    let records = BatchRef::parse(bytes)?.records(0).map_err(|_| BatchError::Compressed)?;
    for record in records.iter() {
        let record = record?;
        each(record.key, record.value.unwrap_or_default())?;
    }
    Ok(header)
}

/// Whose batch it is and when it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) base_offset: Offset,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) timestamp: Timestamp,
}

/// The bytes of a batch of `records`, at least one: key and value.
pub(crate) fn build<'a>(
    stamp: &Stamp,
    is_control: bool,
    records: impl Iterator<Item = (Option<&'a [u8]>, &'a [u8])>,
) -> Bytes {
    let mut builder = BatchBuilder::new(stamp.base_offset, stamp.epoch);
    if is_control {
        builder = builder.control();
    }
    for (key, value) in records {
        builder.push(&NewRecord { timestamp: stamp.timestamp, key, value: Some(value), headers: &[] });
    }
    let mut out = Vec::with_capacity(builder.size_bytes());
    builder.finish(&mut out).expect("nothing is compressed");
    out.into()
}
