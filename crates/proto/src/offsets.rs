//! The records of `__consumer_offsets`: what group coordinators know, as Kafka reads and writes it.
//!
//! ```text
//! key   = type (int16) | body        value = version (int16) | body, or null: a tombstone
//! ```
//!
//! A type that is not known is told apart from every other error: Kafka passes over such
//! a record (KIP-915), while a known record in an unknown version stops a load.

use std::ops::RangeInclusive;

#[cfg(test)]
use crate::codec::tests::draw::{Draw, Random};
#[allow(unused_imports, reason = "what generated code needs differs by file")]
use crate::codec::{
    DecodeError, EncodeError, Form, Message, Reader, Tags, Wire, get_null_from, put_null_from, put_varint,
};
use model::Uuid;

include!(concat!(env!("OUT_DIR"), "/offsets.rs"));

/// The only version that each key has had.
const KEY_BODY_VERSION: i16 = 0;

/// Which record a key stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is the body of the key of its name")]
pub enum Key {
    OffsetCommit { group: String, topic: String, partition: i32 },
    GroupMetadata { group: String },
    ConsumerGroupMetadata { group: String },
    ConsumerGroupPartitionMetadata { group: String },
    ConsumerGroupMemberMetadata { group: String, member: String },
    ConsumerGroupTargetAssignmentMetadata { group: String },
    ConsumerGroupTargetAssignmentMember { group: String, member: String },
    ConsumerGroupCurrentMemberAssignment { group: String, member: String },
    ConsumerGroupRegularExpression { group: String, expression: String },
}

impl Key {
    /// The type in front of the key, in the form that is written today.
    pub fn kind(&self) -> i16 {
        match self {
            Self::OffsetCommit { .. } => 1,
            Self::GroupMetadata { .. } => 2,
            Self::ConsumerGroupMetadata { .. } => 3,
            Self::ConsumerGroupPartitionMetadata { .. } => 4,
            Self::ConsumerGroupMemberMetadata { .. } => 5,
            Self::ConsumerGroupTargetAssignmentMetadata { .. } => 6,
            Self::ConsumerGroupTargetAssignmentMember { .. } => 7,
            Self::ConsumerGroupCurrentMemberAssignment { .. } => 8,
            Self::ConsumerGroupRegularExpression { .. } => 16,
        }
    }

    /// The record's key.
    pub fn to_bytes(&self) -> Result<Vec<u8>, EncodeError> {
        let form = Form { version: KEY_BODY_VERSION, flexible: false };
        let mut out = self.kind().to_be_bytes().to_vec();
        let mut text = |text: &String| text.put(form, &mut out);
        match self {
            Self::OffsetCommit { group, topic, partition } => {
                text(group)?;
                text(topic)?;
                partition.put(form, &mut out)?;
            }
            Self::GroupMetadata { group }
            | Self::ConsumerGroupMetadata { group }
            | Self::ConsumerGroupPartitionMetadata { group }
            | Self::ConsumerGroupTargetAssignmentMetadata { group } => text(group)?,
            Self::ConsumerGroupMemberMetadata { group, member }
            | Self::ConsumerGroupTargetAssignmentMember { group, member }
            | Self::ConsumerGroupCurrentMemberAssignment { group, member } => {
                text(group)?;
                text(member)?;
            }
            Self::ConsumerGroupRegularExpression { group, expression } => {
                text(group)?;
                text(expression)?;
            }
        }
        Ok(out)
    }

    /// Reads a record's key. An unknown type is [`DecodeError::Type`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let kind = i16::from_be_bytes(reader.take_array()?);
        let body = reader.rest();
        Ok(match kind {
            // Before Kafka 0.9 the same key had another number.
            0 | 1 => {
                let key = OffsetCommitKey::decode(KEY_BODY_VERSION, body)?;
                Self::OffsetCommit { group: key.group, topic: key.topic, partition: key.partition }
            }
            2 => Self::GroupMetadata { group: GroupMetadataKey::decode(KEY_BODY_VERSION, body)?.group },
            3 => {
                let key = ConsumerGroupMetadataKey::decode(KEY_BODY_VERSION, body)?;
                Self::ConsumerGroupMetadata { group: key.group_id }
            }
            4 => {
                let key = ConsumerGroupPartitionMetadataKey::decode(KEY_BODY_VERSION, body)?;
                Self::ConsumerGroupPartitionMetadata { group: key.group_id }
            }
            5 => {
                let key = ConsumerGroupMemberMetadataKey::decode(KEY_BODY_VERSION, body)?;
                Self::ConsumerGroupMemberMetadata { group: key.group_id, member: key.member_id }
            }
            6 => {
                let key = ConsumerGroupTargetAssignmentMetadataKey::decode(KEY_BODY_VERSION, body)?;
                Self::ConsumerGroupTargetAssignmentMetadata { group: key.group_id }
            }
            7 => {
                let key = ConsumerGroupTargetAssignmentMemberKey::decode(KEY_BODY_VERSION, body)?;
                Self::ConsumerGroupTargetAssignmentMember { group: key.group_id, member: key.member_id }
            }
            8 => {
                let key = ConsumerGroupCurrentMemberAssignmentKey::decode(KEY_BODY_VERSION, body)?;
                Self::ConsumerGroupCurrentMemberAssignment { group: key.group_id, member: key.member_id }
            }
            16 => {
                let key = ConsumerGroupRegularExpressionKey::decode(KEY_BODY_VERSION, body)?;
                Self::ConsumerGroupRegularExpression {
                    group: key.group_id,
                    expression: key.regular_expression,
                }
            }
            key => return Err(DecodeError::Type { key }),
        })
    }
}

/// The key of a committed offset, without a copy of its names: what a load reads most. `None` for any other key, and for
/// one that cannot be read; [`Key::from_bytes`] says which.
pub fn offset_key(bytes: &[u8]) -> Option<(&str, &str, i32)> {
    let mut reader = Reader::new(bytes);
    let kind = i16::from_be_bytes(reader.take_array().ok()?);
    if !(0..=1).contains(&kind) {
        return None;
    }
    let group = name(&mut reader)?;
    let topic = name(&mut reader)?;
    let partition = i32::from_be_bytes(reader.take_array().ok()?);
    reader.rest().is_empty().then_some((group, topic, partition))
}

fn name<'a>(reader: &mut Reader<'a>) -> Option<&'a str> {
    let length = i16::from_be_bytes(reader.take_array().ok()?);
    std::str::from_utf8(reader.take(usize::try_from(length).ok()?).ok()?).ok()
}

/// The key of a committed offset, as bytes.
pub fn offset_key_bytes(group: &str, topic: &str, partition: i32) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::with_capacity(10 + group.len() + topic.len());
    out.extend_from_slice(&1_i16.to_be_bytes());
    for name in [group, topic] {
        let max = i16::MAX as usize;
        let length = i16::try_from(name.len()).map_err(|_| EncodeError::Long { length: name.len(), max })?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(name.as_bytes());
    }
    out.extend_from_slice(&partition.to_be_bytes());
    Ok(out)
}

/// A record's value: `version`, then `message` in it.
pub fn value<T: Message>(version: i16, message: &T) -> Result<Vec<u8>, EncodeError> {
    let mut out = version.to_be_bytes().to_vec();
    message.encode(version, &mut out)?;
    Ok(out)
}

/// Reads a record's value, all of it.
pub fn from_value<T: Message>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = i16::from_be_bytes(reader.take_array()?);
    T::decode(version, reader.rest())
}

#[cfg(test)]
mod tests;
