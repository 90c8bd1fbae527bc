//! A topic's settings in the form that the data plane uses them.
//!
//! Resolved when a topic appears or a config changes, then shared by its partitions.
//! Most topics override nothing: they all share one.

use std::sync::Arc;
use std::time::Duration;

use config::{CleanerConfig, Compression, Layers, NodeConfig, Overrides, TimestampType, TopicConfig, Value};
use log::cleaner::CompactionRules;
use log::{LeaderRules, LogOptions, Retention};
use metadata::{ConfigResource, Image};
use model::{Millis, NodeId, Timestamp};
use replica::LeaderOptions;
use wire::batch::Rules;
use wire::codec::Codec;

use crate::data::throttle::{Throttled, Throttles};

/// Records of one batch may decompress to as much. Kafka has no bound; without one a hundred
/// kilobytes of zeroes ask for gigabytes.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

/// What one topic asks of its partitions.
#[derive(Clone, Debug)]
pub struct TopicSettings {
    /// As configured.
    pub topic: TopicConfig,
    /// For the logs.
    pub log: LogOptions,
    /// For the leaders.
    pub leader: LeaderOptions,
    /// Replicas here that send within a bound.
    pub throttled_leaders: Throttled,
    /// Replicas here that fetch within a bound.
    pub throttled_followers: Throttled,
}

impl TopicSettings {
    fn new(topic: TopicConfig, node: &NodeConfig) -> Self {
        let log = LogOptions {
            segment_bytes: topic.segment_bytes,
            segment_age: segment_age(&topic),
            index_interval_bytes: topic.index_interval_bytes,
            index_bytes_max: topic.segment_index_bytes,
            producer_expiration: node.log.producer_expiration,
        };
        let leader = LeaderOptions {
            lag_max: node.replication.lag_time_max,
            min_isr: usize::try_from(topic.min_insync_replicas).unwrap_or(usize::MAX),
            waits_for_sync: topic.flush_records <= 1,
        };
        let (throttled_leaders, throttled_followers) = (Throttled::Nobody, Throttled::Nobody);
        Self { topic, log, leader, throttled_leaders, throttled_followers }
    }

    /// What a batch must fulfil that is written at `now`.
    pub fn rules(&self, now: Timestamp) -> LeaderRules {
        let topic = &self.topic;
        let log_append_time = topic.timestamp_type == TimestampType::LogAppendTime;
        let before = millis(topic.timestamp_before_max);
        let after = millis(topic.timestamp_after_max);
        let from = Timestamp::new(now.get().saturating_sub(before));
        let to = Timestamp::new(now.get().saturating_add(after));
        LeaderRules {
            batch: Rules {
                batch_bytes_max: topic.batch_bytes_max as usize,
                decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
                needs_keys: topic.cleanup.compact,
                timestamps: (!log_append_time).then_some((from, to)),
                is_rewritten: false,
            },
            log_append_time,
        }
    }

    /// How the topic is compacted, if it is.
    pub fn compaction(&self) -> Option<CompactionRules> {
        let topic = &self.topic;
        let is_bounded = topic.compaction_lag_max < Duration::from_millis(i64::MAX as u64);
        topic.cleanup.compact.then_some(CompactionRules {
            lag_min: topic.compaction_lag_min,
            lag_max: is_bounded.then_some(topic.compaction_lag_max),
            tombstone_retention: topic.tombstone_retention,
        })
    }

    /// What retention keeps; of a topic that is compacted only, all that compaction leaves.
    pub fn retention(&self) -> Option<Retention> {
        let topic = &self.topic;
        let keeps = !topic.cleanup.delete || (topic.retention.is_none() && topic.retention_bytes.is_none());
        (!keeps).then_some(Retention { age: topic.retention, bytes: topic.retention_bytes })
    }

    /// The codec that every batch shall have, with its level; `None` leaves it to the producers.
    pub fn codec(&self) -> Option<(Codec, Option<i32>)> {
        let level = |level: i32, default: i32| (level != default).then_some(level);
        match self.topic.compression {
            Compression::Producer => None,
            Compression::Uncompressed => Some((Codec::None, None)),
            Compression::Gzip(given) => Some((Codec::Gzip, level(given, -1))),
            Compression::Snappy => Some((Codec::Snappy, None)),
            Compression::Lz4(_) => Some((Codec::Lz4, None)),
            Compression::Zstd(given) => Some((Codec::Zstd, level(given, 3))),
        }
    }

    /// As many records may wait for a sync, if there is a limit.
    pub fn flush_records(&self) -> Option<u64> {
        let records = self.topic.flush_records;
        (records < i64::MAX as u64).then_some(records.max(1))
    }

    /// As long may a record wait for a sync, if there is a limit.
    pub fn flush_interval(&self) -> Option<Duration> {
        (self.topic.flush_interval < Duration::from_millis(i64::MAX as u64))
            .then_some(self.topic.flush_interval)
    }
}

/// After so long a segment ends. In a compacted topic no later than it has to be cleaned: the segment
/// that grows never is.
fn segment_age(topic: &TopicConfig) -> Duration {
    if topic.cleanup.compact && !topic.compaction_lag_max.is_zero() {
        topic.segment_age_max.min(topic.compaction_lag_max)
    } else {
        topic.segment_age_max
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Resolves settings over this broker's own.
pub struct SettingsSource {
    node: NodeId,
    config: Arc<NodeConfig>,
    /// Of every topic that overrides nothing; dropped when the broker's own values change.
    plain: Option<Arc<TopicSettings>>,
}

impl SettingsSource {
    /// Settings over `config` and what was set for `node` at run time.
    pub fn new(node: NodeId, config: Arc<NodeConfig>) -> Self {
        Self { node, config, plain: None }
    }

    /// Whether a change of `resource` changes every topic of this broker.
    pub fn is_broad(&self, resource: &ConfigResource) -> bool {
        *resource == ConfigResource::all_brokers() || *resource == ConfigResource::broker(self.node)
    }

    /// Forgets what was resolved over the broker's former values.
    pub fn forget(&mut self) {
        self.plain = None;
    }

    /// The settings of `topic`.
    pub fn of(&mut self, image: &Image, topic: &str) -> Arc<TopicSettings> {
        match image.configs(&ConfigResource::topic(topic)) {
            Some(overrides) => Arc::new(self.resolve(image, overrides)),
            None => match &self.plain {
                Some(plain) => plain.clone(),
                None => {
                    let plain = Arc::new(self.resolve(image, &Overrides::new()));
                    self.plain = Some(plain.clone());
                    plain
                }
            },
        }
    }

    /// Kafka's defaults over the file, for logs that are opened before any metadata is known.
    pub fn before_metadata(config: &NodeConfig) -> TopicSettings {
        TopicSettings::new(TopicConfig::resolve(&Overrides::new(), &Layers::of_file(&config.file)), config)
    }

    /// `num.replica.fetchers`, which may change at run time.
    pub fn fetchers(&self, image: &Image) -> u32 {
        let number = self.number(image, "num.replica.fetchers");
        number.and_then(|number| u32::try_from(number).ok()).unwrap_or(self.config.replication.fetchers)
    }

    /// `cordoned.log.dirs` as it is now.
    pub fn cordoned(&self, image: &Image) -> Vec<String> {
        match self.with_layers(image, |layers| layers.value("cordoned.log.dirs")) {
            Some(Value::List(named)) => named,
            _ => Vec::new(),
        }
    }

    /// `log.dir.reserve.bytes` as it is now.
    pub fn reserve_bytes(&self, image: &Image) -> i64 {
        self.number(image, "log.dir.reserve.bytes").unwrap_or(self.config.log.reserve_bytes)
    }

    /// Sets the bounds on replication's bytes as they are now.
    pub fn set_rates(&self, image: &Image, now: Millis, throttles: &Throttles) {
        let rate = |key| self.number(image, key);
        throttles.leader.set_rate(now, rate("leader.replication.throttled.rate"));
        throttles.follower.set_rate(now, rate("follower.replication.throttled.rate"));
        throttles.moves.set_rate(now, rate("replica.alter.log.dirs.io.max.bytes.per.second"));
    }

    /// `log.cleaner.*` as it is now.
    pub fn cleaner(node: NodeId, config: &NodeConfig, image: &Image) -> CleanerConfig {
        let none = Overrides::new();
        let broker = image.configs(&ConfigResource::broker(node)).unwrap_or(&none);
        let cluster = image.configs(&ConfigResource::all_brokers()).unwrap_or(&none);
        CleanerConfig::resolve(&Layers { broker, cluster, file: &config.file })
    }

    /// A number among this broker's own settings, as it is now.
    fn number(&self, image: &Image, key: &'static str) -> Option<i64> {
        match self.with_layers(image, |layers| layers.value(key)) {
            Some(Value::Number(number)) => Some(number),
            _ => None,
        }
    }

    fn resolve(&self, image: &Image, overrides: &Overrides) -> TopicSettings {
        let topic = self.with_layers(image, |layers| TopicConfig::resolve(overrides, layers));
        let throttled = |key| Throttled::read(overrides, key, self.node);
        TopicSettings {
            throttled_leaders: throttled("leader.replication.throttled.replicas"),
            throttled_followers: throttled("follower.replication.throttled.replicas"),
            ..TopicSettings::new(topic, &self.config)
        }
    }

    fn with_layers<T>(&self, image: &Image, work: impl FnOnce(&Layers<'_>) -> T) -> T {
        let none = Overrides::new();
        let broker = image.configs(&ConfigResource::broker(self.node)).unwrap_or(&none);
        let cluster = image.configs(&ConfigResource::all_brokers()).unwrap_or(&none);
        work(&Layers { broker, cluster, file: &self.config.file })
    }
}
