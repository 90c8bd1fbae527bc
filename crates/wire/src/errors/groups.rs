//! Errors of the group coordinators' APIs.
//!
//! Half of them have one code at the head; the others are lists of groups or of
//! partitions, and a client waits for an answer to each.

use crate::messages::delete_groups_response::DeletableGroupResult;
use crate::messages::describe_groups_response::DescribedGroup;
use crate::messages::leave_group_response::MemberResponse;
use crate::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use crate::messages::offset_fetch_response::*;
use crate::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use crate::messages::*;

/// From which version on LeaveGroup names members.
const LEAVE_MEMBERS_FROM: i16 = 3;
/// From which version on JoinGroup's protocol may be null.
const JOIN_NO_PROTOCOL_FROM: i16 = 7;
/// From which version on the head of OffsetFetch has a code, and from which on each group has.
const FETCH_HEAD_FROM: i16 = 2;
const FETCH_GROUPS_FROM: i16 = 8;
/// The offset that means there is none.
const NO_OFFSET: i64 = -1;

/// The answer to a request of a group coordinator; `None` to any other.
pub(super) fn respond(request: &RequestKind, version: i16, code: i16) -> Option<ResponseKind> {
    use RequestKind as K;
    Some(match request {
        K::JoinGroup(request) => join(request, version, code).into(),
        K::SyncGroup(_) => SyncGroupResponse::default().with_error_code(code).into(),
        K::Heartbeat(_) => HeartbeatResponse::default().with_error_code(code).into(),
        K::LeaveGroup(request) => leave(request, version, code).into(),
        K::OffsetCommit(request) => commit(request, code).into(),
        K::TxnOffsetCommit(request) => commit_in_transaction(request, code).into(),
        K::OffsetFetch(request) => fetch(request, version, code).into(),
        K::OffsetDelete(_) => OffsetDeleteResponse::default().with_error_code(code).into(),
        K::ListGroups(_) => ListGroupsResponse::default().with_error_code(code).into(),
        K::DescribeGroups(request) => {
            let refused =
                |id: &GroupId| DescribedGroup::default().with_group_id(id.clone()).with_error_code(code);
            DescribeGroupsResponse::default().with_groups(request.groups.iter().map(refused).collect()).into()
        }
        K::DeleteGroups(request) => {
            let refused = |id: &GroupId| {
                DeletableGroupResult::default().with_group_id(id.clone()).with_error_code(code)
            };
            let results = request.groups_names.iter().map(refused).collect();
            DeleteGroupsResponse::default().with_results(results).into()
        }
        K::ConsumerGroupHeartbeat(_) => {
            ConsumerGroupHeartbeatResponse::default().with_error_code(code).into()
        }
        K::ConsumerGroupDescribe(request) => {
            let refused = |id: &GroupId| {
                consumer_group_describe_response::DescribedGroup::default()
                    .with_group_id(id.clone())
                    .with_error_code(code)
            };
            let groups = request.group_ids.iter().map(refused).collect();
            ConsumerGroupDescribeResponse::default().with_groups(groups).into()
        }
        _ => return None,
    })
}

fn join(request: &JoinGroupRequest, version: i16, code: i16) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(code)
        .with_member_id(request.member_id.clone())
        .with_protocol_name((version < JOIN_NO_PROTOCOL_FROM).then(StrBytes::default))
}

fn leave(request: &LeaveGroupRequest, version: i16, code: i16) -> LeaveGroupResponse {
    let response = LeaveGroupResponse::default().with_error_code(code);
    if version < LEAVE_MEMBERS_FROM {
        return response;
    }
    let refused = request.members.iter().map(|member| {
        MemberResponse::default()
            .with_member_id(member.member_id.clone())
            .with_group_instance_id(member.group_instance_id.clone())
            .with_error_code(code)
    });
    response.with_members(refused.collect())
}

fn commit(request: &OffsetCommitRequest, code: i16) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let refused = topic.partitions.iter().map(|partition| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
        });
        OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(refused.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

fn commit_in_transaction(request: &TxnOffsetCommitRequest, code: i16) -> TxnOffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| {
        let refused = topic.partitions.iter().map(|partition| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code)
        });
        TxnOffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(refused.collect())
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}

fn fetch(request: &OffsetFetchRequest, version: i16, code: i16) -> OffsetFetchResponse {
    if version >= FETCH_GROUPS_FROM {
        let refused = request.groups.iter().map(|group| {
            OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone()).with_error_code(code)
        });
        return OffsetFetchResponse::default().with_groups(refused.collect());
    }
    if version >= FETCH_HEAD_FROM {
        return OffsetFetchResponse::default().with_error_code(code);
    }
    let topics = request.topics.iter().flatten().map(|topic| {
        let refused = topic.partition_indexes.iter().map(|&index| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(index)
                .with_committed_offset(NO_OFFSET)
                .with_error_code(code)
        });
        OffsetFetchResponseTopic::default().with_name(topic.name.clone()).with_partitions(refused.collect())
    });
    OffsetFetchResponse::default().with_topics(topics.collect())
}
