//! OffsetFetch: how far a group is.
//!
//! Answered from what is committed; when the client asks for stable offsets, from all that is appended, once that
//! is committed too. A group that is not there has no offsets, which is no error.

use std::sync::Arc;

use model::ErrorCode;
use wire::messages::offset_fetch_request::OffsetFetchRequestGroup;
use wire::messages::offset_fetch_response::*;
use wire::messages::{OffsetFetchRequest, OffsetFetchResponse, StrBytes, to_wire_uuid, topic};

use crate::call::Call;
use crate::group::Group;
use crate::offsets::{Committed, OffsetKey, Offsets};
use crate::pending_offsets::PendingOffsets;
use crate::refusal::Refusal;
use crate::turn::Turn;

/// From which version on several groups are asked for at once.
const SEVERAL: i16 = 8;
/// Where nothing was committed.
const NONE: i64 = -1;

/// Answers from what is committed.
pub(crate) fn decide(turn: &mut Turn<'_>, call: &Call, request: &OffsetFetchRequest) {
    turn.behind_all = request.require_stable;
    let hard = &turn.core.hard;
    let known = match request.require_stable {
        true => Known { offsets: hard.offsets(), unstable: Some(hard.pending_offsets()) },
        false => Known { offsets: turn.committed, unstable: None },
    };
    let response = if call.caller.version >= SEVERAL {
        let groups = request.groups.iter().map(|group| {
            let topics = group.topics.as_ref().map(|topics| {
                let names = topics.iter().map(|topic| (topic.name.as_str(), &topic.partition_indexes[..]));
                names.collect::<Vec<_>>()
            });
            if let Err(refusal) = admit(turn, group) {
                return OffsetFetchResponseGroup::default()
                    .with_group_id(group.group_id.clone())
                    .with_error_code(refusal.code().code());
            }
            let mut found = known.find(&group.group_id, topics);
            // The ids that were asked for are those to answer with.
            if let Some(asked) = &group.topics {
                found.iter_mut().zip(asked).for_each(|(found, asked)| found.topic_id = asked.topic_id);
            }
            OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone()).with_topics(found)
        });
        OffsetFetchResponse::default().with_groups(groups.collect())
    } else {
        let topics = request.topics.as_ref().map(|topics| {
            let names = topics.iter().map(|topic| (topic.name.as_str(), &topic.partition_indexes[..]));
            names.collect::<Vec<_>>()
        });
        let found = known.find(&request.group_id, topics);
        OffsetFetchResponse::default().with_topics(found.into_iter().map(single).collect())
    };
    turn.reply(call.caller, response);
}

/// Whether a member of the new protocol is who it says, and in the epoch it says.
fn admit(turn: &Turn<'_>, asked: &OffsetFetchRequestGroup) -> Result<(), Refusal> {
    match turn.core.groups.get(asked.group_id.as_str()) {
        Some(Group::Consumer(watched)) => {
            watched.group().may_fetch(asked.member_id.as_deref(), asked.member_epoch)
        }
        _ => Ok(()),
    }
}

/// What is known of offsets, as far as it is asked for.
struct Known<'a> {
    offsets: &'a Offsets,
    /// Those that may change without anybody committing again; `None` when that does not matter.
    unstable: Option<&'a PendingOffsets>,
}

impl Known<'_> {
    /// The offsets asked for, or all that there are.
    fn find(&self, group: &str, topics: Option<Vec<(&str, &[i32])>>) -> Vec<OffsetFetchResponseTopics> {
        let group: Arc<str> = group.into();
        let Some(topics) = topics else { return self.all(&group) };
        let find = |(name, partitions): (&str, &[i32])| {
            let mut key = OffsetKey::new(&group, name, 0);
            let partitions = partitions.iter().map(|&partition| {
                key.partition = partition;
                self.answer(&key, self.offsets.get(&key))
            });
            OffsetFetchResponseTopics::default().with_name(topic(name)).with_partitions(partitions.collect())
        };
        topics.into_iter().map(find).collect()
    }

    fn all(&self, group: &Arc<str>) -> Vec<OffsetFetchResponseTopics> {
        let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
        for (key, committed) in self.offsets.of(group) {
            if topics.last().is_none_or(|last| last.name.as_str() != key.topic.as_ref()) {
                let id = to_wire_uuid(committed.topic_id);
                let next = OffsetFetchResponseTopics::default().with_name(topic(&key.topic));
                topics.push(next.with_topic_id(id));
            }
            let last = topics.last_mut().expect("one was pushed");
            last.partitions.push(self.answer(&key, Some(committed)));
        }
        topics
    }

    fn answer(&self, key: &OffsetKey, committed: Option<&Committed>) -> OffsetFetchResponsePartitions {
        let answer = OffsetFetchResponsePartitions::default().with_partition_index(key.partition);
        if self.unstable.is_some_and(|unstable| unstable.contains(key)) {
            let code = ErrorCode::UnstableOffsetCommit.code();
            return answer.with_committed_offset(NONE).with_error_code(code);
        }
        match committed {
            None => answer.with_committed_offset(NONE),
            Some(committed) => answer
                .with_committed_offset(committed.offset)
                .with_committed_leader_epoch(committed.leader_epoch.map_or(-1, |epoch| epoch.get()))
                .with_metadata(Some(StrBytes::from_string(committed.metadata.to_string()))),
        }
    }
}

/// The same in the shape of the older versions.
fn single(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partitions = topic.partitions.into_iter().map(|partition| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(partition.partition_index)
            .with_committed_offset(partition.committed_offset)
            .with_committed_leader_epoch(partition.committed_leader_epoch)
            .with_metadata(partition.metadata)
            .with_error_code(partition.error_code)
    });
    OffsetFetchResponseTopic::default().with_name(topic.name).with_partitions(partitions.collect())
}
