//! What a consumer asks beside records: where a log begins and ends, and whether the log
//! it read is still the log after its leader changed (KIP-320).

use std::collections::BTreeMap;

use judge::history::{OpId, Place};
use model::{ErrorCode, LeaderEpoch};
use wire::api::ApiKey;
use wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use wire::messages::{BrokerId, ListOffsetsRequest, OffsetForLeaderEpochRequest, ResponseKind, topic};

use crate::workload::client::{Key, NO_EPOCH, begin, finish};
use crate::workload::consumer::{Consumer, Position};

/// ListOffsets' names for the end and the beginning of a log.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// The first version of ListOffsets that names the leader epoch that the client knows (KIP-320).
const LIST_EPOCH_FROM: i16 = 4;
/// The first version of OffsetForLeaderEpoch that does.
const VALIDATE_EPOCH_FROM: i16 = 2;
/// The oldest version that can answer with one offset and not a list of them.
const LIST_OFFSETS_FROM: i16 = 1;

impl Consumer {
    /// Finds the beginnings that are asked for, and validates what a new leader may have cut.
    pub(super) async fn settle_positions(&mut self) {
        let unset: Vec<Key> = self.keys(|position| position.next.is_none());
        for (key, start) in self.list_offsets(&unset, EARLIEST).await {
            self.positions.insert(key, Position::at(start));
        }
        let moved = self.positions.iter().filter(|(key, position)| {
            let epoch = self.client.leader(key).map_or(-1, |leader| leader.epoch);
            position.next.is_some() && position.read_epoch >= 0 && epoch > position.validated
        });
        let moved: Vec<Key> = moved.map(|(key, _)| key.clone()).collect();
        for key in moved {
            self.validate(&key).await;
        }
    }

    fn keys(&self, which: impl Fn(&Position) -> bool) -> Vec<Key> {
        self.positions.iter().filter(|(_, position)| which(position)).map(|(key, _)| key.clone()).collect()
    }

    /// Where the log of each partition ends for consumers.
    pub async fn ends(&mut self, keys: &[Key]) -> BTreeMap<Key, i64> {
        self.list_offsets(keys, LATEST).await
    }

    /// The beginning, the end, or where some time is, of one assigned partition.
    pub(super) async fn ask_some_offset(&mut self) {
        let keys = self.keys(|position| position.next.is_some());
        if keys.is_empty() {
            return;
        }
        let key = keys[self.client.rng.usize(..keys.len())].clone();
        let now = self.recorder.wall().get();
        let at = match self.client.rng.u8(..3) {
            0 => EARLIEST,
            1 => LATEST,
            _ => now - self.client.rng.i64(0..=30_000),
        };
        self.list_offsets(&[key], at).await;
    }

    /// Asks each partition's leader for the offset at `timestamp`; partitions that failed are left out.
    async fn list_offsets(&mut self, keys: &[Key], timestamp: i64) -> BTreeMap<Key, i64> {
        let mut by_leader: BTreeMap<i32, Vec<&Key>> = BTreeMap::new();
        for key in keys {
            match self.client.leader(key) {
                Some(leader) => by_leader.entry(leader.node).or_default().push(key),
                None => self.client.distrust(),
            }
        }
        let mut found = BTreeMap::new();
        for (node, keys) in by_leader {
            self.list_at(node, &keys, timestamp, &mut found).await;
        }
        found
    }

    async fn list_at(&mut self, node: i32, keys: &[&Key], timestamp: i64, found: &mut BTreeMap<Key, i64>) {
        let Ok(link) = self.client.link_to(node).await else { return };
        let Some(version) = link.version(ApiKey::ListOffsets, LIST_OFFSETS_FROM, i16::MAX) else { return };
        let mut asked: BTreeMap<Key, OpId> = BTreeMap::new();
        let mut topics: Vec<ListOffsetsTopic> = Vec::new();
        for key in keys {
            let epoch = self.client.epoch(key, version, LIST_EPOCH_FROM);
            asked.insert((*key).clone(), self.recorder.list_began(key, place(timestamp), epoch));
            let data = ListOffsetsPartition::default()
                .with_partition_index(key.1)
                .with_timestamp(timestamp)
                .with_current_leader_epoch(epoch.unwrap_or(NO_EPOCH).get());
            match topics.iter_mut().find(|known| known.name.0.as_str() == key.0) {
                Some(known) => known.partitions.push(data),
                None => topics
                    .push(ListOffsetsTopic::default().with_name(topic(&key.0)).with_partitions(vec![data])),
            }
        }
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics);
        let answer = finish(begin(&link, version, request, self.client.request_timeout)).await;
        let Ok(ResponseKind::ListOffsets(response)) = answer else { return self.client.distrust() };
        for answered in &response.topics {
            for data in &answered.partitions {
                if data.error_code != 0 {
                    self.recorder.refused(ErrorCode::from_code(data.error_code));
                    self.client.distrust();
                    continue;
                }
                let key = (answered.name.0.to_string(), data.partition_index);
                if let Some(op) = asked.remove(&key) {
                    self.recorder.list_ended(op, data.offset);
                    found.insert(key, data.offset);
                }
            }
        }
    }

    /// Asks a leader that is new to this consumer where the epoch it read last ends there.
    async fn validate(&mut self, key: &Key) {
        let (Some(leader), Some(position)) = (self.client.leader(key), self.positions.get(key).copied())
        else {
            return;
        };
        // Not every client asks: a position that was right stays right without.
        if self.client.rng.bool() {
            return self.mark_validated(key, leader.epoch);
        }
        let Ok(link) = self.client.link_to(leader.node).await else { return };
        let Some(version) = link.any_version(ApiKey::OffsetForLeaderEpoch) else { return };
        let named = LeaderEpoch::from_wire(leader.epoch).filter(|_| version >= VALIDATE_EPOCH_FROM);
        let data = OffsetForLeaderPartition::default()
            .with_partition(key.1)
            .with_current_leader_epoch(named.unwrap_or(NO_EPOCH).get())
            .with_leader_epoch(position.read_epoch);
        let data = OffsetForLeaderTopic::default().with_topic(topic(&key.0)).with_partitions(vec![data]);
        let request = OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1));
        let request = request.with_topics(vec![data]);
        let answer = finish(begin(&link, version, request, self.client.request_timeout)).await;
        let Ok(ResponseKind::OffsetForLeaderEpoch(response)) = answer else { return self.client.distrust() };
        let found = response.topics.iter().flat_map(|topic| &topic.partitions).next();
        let Some(found) = found.filter(|found| found.error_code == ErrorCode::None.code()) else {
            return self.client.distrust();
        };
        let next = position.next.unwrap_or_default();
        if found.end_offset >= 0 && found.end_offset < next {
            self.recorder.truncated(key, next, found.end_offset, named);
            self.positions.insert(key.clone(), Position::at(found.end_offset));
        }
        self.mark_validated(key, leader.epoch);
    }

    fn mark_validated(&mut self, key: &Key, epoch: i32) {
        if let Some(position) = self.positions.get_mut(key) {
            position.validated = epoch;
        }
    }
}

/// What is asked for, in the judge's words.
fn place(timestamp: i64) -> Place {
    match timestamp {
        EARLIEST => Place::Earliest,
        LATEST => Place::Latest,
        _ => Place::Time,
    }
}
