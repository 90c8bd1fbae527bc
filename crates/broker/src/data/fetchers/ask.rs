//! What a follower asks its leader: Fetch of what changed since the last request, ListOffsets of
//! partitions that are lost.
//!
//! Leader and follower keep a fetch session (KIP-227): the leader knows the position of each
//! partition, and hears of those that moved. A partition at which nobody wrote costs a look at
//! its version here, and nothing on the wire. Where the leader has no room for a session, every
//! request says all.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{BrokerEpoch, ErrorCode, LeaderEpoch, Millis, NodeId, Offset, PartitionIndex};
use wire::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic, ReplicaState};
use wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::{
    BrokerId, FetchRequest, FetchResponse, ListOffsetsRequest, from_wire_uuid, to_wire_uuid, topic,
};

use crate::data::fetchers::{Followed, Lane};
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

/// What the leader knows of one partition.
struct Known {
    asked: Asked,
    log_start: Offset,
    last_epoch: Option<LeaderEpoch>,
    /// The partition's version when it was looked at.
    version: u64,
}

/// The session with one leader.
#[derive(Default)]
pub(super) struct Session {
    /// 0 is none.
    id: i32,
    /// What the next request says; 0 opens a session, and closes the one of the same id.
    epoch: i32,
    /// What the leader knows, or knew of the last full request.
    known: BTreeMap<Key, Known>,
}

/// A request in the making.
pub(super) struct Round {
    topics: Vec<FetchTopic>,
    forgotten: Vec<ForgottenTopic>,
    /// How many partitions the leader knows with this request.
    pub(super) partitions: usize,
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

impl Session {
    /// The leader may know anything now: the next request says all.
    pub(super) fn restart(&mut self) {
        self.epoch = 0;
        self.known.clear();
    }

    /// The leader has no such session.
    fn lose(&mut self) {
        self.id = 0;
        self.restart();
    }

    /// Takes what an answer says of the session. False when it is refused, and to be opened anew.
    pub(super) fn take(&mut self, response: &FetchResponse) -> bool {
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::FetchSessionIdNotFound => self.lose(),
            ErrorCode::InvalidFetchSessionEpoch | ErrorCode::FetchSessionTopicIdError => self.restart(),
            ErrorCode::None if response.session_id == 0 => {
                (self.id, self.epoch) = (0, 0);
                return true;
            }
            ErrorCode::None => {
                self.id = response.session_id;
                self.epoch = self.epoch.checked_add(1).unwrap_or(1);
                return true;
            }
            _ => self.restart(),
        }
        false
    }

    /// Where the partitions of an answer stood when they were asked for.
    pub(super) fn asked(&self, response: &FetchResponse) -> BTreeMap<Key, Asked> {
        let keys = response.responses.iter().flat_map(|topic| {
            let id = from_wire_uuid(topic.topic_id);
            topic.partitions.iter().map(move |it| (id, PartitionIndex::new(it.partition_index)))
        });
        keys.filter_map(|key| Some((key, self.known.get(&key)?.asked.clone()))).collect()
    }

    /// Looks at every partition of `lane`, from `first` on and round when all are told, so that none is
    /// always last. Those that rest are left out.
    pub(super) fn gather(
        &mut self,
        lane: &Lane,
        first: Option<Key>,
        now: Millis,
        partition_bytes_max: i32,
        rests_until: impl Fn(&Followed) -> Option<Millis>,
    ) -> Round {
        if self.epoch == 0 {
            self.known.clear();
        }
        let mut round = Round { topics: Vec::new(), forgotten: Vec::new(), partitions: 0, next: None };
        let followed = lane.lock();
        let (before, after) = match first.filter(|_| self.epoch == 0) {
            Some(first) => (Some(followed.range(..first)), followed.range(first..)),
            None => (None, followed.range(..)),
        };
        for (&key, followed) in after.chain(before.into_iter().flatten()) {
            if let Some(not_before) = rests_until(followed).filter(|&not_before| not_before > now) {
                round.next = Some(round.next.map_or(not_before, |next| next.min(not_before)));
                continue;
            }
            if self.look(&mut round, key, followed, partition_bytes_max) {
                round.partitions += 1;
            }
        }
        if self.known.len() > round.partitions {
            let is_wanted = |key: &Key| {
                let followed = followed.get(key)?;
                let is_delayed = rests_until(followed).is_some_and(|not_before| not_before > now);
                (!is_delayed && followed.partition.look().log.is_some()).then_some(())
            };
            self.forget(&mut round, |key| is_wanted(key).is_some());
        }
        round
    }

    /// Adds a partition to `round`, if the leader does not know where it stands. False when it has no log.
    fn look(&mut self, round: &mut Round, key: Key, followed: &Followed, bytes_max: i32) -> bool {
        let Followed { partition, epoch, .. } = followed;
        let known = self
            .known
            .get_mut(&key)
            .filter(|known| Arc::ptr_eq(&known.asked.partition, partition) && known.asked.epoch == *epoch);
        if known.as_ref().is_some_and(|known| known.version == partition.version()) {
            return true;
        }
        let state = partition.look();
        let Some(log) = &state.log else { return false };
        let (offset, log_start, last_epoch) = (log.end(), log.start(), log.last_fetched_epoch());
        let version = partition.version();
        drop(state);
        if let Some(known) = known
            && (known.asked.offset, known.log_start, known.last_epoch) == (offset, log_start, last_epoch)
        {
            known.version = version;
            return true;
        }
        let data = FetchPartition::default()
            .with_partition(key.1.get())
            .with_current_leader_epoch(epoch.get())
            .with_fetch_offset(offset.get())
            .with_last_fetched_epoch(last_epoch.map_or(-1, LeaderEpoch::get))
            .with_log_start_offset(log_start.get())
            .with_partition_max_bytes(bytes_max);
        let id = to_wire_uuid(key.0);
        match round.topics.last_mut().filter(|last| last.topic_id == id) {
            Some(last) => last.partitions.push(data),
            None => round.topics.push(FetchTopic::default().with_topic_id(id).with_partitions(vec![data])),
        }
        let asked = Asked { partition: partition.clone(), epoch: *epoch, offset };
        self.known.insert(key, Known { asked, log_start, last_epoch, version });
        true
    }

    fn forget(&mut self, round: &mut Round, is_wanted: impl Fn(&Key) -> bool) {
        let forgotten = &mut round.forgotten;
        self.known.retain(|key, _| {
            let stays = is_wanted(key);
            if !stays {
                let id = to_wire_uuid(key.0);
                match forgotten.last_mut().filter(|last: &&mut ForgottenTopic| last.topic_id == id) {
                    Some(last) => last.partitions.push(key.1.get()),
                    None => forgotten
                        .push(ForgottenTopic::default().with_topic_id(id).with_partitions(vec![key.1.get()])),
                }
            }
            stays
        });
        round.partitions = self.known.len();
    }

    /// The request of follower `me`.
    pub(super) fn request(
        &self,
        round: Round,
        me: NodeId,
        epoch: Option<BrokerEpoch>,
        limits: Limits,
    ) -> FetchRequest {
        let state = ReplicaState::default()
            .with_replica_id(BrokerId(me.get()))
            .with_replica_epoch(epoch.map_or(-1, BrokerEpoch::get));
        FetchRequest::default()
            .with_replica_state(state)
            .with_max_wait_ms(limits.wait_ms)
            .with_min_bytes(limits.bytes_min)
            .with_max_bytes(limits.bytes_max)
            .with_session_id(self.id)
            .with_session_epoch(self.epoch)
            .with_topics(round.topics)
            .with_forgotten_topics_data(round.forgotten)
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
