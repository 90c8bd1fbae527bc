//! Groups and transactions: their internal topics, and the bounds of their members.
//!
//! `coordinator` has settings of its own, with types of its own; whoever runs it
//! translates. Here is what a file may say, and what Kafka refuses together.

use std::time::Duration;

use crate::reader::Reader;

/// How records are compressed that the group coordinator writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetsCodec {
    /// Not at all.
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// What an internal topic is created with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalTopicConfig {
    /// `….num.partitions`.
    pub partitions: i32,
    /// `….replication.factor`.
    pub replication_factor: i16,
    /// `….segment.bytes`.
    pub segment_bytes: u32,
    /// `….load.buffer.size`: as much of the log is read at once while it is loaded.
    pub load_buffer_bytes: u32,
}

/// `group.*` and `offsets.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupsConfig {
    /// `offsets.topic.*`.
    pub topic: InternalTopicConfig,
    /// `offsets.topic.compression.codec`.
    pub codec: OffsetsCodec,
    /// `offsets.commit.timeout.ms`.
    pub commit_timeout: Duration,
    /// `offset.metadata.max.bytes`.
    pub metadata_bytes_max: u32,
    /// `offsets.retention.minutes`.
    pub retention: Duration,
    /// `offsets.retention.check.interval.ms`.
    pub retention_check_interval: Duration,
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`.
    pub session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_max: Duration,
    /// `group.max.size`.
    pub members_max: u32,
    /// `group.consumer.*`: groups of the new protocol (KIP-848).
    pub consumer: ConsumerGroupsConfig,
}

/// A duration with its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounded {
    /// What holds where a group says nothing.
    pub default: Duration,
    /// The least.
    pub min: Duration,
    /// The most.
    pub max: Duration,
}

/// `group.consumer.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupsConfig {
    /// Whether `group.coordinator.rebalance.protocols` names them.
    pub is_enabled: bool,
    /// `group.consumer.session.timeout.ms`.
    pub session_timeout: Bounded,
    /// `group.consumer.heartbeat.interval.ms`.
    pub heartbeat_interval: Bounded,
    /// `group.consumer.assignment.interval.ms`.
    pub assignment_interval: Bounded,
    /// `group.consumer.regex.refresh.interval.ms`.
    pub regex_refresh_interval: Duration,
    /// `group.consumer.max.size`.
    pub members_max: u32,
    /// `group.consumer.assignors`.
    pub assignors: Vec<String>,
    /// `group.consumer.migration.policy`.
    pub migration_policy: String,
}

/// `transaction.state.log.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionLogConfig {
    /// The topic's shape.
    pub topic: InternalTopicConfig,
    /// `transaction.state.log.min.isr`.
    pub min_isr: u32,
}

/// How long transactions may be open, and their ids unused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionsConfig {
    /// `transaction.max.timeout.ms`.
    pub timeout_max_ms: i32,
    /// `transactional.id.expiration.ms`.
    pub id_expiration: Duration,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`.
    pub abort_interval: Duration,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`.
    pub expiration_interval: Duration,
    /// `add.partitions.to.txn.retry.backoff.ms`.
    pub add_pause_max: Duration,
    /// `add.partitions.to.txn.retry.backoff.max.ms`.
    pub add_patience: Duration,
}

pub(crate) fn read(reader: &mut Reader<'_>) -> GroupsConfig {
    let codec = read_codec(reader);
    GroupsConfig {
        topic: InternalTopicConfig {
            partitions: partitions(reader, "offsets.topic.num.partitions"),
            replication_factor: factor(reader, "offsets.topic.replication.factor"),
            segment_bytes: reader.small("offsets.topic.segment.bytes"),
            load_buffer_bytes: reader.small("offsets.load.buffer.size"),
        },
        codec,
        commit_timeout: reader.millis("offsets.commit.timeout.ms"),
        metadata_bytes_max: reader.small("offset.metadata.max.bytes"),
        retention: Duration::from_secs(reader.count("offsets.retention.minutes").saturating_mul(60)),
        retention_check_interval: reader.millis("offsets.retention.check.interval.ms"),
        initial_rebalance_delay: reader.millis("group.initial.rebalance.delay.ms"),
        session_timeout_min: reader.millis("group.min.session.timeout.ms"),
        session_timeout_max: reader.millis("group.max.session.timeout.ms"),
        members_max: reader.small("group.max.size"),
        consumer: read_consumer(reader),
    }
}

pub(crate) fn read_transaction_log(reader: &Reader<'_>) -> TransactionLogConfig {
    TransactionLogConfig {
        topic: InternalTopicConfig {
            partitions: partitions(reader, "transaction.state.log.num.partitions"),
            replication_factor: factor(reader, "transaction.state.log.replication.factor"),
            segment_bytes: reader.small("transaction.state.log.segment.bytes"),
            load_buffer_bytes: reader.small("transaction.state.log.load.buffer.size"),
        },
        min_isr: reader.small("transaction.state.log.min.isr"),
    }
}

pub(crate) fn read_transactions(reader: &Reader<'_>) -> TransactionsConfig {
    TransactionsConfig {
        timeout_max_ms: i32::try_from(reader.count("transaction.max.timeout.ms")).unwrap_or(i32::MAX),
        id_expiration: reader.millis("transactional.id.expiration.ms"),
        abort_interval: reader.millis("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
        expiration_interval: reader.millis("transaction.remove.expired.transaction.cleanup.interval.ms"),
        add_pause_max: reader.millis("add.partitions.to.txn.retry.backoff.ms"),
        add_patience: reader.millis("add.partitions.to.txn.retry.backoff.max.ms"),
    }
}

fn read_consumer(reader: &mut Reader<'_>) -> ConsumerGroupsConfig {
    let session_timeout = bounded(reader, "session.timeout");
    let heartbeat_interval = bounded(reader, "heartbeat.interval");
    if session_timeout.default <= heartbeat_interval.default {
        let expected =
            "group.consumer.heartbeat.interval.ms must be less than group.consumer.session.timeout.ms";
        reader.problem(
            "group.consumer.heartbeat.interval.ms",
            expected,
            "lower it, or raise group.consumer.session.timeout.ms",
        );
    }
    let protocols = reader.list("group.coordinator.rebalance.protocols");
    ConsumerGroupsConfig {
        is_enabled: protocols.iter().any(|name| name == "consumer"),
        session_timeout,
        heartbeat_interval,
        assignment_interval: bounded(reader, "assignment.interval"),
        regex_refresh_interval: reader.millis("group.consumer.regex.refresh.interval.ms"),
        members_max: reader.small("group.consumer.max.size"),
        assignors: reader.list("group.consumer.assignors"),
        migration_policy: reader.text("group.consumer.migration.policy").unwrap_or_default(),
    }
}

/// `group.consumer.[min.|max.]NAME.ms`, in their order.
fn bounded(reader: &mut Reader<'_>, name: &str) -> Bounded {
    let key = |bound: &str| format!("group.consumer.{bound}{name}.ms");
    let (min_key, max_key, key) = (key("min."), key("max."), key(""));
    let found =
        Bounded { default: reader.millis(&key), min: reader.millis(&min_key), max: reader.millis(&max_key) };
    if found.max < found.min {
        let expected = format!("{max_key} must be greater than or equal to {min_key}");
        reader.problem(&max_key, expected, format!("raise it, or lower {min_key}"));
    } else if found.default < found.min {
        let expected = format!("{key} must be greater than or equal to {min_key}");
        reader.problem(&key, expected, format!("raise it, or lower {min_key}"));
    } else if found.default > found.max {
        let expected = format!("{key} must be less than or equal to {max_key}");
        reader.problem(&key, expected, format!("lower it, or raise {max_key}"));
    }
    found
}

fn partitions(reader: &Reader<'_>, key: &str) -> i32 {
    i32::try_from(reader.small(key)).unwrap_or(i32::MAX)
}

fn factor(reader: &Reader<'_>, key: &str) -> i16 {
    i16::try_from(reader.small(key)).unwrap_or(i16::MAX)
}

fn read_codec(reader: &mut Reader<'_>) -> OffsetsCodec {
    const KEY: &str = "offsets.topic.compression.codec";
    let known =
        [OffsetsCodec::None, OffsetsCodec::Gzip, OffsetsCodec::Snappy, OffsetsCodec::Lz4, OffsetsCodec::Zstd];
    let asked = reader.number(KEY).and_then(|number| usize::try_from(number).ok());
    match asked.and_then(|number| known.get(number)) {
        Some(codec) => *codec,
        None => {
            let expected = "Unknown compression type id";
            reader.problem(KEY, expected, "set 0 (none), 1 (gzip), 2 (snappy), 3 (lz4) or 4 (zstd)");
            OffsetsCodec::None
        }
    }
}
