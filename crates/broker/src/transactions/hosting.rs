//! The transaction coordinator's shard as something to host, and its settings.

use std::sync::Arc;

use config::NodeConfig;
use coordinator::transactions::{Marked, Marker, ReplayError, Settings, Shard};
use coordinator::{AppendFailure, Call, Now, Record, Reply};
use model::{LeaderEpoch, Millis, Offset, ProducerId};
use wire::batch::{self, BatchHeader};

use crate::groups::hosted::Hosted;
use crate::groups::internal_topics::InternalTopic;
use crate::publish::Picture;

/// The feature that says how transactions are made (KIP-890).
const TRANSACTION_VERSION: &str = "transaction.version";
/// Most producer ids that are asked for at once: a block has no more.
const IDS_MAX: usize = 1_000;

/// What a shard has done elsewhere.
pub enum Errand {
    /// Partitions are told how transactions ended.
    Markers(Vec<Marker>),
    /// So many producer ids are drawn.
    ProducerIds(usize),
}

/// A shard, and what it waits for.
pub struct Hosting {
    shard: Shard,
    /// Producer ids were asked for, and are not there.
    draws: bool,
    /// How many partitions `__consumer_offsets` will have, until it has.
    offsets_partitions: i32,
}

impl Hosting {
    /// One that has to be loaded.
    pub fn new(settings: Settings, high_watermark: Offset, epoch: LeaderEpoch) -> Self {
        let offsets_partitions = settings.offsets_partitions;
        Self { shard: Shard::new(settings, high_watermark, epoch), draws: false, offsets_partitions }
    }

    /// What became of markers.
    pub fn hear(&mut self, now: Now, marked: &[Marked]) {
        marked.iter().for_each(|marked| self.shard.marked(now, marked));
    }

    /// Producer ids that nobody has; none when there are none right now.
    pub fn take_producer_ids(&mut self, ids: Vec<ProducerId>) {
        self.draws = false;
        match ids.is_empty() {
            true => self.shard.no_producer_ids(),
            false => self.shard.give_producer_ids(ids),
        }
    }
}

impl Hosted for Hosting {
    type Errand = Errand;
    type ReplayError = ReplayError;

    fn see(&mut self, picture: &Arc<Picture>) {
        let image = &picture.image;
        let partitions = InternalTopic::Offsets.partitions(image).unwrap_or(self.offsets_partitions);
        self.shard.see(image.feature(TRANSACTION_VERSION).unwrap_or(0), partitions);
    }

    fn replay(&mut self, header: &BatchHeader, record: &batch::Record<'_>) -> Result<(), ReplayError> {
        if header.is_control() {
            return Ok(());
        }
        let Some(key) = record.key else {
            tracing::warn!(offset = %record.offset, "a record of __transaction_state without a key was passed over");
            return Ok(());
        };
        match self.shard.replay(key, record.value, record.offset) {
            // What a later release wrote for itself means nothing here, as in Kafka (KIP-915).
            Err(error @ ReplayError::UnknownType { .. }) => {
                tracing::warn!(%error, "a record was passed over");
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn loaded(&mut self, now: Now) {
        self.shard.loaded(now);
    }

    fn handle(&mut self, now: Now, call: &Call) -> Option<Vec<Record>> {
        self.shard.handle(now, call)
    }

    fn next_deadline(&self) -> Option<Millis> {
        self.shard.next_deadline()
    }

    fn tick(&mut self, now: Now) -> Vec<Record> {
        self.shard.tick(now)
    }

    /// A partition that is no more is found to be gone when its marker is sent.
    fn forget_topic(&mut self, _: Now, _: &str) -> Vec<Record> {
        Vec::new()
    }

    fn appended(&mut self, last: Offset) {
        self.shard.appended(last);
    }

    fn append_failed(&mut self, failure: AppendFailure) {
        self.shard.append_failed(failure);
    }

    fn committed(&mut self, _: Now, high_watermark: Offset) {
        self.shard.committed(high_watermark);
    }

    fn replies(&mut self) -> Vec<Reply> {
        self.shard.replies()
    }

    fn errands(&mut self) -> Vec<Errand> {
        let mut errands = Vec::new();
        let markers = self.shard.markers();
        if !markers.is_empty() {
            errands.push(Errand::Markers(markers));
        }
        let wanted = self.shard.producer_ids_wanted().min(IDS_MAX);
        if wanted > 0 && !self.draws {
            self.draws = true;
            errands.push(Errand::ProducerIds(wanted));
        }
        errands
    }

    fn resign(self) -> Vec<Reply> {
        self.shard.resign()
    }
}

/// What is configured, as the coordinator knows it. What the metadata says comes with [`Hosted::see`].
pub fn settings(config: &NodeConfig) -> Settings {
    let configured = &config.transactions;
    Settings {
        timeout_max_ms: configured.timeout_max_ms,
        id_expiration: configured.id_expiration,
        abort_interval: configured.abort_interval,
        expiration_interval: configured.expiration_interval,
        commit_timeout: config.network.request_timeout,
        version: 0,
        offsets_partitions: config.groups.topic.partitions,
        ..Settings::default()
    }
}
