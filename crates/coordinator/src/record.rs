//! Records: as bytes for the log, and as what they mean.

use std::sync::Arc;

use proto::offsets::*;
use proto::{DecodeError, EncodeError};

use crate::offsets::{Committed, OffsetKey, Offsets};

/// A record to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value; `None` deletes what the key stands for.
    pub value: Option<Vec<u8>>,
}

/// The version that group records are written in, as Kafka 4.3 does.
const GROUP_VERSION: i16 = 3;
/// The only version of the new protocol's records.
const CONSUMER_VERSION: i16 = 0;

/// Why a record of the log could not be replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Neither a commit nor a group nor anything else that this build knows. Kafka passes over such a
    /// record (KIP-915); whoever loads may do the same.
    #[error(
        "the record at offset {offset} of __consumer_offsets has the unknown type {kind}: run the release that wrote it"
    )]
    UnknownType {
        /// Where it stands.
        offset: i64,
        /// As read.
        kind: i16,
    },
    /// A record that cannot be read: half of one, or a version of a later release.
    #[error("the record at offset {offset} of __consumer_offsets cannot be read: {cause}")]
    Unreadable {
        /// Where it stands.
        offset: i64,
        /// What is wrong.
        cause: DecodeError,
    },
}

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// A committed offset, or that there is none.
    Offset(OffsetKey, Option<Committed>),
    /// A classic group, or that there is none.
    Classic(Arc<str>, Option<GroupMetadataValue>),
    /// Something of a group of the new protocol.
    Consumer(Arc<str>, ConsumerEntry),
}

/// What a record of the new protocol says (KIP-848).
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is the record of its name")]
pub enum ConsumerEntry {
    Group(Option<ConsumerGroupMetadataValue>),
    Partitions(Option<ConsumerGroupPartitionMetadataValue>),
    Member(String, Option<ConsumerGroupMemberMetadataValue>),
    Target(Option<ConsumerGroupTargetAssignmentMetadataValue>),
    TargetMember(String, Option<ConsumerGroupTargetAssignmentMemberValue>),
    Current(String, Option<ConsumerGroupCurrentMemberAssignmentValue>),
    Expression(String, Option<ConsumerGroupRegularExpressionValue>),
}

impl Entry {
    /// Reads a record as it stands at `offset`. Names that are in `known` already are shared with it.
    pub fn read(key: &[u8], bytes: Option<&[u8]>, offset: i64, known: &Offsets) -> Result<Self, ReplayError> {
        let unreadable = |cause| match cause {
            DecodeError::Type { key } => ReplayError::UnknownType { offset, kind: key },
            cause => ReplayError::Unreadable { offset, cause },
        };
        if let Some((group, topic, partition)) = offset_key(key) {
            let value = bytes.map(from_value).transpose().map_err(unreadable)?;
            return Ok(Self::Offset(known.key(group, topic, partition), value.map(Committed::from_value)));
        }
        let key = Key::from_bytes(key).map_err(unreadable)?;
        Self::of(key, bytes).map_err(unreadable)
    }

    fn of(key: Key, bytes: Option<&[u8]>) -> Result<Self, DecodeError> {
        use ConsumerEntry as E;
        Ok(match key {
            Key::OffsetCommit { group, topic, partition } => {
                let key = OffsetKey { group: group.into(), topic: topic.into(), partition };
                Self::Offset(key, bytes.map(from_value).transpose()?.map(Committed::from_value))
            }
            Key::GroupMetadata { group } => Self::Classic(group.into(), bytes.map(from_value).transpose()?),
            Key::ConsumerGroupMetadata { group } => {
                Self::Consumer(group.into(), E::Group(bytes.map(from_value).transpose()?))
            }
            Key::ConsumerGroupPartitionMetadata { group } => {
                Self::Consumer(group.into(), E::Partitions(bytes.map(from_value).transpose()?))
            }
            Key::ConsumerGroupMemberMetadata { group, member } => {
                Self::Consumer(group.into(), E::Member(member, bytes.map(from_value).transpose()?))
            }
            Key::ConsumerGroupTargetAssignmentMetadata { group } => {
                Self::Consumer(group.into(), E::Target(bytes.map(from_value).transpose()?))
            }
            Key::ConsumerGroupTargetAssignmentMember { group, member } => {
                Self::Consumer(group.into(), E::TargetMember(member, bytes.map(from_value).transpose()?))
            }
            Key::ConsumerGroupCurrentMemberAssignment { group, member } => {
                Self::Consumer(group.into(), E::Current(member, bytes.map(from_value).transpose()?))
            }
            Key::ConsumerGroupRegularExpression { group, expression } => {
                Self::Consumer(group.into(), E::Expression(expression, bytes.map(from_value).transpose()?))
            }
        })
    }

    /// The record that says it.
    pub fn to_record(&self) -> Result<Record, EncodeError> {
        let (key, value) = match self {
            Self::Offset(key, committed) => {
                let write = |committed: &Committed| value(committed.version(), &committed.to_value());
                let value = committed.as_ref().map(write).transpose()?;
                return Ok(Record { key: key.to_bytes()?, value });
            }
            Self::Classic(group, group_value) => {
                let write = |group_value| value(GROUP_VERSION, group_value);
                (
                    Key::GroupMetadata { group: group.to_string() },
                    group_value.as_ref().map(write).transpose()?,
                )
            }
            Self::Consumer(group, entry) => entry.to_key_value(group.to_string())?,
        };
        Ok(Record { key: key.to_bytes()?, value })
    }
}

impl ConsumerEntry {
    fn to_key_value(&self, group: String) -> Result<(Key, Option<Vec<u8>>), EncodeError> {
        fn written<T: proto::Message>(message: &Option<T>) -> Result<Option<Vec<u8>>, EncodeError> {
            message.as_ref().map(|message| value(CONSUMER_VERSION, message)).transpose()
        }
        Ok(match self {
            Self::Group(message) => (Key::ConsumerGroupMetadata { group }, written(message)?),
            Self::Partitions(message) => (Key::ConsumerGroupPartitionMetadata { group }, written(message)?),
            Self::Member(member, message) => {
                (Key::ConsumerGroupMemberMetadata { group, member: member.clone() }, written(message)?)
            }
            Self::Target(message) => {
                (Key::ConsumerGroupTargetAssignmentMetadata { group }, written(message)?)
            }
            Self::TargetMember(member, message) => (
                Key::ConsumerGroupTargetAssignmentMember { group, member: member.clone() },
                written(message)?,
            ),
            Self::Current(member, message) => (
                Key::ConsumerGroupCurrentMemberAssignment { group, member: member.clone() },
                written(message)?,
            ),
            Self::Expression(expression, message) => {
                let expression = expression.clone();
                (Key::ConsumerGroupRegularExpression { group, expression }, written(message)?)
            }
        })
    }
}
