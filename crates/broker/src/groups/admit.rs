//! Who may ask what of groups: the one place that will ask for authorisation and quotas.
//!
//! There is no access control yet, so [`permits`] says yes to everything; what each request
//! needs is written down here all the same, as Kafka has it.

use model::ErrorCode;
use wire::messages::{GroupId, RequestKind};

use crate::dispatch::RequestContext;

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Take part, or read records.
    Read,
    /// Write records, or be a producer.
    Write,
    /// Look.
    Describe,
    /// Take away.
    Delete,
}

/// With what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    /// All groups there are.
    Cluster,
    /// A group.
    Group(&'a str),
    /// A transactional id.
    TransactionalId(&'a str),
    /// A topic.
    Topic(&'a str),
}

/// Whether whoever asks may do that.
pub fn permits(_asker: &RequestContext, _operation: Operation, _resource: Resource<'_>) -> bool {
    true
}

/// Whether a request may be asked at all. Its topics are looked at one by one where they are resolved.
pub fn admit(asker: &RequestContext, request: &RequestKind) -> Result<(), ErrorCode> {
    use RequestKind as K;
    let may = |operation, group: &GroupId| permits(asker, operation, Resource::Group(group));
    let allowed = match request {
        K::JoinGroup(request) => may(Operation::Read, &request.group_id),
        K::SyncGroup(request) => may(Operation::Read, &request.group_id),
        K::Heartbeat(request) => may(Operation::Read, &request.group_id),
        K::LeaveGroup(request) => may(Operation::Read, &request.group_id),
        K::ConsumerGroupHeartbeat(request) => may(Operation::Read, &request.group_id),
        K::ConsumerGroupDescribe(request) => {
            request.group_ids.iter().all(|group| may(Operation::Describe, group))
        }
        K::OffsetCommit(request) => may(Operation::Read, &request.group_id),
        K::TxnOffsetCommit(request) => {
            let id = Resource::TransactionalId(&request.transactional_id);
            if !permits(asker, Operation::Write, id) {
                return Err(ErrorCode::TransactionalIdAuthorizationFailed);
            }
            may(Operation::Read, &request.group_id)
        }
        K::OffsetDelete(request) => may(Operation::Delete, &request.group_id),
        K::OffsetFetch(request) if request.groups.is_empty() => may(Operation::Describe, &request.group_id),
        K::OffsetFetch(request) => {
            request.groups.iter().all(|group| may(Operation::Describe, &group.group_id))
        }
        K::DescribeGroups(request) => request.groups.iter().all(|group| may(Operation::Describe, group)),
        K::DeleteGroups(request) => request.groups_names.iter().all(|group| may(Operation::Delete, group)),
        K::ListGroups(_) => permits(asker, Operation::Describe, Resource::Cluster),
        _ => true,
    };
    if allowed { Ok(()) } else { Err(ErrorCode::GroupAuthorizationFailed) }
}
