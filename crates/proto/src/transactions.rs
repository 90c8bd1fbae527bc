//! The records of `__transaction_state`: what the transaction coordinators know, as Kafka reads and writes it.
//!
//! ```text
//! key   = type (int16) | transactional id        value = version (int16) | body, or null: a tombstone
//! ```
//!
//! There is one type so far. Another is told apart from every other error, as in [`crate::offsets`].

use std::ops::RangeInclusive;

#[cfg(test)]
use crate::codec::tests::draw::{Draw, Random};
#[allow(unused_imports, reason = "what generated code needs differs by file")]
use crate::codec::{
    DecodeError, EncodeError, Form, Message, Reader, Tags, Wire, get_null_from, put_null_from, put_varint,
};
pub use crate::offsets::{from_value, value};

include!(concat!(env!("OUT_DIR"), "/transactions.rs"));

/// The type of a transactional id's key.
const TRANSACTIONAL_ID: i16 = 0;
/// The only version that the key has had.
const KEY_BODY_VERSION: i16 = 0;

impl TransactionLogKey {
    /// The record's key.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EncodeError> {
        let mut out = TRANSACTIONAL_ID.to_be_bytes().to_vec();
        self.encode(KEY_BODY_VERSION, &mut out)?;
        Ok(out)
    }

    /// Reads a record's key. An unknown type is [`DecodeError::Type`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        match i16::from_be_bytes(reader.take_array()?) {
            TRANSACTIONAL_ID => Self::decode(KEY_BODY_VERSION, reader.rest()),
            key => Err(DecodeError::Type { key }),
        }
    }
}

#[cfg(test)]
mod tests;
