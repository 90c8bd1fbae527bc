//! What a follower asks its leader: Fetch of all partitions, ListOffsets of those that are lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{BrokerEpoch, LeaderEpoch, Millis, NodeId, Offset};
use wire::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::{BrokerId, FetchRequest, ListOffsetsRequest, to_wire_uuid, topic};

use crate::data::fetchers::Lane;
use crate::data::partition::{Key, Partition};

/// Where a partition stood when its leader was asked.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) partition: Arc<Partition>,
    /// The epoch it is followed in.
    pub(super) epoch: LeaderEpoch,
    /// The end of its log.
    pub(super) offset: Offset,
}

/// A request in the making.
pub(super) struct Round {
    pub(super) asked: BTreeMap<Key, Asked>,
    topics: Vec<FetchTopic>,
    /// The earliest moment at which a partition that was left out may be asked for.
    pub(super) next: Option<Millis>,
}

/// The numbers of a request.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) wait_ms: i32,
    pub(super) bytes_min: i32,
    pub(super) bytes_max: i32,
}

impl Round {
    /// Looks at every partition of `lane`, from `first` on and round, so that none is always last.
    pub(super) fn gather(lane: &Lane, first: Option<Key>, now: Millis, partition_bytes_max: i32) -> Self {
        let mut round = Self { asked: BTreeMap::new(), topics: Vec::new(), next: None };
        let followed = lane.lock();
        let (before, after) = match first {
            Some(first) => (Some(followed.range(..first)), followed.range(first..)),
            None => (None, followed.range(..)),
        };
        for (&key, followed) in after.chain(before.into_iter().flatten()) {
            if let Some(not_before) = followed.not_before.filter(|&not_before| not_before > now) {
                round.next = Some(round.next.map_or(not_before, |next| next.min(not_before)));
                continue;
            }
            round.add(key, followed.partition.clone(), followed.epoch, partition_bytes_max);
        }
        round
    }

    fn add(&mut self, key: Key, partition: Arc<Partition>, epoch: LeaderEpoch, bytes_max: i32) {
        let (offset, data) = {
            let state = partition.lock();
            let Some(log) = &state.log else { return };
            let data = FetchPartition::default()
                .with_partition(key.1.get())
                .with_current_leader_epoch(epoch.get())
                .with_fetch_offset(log.end().get())
                .with_last_fetched_epoch(log.last_fetched_epoch().map_or(-1, LeaderEpoch::get))
                .with_log_start_offset(log.start().get())
                .with_partition_max_bytes(bytes_max);
            (log.end(), data)
        };
        let id = to_wire_uuid(key.0);
        match self.topics.last_mut().filter(|last| last.topic_id == id) {
            Some(last) => last.partitions.push(data),
            None => self.topics.push(FetchTopic::default().with_topic_id(id).with_partitions(vec![data])),
        }
        self.asked.insert(key, Asked { partition, epoch, offset });
    }

    /// The request of follower `me`.
    pub(super) fn request(&mut self, me: NodeId, epoch: Option<BrokerEpoch>, limits: Limits) -> FetchRequest {
        let state = ReplicaState::default()
            .with_replica_id(BrokerId(me.get()))
            .with_replica_epoch(epoch.map_or(-1, BrokerEpoch::get));
        FetchRequest::default()
            .with_replica_state(state)
            .with_max_wait_ms(limits.wait_ms)
            .with_min_bytes(limits.bytes_min)
            .with_max_bytes(limits.bytes_max)
            // No session: every request says all.
            .with_session_epoch(-1)
            .with_topics(std::mem::take(&mut self.topics))
    }
}

/// Asks where logs begin (-2) or end (-1), as a follower: the end is the log's, not the watermark.
pub(super) fn list_offsets(me: NodeId, lost: &[Asked], timestamp: i64) -> ListOffsetsRequest {
    let mut topics: Vec<ListOffsetsTopic> = Vec::new();
    for asked in lost {
        let name = asked.partition.name.topic.as_str();
        let data = ListOffsetsPartition::default()
            .with_partition_index(asked.partition.key.1.get())
            .with_current_leader_epoch(asked.epoch.get())
            .with_timestamp(timestamp);
        match topics.last_mut().filter(|last| last.name.as_str() == name) {
            Some(last) => last.partitions.push(data),
            None => {
                topics.push(ListOffsetsTopic::default().with_name(topic(name)).with_partitions(vec![data]))
            }
        }
    }
    ListOffsetsRequest::default().with_replica_id(BrokerId(me.get())).with_topics(topics)
}
