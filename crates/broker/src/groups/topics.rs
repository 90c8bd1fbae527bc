//! Topics in requests about groups: those that do not exist are answered here, the rest goes on.
//!
//! As in Kafka a partition that does not exist has a code of its own beside whatever the group's
//! coordinator says of the others, and a request of which nothing is left asks nobody.

use metadata::Image;
use model::{ErrorCode, PartitionIndex};
use wire::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use wire::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use wire::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use wire::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, RequestKind,
    ResponseKind, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};

use crate::dispatch::RequestContext;
use crate::groups::admit::{Operation, Resource, permits};

/// All that may be done to a group where nothing is forbidden, as Kafka's bits: read, delete, describe,
/// describe and alter configs.
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

/// What is done to the coordinator's answer.
pub enum Finish {
    /// Nothing.
    AsIs,
    /// These are added.
    Commit(Vec<OffsetCommitResponseTopic>),
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
pub fn resolve(image: &Image, asker: &RequestContext, request: RequestKind) -> (Option<RequestKind>, Finish) {
    match request {
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
            Self::AsIs | Self::Operations | Self::List => {
                unreachable!("only requests about topics may be left with nothing")
            }
        }
    }

    /// The whole answer.
    pub fn with(self, mut response: ResponseKind, version: i16) -> ResponseKind {
        match (self, &mut response) {
            (Self::Commit(refused), ResponseKind::OffsetCommit(response)) if !refused.is_empty() => {
                let answered = std::mem::replace(&mut response.topics, refused);
                for topic in answered {
                    match response.topics.iter_mut().find(|known| known.name == topic.name) {
                        Some(known) => known.partitions.extend(topic.partitions),
                        None => response.topics.push(topic),
                    }
                }
            }
            (Self::CommitInTransaction(refused), ResponseKind::TxnOffsetCommit(response)) => {
                let answered = std::mem::replace(&mut response.topics, refused);
                for topic in answered {
                    match response.topics.iter_mut().find(|known| known.name == topic.name) {
                        Some(known) => known.partitions.extend(topic.partitions),
                        None => response.topics.push(topic),
                    }
                }
            }
            (Self::Delete(refused), ResponseKind::OffsetDelete(response))
                if response.error_code == 0 && !refused.is_empty() =>
            {
                let answered = std::mem::replace(&mut response.topics, refused);
                for topic in answered {
                    match response.topics.iter_mut().find(|known| known.name == topic.name) {
                        Some(known) => known.partitions.extend(topic.partitions),
                        None => response.topics.push(topic),
                    }
                }
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

fn commit(
    image: &Image,
    asker: &RequestContext,
    mut request: OffsetCommitRequest,
) -> (Option<OffsetCommitRequest>, Vec<OffsetCommitResponseTopic>) {
    let mut refused = Vec::new();
    request.topics.retain_mut(|topic| {
        let mut bad = Vec::new();
        let name = topic.name.as_str();
        topic.partitions.retain(|partition| {
            let index = partition.partition_index;
            let Some(code) = judge(image, asker, name, index) else { return true };
            let answer = OffsetCommitResponsePartition::default();
            bad.push(answer.with_partition_index(index).with_error_code(code.code()));
            false
        });
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
        let mut bad = Vec::new();
        let name = topic.name.as_str();
        topic.partitions.retain(|partition| {
            let index = partition.partition_index;
            let Some(code) = judge(image, asker, name, index) else { return true };
            let answer = TxnOffsetCommitResponsePartition::default();
            bad.push(answer.with_partition_index(index).with_error_code(code.code()));
            false
        });
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
        let mut bad = Vec::new();
        let name = topic.name.as_str();
        topic.partitions.retain(|partition| {
            let index = partition.partition_index;
            let Some(code) = judge(image, asker, name, index) else { return true };
            let answer = OffsetDeleteResponsePartition::default();
            bad.push(answer.with_partition_index(index).with_error_code(code.code()));
            false
        });
        if !bad.is_empty() {
            refused.push(
                OffsetDeleteResponseTopic::default().with_name(topic.name.clone()).with_partitions(bad),
            );
        }
        !topic.partitions.is_empty()
    });
    ((!request.topics.is_empty()).then_some(request), refused)
}
