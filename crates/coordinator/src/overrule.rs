//! An answer that must not go out as it is: its records were not appended, or will not be committed.

use model::ErrorCode;
use wire::messages::{ResponseKind, StrBytes};

/// Turns an answer into an error, in the shape of its API.
pub(crate) fn overrule(response: &mut ResponseKind, code: ErrorCode) {
    let code = code.code();
    match response {
        ResponseKind::JoinGroup(response) => {
            response.error_code = code;
            response.generation_id = -1;
            response.protocol_type = None;
            // Null for those versions that know null, empty for the others: as the answer had it.
            response.protocol_name = response.protocol_name.take().map(|_| StrBytes::default());
            response.leader = StrBytes::default();
            response.skip_assignment = false;
            response.members.clear();
        }
        ResponseKind::SyncGroup(response) => {
            response.error_code = code;
            response.protocol_type = None;
            response.protocol_name = None;
            response.assignment = Default::default();
        }
        ResponseKind::Heartbeat(response) => response.error_code = code,
        ResponseKind::LeaveGroup(response) => {
            response.error_code = code;
            response.members.clear();
        }
        ResponseKind::OffsetCommit(response) => {
            let partitions = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
            // What was refused anyway keeps its reason.
            let accepted = partitions.filter(|partition| partition.error_code == 0);
            accepted.for_each(|partition| partition.error_code = code);
        }
        ResponseKind::TxnOffsetCommit(response) => {
            let partitions = response.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
            let accepted = partitions.filter(|partition| partition.error_code == 0);
            accepted.for_each(|partition| partition.error_code = code);
        }
        ResponseKind::OffsetFetch(response) => {
            response.error_code = code;
            response.topics.clear();
            for group in &mut response.groups {
                group.error_code = code;
                group.topics.clear();
            }
        }
        ResponseKind::OffsetDelete(response) => {
            response.error_code = code;
            response.topics.clear();
        }
        ResponseKind::DeleteGroups(response) => {
            let deleted = response.results.iter_mut().filter(|result| result.error_code == 0);
            deleted.for_each(|result| result.error_code = code);
        }
        ResponseKind::ListGroups(response) => {
            response.error_code = code;
            response.groups.clear();
        }
        ResponseKind::DescribeGroups(response) => {
            for group in &mut response.groups {
                group.error_code = code;
                group.members.clear();
            }
        }
        ResponseKind::ConsumerGroupHeartbeat(response) => {
            response.error_code = code;
            response.member_epoch = 0;
            response.assignment = None;
        }
        ResponseKind::ConsumerGroupDescribe(response) => {
            for group in &mut response.groups {
                group.error_code = code;
                group.members.clear();
            }
        }
        other => unreachable!("no answer of a group coordinator: {other:?}"),
    }
}
