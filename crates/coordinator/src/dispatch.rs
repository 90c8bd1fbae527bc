//! One door to all decisions.

use wire::messages::RequestKind;

use crate::call::Call;
use crate::classic::{heartbeat, join_group, leave_group, sync_group};
use crate::consumer;
use crate::turn::Turn;
use crate::{
    delete_groups, describe_groups, list_groups, offset_commit, offset_delete, offset_fetch,
    txn_offset_commit,
};

/// Whether a request is a group coordinator's to answer.
pub fn is_ours(request: &RequestKind) -> bool {
    use RequestKind as K;
    may_write(request)
        || matches!(
            request,
            K::Heartbeat(_)
                | K::OffsetFetch(_)
                | K::DescribeGroups(_)
                | K::ListGroups(_)
                | K::ConsumerGroupDescribe(_)
        )
}

/// Whether it may write records, so that it may have to be undone.
pub(crate) fn may_write(request: &RequestKind) -> bool {
    use RequestKind as K;
    matches!(
        request,
        K::JoinGroup(_)
            | K::SyncGroup(_)
            | K::LeaveGroup(_)
            | K::OffsetCommit(_)
            | K::TxnOffsetCommit(_)
            | K::OffsetDelete(_)
            | K::DeleteGroups(_)
            | K::ConsumerGroupHeartbeat(_)
    )
}

/// Decides a request that is ours.
pub(crate) fn decide(turn: &mut Turn<'_>, call: &Call) {
    use RequestKind as K;
    match &call.request {
        K::JoinGroup(request) => join_group::decide(turn, call, request),
        K::SyncGroup(request) => sync_group::decide(turn, call, request),
        K::Heartbeat(request) => heartbeat::decide(turn, call, request),
        K::LeaveGroup(request) => leave_group::decide(turn, call, request),
        K::OffsetCommit(request) => offset_commit::decide(turn, call, request),
        K::TxnOffsetCommit(request) => txn_offset_commit::decide(turn, call, request),
        K::OffsetFetch(request) => offset_fetch::decide(turn, call, request),
        K::OffsetDelete(request) => offset_delete::decide(turn, call, request),
        K::DescribeGroups(request) => describe_groups::decide(turn, call, request),
        K::ListGroups(request) => list_groups::decide(turn, call, request),
        K::DeleteGroups(request) => delete_groups::decide(turn, call, request),
        K::ConsumerGroupHeartbeat(request) => consumer::heartbeat::decide(turn, call, request),
        K::ConsumerGroupDescribe(request) => consumer::describe::decide(turn, call, request),
        other => unreachable!("asked for before: {other:?}"),
    }
}
