//! Control records: what the quorum says about itself in its own log (KIP-595, KIP-630, KIP-853).
//!
//! A control record's key is a version and a type, both `int16`; its value begins with
//! the version it is written in. They count as records for offsets and never reach the image.

use std::ops::RangeInclusive;

#[cfg(test)]
use crate::codec::tests::draw::{Draw, Random};
#[allow(unused_imports, reason = "what generated code needs differs by file")]
use crate::codec::{
    DecodeError, EncodeError, Form, Message, Reader, Tags, Wire, get_null_from, put_null_from,
};
use model::Uuid;

include!(concat!(env!("OUT_DIR"), "/control.rs"));

/// The version that control record keys are written in.
const KEY_VERSION: i16 = 0;

/// A control record of the metadata log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlRecord {
    /// A leader took office: the first record of its epoch.
    LeaderChange(LeaderChangeMessage),
    /// The first record of a snapshot.
    SnapshotHeader(SnapshotHeaderRecord),
    /// The last record of a snapshot.
    SnapshotFooter(SnapshotFooterRecord),
    /// The level of the feature `kraft.version`.
    KRaftVersion(KRaftVersionRecord),
    /// The voters from here on.
    KRaftVoters(VotersRecord),
}

impl ControlRecord {
    /// The type in its key.
    pub fn key_type(&self) -> i16 {
        match self {
            Self::LeaderChange(_) => 2,
            Self::SnapshotHeader(_) => 3,
            Self::SnapshotFooter(_) => 4,
            Self::KRaftVersion(_) => 5,
            Self::KRaftVoters(_) => 6,
        }
    }

    /// The record's key: its version and type.
    pub fn to_key(&self) -> [u8; 4] {
        let [a, b] = KEY_VERSION.to_be_bytes();
        let [c, d] = self.key_type().to_be_bytes();
        [a, b, c, d]
    }

    /// Appends the record's value, in the version that its `version` field says.
    pub fn to_value(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match self {
            Self::LeaderChange(record) => record.encode(record.version, out),
            Self::SnapshotHeader(record) => record.encode(record.version, out),
            Self::SnapshotFooter(record) => record.encode(record.version, out),
            Self::KRaftVersion(record) => record.encode(record.version, out),
            Self::KRaftVoters(record) => record.encode(record.version, out),
        }
    }

    /// Reads a record from its key and value.
    pub fn from_key_value(key: &[u8], value: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(key);
        // Later key versions may append to the key, never change what is here.
        let _version = i16::from_be_bytes(reader.take_array()?);
        let kind = i16::from_be_bytes(reader.take_array()?);
        let version = i16::from_be_bytes(Reader::new(value).take_array()?);
        match kind {
            2 => Ok(Self::LeaderChange(Message::decode(version, value)?)),
            3 => Ok(Self::SnapshotHeader(Message::decode(version, value)?)),
            4 => Ok(Self::SnapshotFooter(Message::decode(version, value)?)),
            5 => Ok(Self::KRaftVersion(Message::decode(version, value)?)),
            6 => Ok(Self::KRaftVoters(Message::decode(version, value)?)),
            key => Err(DecodeError::Type { key }),
        }
    }
}

#[cfg(test)]
mod tests;
