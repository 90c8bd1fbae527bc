//! A whole request refused: this broker does not lead its group's partition, or is still loading it.
//!
//! Each API has its own place for the error, which `wire` knows; a client waits for an answer to every part of what
//! it asked.

use model::ErrorCode;
use wire::messages::{RequestKind, ResponseKind};

use crate::dispatch;

/// The answer to all of `request`, sent in `version`; `None` when it is not a group coordinator's to answer.
pub fn refuse(request: &RequestKind, version: i16, code: ErrorCode) -> Option<ResponseKind> {
    if !dispatch::is_ours(request) {
        return None;
    }
    wire::errors::respond(request, version, code, None)
}

#[cfg(test)]
mod tests {
    use std::ops::RangeInclusive;

    use wire::messages::*;

    use super::*;
    use crate::testing::check_refusal;

    fn check(api: ApiKey, versions: RangeInclusive<i16>, request: impl Into<RequestKind>) {
        check_refusal(refuse, api, versions, &request.into());
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
        let partition = txn_offset_commit_request::TxnOffsetCommitRequestPartition::default();
        let committed = txn_offset_commit_request::TxnOffsetCommitRequestTopic::default();
        let committed = committed.with_name(topic("t")).with_partitions(vec![partition]);
        check(ApiKey::TxnOffsetCommit, 0..=5, TxnOffsetCommitRequest::default().with_topics(vec![committed]));
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
