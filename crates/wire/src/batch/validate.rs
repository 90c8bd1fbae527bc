//! What a leader checks before it appends what a producer sent.
//!
//! Header, CRC and every record are looked at, inside compressed batches too:
//! what is appended is what every consumer and follower will have to read.
//! An uncompressed batch is walked in place without an allocation.
//!
//! The order of the checks and their codes are Kafka's (its LogValidator), so that
//! a client is told the same; `broker/tests/nodes/lies` holds them against its answers.

use model::{ErrorCode, Offset, Timestamp};

use crate::batch::header::{BatchError, BatchHeader, PREFIX_BYTES, TimestampType};
use crate::batch::records::RecordError;
use crate::batch::split::BatchRef;
use crate::codec::{Codec, CodecError};

/// What the topic and the node ask of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// `max.message.bytes`: the largest batch, as sent.
    pub batch_bytes_max: usize,
    /// The largest batch once decompressed.
    pub decompressed_bytes_max: usize,
    /// A compacted topic: every record needs a key.
    pub needs_keys: bool,
    /// `message.timestamp.before.max.ms` and `.after.max.ms` as points in time; `None` when the
    /// leader sets the timestamps itself.
    pub timestamps: Option<(Timestamp, Timestamp)>,
    /// The records are written into a batch of their own, numbered anew.
    pub is_rewritten: bool,
}

/// Why a batch is not appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidationError {
    /// It is no batch, or not the one that was sent.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// Its records cannot be decompressed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Its records do not fit together.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Above `max.message.bytes`.
    #[error("the batch has {size} bytes, max.message.bytes allows {allowed}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The bound.
        allowed: usize,
    },
    /// What only brokers and the log's own machinery may write.
    #[error("{0}")]
    Forbidden(&'static str),
    /// Several batches, or none.
    #[error("a produce request holds exactly one batch a partition")]
    NotOneBatch,
    /// Some records break a rule; the others are fine, but a batch is appended whole or not at all.
    #[error("{message}")]
    Records {
        /// What the client sees.
        code: ErrorCode,
        /// For the whole batch.
        message: &'static str,
        /// The places of the records in the batch, at most [`NAMED_MAX`].
        indexes: Vec<i32>,
    },
}

/// What a record without a time has; no bound holds for it.
const NO_TIMESTAMP: Timestamp = Timestamp::new(-1);

/// The length field of the smallest batch of version 0, from which on Kafka takes it for one.
const LENGTH_MIN_ANY_VERSION: i32 = 14;

/// As many bad records of a batch are named.
pub const NAMED_MAX: usize = 100;

impl ValidationError {
    /// The code a client sees.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Batch(error) => error.code(),
            Self::Codec(error) => error.code(),
            Self::Record(_) | Self::Forbidden(_) | Self::NotOneBatch => ErrorCode::InvalidRecord,
            Self::TooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::Records { code, .. } => *code,
        }
    }
}

/// A batch that may be appended.
#[derive(Clone, Copy, Debug)]
pub struct ValidBatch {
    /// Its header.
    pub header: BatchHeader,
    /// The largest timestamp of its records. Where the header says otherwise,
    /// [`patch::set_max_timestamp`](super::patch::set_max_timestamp) corrects it before the append.
    pub max_timestamp: Timestamp,
    /// The place of the record with the largest timestamp.
    pub max_timestamp_delta: i32,
}

/// The batch that `bytes`, what a produce request has for one partition, hold. What is left behind it
/// must be too little for another one, and is nobody's.
pub fn sole(bytes: &[u8]) -> Result<&[u8], ValidationError> {
    let Some(size) = whole_batch(bytes)? else { return Err(ValidationError::NotOneBatch) };
    let (batch, rest) = bytes.split_at(size);
    match whole_batch(rest)? {
        None => Ok(batch),
        Some(_) => Err(ValidationError::NotOneBatch),
    }
}

/// The size of the batch of any version at the front of `bytes`, if there is a whole one.
fn whole_batch(bytes: &[u8]) -> Result<Option<usize>, BatchError> {
    let Some(&length) = bytes.get(8..).and_then(|bytes| bytes.first_chunk()) else { return Ok(None) };
    let length = i32::from_be_bytes(length);
    if length < LENGTH_MIN_ANY_VERSION {
        return Err(BatchError::Length(length));
    }
    match bytes.get(16).map(|&magic| magic as i8) {
        None => Ok(None),
        Some(magic) if !(0..=2).contains(&magic) => Err(BatchError::Magic(magic)),
        Some(_) => {
            let size = PREFIX_BYTES + usize::try_from(length).unwrap_or(usize::MAX - PREFIX_BYTES);
            Ok((size <= bytes.len()).then_some(size))
        }
    }
}

/// Checks the batch at the front of `bytes`, which may go on behind it.
pub fn validate(bytes: &[u8], rules: &Rules) -> Result<ValidBatch, ValidationError> {
    let batch = BatchRef::parse_unchecked(bytes)?;
    let header = batch.header;
    if header.base_offset != Offset::ZERO {
        return Err(ValidationError::Forbidden("the base offset of a client's batch must be 0"));
    }
    if header.size_bytes > rules.batch_bytes_max {
        return Err(ValidationError::TooLarge { size: header.size_bytes, allowed: rules.batch_bytes_max });
    }
    batch.check_crc()?;
    check_header(&header)?;
    check_records(&batch, rules)
}

/// Checks a batch that this node made itself: its records need not be looked at.
pub fn validate_own(bytes: &[u8], rules: &Rules) -> Result<ValidBatch, ValidationError> {
    let batch = BatchRef::parse(bytes)?;
    let header = batch.header;
    if header.size_bytes > rules.batch_bytes_max {
        return Err(ValidationError::TooLarge { size: header.size_bytes, allowed: rules.batch_bytes_max });
    }
    batch.check_crc()?;
    let max_timestamp_delta = header.last_offset_delta;
    Ok(ValidBatch { header, max_timestamp: header.max_timestamp, max_timestamp_delta })
}

fn check_header(header: &BatchHeader) -> Result<(), ValidationError> {
    if header.count <= 0 || header.count - 1 != header.last_offset_delta {
        return Err(BatchError::Counts {
            base_offset: header.base_offset.get(),
            count: header.count,
            last_offset_delta: header.last_offset_delta,
        }
        .into());
    }
    if header.is_control() {
        return Err(ValidationError::Forbidden("clients are not allowed to write control records"));
    }
    match header.producer() {
        Some(producer) if producer.base_sequence < 0 => Err(ValidationError::Forbidden(
            "a batch with a producer id needs a sequence that is not negative",
        )),
        _ => Ok(()),
    }
}

/// The records of a batch that break a rule.
#[derive(Default)]
struct Broken {
    indexes: Vec<i32>,
    out_of_time: bool,
}

fn check_records(batch: &BatchRef<'_>, rules: &Rules) -> Result<ValidBatch, ValidationError> {
    let numbered = batch.header.codec() != Some(Codec::None) && !rules.is_rewritten;
    let records = batch.records(rules.decompressed_bytes_max)?;
    let mut broken = Broken::default();
    // A batch whose records all lie before 1970 counts as one without a time, as in Kafka.
    let mut newest = (NO_TIMESTAMP, 0);
    for (index, record) in (0..).zip(records.iter()) {
        let record = record?;
        if numbered && record.offset_delta != index {
            return Err(RecordError::OffsetDelta { index, got: record.offset_delta }.into());
        }
        let keyless = rules.needs_keys && record.key.is_none();
        let untimely = !keyless && is_untimely(record.timestamp, &batch.header, rules);
        broken.out_of_time |= untimely;
        if (keyless || untimely) && broken.indexes.len() < NAMED_MAX {
            broken.indexes.push(index);
        }
        if record.timestamp > newest.0 {
            newest = (record.timestamp, index);
        }
    }
    broken.check()?;
    Ok(ValidBatch { header: batch.header, max_timestamp: newest.0, max_timestamp_delta: newest.1 })
}

/// Whether a record's time is outside the topic's bounds, or claims to be a leader's.
fn is_untimely(timestamp: Timestamp, header: &BatchHeader, rules: &Rules) -> bool {
    let claims = header.timestamp_type() == TimestampType::LogAppendTime;
    match rules.timestamps.filter(|_| timestamp != NO_TIMESTAMP) {
        Some((from, to)) => timestamp < from || timestamp > to,
        // Where a producer's times count, the claim is taken back instead.
        None => claims,
    }
}

impl Broken {
    fn check(self) -> Result<(), ValidationError> {
        if self.indexes.is_empty() {
            return Ok(());
        }
        let (code, message) = if self.out_of_time {
            let message = "One or more records have a timestamp that the topic does not accept";
            (ErrorCode::InvalidTimestamp, message)
        } else {
            (ErrorCode::InvalidRecord, "Compacted topic cannot accept message without key")
        };
        Err(ValidationError::Records { code, message, indexes: self.indexes })
    }
}
