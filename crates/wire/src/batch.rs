//! Record batches: the format that producers send, disks hold and consumers get.
//!
//! Version 2 (KIP-98), 61 bytes of header and then the records, compressed or not:
//!
//! ```text
//!  0  base offset             i64   set by the leader, outside the CRC
//!  8  length                  i32   of what follows: size - 12
//! 12  partition leader epoch  i32   set by the leader, outside the CRC
//! 16  magic                   i8    2
//! 17  crc                     u32   CRC-32C of everything from 21 on
//! 21  attributes              i16   codec, timestamp type, transactional, control, delete horizon
//! 23  last offset delta       i32
//! 27  base timestamp          i64
//! 35  max timestamp           i64
//! 43  producer id             i64
//! 51  producer epoch          i16
//! 53  base sequence           i32
//! 57  records count           i32
//! 61  records
//! ```
//!
//! The bytes of a producer are never re-encoded: [`patch`] writes the two fields
//! that the leader owns in place. Everything here works on borrowed buffers and
//! trusts no length before it was held against the bytes at hand.

mod build;
mod header;
mod marker;
mod records;
mod retain;
mod split;
mod validate;

pub mod patch;

pub use build::{BatchBuilder, NewRecord};
pub use header::{BatchError, BatchHeader, HEADER_BYTES, Producer, TimestampType};
pub use marker::EndMarker;
pub use records::{Header, Headers, Record, RecordError, RecordIter, Records, control_key, control_type};
pub use retain::{RetainError, emptied};
pub use split::{BatchRef, Batches};
pub use validate::{Rules, ValidBatch, ValidationError, sole, validate, validate_own};

#[cfg(test)]
mod tests;
