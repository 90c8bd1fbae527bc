//! A Fetch request as it is worked on: who asks, for which partitions, how much.

use std::sync::Arc;

use config::ReplicaSelector;
use metadata::Image;
use model::{BrokerEpoch, ErrorCode, LeaderEpoch, Mutant, NodeId, Offset, TopicId};
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::{FetchRequest, StrBytes, WireUuid, from_wire_uuid, text};

use crate::data::fetch::sessions::{Claim, Contents, Opened, Ticket, Told, WantKey};
use crate::data::partition::{Partition, ReadAt, Reader};
use crate::data::plane::Plane;
use crate::data::waiters::{Awaits, Waiter};
use crate::dispatch::RequestContext;
use crate::server::ListenerSpec;

/// From this version on topics have ids instead of names.
pub(super) const TOPIC_IDS_FROM: i16 = 13;
/// From this version on a follower tells its registration (KIP-903).
const REPLICA_STATE_FROM: i16 = 15;
/// From this version on a consumer says where it stands, and knows that followers serve (KIP-392).
const FOLLOWERS_SERVE_FROM: i16 = 11;
const READ_COMMITTED: i8 = 1;

/// A request.
pub(super) struct Plan {
    pub(super) plane: Arc<Plane>,
    pub(super) version: i16,
    pub(super) listener: Arc<ListenerSpec>,
    /// The follower, if it is one.
    pub(super) reader: Option<Reader>,
    pub(super) read_committed: bool,
    /// Where a consumer stands, if it said so and is to be sent to a replica near it.
    pub(super) rack: Option<StrBytes>,
    /// The follower shall hear at once what was committed: consumers may read from it.
    pub(super) tells_commits: bool,
    pub(super) bytes_min: usize,
    pub(super) bytes_max: usize,
    pub(super) session: Membership,
    /// What is wanted: by this request, or by its session so far.
    pub(super) contents: Contents,
    /// All positions of a follower count with this request, not only the changed ones.
    pub(super) counts_all: bool,
}

/// What a request has to do with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Membership {
    None,
    /// It opens one when it is answered.
    Opens,
    /// It is part of this one: only what changed is answered.
    Of(Ticket),
}

/// A topic of a request.
pub(super) struct TopicWanted {
    pub(super) name: StrBytes,
    pub(super) id: WireUuid,
}

/// A partition of a request.
pub(super) struct Want {
    pub(super) topic: Arc<TopicWanted>,
    pub(super) index: i32,
    pub(super) partition: Result<Arc<Partition>, ErrorCode>,
    /// `None` is a position that no log has.
    pub(super) at: Option<ReadAt>,
    /// What the session's reader was told last.
    pub(super) told: Option<Told>,
    /// The partition's version at which there was nothing to tell.
    idle_at: Option<u64>,
    /// The session's waiter is subscribed to the partition.
    is_subscribed: bool,
}

impl Want {
    /// A partition that nobody has.
    #[cfg(test)]
    pub(super) fn missing(topic: Arc<TopicWanted>, index: i32) -> Self {
        let partition = Err(ErrorCode::UnknownTopicOrPartition);
        Self { topic, index, partition, at: None, told: None, idle_at: None, is_subscribed: false }
    }

    /// Its name within a session.
    pub(super) fn key(&self) -> WantKey {
        (self.topic.id, self.topic.name.clone(), self.index)
    }

    /// Takes the position of a newer request for the same partition.
    pub(super) fn change(&mut self, newer: Self) {
        self.at = newer.at;
        self.idle_at = None;
        self.set_partition(newer.partition);
    }

    /// The partition as it was found just now.
    pub(super) fn set_partition(&mut self, found: Result<Arc<Partition>, ErrorCode>) {
        let is_same = matches!((&self.partition, &found), (Ok(old), Ok(new)) if Arc::ptr_eq(old, new));
        self.is_subscribed &= is_same;
        self.partition = found;
    }

    /// Whether nothing has changed since there was nothing to tell.
    pub(super) fn is_idle(&self) -> bool {
        let version = self.partition.as_ref().ok().map(|partition| partition.version());
        self.idle_at.is_some() && self.idle_at == version
    }

    /// Notes at which version of the partition there was nothing to tell.
    pub(super) fn set_idle(&mut self, version: Option<u64>) {
        self.idle_at = version;
    }

    /// Has `waiter` woken by the partition from now on.
    pub(super) fn subscribe(&mut self, waiter: &Arc<Waiter>, awaits: Awaits) {
        if let Ok(partition) = &self.partition
            && !self.is_subscribed
        {
            partition.waiters.subscribe(waiter, awaits);
            self.is_subscribed = true;
        }
    }
}

impl Plan {
    /// Resolves a request.
    pub(super) fn new(
        plane: Arc<Plane>,
        image: &Image,
        asker: &RequestContext,
        request: FetchRequest,
    ) -> Result<Self, ErrorCode> {
        let version = asker.version;
        let now = plane.options.clock.now();
        let uses_ids = version >= TOPIC_IDS_FROM;
        let claim = Claim { id: request.session_id, epoch: request.session_epoch, uses_ids };
        let opened = plane.sessions.open(now, claim)?;
        let reader = reader(image, version, &request);
        let bytes = |bytes: i32| usize::try_from(bytes).unwrap_or(0);
        let most = match reader {
            Some(_) => usize::MAX,
            None => plane.options.config.network.fetch_bytes_max as usize,
        };
        let (session, contents) = match opened {
            Opened::Sessionless => (Membership::None, None),
            Opened::Full => (Membership::Opens, None),
            Opened::Incremental(ticket, contents) => (Membership::Of(ticket), Some(contents)),
        };
        let keeps = session != Membership::None;
        let only_stable = reader.is_none() && request.isolation_level == READ_COMMITTED;
        let mut wants = wants(&plane, image, uses_ids, keeps, request.topics);
        wants.iter_mut().filter_map(|want| want.at.as_mut()).for_each(|at| at.only_stable = only_stable);
        let selects = plane.options.config.replication.selector == ReplicaSelector::RackAware;
        let sends_nearer = selects && reader.is_none() && version >= FOLLOWERS_SERVE_FROM;
        let contents = match contents {
            None if keeps => Contents::new(wants, now),
            None => Contents::unkept(wants, now),
            Some(mut contents) => {
                contents.refresh(&plane, image);
                wants.into_iter().for_each(|want| contents.put(want));
                for topic in request.forgotten_topics_data {
                    for index in topic.partitions {
                        contents.forget(&(topic.topic_id, topic.topic.0.clone(), index));
                    }
                }
                contents
            }
        };
        let mut plan = Self {
            plane,
            version,
            listener: asker.listener.clone(),
            reader,
            read_committed: request.isolation_level == READ_COMMITTED,
            rack: Some(request.rack_id).filter(|rack| sends_nearer && !rack.is_empty()),
            tells_commits: selects && reader.is_some(),
            bytes_min: bytes(request.min_bytes),
            bytes_max: bytes(request.max_bytes).min(most),
            session,
            contents,
            counts_all: false,
        };
        plan.counts_all = plan.reader.is_some() && plan.contents.is_time_to_count(now);
        Ok(plan)
    }

    /// Whether it is a consumer that reads from followers too.
    pub(super) fn reads_followers(&self) -> bool {
        self.reader.is_none() && self.version >= FOLLOWERS_SERVE_FROM
    }

    /// Whether only what changed is answered.
    pub(super) fn is_incremental(&self) -> bool {
        matches!(self.session, Membership::Of(_))
    }
}

/// The partitions of a request, in its order. What is kept for a session must not pin the frame.
fn wants(plane: &Plane, image: &Image, uses_ids: bool, keeps: bool, topics: Vec<FetchTopic>) -> Vec<Want> {
    let mut wants = Vec::with_capacity(topics.iter().map(|topic| topic.partitions.len()).sum());
    for topic in topics {
        let name = if keeps { text(topic.topic.as_str()) } else { topic.topic.0 };
        let wanted = Arc::new(TopicWanted { name, id: topic.topic_id });
        let found = find_topic(image, uses_ids, &wanted);
        for data in &topic.partitions {
            let partition = found.and_then(|id| plane.find(image, id, data.partition));
            let (topic, index, at) = (wanted.clone(), data.partition, read_at(data));
            wants.push(Want { topic, index, partition, at, told: None, idle_at: None, is_subscribed: false });
        }
    }
    wants
}

pub(super) fn find_topic(image: &Image, uses_ids: bool, topic: &TopicWanted) -> Result<TopicId, ErrorCode> {
    if uses_ids {
        let found = image.topic_by_id(from_wire_uuid(topic.id)).ok_or(ErrorCode::UnknownTopicId);
        return found.map(|topic| topic.id);
    }
    let found = image.topic(topic.name.as_str()).ok_or(ErrorCode::UnknownTopicOrPartition);
    found.map(|topic| topic.id)
}

impl Want {
    /// Looks for the partition again, after there was none or it could not be used.
    pub(super) fn find_again(&mut self, plane: &Plane, image: &Image) {
        let uses_ids = !self.topic.id.is_nil();
        let found = find_topic(image, uses_ids, &self.topic);
        self.set_partition(found.and_then(|id| plane.find(image, id, self.index)));
    }
}

fn read_at(data: &FetchPartition) -> Option<ReadAt> {
    Some(ReadAt {
        offset: Offset::from_wire(data.fetch_offset)?,
        current_epoch: LeaderEpoch::from_wire(data.current_leader_epoch),
        last_epoch: LeaderEpoch::from_wire(data.last_fetched_epoch),
        log_start: Offset::from_wire(data.log_start_offset),
        bytes_max: usize::try_from(data.partition_max_bytes).unwrap_or(0),
        at_least_one: false,
        only_stable: false,
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
