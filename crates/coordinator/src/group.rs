//! A group of any kind, as a shard knows it now.
//!
//! Share groups (KIP-932) and streams groups (KIP-1071) get a variant each when they come: whatever asks a group
//! something matches here.

use std::sync::Arc;

use crate::cause::Cause;
use crate::{classic, consumer};

/// What kinds of group there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupKind {
    /// JoinGroup and SyncGroup; simple consumers' too.
    Classic,
    /// KIP-848.
    Consumer,
}

impl GroupKind {
    /// Kafka's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }
}

/// A group.
#[derive(Clone, Debug)]
pub enum Group {
    /// Of the classic protocol.
    Classic(Arc<classic::Group>),
    /// Of the new one.
    Consumer(Arc<consumer::Watched>),
}

impl Group {
    /// Its kind.
    pub fn kind(&self) -> GroupKind {
        match self {
            Self::Classic(_) => GroupKind::Classic,
            Self::Consumer(_) => GroupKind::Consumer,
        }
    }

    /// Its state, in Kafka's word.
    pub fn state(&self) -> &'static str {
        match self {
            Self::Classic(group) => group.phase().name(),
            Self::Consumer(watched) => watched.group().state(),
        }
    }

    /// What its members speak: `consumer`, `connect`; empty for simple consumers.
    pub fn protocol_type(&self) -> &str {
        match self {
            Self::Classic(group) => group.protocol_type().map_or("", |text| text.as_str()),
            Self::Consumer(_) => classic::CONSUMER,
        }
    }

    /// Whether it may be deleted.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_empty(),
            Self::Consumer(watched) => watched.group().is_empty(),
        }
    }

    /// Why it rebalanced lately, the last reason last.
    pub fn causes(&self) -> Vec<&Cause> {
        match self {
            Self::Classic(group) => group.causes.iter().collect(),
            Self::Consumer(watched) => watched.causes.iter().collect(),
        }
    }

    /// Whether one of its members reads `topic`, as far as can be told.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Self::Classic(group) => group.is_subscribed_to(topic),
            Self::Consumer(watched) => watched.group().is_subscribed_to(topic),
        }
    }
}
