//! What a leader checks before it appends what a producer sent.
//!
//! Header, CRC and every record are looked at, inside compressed batches too:
//! what is appended is what every consumer and follower will have to read.
//! An uncompressed batch is walked in place without an allocation.

use model::{ErrorCode, Timestamp};

use crate::batch::header::{BatchError, BatchHeader, TimestampType};
use crate::batch::records::RecordError;
use crate::batch::split::BatchRef;
use crate::codec::CodecError;

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
    /// Only a leader may set the time of an append.
    #[error("clients are not allowed to set LogAppendTime")]
    LogAppendTime,
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

/// As many bad records of a batch are named.
pub const NAMED_MAX: usize = 100;

impl ValidationError {
    /// The code a client sees.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Batch(error) => error.code(),
            Self::Codec(error) => error.code(),
            Self::Record(_) | Self::Forbidden(_) => ErrorCode::InvalidRecord,
            Self::LogAppendTime => ErrorCode::InvalidTimestamp,
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

/// Checks the batch at the front of `bytes`, which may go on behind it. Its base offset is the
/// leader's to set: whatever stands there reads as 0.
pub fn validate(bytes: &[u8], rules: &Rules) -> Result<ValidBatch, ValidationError> {
    let batch = BatchRef::parse_unplaced(bytes)?;
    let header = batch.header;
    if header.size_bytes > rules.batch_bytes_max {
        return Err(ValidationError::TooLarge { size: header.size_bytes, allowed: rules.batch_bytes_max });
    }
    batch.check_crc()?;
    check_header(&header)?;
    check_records(&batch, rules)
}

fn check_header(header: &BatchHeader) -> Result<(), ValidationError> {
    let forbidden = |reason| Err(ValidationError::Forbidden(reason));
    if header.count == 0 || header.count - 1 != header.last_offset_delta {
        return Err(BatchError::Counts {
            base_offset: header.base_offset.get(),
            count: header.count,
            last_offset_delta: header.last_offset_delta,
        }
        .into());
    }
    if header.is_control() {
        return forbidden("clients are not allowed to write control records");
    }
    if header.has_delete_horizon() {
        return forbidden("clients are not allowed to set a delete horizon");
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        return Err(ValidationError::LogAppendTime);
    }
    match header.producer() {
        Some(producer) if producer.base_sequence < 0 || producer.epoch.get() < 0 => {
            forbidden("a batch with a producer id needs an epoch and a sequence that are not negative")
        }
        None if header.is_transactional() => forbidden("a transactional batch needs a producer id"),
        _ => Ok(()),
    }
}

fn check_records(batch: &BatchRef<'_>, rules: &Rules) -> Result<ValidBatch, ValidationError> {
    let records = batch.records(rules.decompressed_bytes_max)?;
    let mut without_key = Vec::new();
    let mut out_of_time = Vec::new();
    // A batch whose records all lie before 1970 counts as one without a time, as in Kafka.
    let mut newest = (NO_TIMESTAMP, 0);
    for (index, record) in (0..).zip(records.iter()) {
        let record = record?;
        if record.offset_delta != index {
            return Err(RecordError::OffsetDelta { index, got: record.offset_delta }.into());
        }
        if rules.needs_keys && record.key.is_none() && without_key.len() < NAMED_MAX {
            without_key.push(index);
        }
        let outside = |(from, to)| {
            record.timestamp != NO_TIMESTAMP && (record.timestamp < from || record.timestamp > to)
        };
        if rules.timestamps.is_some_and(outside) && out_of_time.len() < NAMED_MAX {
            out_of_time.push(index);
        }
        if record.timestamp > newest.0 {
            newest = (record.timestamp, index);
        }
    }
    if !without_key.is_empty() {
        let message = "Compacted topic cannot accept message without key";
        return Err(ValidationError::Records {
            code: ErrorCode::InvalidRecord,
            message,
            indexes: without_key,
        });
    }
    if !out_of_time.is_empty() {
        let message = "One or more records have a timestamp outside the range that the topic accepts";
        return Err(ValidationError::Records {
            code: ErrorCode::InvalidTimestamp,
            message,
            indexes: out_of_time,
        });
    }
    Ok(ValidBatch { header: batch.header, max_timestamp: newest.0, max_timestamp_delta: newest.1 })
}
