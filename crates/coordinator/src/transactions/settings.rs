//! What an operator sets for transactions, under Kafka's names.

use std::time::Duration;

/// Settings of the transaction coordinator; the defaults are Kafka's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `transaction.max.timeout.ms`.
    pub timeout_max_ms: i32,
    /// `transactional.id.expiration.ms`.
    pub id_expiration: Duration,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`.
    pub abort_interval: Duration,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`.
    pub expiration_interval: Duration,
    /// `request.timeout.ms`: how long an answer waits for its record to be committed.
    pub commit_timeout: Duration,
    /// How long to wait before a marker that could not be written is sent again.
    pub marker_retry: Duration,
    /// The cluster's `transaction.version`.
    pub version: i16,
    /// How many partitions `__consumer_offsets` has: AddOffsetsToTxn adds one of them.
    pub offsets_partitions: i32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout_max_ms: 15 * 60 * 1000,
            id_expiration: Duration::from_secs(7 * 24 * 3600),
            abort_interval: Duration::from_secs(10),
            expiration_interval: Duration::from_secs(3600),
            commit_timeout: Duration::from_secs(30),
            marker_retry: Duration::from_millis(100),
            version: 2,
            offsets_partitions: 50,
        }
    }
}
