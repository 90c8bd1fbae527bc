//! TxnOffsetCommit: offsets that count when their producer's transaction is committed (KIP-98, KIP-447).
//!
//! The records are appended as a batch of that producer ([`producer_of`]); whether its transaction knows of this
//! partition is the shell's question, as for any transactional batch. The answer says that they wait, no more.

use std::sync::Arc;

use model::{ErrorCode, LeaderEpoch, ProducerEpoch, ProducerId, TopicId};
use wire::messages::txn_offset_commit_request::TxnOffsetCommitRequestPartition;
use wire::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use wire::messages::{RequestKind, StrBytes, TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use crate::call::Call;
use crate::classic;
use crate::group::Group;
use crate::offsets::{Committed, OffsetKey};
use crate::refusal::Refusal;
use crate::turn::Turn;

/// Since this version of OffsetCommit members of the new protocol commit; this API has always known their epochs.
const AS_OFFSET_COMMIT: i16 = 9;

/// In whose transaction a request's records are to be appended; `None` for those outside of any.
pub fn producer_of(request: &RequestKind) -> Option<(ProducerId, ProducerEpoch)> {
    match request {
        RequestKind::TxnOffsetCommit(request) => {
            Some((ProducerId::new(request.producer_id.0), ProducerEpoch::new(request.producer_epoch)))
        }
        _ => None,
    }
}

/// Answers when the records are in the log.
pub(crate) fn decide(turn: &mut Turn<'_>, call: &Call, request: &TxnOffsetCommitRequest) {
    turn.behind_all = true;
    let id: Arc<str> = request.group_id.as_str().into();
    let producer = ProducerId::new(request.producer_id.0);
    let allowed = admit(turn, &id, request);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let topic_id = turn.cluster.topic(&topic.name).map_or(TopicId::ZERO, |topic| topic.id);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let outcome = allowed.clone().and_then(|()| committed(turn, topic_id, partition));
            let code = match outcome {
                Ok(committed) => {
                    let key = OffsetKey::new(&id, &topic.name, partition.partition_index);
                    turn.write_pending(producer, key, committed);
                    ErrorCode::None
                }
                Err(refusal) => refusal.code(),
            };
            let answer =
                TxnOffsetCommitResponsePartition::default().with_partition_index(partition.partition_index);
            partitions.push(answer.with_error_code(code.code()));
        }
        let answer = TxnOffsetCommitResponseTopic::default().with_name(topic.name.clone());
        topics.push(answer.with_partitions(partitions));
    }
    turn.reply(call.caller, TxnOffsetCommitResponse::default().with_topics(topics));
}

/// Whether the sender may commit. Who names no member at all may: older clients know of none.
fn admit(turn: &mut Turn<'_>, id: &Arc<str>, request: &TxnOffsetCommitRequest) -> Result<(), Refusal> {
    if id.is_empty() {
        return Err(Refusal::InvalidGroupId);
    }
    let (member, generation) = (&request.member_id, request.generation_id);
    let instance = request.group_instance_id.as_ref();
    let is_nobody = member.is_empty() && generation < 0 && instance.is_none();
    match turn.core.groups.get(id.as_ref()) {
        None if generation < 0 => {
            turn.put(id, classic::Group::new(turn.now.time));
            Ok(())
        }
        None => Err(Refusal::IllegalGeneration { had: -1, got: generation }),
        Some(_) if is_nobody => Ok(()),
        Some(Group::Classic(group)) if generation < 0 && group.is_empty() => Ok(()),
        Some(Group::Classic(group)) => group.validate_in(member, instance, generation),
        Some(Group::Consumer(watched)) => {
            let group = watched.group();
            match group.may_commit(member, generation, AS_OFFSET_COMMIT) {
                Ok(None) => Ok(()),
                Ok(Some(_)) | Err(Refusal::StaleMemberEpoch { .. }) => {
                    Err(Refusal::IllegalGeneration { had: -1, got: generation })
                }
                Err(refusal) => Err(refusal),
            }
        }
    }
}

fn committed(
    turn: &Turn<'_>,
    topic_id: TopicId,
    partition: &TxnOffsetCommitRequestPartition,
) -> Result<Committed, Refusal> {
    let metadata = partition.committed_metadata.as_ref().map_or("", StrBytes::as_str);
    let max = turn.settings.offset_metadata_max;
    if metadata.len() > max && metadata.encode_utf16().count() > max {
        return Err(Refusal::MetadataTooLarge { max });
    }
    Ok(Committed {
        offset: partition.committed_offset,
        leader_epoch: LeaderEpoch::from_wire(partition.committed_leader_epoch),
        metadata: metadata.into(),
        committed_at: turn.now.time,
        expires_at: None,
        topic_id,
    })
}

#[cfg(test)]
mod tests;
