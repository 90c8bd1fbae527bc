//! The leader's own fields, written into a batch in place.

use model::{LeaderEpoch, Offset, Timestamp};

use crate::batch::header::{BatchHeader, CRC_FROM, HEADER_BYTES, TimestampType};

/// Writes base offset and leader epoch, which lie outside the CRC. `batch` begins with a whole header.
pub fn place(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    assert!(batch.len() >= HEADER_BYTES, "only a parsed batch is placed");
    batch[0..8].copy_from_slice(&base_offset.get().to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.get().to_be_bytes());
}

/// Makes `now` the time of every record (`message.timestamp.type=LogAppendTime`) and redoes the CRC.
/// `batch` is exactly one whole batch.
pub fn stamp(batch: &mut [u8], now: Timestamp) {
    assert!(batch.len() >= HEADER_BYTES, "only a parsed batch is stamped");
    set_time(batch, TimestampType::LogAppendTime, now);
}

/// Makes `max_timestamp` the batch's largest timestamp, the records' times the producer's, and redoes
/// the CRC: a producer's own claims may be false, and the time index believes them. `batch` is exactly
/// one whole batch.
pub fn set_max_timestamp(batch: &mut [u8], max_timestamp: Timestamp) {
    assert!(batch.len() >= HEADER_BYTES, "only a parsed batch is corrected");
    set_time(batch, TimestampType::CreateTime, max_timestamp);
}

fn set_time(batch: &mut [u8], kind: TimestampType, max_timestamp: Timestamp) {
    let attributes = i16::from_be_bytes([batch[21], batch[22]]);
    batch[21..23].copy_from_slice(&BatchHeader::with_timestamp_type(attributes, kind).to_be_bytes());
    batch[35..43].copy_from_slice(&max_timestamp.get().to_be_bytes());
    seal(batch);
}

/// Writes the CRC of what it covers. `batch` is exactly one whole batch.
pub(super) fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}
