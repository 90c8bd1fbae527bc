//! The group coordinator's shard as something to host, and its settings.

use std::sync::Arc;

use config::{Bounded, GroupsConfig, OffsetsCodec};
use coordinator::{
    AppendFailure, Call, ConsumerSettings, Migration, Now, Rebalanced, Record, ReplayError, Reply, Settings,
    Shard,
};
use model::{Millis, Offset};
use wire::batch::{self, BatchHeader, EndMarker};
use wire::codec::Codec;

use crate::groups::hosted::Hosted;
use crate::groups::view::View;
use crate::publish::Picture;

impl Hosted for Shard {
    /// What goes into the node's log.
    type Errand = Rebalanced;
    type ReplayError = ReplayError;

    fn see(&mut self, picture: &Arc<Picture>) {
        self.set_cluster(Arc::new(View(picture.clone())));
    }

    fn replay(&mut self, header: &BatchHeader, record: &batch::Record<'_>) -> Result<(), ReplayError> {
        let producer = header.producer().filter(|_| header.is_transactional());
        if header.is_control() {
            if let (Some(producer), Some(commit)) = (producer, EndMarker::commits(record)) {
                self.replay_end(producer.id, commit, record.offset);
            }
            return Ok(());
        }
        let Some(key) = record.key else {
            tracing::warn!(offset = %record.offset, "a record of __consumer_offsets without a key was passed over");
            return Ok(());
        };
        let replayed = match producer {
            Some(producer) => self.replay_transactional(producer.id, key, record.value, record.offset),
            None => Self::replay(self, key, record.value, record.offset),
        };
        match replayed {
            // What a later release wrote for itself means nothing here, as in Kafka (KIP-915).
            Err(error @ ReplayError::UnknownType { .. }) => {
                tracing::warn!(%error, "a record was passed over");
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn loaded(&mut self, now: Now) {
        Self::loaded(self, now);
    }

    fn handle(&mut self, now: Now, call: &Call) -> Option<Vec<Record>> {
        Self::handle(self, now, call)
    }

    fn next_deadline(&self) -> Option<Millis> {
        Self::next_deadline(self)
    }

    fn tick(&mut self, now: Now) -> Vec<Record> {
        Self::tick(self, now)
    }

    fn forget_topic(&mut self, now: Now, topic: &str) -> Vec<Record> {
        Self::forget_topic(self, now, topic)
    }

    fn appended(&mut self, last: Offset) {
        Self::appended(self, last);
    }

    fn append_failed(&mut self, failure: AppendFailure) {
        Self::append_failed(self, failure);
    }

    fn committed(&mut self, _: Now, high_watermark: Offset) {
        Self::committed(self, high_watermark);
    }

    fn replies(&mut self) -> Vec<Reply> {
        Self::replies(self)
    }

    fn errands(&mut self) -> Vec<Rebalanced> {
        self.rebalanced()
    }

    fn resign(self) -> Vec<Reply> {
        Self::resign(self)
    }
}

/// What is configured, as the coordinator knows it.
pub fn settings(config: &GroupsConfig) -> Settings {
    let consumer = &config.consumer;
    let Bounded { default: session_timeout, min: session_timeout_min, max: session_timeout_max } =
        consumer.session_timeout;
    let Bounded { default: heartbeat_interval, min: heartbeat_interval_min, max: heartbeat_interval_max } =
        consumer.heartbeat_interval;
    let Bounded { default: assignment_interval, min: assignment_interval_min, max: assignment_interval_max } =
        consumer.assignment_interval;
    Settings {
        initial_rebalance_delay: config.initial_rebalance_delay,
        session_timeout_min: config.session_timeout_min,
        session_timeout_max: config.session_timeout_max,
        members_max: config.members_max as usize,
        offset_metadata_max: config.metadata_bytes_max as usize,
        offsets_retention: config.retention,
        offsets_retention_check: config.retention_check_interval,
        commit_timeout: config.commit_timeout,
        consumer: ConsumerSettings {
            is_enabled: consumer.is_enabled,
            session_timeout,
            session_timeout_min,
            session_timeout_max,
            heartbeat_interval,
            heartbeat_interval_min,
            heartbeat_interval_max,
            assignment_interval,
            assignment_interval_min,
            assignment_interval_max,
            regex_refresh_interval: consumer.regex_refresh_interval,
            members_max: consumer.members_max as usize,
            assignors: consumer.assignors.clone(),
            // Every word of the table is one.
            migration: Migration::from_name(&consumer.migration_policy).unwrap_or(Migration::Bidirectional),
        },
    }
}

/// `offsets.topic.compression.codec`.
pub fn codec(configured: OffsetsCodec) -> Codec {
    match configured {
        OffsetsCodec::None => Codec::None,
        OffsetsCodec::Gzip => Codec::Gzip,
        OffsetsCodec::Snappy => Codec::Snappy,
        OffsetsCodec::Lz4 => Codec::Lz4,
        OffsetsCodec::Zstd => Codec::Zstd,
    }
}
