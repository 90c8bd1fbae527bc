//! A topic's configuration: its overrides over the broker's values, typed.
//!
//! Resolving never fails. What the log holds was checked when it was set; a value that
//! cannot be read all the same (another version wrote it) counts as not set.

use std::time::Duration;

use crate::key::{Default, Key, Scope, Value};
use crate::layers::{Layers, Overrides, Source, topic_synonyms};
use crate::table;

/// What happens to old segments. Neither: everything is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanup {
    /// They go when they are past retention.
    pub delete: bool,
    /// The latest record of each key stays.
    pub compact: bool,
}

/// `compression.type` with its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As the producer sent it.
    Producer,
    /// None.
    Uncompressed,
    /// gzip; -1 is the library's own choice.
    Gzip(i32),
    /// snappy.
    Snappy,
    /// lz4.
    Lz4(i32),
    /// zstd.
    Zstd(i32),
}

/// Whose time records carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's.
    LogAppendTime,
}

/// A topic's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy`.
    pub cleanup: Cleanup,
    /// `compression.type`.
    pub compression: Compression,
    /// `delete.retention.ms`.
    pub tombstone_retention: Duration,
    /// `file.delete.delay.ms`.
    pub file_delete_delay: Duration,
    /// `flush.messages`.
    pub flush_records: u64,
    /// `flush.ms`.
    pub flush_interval: Duration,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `max.message.bytes`.
    pub batch_bytes_max: u32,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max: Duration,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max: Duration,
    /// `min.cleanable.dirty.ratio`.
    pub cleanable_ratio_min: f64,
    /// `min.compaction.lag.ms`.
    pub compaction_lag_min: Duration,
    /// `max.compaction.lag.ms`.
    pub compaction_lag_max: Duration,
    /// `min.insync.replicas`.
    pub min_insync_replicas: u32,
    /// `preallocate`.
    pub preallocate: bool,
    /// `retention.bytes`; `None` for no limit.
    pub retention_bytes: Option<u64>,
    /// `retention.ms`; `None` for ever.
    pub retention: Option<Duration>,
    /// `segment.bytes`, or `internal.segment.bytes` where that is set.
    pub segment_bytes: u32,
    /// `segment.index.bytes`.
    pub segment_index_bytes: u32,
    /// `segment.jitter.ms`.
    pub segment_jitter: Duration,
    /// `segment.ms`.
    pub segment_age_max: Duration,
    /// `unclean.leader.election.enable`.
    pub unclean_leader_election: bool,
}

impl TopicConfig {
    /// A topic's overrides over its broker's values.
    pub fn resolve(overrides: &Overrides, broker: &Layers<'_>) -> Self {
        let values = Values { overrides, broker };
        let internal_segment =
            values.number("internal.segment.bytes").and_then(|bytes| u32::try_from(bytes).ok());
        Self {
            cleanup: values.cleanup(),
            compression: values.compression(),
            tombstone_retention: values.millis("delete.retention.ms"),
            file_delete_delay: values.millis("file.delete.delay.ms"),
            flush_records: values.count("flush.messages"),
            flush_interval: values.millis("flush.ms"),
            index_interval_bytes: values.small("index.interval.bytes"),
            batch_bytes_max: values.small("max.message.bytes"),
            timestamp_type: if values.text("message.timestamp.type") == "LogAppendTime" {
                TimestampType::LogAppendTime
            } else {
                TimestampType::CreateTime
            },
            timestamp_before_max: values.millis("message.timestamp.before.max.ms"),
            timestamp_after_max: values.millis("message.timestamp.after.max.ms"),
            cleanable_ratio_min: values.ratio("min.cleanable.dirty.ratio"),
            compaction_lag_min: values.millis("min.compaction.lag.ms"),
            compaction_lag_max: values.millis("max.compaction.lag.ms"),
            min_insync_replicas: values.small("min.insync.replicas"),
            preallocate: values.flag("preallocate"),
            retention_bytes: values.number("retention.bytes").and_then(|bytes| u64::try_from(bytes).ok()),
            retention: values
                .number("retention.ms")
                .and_then(|millis| u64::try_from(millis).ok())
                .map(Duration::from_millis),
            segment_bytes: internal_segment.unwrap_or_else(|| values.small("segment.bytes")),
            segment_index_bytes: values.small("segment.index.bytes"),
            segment_jitter: values.millis("segment.jitter.ms"),
            segment_age_max: values.millis("segment.ms"),
            unclean_leader_election: values.flag("unclean.leader.election.enable"),
        }
    }
}

/// Kafka's defaults.
impl std::default::Default for TopicConfig {
    fn default() -> Self {
        Self::resolve(&Overrides::new(), &Layers::defaults())
    }
}

/// The value of a topic key and the source that counts; `None` where it is absent.
pub(crate) fn effective(key: &Key, overrides: &Overrides, broker: &Layers<'_>) -> Option<(Value, Source)> {
    if let Some(value) = overrides.get(key.name).and_then(|text| key.parse(text).ok()) {
        return Some((value, Source::DynamicTopic));
    }
    let synonyms = topic_synonyms(key.name);
    let names: Vec<&'static str> = synonyms.iter().map(|(name, _)| *name).collect();
    for (source, name, text) in broker.places(&names) {
        let Some(value) = table::find(Scope::Broker, name).and_then(|key| key.parse(text).ok()) else {
            continue;
        };
        let worth = synonyms.iter().find(|(synonym, _)| *synonym == name).map_or(1, |(_, worth)| *worth);
        return Some((scale(value, worth), source));
    }
    match key.default {
        Default::Text(_) => key.default_value().map(|value| (value, Source::Default)),
        Default::Absent | Default::Required => None,
    }
}

/// A value in the topic key's unit; -1 is "no limit" in every unit.
fn scale(value: Value, worth: i64) -> Value {
    match value {
        Value::Number(number) if number > 0 => Value::Number(number.saturating_mul(worth)),
        other => other,
    }
}

struct Values<'a> {
    overrides: &'a Overrides,
    broker: &'a Layers<'a>,
}

impl Values<'_> {
    fn value(&self, name: &str) -> Option<Value> {
        let key = table::find(Scope::Topic, name).unwrap_or_else(|| panic!("{name} is not in keys.txt"));
        effective(key, self.overrides, self.broker).map(|(value, _)| value)
    }

    fn number(&self, name: &str) -> Option<i64> {
        match self.value(name) {
            Some(Value::Number(number)) => Some(number),
            _ => None,
        }
    }

    fn count(&self, name: &str) -> u64 {
        self.number(name).map_or(0, |number| u64::try_from(number).unwrap_or(0))
    }

    fn small(&self, name: &str) -> u32 {
        u32::try_from(self.count(name)).unwrap_or(u32::MAX)
    }

    fn millis(&self, name: &str) -> Duration {
        Duration::from_millis(self.count(name))
    }

    fn flag(&self, name: &str) -> bool {
        matches!(self.value(name), Some(Value::Bool(true)))
    }

    fn text(&self, name: &str) -> String {
        self.value(name).map_or_else(String::new, |value| value.to_string())
    }

    fn ratio(&self, name: &str) -> f64 {
        match self.value(name) {
            Some(Value::Double(ratio)) => ratio,
            _ => 0.0,
        }
    }

    fn cleanup(&self) -> Cleanup {
        let names = match self.value("cleanup.policy") {
            Some(Value::List(names)) => names,
            _ => Vec::new(),
        };
        let has = |policy: &str| names.iter().any(|name| name == policy);
        Cleanup { delete: has("delete"), compact: has("compact") }
    }

    fn compression(&self) -> Compression {
        let level = |name: &str| self.number(name).and_then(|level| i32::try_from(level).ok()).unwrap_or(-1);
        match self.text("compression.type").as_str() {
            "uncompressed" => Compression::Uncompressed,
            "gzip" => Compression::Gzip(level("compression.gzip.level")),
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4(level("compression.lz4.level")),
            "zstd" => Compression::Zstd(level("compression.zstd.level")),
            _ => Compression::Producer,
        }
    }
}
