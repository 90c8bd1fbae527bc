//! How a node compacts its logs: the keys `log.cleaner.*`, which may change at run time.
//!
//! What a topic asks of its own compaction (lags, ratio, retention of tombstones) is in
//! [`crate::TopicConfig`].

use std::time::Duration;

use crate::key::Value;
use crate::layers::Layers;
use crate::reader::Reader;

/// The least that Kafka lets a cleaner have for the offsets of keys.
const DEDUPE_BYTES_MIN: u64 = 1 << 20;
const DEDUPE_BUFFER: &str = "log.cleaner.dedupe.buffer.size";
const THREADS: &str = "log.cleaner.threads";

/// `log.cleaner.*`.
#[derive(Clone, Debug, PartialEq)]
pub struct CleanerConfig {
    /// `log.cleaner.enable`.
    pub enabled: bool,
    /// `log.cleaner.threads`: logs cleaned at the same time.
    pub threads: u32,
    /// `log.cleaner.dedupe.buffer.size`: memory for the offsets of keys, of all threads together.
    pub dedupe_bytes: u64,
    /// `log.cleaner.io.buffer.load.factor`: how full that may become.
    pub load_factor: f64,
    /// `log.cleaner.io.buffer.size`: read and write buffers of all threads together.
    pub buffer_bytes: u32,
    /// `log.cleaner.io.max.bytes.per.second`, read and written, of all threads together.
    pub bytes_per_second: f64,
    /// `log.cleaner.backoff.ms`: the pause when there is nothing to clean.
    pub backoff: Duration,
}

impl CleanerConfig {
    /// A broker's values as they are now.
    pub fn resolve(broker: &Layers<'_>) -> Self {
        let number = |name| match broker.value(name) {
            Some(Value::Number(number)) => u64::try_from(number).unwrap_or(0),
            _ => 0,
        };
        let double = |name| match broker.value(name) {
            Some(Value::Double(double)) => double,
            _ => 0.0,
        };
        let small = |name| u32::try_from(number(name)).unwrap_or(u32::MAX);
        Self {
            enabled: broker.value("log.cleaner.enable") != Some(Value::Bool(false)),
            threads: small(THREADS),
            dedupe_bytes: number(DEDUPE_BUFFER),
            load_factor: double("log.cleaner.io.buffer.load.factor"),
            buffer_bytes: small("log.cleaner.io.buffer.size"),
            bytes_per_second: double("log.cleaner.io.max.bytes.per.second"),
            backoff: Duration::from_millis(number("log.cleaner.backoff.ms")),
        }
    }

    /// Memory for the offsets of keys that one log may use.
    pub fn dedupe_bytes_each(&self) -> u64 {
        (self.dedupe_bytes / u64::from(self.threads.max(1))).max(DEDUPE_BYTES_MIN)
    }
}

/// Notes what Kafka would not start with.
pub(crate) fn check(reader: &mut Reader<'_>) {
    let threads = reader.count(THREADS).max(1);
    if reader.count(DEDUPE_BUFFER) / threads <= DEDUPE_BYTES_MIN {
        let expected = "log.cleaner.dedupe.buffer.size must be at least 1MB per cleaner thread.";
        reader.problem(DEDUPE_BUFFER, expected, "raise it, or lower log.cleaner.threads");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::CleanerConfig;
    use crate::layers::{Layers, Overrides};

    #[test]
    fn what_is_set_at_run_time_counts_before_the_file() {
        let own: Overrides = [("log.cleaner.threads", "2"), ("log.cleaner.io.max.bytes.per.second", "1e6")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let file: Overrides = [("log.cleaner.threads", "9"), ("log.cleaner.backoff.ms", "100")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let cluster = Overrides::new();
        let config = CleanerConfig::resolve(&Layers { broker: &own, cluster: &cluster, file: &file });
        assert_eq!((config.threads, config.bytes_per_second), (2, 1e6));
        assert_eq!((config.backoff, config.dedupe_bytes_each()), (Duration::from_millis(100), 64 << 20));
        let defaults = CleanerConfig::resolve(&Layers::defaults());
        assert!(defaults.enabled);
        assert_eq!((defaults.threads, defaults.dedupe_bytes_each()), (1, 128 << 20));
        assert_eq!((defaults.load_factor, defaults.buffer_bytes), (0.9, 512 << 10));
        assert_eq!((defaults.backoff, defaults.bytes_per_second), (Duration::from_secs(15), f64::MAX));
    }
}
