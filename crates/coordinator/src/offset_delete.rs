//! OffsetDelete: forget what a group committed for topics that it does not read any more (KIP-496).

use std::sync::Arc;

use model::ErrorCode;
use wire::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use wire::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use crate::call::Call;
use crate::group::Group;
use crate::offsets::OffsetKey;
use crate::record::Entry;
use crate::refusal::Refusal;
use crate::turn::Turn;

/// Answers when the offsets are gone for good.
pub(crate) fn decide(turn: &mut Turn<'_>, call: &Call, request: &OffsetDeleteRequest) {
    turn.behind_all = true;
    let response = delete(turn, request)
        .unwrap_or_else(|refusal| OffsetDeleteResponse::default().with_error_code(refusal.code().code()));
    turn.reply(call.caller, response);
}

fn delete(turn: &mut Turn<'_>, request: &OffsetDeleteRequest) -> Result<OffsetDeleteResponse, Refusal> {
    if request.group_id.is_empty() {
        return Err(Refusal::InvalidGroupId);
    }
    let id: Arc<str> = request.group_id.as_str().into();
    let not_found = || Refusal::GroupIdNotFound { group: id.to_string() };
    let group = turn.core.groups.get(id.as_ref()).ok_or_else(not_found)?.clone();
    if let Group::Classic(group) = &group
        && !group.is_empty()
        && !group.is_of_consumers()
    {
        return Err(Refusal::NonEmptyGroup);
    }
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let code = match group.is_subscribed_to(&topic.name) {
            true => Refusal::SubscribedToTopic.code(),
            false => ErrorCode::None,
        };
        let partitions = topic.partitions.iter().map(|partition| {
            let key = OffsetKey::new(&id, &topic.name, partition.partition_index);
            if !code.is_error() && turn.core.hard.offsets().get(&key).is_some() {
                turn.write(Entry::Offset(key, None));
            }
            OffsetDeleteResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code.code())
        });
        let partitions = partitions.collect();
        topics.push(
            OffsetDeleteResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions),
        );
    }
    Ok(OffsetDeleteResponse::default().with_topics(topics))
}
