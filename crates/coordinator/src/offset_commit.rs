//! OffsetCommit: a member, or a simple consumer, notes how far it is.

use std::sync::Arc;
use std::time::Duration;

use model::{ErrorCode, LeaderEpoch, Timestamp, TopicId};
use wire::messages::offset_commit_request::OffsetCommitRequestPartition;
use wire::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use wire::messages::{OffsetCommitRequest, OffsetCommitResponse, StrBytes, from_wire_uuid};

use crate::call::Call;
use crate::classic::{self, Phase, rebalance};
use crate::consumer::LateCommit;
use crate::group::Group;
use crate::offsets::{self, Committed};
use crate::record::Entry;
use crate::refusal::Refusal;
use crate::turn::Turn;

/// From which version on an unknown group has a code of its own.
const KNOWS_UNKNOWN_GROUPS: i16 = 9;

/// Answers when the offsets are committed.
pub(crate) fn decide(turn: &mut Turn<'_>, call: &Call, request: &OffsetCommitRequest) {
    turn.behind_all = true;
    let id: Arc<str> = request.group_id.as_str().into();
    let allowed = admit(turn, call.caller.version, &id, request);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let topic_id = from_wire_uuid(topic.topic_id);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let outcome = match &allowed {
                Ok(None) => committed(turn, request, partition),
                Ok(Some(late)) => late
                    .admit(id_of(turn, topic_id, &topic.name), partition.partition_index)
                    .and_then(|()| committed(turn, request, partition)),
                Err(refusal) => Err(refusal.clone()),
            };
            let code = match outcome {
                Ok(committed) => {
                    let offsets = turn.core.hard.offsets();
                    let key = offsets.key(&id, &topic.name, partition.partition_index);
                    turn.write(Entry::Offset(key, Some(Committed { topic_id, ..committed })));
                    ErrorCode::None
                }
                Err(refusal) => refusal.code(),
            };
            partitions.push(
                OffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(code.code()),
            );
        }
        let answer = OffsetCommitResponseTopic::default();
        topics.push(
            answer.with_name(topic.name.clone()).with_topic_id(topic.topic_id).with_partitions(partitions),
        );
    }
    turn.reply(call.caller, OffsetCommitResponse::default().with_topics(topics));
}

/// Whether the sender may commit; a group that only stores offsets begins with its first.
fn admit(
    turn: &mut Turn<'_>,
    version: i16,
    id: &Arc<str>,
    request: &OffsetCommitRequest,
) -> Result<Option<LateCommit>, Refusal> {
    let generation = request.generation_id_or_member_epoch;
    let group = match turn.core.groups.get(id.as_ref()) {
        Some(Group::Classic(group)) => group.clone(),
        Some(Group::Consumer(watched)) => {
            return watched.group().may_commit(&request.member_id, generation, version);
        }
        None if generation < 0 => {
            turn.put(id, classic::Group::new(turn.now.time));
            return Ok(None);
        }
        None if version >= KNOWS_UNKNOWN_GROUPS => {
            return Err(Refusal::GroupIdNotFound { group: id.to_string() });
        }
        None => return Err(Refusal::IllegalGeneration { had: -1, got: generation }),
    };
    let instance = request.group_instance_id.as_ref();
    if generation < 0 && group.is_empty() {
        // An administrator, or a consumer without a group.
    } else if generation >= 0 || !request.member_id.is_empty() || instance.is_some() {
        group.validate_in(&request.member_id, instance, generation)?;
    } else {
        return Err(Refusal::unknown_member(&request.member_id));
    }
    match group.phase() {
        Phase::CompletingRebalance => return Err(Refusal::RebalanceInProgress),
        Phase::Stable | Phase::PreparingRebalance(_) => {
            if let Some(member) = group.member(&request.member_id) {
                let mut heard = classic::Group::clone(&group);
                rebalance::hear(turn, id, &mut heard, &member.id);
                turn.put(id, heard);
            }
        }
        Phase::Empty => {}
    }
    Ok(None)
}

/// A topic's id: the request's, or for a name that of the topic there is.
fn id_of(turn: &Turn<'_>, id: TopicId, name: &str) -> TopicId {
    if id.is_zero() { turn.cluster.topic(name).map_or(id, |topic| topic.id) } else { id }
}

fn committed(
    turn: &Turn<'_>,
    request: &OffsetCommitRequest,
    partition: &OffsetCommitRequestPartition,
) -> Result<Committed, Refusal> {
    let metadata = partition.committed_metadata.as_ref().map_or("", StrBytes::as_str);
    let max = turn.settings.offset_metadata_max;
    if metadata.len() > max && metadata.encode_utf16().count() > max {
        return Err(Refusal::MetadataTooLarge { max });
    }
    let retention = u64::try_from(request.retention_time_ms).ok().map(Duration::from_millis);
    Ok(Committed {
        offset: partition.committed_offset,
        leader_epoch: LeaderEpoch::from_wire(partition.committed_leader_epoch),
        metadata: offsets::note(metadata),
        committed_at: turn.now.time,
        expires_at: retention.map(|retention| later(turn.now.time, retention)),
        topic_id: model::Uuid::ZERO,
    })
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    Timestamp::new(time.get().saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
}
