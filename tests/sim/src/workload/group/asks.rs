//! The requests of a member, in whatever version is spoken with its coordinator.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{ErrorCode, NodeId};
use tokio::time::Instant;
use wire::api::ApiKey;
use wire::messages::join_group_request::JoinGroupRequestProtocol;
use wire::messages::leave_group_request::MemberIdentity;
use wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use wire::messages::sync_group_request::SyncGroupRequestAssignment;
use wire::messages::{
    Bytes, GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest,
    OffsetFetchRequest, OffsetFetchResponse, RequestKind, ResponseKind, SyncGroupRequest, text, topic,
};

use super::{GROUP, Member, Next, REBALANCE_MS, SESSION_MS, after};
use crate::workload::client::Key;

const PROTOCOL_TYPE: &str = "consumer";
const PROTOCOL: &str = "share-out";
/// From these versions on requests are built otherwise.
const LEAVE_MANY_FROM: i16 = 3;
const FETCH_GROUPS_FROM: i16 = 8;
/// From these versions on topics have ids instead of names.
pub const OFFSETS_IDS_FROM: i16 = 10;
/// The oldest OffsetFetch that reads what Kafka's own topic holds.
const OFFSET_FETCH_FROM: i16 = 1;
/// Joining waits for the other members.
const JOIN_TIMEOUT: Duration = Duration::from_secs(15);

/// A place in a generation that has no assignment yet.
pub(super) struct Joined {
    pub(super) generation: i32,
    /// All members, where this one is to share out.
    members: Vec<String>,
}

fn group() -> GroupId {
    GroupId(text(GROUP))
}

/// An assignment on the wire: a line a partition.
fn encode(keys: &[Key]) -> Bytes {
    let lines: Vec<String> = keys.iter().map(|(topic, index)| format!("{topic} {index}\n")).collect();
    Bytes::from(lines.concat())
}

fn decode(bytes: &[u8]) -> Vec<Key> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let key = |line: &str| {
        let (topic, index) = line.rsplit_once(' ')?;
        Some((topic.to_owned(), index.parse().ok()?))
    };
    text.lines().filter_map(key).collect()
}

impl Member {
    /// The node that coordinates, for what it answers to be held against.
    pub(super) fn node(&self) -> Option<NodeId> {
        self.coordinator.node()
    }

    async fn ask(
        &mut self,
        api: ApiKey,
        (at_least, at_most): (i16, i16),
        timeout: Option<Duration>,
        request: impl FnOnce(&str, i16) -> RequestKind,
    ) -> Option<ResponseKind> {
        let request = |version| request(&self.member_id, version);
        let (client, spoken) = (self.reader.client(), (api, at_least, at_most));
        self.coordinator.ask(client, &self.recorder, spoken, timeout, request).await
    }

    /// Does as `code` says; whether it was no error.
    fn heed(&mut self, code: ErrorCode) -> bool {
        self.recorder.refused_unless_ok(code);
        self.follow(after(code));
        code == ErrorCode::None
    }

    pub(super) async fn ask_to_join(&mut self) -> Option<Joined> {
        let request = |member: &str, version: i16| {
            let protocol = JoinGroupRequestProtocol::default().with_name(text(PROTOCOL));
            JoinGroupRequest::default()
                .with_group_id(group())
                .with_session_timeout_ms(SESSION_MS)
                .with_rebalance_timeout_ms(if version >= 1 { REBALANCE_MS } else { -1 })
                .with_member_id(text(member))
                .with_protocol_type(text(PROTOCOL_TYPE))
                .with_protocols(vec![protocol])
                .into()
        };
        let answer = self.ask(ApiKey::JoinGroup, (0, i16::MAX), Some(JOIN_TIMEOUT), request).await?;
        let ResponseKind::JoinGroup(joined) = answer else { return None };
        let code = ErrorCode::from_code(joined.error_code);
        if code == ErrorCode::MemberIdRequired {
            self.member_id = joined.member_id.to_string();
            return None;
        }
        if !self.heed(code) {
            return None;
        }
        self.member_id = joined.member_id.to_string();
        let members = joined.members.iter().map(|member| member.member_id.to_string()).collect();
        Some(Joined { generation: joined.generation_id, members })
    }

    /// Shares out where it leads, and hears what its own share is.
    pub(super) async fn ask_for_assignment(&mut self, joined: &Joined) -> Option<Vec<Key>> {
        let shares =
            if joined.members.is_empty() { BTreeMap::new() } else { self.share_out(&joined.members) };
        let share = |(member, keys): (&String, &Vec<Key>)| {
            SyncGroupRequestAssignment::default().with_member_id(text(member)).with_assignment(encode(keys))
        };
        let assignments = shares.iter().map(share).collect();
        let generation = joined.generation;
        let request = |member: &str, _: i16| {
            SyncGroupRequest::default()
                .with_group_id(group())
                .with_generation_id(generation)
                .with_member_id(text(member))
                .with_assignments(assignments)
                .into()
        };
        // Version 5 names the protocol that was chosen; a client that does not know it stays below.
        let answer = self.ask(ApiKey::SyncGroup, (0, 4), Some(JOIN_TIMEOUT), request).await?;
        let ResponseKind::SyncGroup(synced) = answer else { return None };
        self.heed(ErrorCode::from_code(synced.error_code)).then(|| decode(&synced.assignment))
    }

    pub(super) async fn heartbeat(&mut self) {
        let Some(generation) = self.seat.as_ref().map(|seat| seat.generation) else { return };
        let request = |member: &str, _: i16| {
            HeartbeatRequest::default()
                .with_group_id(group())
                .with_generation_id(generation)
                .with_member_id(text(member))
                .into()
        };
        let answer = self.ask(ApiKey::Heartbeat, (0, i16::MAX), None, request).await;
        let Some(ResponseKind::Heartbeat(answer)) = answer else { return };
        let code = ErrorCode::from_code(answer.error_code);
        if code == ErrorCode::RebalanceInProgress {
            // What was read belongs to this generation still.
            self.commit().await;
        }
        if self.heed(code)
            && let Some(seat) = &mut self.seat
        {
            seat.heard = Instant::now();
        }
    }

    pub(super) async fn leave(&mut self) {
        if self.member_id.is_empty() {
            return;
        }
        let request = |member: &str, version: i16| {
            let request = LeaveGroupRequest::default().with_group_id(group());
            let id = text(member);
            let request = if version < LEAVE_MANY_FROM {
                request.with_member_id(id)
            } else {
                request.with_members(vec![MemberIdentity::default().with_member_id(id)])
            };
            request.into()
        };
        self.ask(ApiKey::LeaveGroup, (0, i16::MAX), None, request).await;
        self.member_id.clear();
        self.follow(Next::Rejoin);
    }

    /// What the coordinator says of each partition; nothing when it did not answer.
    pub(super) async fn ask_to_commit(
        &mut self,
        generation: i32,
        positions: &BTreeMap<Key, i64>,
    ) -> Option<BTreeMap<Key, ErrorCode>> {
        let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
        for ((name, index), at) in positions {
            let partition = OffsetCommitRequestPartition::default()
                .with_partition_index(*index)
                .with_committed_offset(*at)
                .with_committed_metadata(Some(text("")));
            match topics.iter_mut().find(|known| known.name.0.as_str() == name) {
                Some(known) => known.partitions.push(partition),
                None => topics.push(
                    OffsetCommitRequestTopic::default()
                        .with_name(topic(name))
                        .with_partitions(vec![partition]),
                ),
            }
        }
        let request = |member: &str, _: i16| {
            OffsetCommitRequest::default()
                .with_group_id(group())
                .with_generation_id_or_member_epoch(generation)
                .with_member_id(text(member))
                .with_topics(topics)
                .into()
        };
        let versions = (0, OFFSETS_IDS_FROM - 1);
        let answer = self.ask(ApiKey::OffsetCommit, versions, None, request).await?;
        let ResponseKind::OffsetCommit(answer) = answer else { return None };
        let mut codes = BTreeMap::new();
        for answered in &answer.topics {
            for partition in &answered.partitions {
                let key = (answered.name.to_string(), partition.partition_index);
                codes.insert(key, ErrorCode::from_code(partition.error_code));
            }
        }
        Some(codes)
    }

    /// Where the group is in these partitions; `at_rest` when every coordinator would have to say the same.
    pub(super) async fn fetch_offsets(
        &mut self,
        keys: &[Key],
        at_rest: bool,
    ) -> Option<BTreeMap<Key, Option<i64>>> {
        let invoked = self.recorder.group(|group, now| group.moment(now));
        let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for (name, index) in keys {
            by_topic.entry(name).or_default().push(*index);
        }
        let request = |_: &str, version: i16| fetch_request(GROUP, &by_topic, version, false).into();
        let versions = (OFFSET_FETCH_FROM, OFFSETS_IDS_FROM - 1);
        let answer = self.ask(ApiKey::OffsetFetch, versions, None, request).await?;
        let ResponseKind::OffsetFetch(answer) = answer else { return None };
        let (code, answered) = told(&answer);
        if !self.heed(code) {
            return None;
        }
        let mut found = BTreeMap::new();
        for (key, code, offset) in answered {
            if !self.heed(code) {
                return None;
            }
            let offset = (offset >= 0).then_some(offset);
            let node = self.node().filter(|_| !at_rest);
            self.recorder.group(|group, now| {
                let partition = crate::workload::record::partition(&key);
                group.fetched(invoked, now, partition, offset.map(model::Offset::new), node);
            });
            found.insert(key, offset);
        }
        Some(found)
    }
}

/// Asks where a group is; `is_stable` when open transactions must not be passed over.
pub fn fetch_request(
    of: &str,
    by_topic: &BTreeMap<&str, Vec<i32>>,
    version: i16,
    is_stable: bool,
) -> OffsetFetchRequest {
    let of = GroupId(text(of));
    if version < FETCH_GROUPS_FROM {
        let one = |(name, indexes): (&&str, &Vec<i32>)| {
            OffsetFetchRequestTopic::default().with_name(topic(name)).with_partition_indexes(indexes.clone())
        };
        let topics = by_topic.iter().map(one).collect();
        return OffsetFetchRequest::default()
            .with_group_id(of)
            .with_topics(Some(topics))
            .with_require_stable(is_stable);
    }
    let one = |(name, indexes): (&&str, &Vec<i32>)| {
        OffsetFetchRequestTopics::default().with_name(topic(name)).with_partition_indexes(indexes.clone())
    };
    let topics = by_topic.iter().map(one).collect();
    let asked = OffsetFetchRequestGroup::default().with_group_id(of).with_topics(Some(topics));
    OffsetFetchRequest::default().with_groups(vec![asked]).with_require_stable(is_stable)
}

/// The answer as a whole, and each partition's error and offset.
pub fn told(answer: &OffsetFetchResponse) -> (ErrorCode, Vec<(Key, ErrorCode, i64)>) {
    let mut found = Vec::new();
    for answered in &answer.topics {
        for one in &answered.partitions {
            let key = (answered.name.to_string(), one.partition_index);
            found.push((key, ErrorCode::from_code(one.error_code), one.committed_offset));
        }
    }
    let Some(group) = answer.groups.first() else {
        return (ErrorCode::from_code(answer.error_code), found);
    };
    for answered in &group.topics {
        for one in &answered.partitions {
            let key = (answered.name.to_string(), one.partition_index);
            found.push((key, ErrorCode::from_code(one.error_code), one.committed_offset));
        }
    }
    (ErrorCode::from_code(group.error_code), found)
}
