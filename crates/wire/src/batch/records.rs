//! The records of a batch: walked in place, nothing copied.
//!
//! ```text
//! length varint | attributes i8 | timestamp delta varlong | offset delta varint
//! | key length varint (-1: null) | key | value length varint (-1: null) | value
//! | header count varint | { key length varint | key | value length varint | value }
//! ```

use std::borrow::Cow;

use model::{Offset, Timestamp};

use crate::batch::header::{BatchHeader, HEADER_BYTES, TimestampType};
use crate::batch::split::BatchRef;
use crate::codec::{self, Codec, CodecError};
use crate::varint::{self, VarintError};

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A number or a field does not end within the record.
    #[error("record {index} of the batch at offset {base_offset} does not fit its own length")]
    Torn {
        /// The batch.
        base_offset: Offset,
        /// The record's place in it, from 0.
        index: usize,
    },
    /// The offsets of a batch's records follow each other, until compaction takes some away.
    #[error(
        "record {index} of a batch has offset delta {got}, not {index}: records must be numbered without gaps"
    )]
    OffsetDelta {
        /// The record's place in the batch, from 0.
        index: i32,
        /// Its offset delta.
        got: i32,
    },
    /// Bytes are left after the last record, or it is missing.
    #[error("the batch at offset {base_offset} does not end with its last record")]
    Count {
        /// The batch.
        base_offset: Offset,
    },
}

/// The records of one batch, decompressed if need be.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    pub(super) header: BatchHeader,
    body: Cow<'a, [u8]>,
}

/// A record within its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Relative to the batch's base offset. In an uncompressed batch it is as its producer wrote it,
    /// and may be any number: leaders check it no more than Kafka's do.
    pub offset_delta: i32,
    /// Its offset.
    pub offset: Offset,
    /// When the producer made it, or the leader appended it.
    pub timestamp: Timestamp,
    /// Its key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is null, a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: Headers<'a>,
}

/// The headers of a record, in order; a key may stand more than once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    count: usize,
    bytes: &'a [u8],
}

/// One header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its key, UTF-8 by convention.
    pub key: &'a [u8],
    /// Its value; `None` is null.
    pub value: Option<&'a [u8]>,
}

impl<'a> Records<'a> {
    /// The records of `batch`, in at most `output_max` bytes.
    pub(super) fn of(batch: &BatchRef<'a>, output_max: usize) -> Result<Self, CodecError> {
        let body = &batch.bytes()[HEADER_BYTES..];
        let codec = batch.header.codec().ok_or(CodecError::Unknown(batch.header.attributes & 7))?;
        let body = match codec {
            Codec::None => Cow::Borrowed(body),
            _ => Cow::Owned(codec::decompress(codec, body, output_max)?),
        };
        Ok(Self { header: batch.header, body })
    }

    /// One after the other. Ends after the first error.
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter { header: self.header, rest: &self.body, index: 0, ended: false }
    }
}

/// Walks the records of a batch.
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    header: BatchHeader,
    rest: &'a [u8],
    index: usize,
    ended: bool,
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let base_offset = self.header.base_offset;
        if self.index as i64 == i64::from(self.header.count) {
            self.ended = true;
            return (!self.rest.is_empty()).then_some(Err(RecordError::Count { base_offset }));
        }
        if self.rest.is_empty() {
            self.ended = true;
            return Some(Err(RecordError::Count { base_offset }));
        }
        let index = self.index;
        self.index += 1;
        let record = read_record(&self.header, &mut self.rest);
        self.ended = record.is_err();
        Some(record.map_err(|VarintError| RecordError::Torn { base_offset, index }))
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.count = self.count.checked_sub(1)?;
        let key = field(&mut self.bytes).ok()??;
        let value = field(&mut self.bytes).ok()?;
        Some(Header { key, value })
    }
}

/// The key of a control record: its version and type.
pub fn control_key(control_type: i16) -> [u8; 4] {
    let [high, low] = control_type.to_be_bytes();
    [0, 0, high, low]
}

/// The type that a control record's key names, in whatever version.
pub fn control_type(key: &[u8]) -> Option<i16> {
    let &[_, _, high, low] = key.first_chunk()?;
    Some(i16::from_be_bytes([high, low]))
}

/// Any inconsistency is one error here: the caller knows which record it was.
fn read_record<'a>(header: &BatchHeader, rest: &mut &'a [u8]) -> Result<Record<'a>, VarintError> {
    let length = usize::try_from(varint::read_i32(rest)?).map_err(|_| VarintError)?;
    let mut body = rest.get(..length).ok_or(VarintError)?;
    *rest = &rest[length..];
    let (_attributes, after) = body.split_first().ok_or(VarintError)?;
    body = after;
    let timestamp_delta = varint::read_i64(&mut body)?;
    let offset_delta = varint::read_i32(&mut body)?;
    let key = field(&mut body)?;
    let value = field(&mut body)?;
    let headers = read_headers(&mut body)?;
    if !body.is_empty() {
        return Err(VarintError);
    }
    let timestamp = match header.timestamp_type() {
        TimestampType::CreateTime => {
            Timestamp::new(header.base_timestamp.get().wrapping_add(timestamp_delta))
        }
        TimestampType::LogAppendTime => header.max_timestamp,
    };
    let offset = header.base_offset.get().checked_add(i64::from(offset_delta)).ok_or(VarintError)?;
    Ok(Record { offset_delta, offset: Offset::new(offset), timestamp, key, value, headers })
}

fn read_headers<'a>(body: &mut &'a [u8]) -> Result<Headers<'a>, VarintError> {
    let count = usize::try_from(varint::read_i32(body)?).map_err(|_| VarintError)?;
    // A header takes two bytes at least, so the walk below is bounded by the record.
    if count > body.len() / 2 {
        return Err(VarintError);
    }
    let bytes = *body;
    for _ in 0..count {
        field(body)?.ok_or(VarintError)?;
        field(body)?;
    }
    Ok(Headers { count, bytes: &bytes[..bytes.len() - body.len()] })
}

#[inline]
fn field<'a>(input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, VarintError> {
    // -1 is null, and so is all below, as for Kafka's readers.
    let Ok(length) = usize::try_from(varint::read_i32(input)?) else { return Ok(None) };
    let (taken, rest) = input.split_at_checked(length).ok_or(VarintError)?;
    *input = rest;
    Ok(Some(taken))
}
