//! A whole request refused: this broker does not lead its group's partition, or is still loading it.
//!
//! Each API has its own place for the error; a client waits for an answer to every part of what it asked.

use model::ErrorCode;
use wire::messages::delete_groups_response::DeletableGroupResult;
use wire::messages::describe_groups_response::DescribedGroup;
use wire::messages::leave_group_response::MemberResponse;
use wire::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use wire::messages::offset_fetch_response::*;
use wire::messages::*;

use crate::turn::refused_join;

/// From which version on the head of OffsetFetch has a code, and from which on each group has.
const FETCH_HEAD: i16 = 2;
const FETCH_GROUPS: i16 = 8;
/// The offset that means there is none.
const NO_OFFSET: i64 = -1;

/// The answer to all of `request`, sent in `version`; `None` when it is not a group coordinator's to answer.
pub fn refuse(request: &RequestKind, version: i16, code: ErrorCode) -> Option<ResponseKind> {
    use RequestKind as K;
    let number = code.code();
    Some(match request {
        K::JoinGroup(request) => refused_join(version, code, request.member_id.clone()).into(),
        K::SyncGroup(_) => SyncGroupResponse::default().with_error_code(number).into(),
        K::Heartbeat(_) => HeartbeatResponse::default().with_error_code(number).into(),
        K::LeaveGroup(request) => leave(request, version, number).into(),
        K::OffsetCommit(request) => commit(request, number).into(),
        K::OffsetFetch(request) => fetch(request, version, number).into(),
        K::OffsetDelete(_) => OffsetDeleteResponse::default().with_error_code(number).into(),
        K::ListGroups(_) => ListGroupsResponse::default().with_error_code(number).into(),
        K::DescribeGroups(request) => {
            let refused =
                |id: &GroupId| DescribedGroup::default().with_group_id(id.clone()).with_error_code(number);
            let groups = request.groups.iter().map(refused).collect();
            DescribeGroupsResponse::default().with_groups(groups).into()
        }
        K::DeleteGroups(request) => {
            let refused = |id: &GroupId| {
                DeletableGroupResult::default().with_group_id(id.clone()).with_error_code(number)
            };
            let results = request.groups_names.iter().map(refused).collect();
            DeleteGroupsResponse::default().with_results(results).into()
        }
        _ => return None,
    })
}

fn leave(request: &LeaveGroupRequest, version: i16, code: i16) -> LeaveGroupResponse {
    let response = LeaveGroupResponse::default().with_error_code(code);
    if version < 3 {
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

fn fetch(request: &OffsetFetchRequest, version: i16, code: i16) -> OffsetFetchResponse {
    if version >= FETCH_GROUPS {
        let refused = request.groups.iter().map(|group| {
            OffsetFetchResponseGroup::default().with_group_id(group.group_id.clone()).with_error_code(code)
        });
        return OffsetFetchResponse::default().with_groups(refused.collect());
    }
    if version >= FETCH_HEAD {
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

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use super::*;

    /// Every version of an API writes its refusal, and it says the code.
    fn check(api: ApiKey, versions: RangeInclusive<i16>, request: impl Into<RequestKind>) {
        let request = request.into();
        for version in versions {
            let refused = refuse(&request, version, ErrorCode::NotCoordinator).expect("it is ours");
            let mut frame = Vec::new();
            wire::response::encode(1, api, version, &refused, &mut frame)
                .unwrap_or_else(|error| panic!("version {version}: {error}"));
            let code = ErrorCode::NotCoordinator.code().to_be_bytes();
            assert!(frame.windows(2).any(|pair| pair == code), "{api:?} {version} says nothing: {refused:?}");
        }
    }

    #[test]
    fn every_api_is_refused_in_every_version() {
        let group = || GroupId(text("g"));
        check(ApiKey::JoinGroup, 0..=9, JoinGroupRequest::default());
        check(ApiKey::SyncGroup, 0..=5, SyncGroupRequest::default());
        check(ApiKey::Heartbeat, 0..=4, HeartbeatRequest::default());
        check(ApiKey::LeaveGroup, 0..=5, LeaveGroupRequest::default());
        check(ApiKey::DescribeGroups, 0..=6, DescribeGroupsRequest::default().with_groups(vec![group()]));
        check(ApiKey::ListGroups, 0..=5, ListGroupsRequest::default());
        check(ApiKey::DeleteGroups, 0..=2, DeleteGroupsRequest::default().with_groups_names(vec![group()]));
        check(ApiKey::OffsetDelete, 0..=0, OffsetDeleteRequest::default());
    }

    #[test]
    fn every_offset_is_refused_in_every_version() {
        let partition = offset_commit_request::OffsetCommitRequestPartition::default();
        let committed = offset_commit_request::OffsetCommitRequestTopic::default();
        let committed = committed.with_name(topic("t")).with_partitions(vec![partition]);
        check(ApiKey::OffsetCommit, 2..=9, OffsetCommitRequest::default().with_topics(vec![committed]));
        let fetched = offset_fetch_request::OffsetFetchRequestTopic::default();
        let fetched = fetched.with_name(topic("t")).with_partition_indexes(vec![0]);
        check(ApiKey::OffsetFetch, 1..=7, OffsetFetchRequest::default().with_topics(Some(vec![fetched])));
        let group = offset_fetch_request::OffsetFetchRequestGroup::default();
        check(ApiKey::OffsetFetch, 8..=9, OffsetFetchRequest::default().with_groups(vec![group]));
    }

    #[test]
    fn what_is_not_a_coordinators_is_left_alone() {
        assert_eq!(refuse(&ProduceRequest::default().into(), 9, ErrorCode::NotCoordinator), None);
    }
}
