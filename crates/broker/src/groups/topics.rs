//! Topics in requests about groups: those that do not exist are answered here, the rest goes on.
//!
//! As in Kafka a partition that does not exist has a code of its own beside whatever the group's
//! coordinator says of the others, and a request of which nothing is left asks nobody. From version 10
//! on topics go by their ids: behind this place they have their names.

use std::sync::Arc;

use metadata::Image;
use model::{ErrorCode, PartitionIndex};
use wire::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use wire::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use wire::messages::offset_fetch_response::{OffsetFetchResponsePartitions, OffsetFetchResponseTopics};
use wire::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use wire::messages::{
    GroupId, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse,
    OffsetFetchRequest, OffsetFetchResponse, RequestKind, ResponseKind, TxnOffsetCommitRequest,
    TxnOffsetCommitResponse, from_wire_uuid, to_wire_uuid, topic,
};
use wire::topic_ids;

use crate::dispatch::RequestContext;
use crate::groups::admit::{Operation, Resource, permits};
use crate::publish::Picture;

/// All that may be done to a group where nothing is forbidden, as Kafka's bits: read, delete, describe,
/// describe and alter configs.
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// What is done to the coordinator's answer.
pub enum Finish {
    /// Nothing.
    AsIs,
    /// These are added.
    Commit(Vec<OffsetCommitResponseTopic>),
    /// Ids are added to names, and what the ids of each group did not find.
    Fetch(Arc<Picture>, Vec<(GroupId, Vec<OffsetFetchResponseTopics>)>),
    /// These are added.
    CommitInTransaction(Vec<TxnOffsetCommitResponseTopic>),
    /// These are added.
    Delete(Vec<OffsetDeleteResponseTopic>),
    /// What the client may do with each group is added.
    Operations,
    /// With an error there is nothing else in it.
    List,
}

/// What of a request goes to the coordinator, if anything, and what becomes of the answer.
pub fn resolve(
    picture: &Arc<Picture>,
    asker: &RequestContext,
    request: RequestKind,
) -> (Option<RequestKind>, Finish) {
    let image = &picture.image;
    match request {
        RequestKind::OffsetFetch(mut request) if asker.version >= topic_ids::VERSION => {
            let unknown = name_fetched(image, &mut request);
            (Some(request.into()), Finish::Fetch(picture.clone(), unknown))
        }
        RequestKind::OffsetCommit(request) => {
            let (request, refused) = commit(image, asker, request);
            (request.map(Into::into), Finish::Commit(refused))
        }
        RequestKind::TxnOffsetCommit(request) => {
            let (request, refused) = commit_in_transaction(image, asker, request);
            (request.map(Into::into), Finish::CommitInTransaction(refused))
        }
        RequestKind::OffsetDelete(request) => {
            let (request, refused) = delete(image, asker, request);
            (request.map(Into::into), Finish::Delete(refused))
        }
        RequestKind::DescribeGroups(request) if request.include_authorized_operations => {
            (Some(request.into()), Finish::Operations)
        }
        RequestKind::ConsumerGroupDescribe(request) if request.include_authorized_operations => {
            (Some(request.into()), Finish::Operations)
        }
        RequestKind::ListGroups(request) => (Some(request.into()), Finish::List),
        request => (Some(request), Finish::AsIs),
    }
}

impl Finish {
    /// The answer where nobody was asked.
    pub fn alone(self) -> ResponseKind {
        match self {
            Self::Delete(refused) => OffsetDeleteResponse::default().with_topics(refused).into(),
            Self::Commit(refused) => OffsetCommitResponse::default().with_topics(refused).into(),
            Self::CommitInTransaction(refused) => {
                TxnOffsetCommitResponse::default().with_topics(refused).into()
            }
            Self::AsIs | Self::Operations | Self::List | Self::Fetch(..) => {
                unreachable!("only requests about topics may be left with nothing")
            }
        }
    }

    /// The whole answer.
    pub fn with(self, mut response: ResponseKind, version: i16) -> ResponseKind {
        match (self, &mut response) {
            (Self::Commit(refused), ResponseKind::OffsetCommit(response)) if !refused.is_empty() => {
                merge(
                    &mut response.topics,
                    refused,
                    |one, other| (&one.name, one.topic_id) == (&other.name, other.topic_id),
                    |known, topic| known.partitions.extend(topic.partitions),
                );
            }
            (Self::CommitInTransaction(refused), ResponseKind::TxnOffsetCommit(response)) => {
                merge(
                    &mut response.topics,
                    refused,
                    |one, other| one.name == other.name,
                    |known, topic| known.partitions.extend(topic.partitions),
                );
            }
            (Self::Fetch(picture, unknown), ResponseKind::OffsetFetch(response)) => {
                add_ids(&picture.image, response, unknown);
            }
            (Self::Delete(refused), ResponseKind::OffsetDelete(response))
                if response.error_code == 0 && !refused.is_empty() =>
            {
                merge(
                    &mut response.topics,
                    refused,
                    |one, other| one.name == other.name,
                    |known, topic| known.partitions.extend(topic.partitions),
                );
            }
            (Self::Operations, ResponseKind::DescribeGroups(response)) if version >= 3 => {
                let described = response.groups.iter_mut().filter(|group| group.error_code == 0);
                described.for_each(|group| group.authorized_operations = GROUP_OPERATIONS);
            }
            (Self::Operations, ResponseKind::ConsumerGroupDescribe(response)) => {
                let described = response.groups.iter_mut().filter(|group| group.error_code == 0);
                described.for_each(|group| group.authorized_operations = GROUP_OPERATIONS);
            }
            (Self::List, ResponseKind::ListGroups(response)) if response.error_code != 0 => {
                response.groups.clear();
            }
            _ => {}
        }
        response
    }
}

/// What is wrong with a partition before its group is asked.
fn judge(image: &Image, asker: &RequestContext, topic: &str, partition: i32) -> Option<ErrorCode> {
    if !permits(asker, Operation::Read, Resource::Topic(topic)) {
        return Some(ErrorCode::TopicAuthorizationFailed);
    }
    let found = image.topic(topic).and_then(|topic| topic.partition(PartitionIndex::new(partition)));
    found.is_none().then_some(ErrorCode::UnknownTopicOrPartition)
}

/// Takes out the partitions with which something is wrong; the answers to them.
fn take_out<P, A>(
    partitions: &mut Vec<P>,
    index: impl Fn(&P) -> i32,
    wrong: impl Fn(i32) -> Option<ErrorCode>,
    answer: impl Fn(i32, i16) -> A,
) -> Vec<A> {
    let mut answers = Vec::new();
    partitions.retain(|partition| {
        let index = index(partition);
        let code = wrong(index);
        answers.extend(code.map(|code| answer(index, code.code())));
        code.is_none()
    });
    answers
}

/// The name of the topic with that id, if there is one.
fn give_name(image: &Image, id: wire::messages::WireUuid, name: &mut wire::messages::TopicName) -> bool {
    let found = image.topic_by_id(from_wire_uuid(id));
    if let Some(found) = found {
        *name = topic(found.name.as_str());
    }
    found.is_some()
}

/// Gives names to the topics of a fetch; those that there are not are taken out, and answered here.
fn name_fetched(
    image: &Image,
    request: &mut OffsetFetchRequest,
) -> Vec<(GroupId, Vec<OffsetFetchResponseTopics>)> {
    let mut unknown = Vec::new();
    for group in &mut request.groups {
        let mut missing = Vec::new();
        if let Some(topics) = &mut group.topics {
            topics.retain_mut(|asked| {
                let is_there = give_name(image, asked.topic_id, &mut asked.name);
                if !is_there {
                    let refused = asked.partition_indexes.iter().map(|&index| {
                        OffsetFetchResponsePartitions::default()
                            .with_partition_index(index)
                            .with_committed_offset(-1)
                            .with_error_code(ErrorCode::UnknownTopicId.code())
                    });
                    let answer = OffsetFetchResponseTopics::default().with_topic_id(asked.topic_id);
                    missing.push(answer.with_partitions(refused.collect()));
                }
                is_there
            });
        }
        if !missing.is_empty() {
            unknown.push((group.group_id.clone(), missing));
        }
    }
    unknown
}

/// Tells the ids of topics that were committed by name, and what was not found. A topic without an id cannot be told.
fn add_ids(
    image: &Image,
    response: &mut OffsetFetchResponse,
    unknown: Vec<(GroupId, Vec<OffsetFetchResponseTopics>)>,
) {
    for group in &mut response.groups {
        group.topics.retain_mut(|topic| {
            if topic.topic_id.is_nil()
                && let Some(found) = image.topic(&topic.name)
            {
                topic.topic_id = to_wire_uuid(found.id);
            }
            !topic.topic_id.is_nil()
        });
    }
    for (id, missing) in unknown {
        let mut groups = response.groups.iter_mut();
        if let Some(group) = groups.find(|group| group.group_id == id && group.error_code == 0) {
            group.topics.extend(missing);
        }
    }
}

/// Puts what was refused here before what the coordinator answered, a topic's partitions together.
fn merge<T>(
    answered: &mut Vec<T>,
    refused: Vec<T>,
    is_same: impl Fn(&T, &T) -> bool,
    join: impl Fn(&mut T, T),
) {
    for topic in std::mem::replace(answered, refused) {
        match answered.iter_mut().find(|known| is_same(known, &topic)) {
            Some(known) => join(known, topic),
            None => answered.push(topic),
        }
    }
}

fn commit(
    image: &Image,
    asker: &RequestContext,
    mut request: OffsetCommitRequest,
) -> (Option<OffsetCommitRequest>, Vec<OffsetCommitResponseTopic>) {
    let mut refused = Vec::new();
    let by_id = asker.version >= topic_ids::VERSION;
    request.topics.retain_mut(|topic| {
        let is_unknown = by_id && !give_name(image, topic.topic_id, &mut topic.name);
        let name = topic.name.as_str();
        let wrong = |index| {
            let unknown = is_unknown.then_some(ErrorCode::UnknownTopicId);
            unknown.or_else(|| judge(image, asker, name, index))
        };
        let bad = take_out(
            &mut topic.partitions,
            |it| it.partition_index,
            wrong,
            |index, code| {
                OffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(code)
            },
        );
        if !bad.is_empty() {
            let answer = OffsetCommitResponseTopic::default().with_name(topic.name.clone());
            refused.push(answer.with_topic_id(topic.topic_id).with_partitions(bad));
        }
        !topic.partitions.is_empty()
    });
    ((!request.topics.is_empty()).then_some(request), refused)
}

fn commit_in_transaction(
    image: &Image,
    asker: &RequestContext,
    mut request: TxnOffsetCommitRequest,
) -> (Option<TxnOffsetCommitRequest>, Vec<TxnOffsetCommitResponseTopic>) {
    let mut refused = Vec::new();
    request.topics.retain_mut(|topic| {
        let name = topic.name.as_str();
        let wrong = |index| judge(image, asker, name, index);
        let bad = take_out(
            &mut topic.partitions,
            |it| it.partition_index,
            wrong,
            |index, code| {
                TxnOffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(code)
            },
        );
        if !bad.is_empty() {
            let answer = TxnOffsetCommitResponseTopic::default().with_name(topic.name.clone());
            refused.push(answer.with_partitions(bad));
        }
        !topic.partitions.is_empty()
    });
    ((!request.topics.is_empty()).then_some(request), refused)
}

fn delete(
    image: &Image,
    asker: &RequestContext,
    mut request: OffsetDeleteRequest,
) -> (Option<OffsetDeleteRequest>, Vec<OffsetDeleteResponseTopic>) {
    let mut refused = Vec::new();
    request.topics.retain_mut(|topic| {
        let name = topic.name.as_str();
        let wrong = |index| judge(image, asker, name, index);
        let bad = take_out(
            &mut topic.partitions,
            |it| it.partition_index,
            wrong,
            |index, code| {
                OffsetDeleteResponsePartition::default().with_partition_index(index).with_error_code(code)
            },
        );
        if !bad.is_empty() {
            refused.push(
                OffsetDeleteResponseTopic::default().with_name(topic.name.clone()).with_partitions(bad),
            );
        }
        !topic.partitions.is_empty()
    });
    ((!request.topics.is_empty()).then_some(request), refused)
}
