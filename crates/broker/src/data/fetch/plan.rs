//! A Fetch request as it is worked on: who asks, for which partitions, how much.

use std::sync::Arc;

use metadata::Image;
use model::{BrokerEpoch, ErrorCode, LeaderEpoch, Mutant, NodeId, Offset};
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::{FetchRequest, StrBytes, WireUuid, from_wire_uuid, to_wire_uuid};

use crate::data::partition::{Partition, ReadAt, Reader};
use crate::data::plane::Plane;
use crate::dispatch::RequestContext;
use crate::server::ListenerSpec;

/// From this version on topics have ids instead of names.
const TOPIC_IDS_FROM: i16 = 13;
/// From this version on a follower tells its registration (KIP-903).
const REPLICA_STATE_FROM: i16 = 15;
const READ_COMMITTED: i8 = 1;

/// A request.
pub(super) struct Plan {
    pub(super) plane: Arc<Plane>,
    pub(super) version: i16,
    pub(super) listener: Arc<ListenerSpec>,
    /// The follower, if it is one.
    pub(super) reader: Option<Reader>,
    pub(super) read_committed: bool,
    pub(super) bytes_min: usize,
    pub(super) bytes_max: usize,
    pub(super) topics: Vec<TopicWanted>,
    /// The partitions of all topics, in the request's order.
    pub(super) wants: Vec<Want>,
}

/// A topic of the request.
pub(super) struct TopicWanted {
    pub(super) name: StrBytes,
    pub(super) id: WireUuid,
    /// Its id, as the metadata says.
    pub(super) resolved: WireUuid,
    /// How many of the wants are its.
    pub(super) count: usize,
}

/// A partition of the request.
pub(super) struct Want {
    /// Which of the topics.
    pub(super) topic: usize,
    pub(super) index: i32,
    pub(super) partition: Result<Arc<Partition>, ErrorCode>,
    pub(super) at: ReadAt,
}

impl Plan {
    /// Resolves a request.
    pub(super) fn new(
        plane: Arc<Plane>,
        image: &Image,
        asker: &RequestContext,
        request: FetchRequest,
    ) -> Self {
        let version = asker.version;
        let reader = reader(image, version, &request);
        let bytes = |bytes: i32| usize::try_from(bytes).unwrap_or(0);
        let most = match reader {
            Some(_) => usize::MAX,
            None => plane.options.config.network.fetch_bytes_max as usize,
        };
        let mut plan = Self {
            plane,
            version,
            listener: asker.listener.clone(),
            reader,
            read_committed: request.isolation_level == READ_COMMITTED,
            bytes_min: bytes(request.min_bytes),
            bytes_max: bytes(request.max_bytes).min(most),
            topics: Vec::with_capacity(request.topics.len()),
            wants: Vec::new(),
        };
        for topic in request.topics {
            plan.add(image, topic);
        }
        plan
    }

    fn add(&mut self, image: &Image, topic: FetchTopic) {
        let found = if self.version >= TOPIC_IDS_FROM {
            image.topic_by_id(from_wire_uuid(topic.topic_id)).ok_or(ErrorCode::UnknownTopicId)
        } else {
            image.topic(topic.topic.as_str()).ok_or(ErrorCode::UnknownTopicOrPartition)
        };
        for data in &topic.partitions {
            let partition = match found {
                Ok(found) => self.plane.find(image, found.id, data.partition),
                Err(code) => Err(code),
            };
            let at = read_at(data);
            // A position that no log has is out of range wherever the log is.
            let partition = match at {
                Some(_) => partition,
                None => partition.and(Err(ErrorCode::OffsetOutOfRange)),
            };
            let at = at.unwrap_or(NOWHERE);
            self.wants.push(Want { topic: self.topics.len(), index: data.partition, partition, at });
        }
        self.topics.push(TopicWanted {
            name: topic.topic.0,
            id: topic.topic_id,
            resolved: found.map_or(WireUuid::nil(), |found| to_wire_uuid(found.id)),
            count: topic.partitions.len(),
        });
    }
}

const NOWHERE: ReadAt = ReadAt {
    offset: Offset::ZERO,
    current_epoch: None,
    last_epoch: None,
    log_start: None,
    bytes_max: 0,
    at_least_one: false,
};

fn read_at(data: &FetchPartition) -> Option<ReadAt> {
    Some(ReadAt {
        offset: Offset::from_wire(data.fetch_offset)?,
        current_epoch: LeaderEpoch::from_wire(data.current_leader_epoch),
        last_epoch: LeaderEpoch::from_wire(data.last_fetched_epoch),
        log_start: Offset::from_wire(data.log_start_offset),
        bytes_max: usize::try_from(data.partition_max_bytes).unwrap_or(0),
        at_least_one: false,
    })
}

/// The follower that asks. Whether it may be in sync is the metadata's word (KIP-841, KIP-903).
fn reader(image: &Image, version: i16, request: &FetchRequest) -> Option<Reader> {
    let (id, epoch) = if version >= REPLICA_STATE_FROM {
        (request.replica_state.replica_id.0, request.replica_state.replica_epoch)
    } else {
        (request.replica_id.0, -1)
    };
    let node = NodeId::from_wire(id)?;
    let broker_epoch = BrokerEpoch::from_wire(epoch);
    let eligible = image.broker(node).is_some_and(|broker| {
        let is_same = broker_epoch.is_none_or(|epoch| epoch == broker.epoch);
        Mutant::FenceIgnored.is_planted() || (!broker.fenced && !broker.in_controlled_shutdown && is_same)
    });
    Some(Reader { node, broker_epoch, eligible })
}
