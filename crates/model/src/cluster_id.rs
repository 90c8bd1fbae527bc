//! The name of a cluster.
//!
//! Kafka draws a UUID's text where nobody chooses, and takes any text otherwise, so it
//! is text here and is compared as text: two spellings of one UUID are two clusters.
//! Bounded, because every request between brokers and controllers carries it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::uuid::Uuid;

/// Names a cluster.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(Arc<str>);

/// What is wrong with a cluster id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterIdError {
    /// No text at all.
    #[error("a cluster id is empty")]
    Empty,
    /// Too long to be carried around.
    #[error("a cluster id of {length} bytes; at most {} are possible", ClusterId::BYTES_MAX)]
    Length {
        /// Its bytes.
        length: usize,
    },
    /// It would break the lines of logs and files.
    #[error("a cluster id with the control character {character:?} at byte {position}")]
    Control {
        /// The first such character.
        character: char,
        /// Where it stands.
        position: usize,
    },
}

impl ClusterId {
    /// The longest: Kafka's bound for names that become parts of paths. Kafka itself has none here.
    pub const BYTES_MAX: usize = 249;

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Uuid> for ClusterId {
    fn from(id: Uuid) -> Self {
        Self(id.to_string().into())
    }
}

impl FromStr for ClusterId {
    type Err = ClusterIdError;

    fn from_str(text: &str) -> Result<Self, ClusterIdError> {
        if text.is_empty() {
            return Err(ClusterIdError::Empty);
        }
        if text.len() > Self::BYTES_MAX {
            return Err(ClusterIdError::Length { length: text.len() });
        }
        match text.char_indices().find(|(_, character)| character.is_control()) {
            Some((position, character)) => Err(ClusterIdError::Control { character, position }),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::ClusterId;
    use crate::uuid::Uuid;

    fn check(text: &str, outcome: &str) {
        let shown = text.parse::<ClusterId>().map_or_else(|error| error.to_string(), |id| id.to_string());
        assert_eq!(shown, outcome);
    }

    #[test]
    fn any_line_of_text_is_a_cluster_id_as_it_stands() {
        let drawn = Uuid::from_u128(7).to_string();
        for text in
            [drawn.as_str(), "MkU3OEVBNTcwNTJENDM2Qk", "production", "a b=c:#!\\é", " x ", &"x".repeat(249)]
        {
            check(text, text);
        }
        assert_eq!(ClusterId::from(Uuid::from_u128(7)).as_str(), drawn);
    }

    #[test]
    fn what_breaks_lines_or_is_too_long_is_named() {
        check("", "a cluster id is empty");
        check(&"x".repeat(250), "a cluster id of 250 bytes; at most 249 are possible");
        check("é\tx", "a cluster id with the control character '\\t' at byte 2");
    }
}
