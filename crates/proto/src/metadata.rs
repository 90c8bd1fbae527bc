//! The records of the cluster metadata log (KIP-631), and the frame that carries each.
//!
//! ```text
//! frame version (varint, 1) | record type (varint) | record version (varint) | body
//! ```
//!
//! A type or version that is not known is refused by name and never skipped: a node that
//! passed over a record would hold another cluster in its head than its peers.

mod level;

use std::ops::RangeInclusive;

#[cfg(test)]
use crate::codec::tests::draw::{Draw, Random};
#[allow(unused_imports, reason = "what generated code needs differs by file")]
use crate::codec::{
    DecodeError, EncodeError, Float64, Form, Message, Reader, Tags, Wire, get_null_from, put_null_from,
    put_varint,
};
pub use level::MetadataVersion;
use model::Uuid;

include!(concat!(env!("OUT_DIR"), "/metadata.rs"));

/// The only version of the frame.
const FRAME_VERSION: u32 = 1;

impl MetadataRecord {
    /// Appends the record's value as the log holds it, in the version that fits the level
    /// `metadata_version`.
    pub fn to_value(&self, metadata_version: i16, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let level = MetadataVersion::from_level(metadata_version)
            .ok_or(EncodeError::Level { level: metadata_version })?;
        self.to_value_in(level.record_version(self), out)
    }

    /// Appends the record's value in the record version given.
    pub fn to_value_in(&self, version: i16, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let start = out.len();
        put_varint(FRAME_VERSION, out);
        put_varint(self.key() as u32, out);
        put_varint(version as u32, out);
        self.encode(version, out).inspect_err(|_| out.truncate(start))
    }

    /// Reads a record's value, all of it.
    pub fn from_value(value: &[u8]) -> Result<Self, DecodeError> {
        let (key, version, body) = split(value)?;
        Self::decode(key, version, body)
    }

    /// The record version that a value is written in.
    pub fn version_of(value: &[u8]) -> Result<i16, DecodeError> {
        split(value).map(|(_, version, _)| version)
    }
}

/// The frame's record type, record version and body.
fn split(value: &[u8]) -> Result<(i16, i16, &[u8]), DecodeError> {
    let mut reader = Reader::new(value);
    let frame = reader.varint()?;
    if frame != FRAME_VERSION {
        return Err(DecodeError::Frame { got: frame });
    }
    let mut short = || {
        let at = reader.at();
        i16::try_from(reader.varint()?).map_err(|_| DecodeError::Varint { at })
    };
    let (key, version) = (short()?, short()?);
    Ok((key, version, reader.rest()))
}

#[cfg(test)]
mod tests;
