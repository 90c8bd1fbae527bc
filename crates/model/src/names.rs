//! Topic names and partitions.

use std::fmt;
use std::sync::Arc;

use crate::numbers::PartitionIndex;
use crate::uuid::{TopicId, Uuid};

/// The topic that holds the cluster's metadata; no client may write to it.
pub const METADATA_TOPIC: &str = "__cluster_metadata";
/// The id of [`METADATA_TOPIC`] in every cluster.
pub const METADATA_TOPIC_ID: TopicId = Uuid::from_u128(1);

/// Longest topic name: with a partition number and a suffix it still is a file name.
const LENGTH_MAX: usize = 249;

/// Why a text is no topic name. The messages are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    /// No characters at all.
    #[error("the empty string is not allowed")]
    Empty,
    /// `.` or `..`, which mean something else to a file system.
    #[error("'{0}' is not allowed")]
    Dots(String),
    /// Too long for a directory name.
    #[error("the length of '{0}' is longer than the max allowed length {LENGTH_MAX}")]
    TooLong(String),
    /// A character outside the alphabet.
    #[error("'{0}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")]
    Characters(String),
}

/// A topic's name, cheap to copy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// A name that follows Kafka's rules: 1 to 249 of `[a-zA-Z0-9._-]`, neither `.` nor `..`.
    pub fn new(text: &str) -> Result<Self, TopicNameError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if text.is_empty() {
            return Err(TopicNameError::Empty);
        }
        if text == "." || text == ".." {
            return Err(TopicNameError::Dots(text.to_owned()));
        }
        if text.len() > LENGTH_MAX {
            return Err(TopicNameError::TooLong(text.to_owned()));
        }
        if !text.bytes().all(legal) {
            return Err(TopicNameError::Characters(text.to_owned()));
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name that metrics see, where `.` and `_` are one: two topics must not share it.
    pub fn collision_key(&self) -> String {
        self.0.replace('.', "_")
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// One partition of one topic; prints as its directory name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition within it.
    pub partition: PartitionIndex,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::{TopicName, TopicNameError};

    fn check(text: &str, outcome: Result<(), TopicNameError>) {
        assert_eq!(TopicName::new(text).map(|_| ()), outcome);
    }

    #[test]
    fn names_follow_kafkas_rules() {
        check("orders.eu_1-a", Ok(()));
        check("", Err(TopicNameError::Empty));
        check("..", Err(TopicNameError::Dots("..".to_owned())));
        check("a b", Err(TopicNameError::Characters("a b".to_owned())));
        check("ä", Err(TopicNameError::Characters("ä".to_owned())));
        check(&"a".repeat(249), Ok(()));
        check(&"a".repeat(250), Err(TopicNameError::TooLong("a".repeat(250))));
    }
}
