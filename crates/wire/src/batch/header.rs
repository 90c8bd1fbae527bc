//! The 61 bytes at the front of a batch, as values.

use model::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::codec::Codec;

/// Size of the header, the batch's fixed part.
pub const HEADER_BYTES: usize = 61;
/// Base offset and length, which the length does not count.
pub(super) const PREFIX_BYTES: usize = 12;
/// What the CRC covers begins here.
pub(super) const CRC_FROM: usize = 21;

const MAGIC: i8 = 2;

pub(super) const CODEC_MASK: i16 = 0x07;
const LOG_APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;
pub(super) const DELETE_HORIZON: i16 = 0x40;

/// Why bytes are no batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does: a fetch may end so, a torn write too.
    #[error("a batch of {needed} bytes is cut off after {got}")]
    Partial {
        /// The bytes that the batch, or its header, would take.
        needed: usize,
        /// The bytes at hand.
        got: usize,
    },
    /// A length that no batch has.
    #[error("a batch says it has {0} bytes after its length field, fewer than its header")]
    Length(i32),
    /// A format other than version 2.
    #[error("a batch has magic {0}, only 2 is accepted (0 and 1 are from before Kafka 0.11)")]
    Magic(i8),
    /// Bytes changed on the way or on disk.
    #[error("a batch at offset {base_offset} has CRC {got:#010x}, its bytes give {computed:#010x}")]
    Crc {
        /// The batch's base offset, as found.
        base_offset: i64,
        /// The CRC in the header.
        got: u32,
        /// The CRC of the bytes.
        computed: u32,
    },
    /// Numbers that contradict each other.
    #[error(
        "a batch at offset {base_offset} has {count} records and a last offset delta of {last_offset_delta}"
    )]
    Counts {
        /// The batch's base offset, as found.
        base_offset: i64,
        /// Its record count.
        count: i32,
        /// Its last offset delta.
        last_offset_delta: i32,
    },
}

impl BatchError {
    /// The code a client sees.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Magic(0 | 1) | Self::Counts { .. } | Self::Partial { .. } => ErrorCode::InvalidRecord,
            Self::Magic(_) | Self::Length(_) | Self::Crc { .. } => ErrorCode::CorruptMessage,
        }
    }
}

/// Who set the timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer.
    CreateTime,
    /// The leader, at the append.
    LogAppendTime,
}

/// The idempotent producer of a batch (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Its id.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// The sequence of the batch's first record; negative in control batches.
    pub base_sequence: i32,
}

/// A batch's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// The whole batch, header included.
    pub size_bytes: usize,
    /// The epoch of the leader that appended it.
    pub leader_epoch: LeaderEpoch,
    /// CRC-32C as found, not checked here.
    pub crc: u32,
    /// Codec and flags as found.
    pub attributes: i16,
    /// Offset of the last record, relative to the first. Compaction may leave it above the count.
    pub last_offset_delta: i32,
    /// Timestamp of the first record, the base of the others.
    pub base_timestamp: Timestamp,
    /// The largest timestamp.
    pub max_timestamp: Timestamp,
    /// The producer's id as found, -1 for none.
    pub producer_id: i64,
    /// The producer's epoch as found, -1 for none.
    pub producer_epoch: i16,
    /// The sequence as found, -1 for none.
    pub base_sequence: i32,
    /// How many records it holds.
    pub count: i32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`. The batch's other bytes need not be there;
    /// its CRC is not looked at.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let header = Self::parse_unchecked(bytes)?;
        header.check_counts()?;
        Ok(header)
    }

    /// As [`parse`](Self::parse), for a client's batch whose CRC has to be seen first: offset and
    /// counts may contradict each other, so no offset may be computed from them.
    pub fn parse_unchecked(bytes: &[u8]) -> Result<Self, BatchError> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(Self::too_short(bytes));
        };
        let length = i32::from_be_bytes(field(header, 8));
        let magic = header[16] as i8;
        if magic != MAGIC {
            return Err(BatchError::Magic(magic));
        }
        let size_bytes = usize::try_from(length).unwrap_or(0) + PREFIX_BYTES;
        if length < 0 || size_bytes < HEADER_BYTES {
            return Err(BatchError::Length(length));
        }
        Ok(Self {
            base_offset: Offset::new(i64::from_be_bytes(field(header, 0))),
            size_bytes,
            leader_epoch: LeaderEpoch::new(i32::from_be_bytes(field(header, 12))),
            crc: u32::from_be_bytes(field(header, 17)),
            attributes: i16::from_be_bytes(field(header, 21)),
            last_offset_delta: i32::from_be_bytes(field(header, 23)),
            base_timestamp: Timestamp::new(i64::from_be_bytes(field(header, 27))),
            max_timestamp: Timestamp::new(i64::from_be_bytes(field(header, 35))),
            producer_id: i64::from_be_bytes(field(header, 43)),
            producer_epoch: i16::from_be_bytes(field(header, 51)),
            base_sequence: i32::from_be_bytes(field(header, 53)),
            count: i32::from_be_bytes(field(header, 57)),
        })
    }

    /// The codec of the records; `None` for a number that means none.
    pub fn codec(&self) -> Option<Codec> {
        Codec::from_bits(self.attributes & CODEC_MASK)
    }

    /// Who set the timestamps.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & LOG_APPEND_TIME != 0 {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    /// Whether it belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether it holds markers rather than data.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Whether the base timestamp is the time after which tombstones go (KIP-534).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON != 0
    }

    /// Its idempotent producer, if it has one.
    pub fn producer(&self) -> Option<Producer> {
        let id = ProducerId::from_wire(self.producer_id)?;
        let epoch = ProducerEpoch::new(self.producer_epoch);
        Some(Producer { id, epoch, base_sequence: self.base_sequence })
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.last_offset_delta))
    }

    /// The offset after the last record.
    pub fn next_offset(&self) -> Offset {
        self.last_offset().next()
    }

    /// Sequence of the last record; sequences wrap from 2^31 - 1 to 0. What has none has none at its end.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return self.base_sequence;
        }
        let sum = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        i32::try_from(sum % (1 << 31)).expect("below 2^31")
    }

    /// The attributes of a batch to be built.
    pub(super) fn attributes_of(codec: Codec, transactional: bool, control: bool) -> i16 {
        let flag = |on: bool, bit: i16| if on { bit } else { 0 };
        codec.bits() | flag(transactional, TRANSACTIONAL) | flag(control, CONTROL)
    }

    /// `attributes` with this timestamp type.
    pub(super) fn with_timestamp_type(attributes: i16, kind: TimestampType) -> i16 {
        match kind {
            TimestampType::CreateTime => attributes & !LOG_APPEND_TIME,
            TimestampType::LogAppendTime => attributes | LOG_APPEND_TIME,
        }
    }

    fn too_short(bytes: &[u8]) -> BatchError {
        // The magic byte stands in the same place in every version: name an old one as such.
        match bytes.get(16) {
            Some(&magic) if magic as i8 != MAGIC => BatchError::Magic(magic as i8),
            _ => BatchError::Partial { needed: HEADER_BYTES, got: bytes.len() },
        }
    }

    /// What no batch of any origin breaks, so that offsets can be computed without a care.
    fn check_counts(&self) -> Result<(), BatchError> {
        let fits = self.base_offset.get().checked_add(i64::from(self.last_offset_delta) + 1).is_some();
        let holds = self.base_offset >= Offset::ZERO
            && self.last_offset_delta >= 0
            && self.count >= 0
            && i64::from(self.count) <= i64::from(self.last_offset_delta) + 1
            && fits;
        if holds {
            return Ok(());
        }
        Err(BatchError::Counts {
            base_offset: self.base_offset.get(),
            count: self.count,
            last_offset_delta: self.last_offset_delta,
        })
    }
}

/// The `N` bytes at `at`.
fn field<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    *header[at..].first_chunk().expect("fields lie within the header")
}
