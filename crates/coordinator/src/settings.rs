//! What an operator sets for groups, under Kafka's names.

use std::time::Duration;

/// Which way a group may go between the classic protocol and the new one while it has members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migration {
    /// Neither.
    Disabled,
    /// From the classic protocol to the new one.
    Upgrade,
    /// From the new protocol to the classic one.
    Downgrade,
    /// Both.
    Bidirectional,
}

impl Migration {
    /// By the word of `group.consumer.migration.policy`, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        let known = [
            ("disabled", Self::Disabled),
            ("upgrade", Self::Upgrade),
            ("downgrade", Self::Downgrade),
            ("bidirectional", Self::Bidirectional),
        ];
        known.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, policy)| policy)
    }

    /// Whether a classic group may become one of the new protocol.
    pub fn upgrades(self) -> bool {
        matches!(self, Self::Upgrade | Self::Bidirectional)
    }

    /// Whether a group of the new protocol may become a classic one.
    pub fn downgrades(self) -> bool {
        matches!(self, Self::Downgrade | Self::Bidirectional)
    }
}

/// Settings of groups of the new protocol (KIP-848); the defaults are Kafka's. What a group sets for itself is
/// kept within the bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// Whether `group.coordinator.rebalance.protocols` names `consumer`.
    pub is_enabled: bool,
    /// `group.consumer.session.timeout.ms`.
    pub session_timeout: Duration,
    /// `group.consumer.min.session.timeout.ms`.
    pub session_timeout_min: Duration,
    /// `group.consumer.max.session.timeout.ms`.
    pub session_timeout_max: Duration,
    /// `group.consumer.heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
    /// `group.consumer.min.heartbeat.interval.ms`.
    pub heartbeat_interval_min: Duration,
    /// `group.consumer.max.heartbeat.interval.ms`.
    pub heartbeat_interval_max: Duration,
    /// `group.consumer.assignment.interval.ms`: least time between two target assignments (KIP-1263).
    pub assignment_interval: Duration,
    /// `group.consumer.min.assignment.interval.ms`.
    pub assignment_interval_min: Duration,
    /// `group.consumer.max.assignment.interval.ms`.
    pub assignment_interval_max: Duration,
    /// `group.consumer.regex.refresh.interval.ms`: how long what an expression stands for is not looked up again
    /// without a reason.
    pub regex_refresh_interval: Duration,
    /// `group.consumer.max.size`.
    pub members_max: usize,
    /// `group.consumer.assignors`; the first is taken when no member asks for one. Only `uniform` and `range` exist.
    pub assignors: Vec<String>,
    /// `group.consumer.migration.policy`.
    pub migration: Migration,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self {
            is_enabled: true,
            session_timeout: Duration::from_secs(45),
            session_timeout_min: Duration::from_secs(45),
            session_timeout_max: Duration::from_secs(60),
            heartbeat_interval: Duration::from_secs(5),
            heartbeat_interval_min: Duration::from_secs(5),
            heartbeat_interval_max: Duration::from_secs(15),
            assignment_interval: Duration::from_secs(1),
            assignment_interval_min: Duration::ZERO,
            assignment_interval_max: Duration::from_secs(15),
            regex_refresh_interval: Duration::from_secs(600),
            members_max: i32::MAX as usize,
            assignors: vec!["uniform".to_owned(), "range".to_owned()],
            migration: Migration::Bidirectional,
        }
    }
}

/// Settings of the group coordinator; the defaults are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members.
    pub initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`.
    pub session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_max: Duration,
    /// `group.max.size`.
    pub members_max: usize,
    /// `offset.metadata.max.bytes`; Kafka counts UTF-16 units.
    pub offset_metadata_max: usize,
    /// `offsets.retention.minutes`.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check: Duration,
    /// `offsets.commit.timeout.ms`: how long an answer waits for its records to be committed.
    pub commit_timeout: Duration,
    /// Those of the new protocol.
    pub consumer: ConsumerSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            initial_rebalance_delay: Duration::from_secs(3),
            session_timeout_min: Duration::from_secs(6),
            session_timeout_max: Duration::from_secs(1800),
            members_max: i32::MAX as usize,
            offset_metadata_max: 4096,
            offsets_retention: Duration::from_secs(7 * 24 * 3600),
            offsets_retention_check: Duration::from_secs(600),
            commit_timeout: Duration::from_secs(5),
            consumer: ConsumerSettings::default(),
        }
    }
}
