//! Where a broker's value comes from: its file, the cluster's default, its own override.
//!
//! Dynamic values win over the file, the broker's own over the cluster's. Keys that are
//! synonyms of each other (`log.retention.ms`, `.minutes`, `.hours`) are looked at
//! together, source by source, as Kafka does.

use std::collections::BTreeMap;

use crate::key::{Default, Scope, Value};
use crate::table;

/// Values by key, as they were given.
pub type Overrides = BTreeMap<String, String>;

/// Where a value comes from, numbered as in DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum Source {
    /// Set on the topic.
    DynamicTopic = 1,
    /// Set on the broker at run time.
    DynamicBroker = 2,
    /// Set for all brokers at run time.
    DynamicDefaultBroker = 3,
    /// From `server.properties`.
    StaticBroker = 4,
    /// Set nowhere.
    Default = 5,
    /// Set on a subscription to client metrics.
    ClientMetrics = 7,
    /// Set on a group.
    Group = 8,
}

/// A broker's values, source by source.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// Set on this broker at run time.
    pub broker: &'a Overrides,
    /// Set for all brokers at run time.
    pub cluster: &'a Overrides,
    /// From `server.properties`: [`crate::NodeConfig::file`].
    pub file: &'a Overrides,
}

/// Empty overrides, to borrow.
static NONE: Overrides = BTreeMap::new();

impl<'a> Layers<'a> {
    /// A file alone.
    pub fn of_file(file: &'a Overrides) -> Self {
        Self { broker: &NONE, cluster: &NONE, file }
    }

    /// Nothing but Kafka's defaults.
    pub fn defaults() -> Self {
        Self::of_file(&NONE)
    }

    /// The value of a broker key that counts; `None` where it has none.
    pub fn value(&self, name: &'static str) -> Option<Value> {
        let places = self.places(&broker_synonyms(name));
        places.into_iter().find_map(|(_, name, text)| table::find(Scope::Broker, name)?.parse(text).ok())
    }

    /// Every place where one of `names` has a value, the one that counts first.
    pub(crate) fn places(&self, names: &[&'static str]) -> Vec<(Source, &'static str, &'a str)> {
        let sources = [
            (Source::DynamicBroker, self.broker),
            (Source::DynamicDefaultBroker, self.cluster),
            (Source::StaticBroker, self.file),
        ];
        let mut places = Vec::new();
        for (source, values) in sources {
            let set = names.iter().filter_map(|&name| Some((source, name, values.get(name)?.as_str())));
            places.extend(set);
        }
        for &name in names {
            if let Some(Default::Text(text)) = table::find(Scope::Broker, name).map(|key| key.default) {
                places.push((Source::Default, name, text));
            }
        }
        places
    }
}

/// The broker keys behind a topic key, with what one of them is worth in the topic key's unit.
pub(crate) fn topic_synonyms(name: &str) -> &'static [(&'static str, i64)] {
    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;
    match name {
        "cleanup.policy" => &[("log.cleanup.policy", 1)],
        "compression.gzip.level" => &[("compression.gzip.level", 1)],
        "compression.lz4.level" => &[("compression.lz4.level", 1)],
        "compression.type" => &[("compression.type", 1)],
        "compression.zstd.level" => &[("compression.zstd.level", 1)],
        "delete.retention.ms" => &[("log.cleaner.delete.retention.ms", 1)],
        "file.delete.delay.ms" => &[("log.segment.delete.delay.ms", 1)],
        "flush.messages" => &[("log.flush.interval.messages", 1)],
        "flush.ms" => &[("log.flush.interval.ms", 1), ("log.flush.scheduler.interval.ms", 1)],
        "index.interval.bytes" => &[("log.index.interval.bytes", 1)],
        "local.retention.bytes" => &[("log.local.retention.bytes", 1)],
        "local.retention.ms" => &[("log.local.retention.ms", 1)],
        "max.compaction.lag.ms" => &[("log.cleaner.max.compaction.lag.ms", 1)],
        "max.message.bytes" => &[("message.max.bytes", 1)],
        "message.timestamp.after.max.ms" => &[("log.message.timestamp.after.max.ms", 1)],
        "message.timestamp.before.max.ms" => &[("log.message.timestamp.before.max.ms", 1)],
        "message.timestamp.type" => &[("log.message.timestamp.type", 1)],
        "min.cleanable.dirty.ratio" => &[("log.cleaner.min.cleanable.ratio", 1)],
        "min.compaction.lag.ms" => &[("log.cleaner.min.compaction.lag.ms", 1)],
        "min.insync.replicas" => &[("min.insync.replicas", 1)],
        "preallocate" => &[("log.preallocate", 1)],
        "retention.bytes" => &[("log.retention.bytes", 1)],
        "retention.ms" => {
            &[("log.retention.ms", 1), ("log.retention.minutes", MINUTE), ("log.retention.hours", HOUR)]
        }
        "segment.bytes" => &[("log.segment.bytes", 1)],
        "segment.index.bytes" => &[("log.index.size.max.bytes", 1)],
        "segment.jitter.ms" => &[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", HOUR)],
        "segment.ms" => &[("log.roll.ms", 1), ("log.roll.hours", HOUR)],
        "unclean.leader.election.enable" => &[("unclean.leader.election.enable", 1)],
        _ => &[],
    }
}

/// A broker key and the keys that stand in for it, the one that counts first.
pub(crate) fn broker_synonyms(name: &'static str) -> Vec<&'static str> {
    match name {
        "log.retention.ms" => vec![name, "log.retention.minutes", "log.retention.hours"],
        "log.roll.ms" => vec![name, "log.roll.hours"],
        "log.roll.jitter.ms" => vec![name, "log.roll.jitter.hours"],
        "log.flush.interval.ms" => vec![name, "log.flush.scheduler.interval.ms"],
        _ => vec![name],
    }
}
