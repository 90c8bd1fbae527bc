//! Which shard a request is for; one about several groups is split, and the answers are joined again.

use std::collections::BTreeMap;

use wire::messages::{GroupId, RequestKind, ResponseKind};

use crate::partition::partition_of;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Route {
    /// To the partition of its one group, as it is.
    One(i32),
    /// To every partition that is led here, as it is.
    All,
    /// To several, a part each. Empty when it names no group.
    Parts(BTreeMap<i32, RequestKind>),
}

/// Where `request` goes when `__consumer_offsets` has that many `partitions`; `None` when to no group coordinator.
pub fn route(request: &RequestKind, partitions: i32) -> Option<Route> {
    use RequestKind as K;
    let one = |group: &GroupId| Route::One(partition_of(group, partitions));
    Some(match request {
        K::JoinGroup(request) => one(&request.group_id),
        K::SyncGroup(request) => one(&request.group_id),
        K::Heartbeat(request) => one(&request.group_id),
        K::LeaveGroup(request) => one(&request.group_id),
        K::OffsetCommit(request) => one(&request.group_id),
        K::OffsetDelete(request) => one(&request.group_id),
        K::TxnOffsetCommit(request) => one(&request.group_id),
        K::ConsumerGroupHeartbeat(request) => one(&request.group_id),
        // Until version 7 one group, from version 8 on a list.
        K::OffsetFetch(request) if request.groups.is_empty() => one(&request.group_id),
        K::OffsetFetch(request) => {
            let parts = split(&request.groups, partitions, |group| &group.group_id);
            parts_of(parts, |groups| request.clone().with_groups(groups).into())
        }
        K::DescribeGroups(request) => {
            let parts = split(&request.groups, partitions, |group| group);
            parts_of(parts, |groups| request.clone().with_groups(groups).into())
        }
        K::ConsumerGroupDescribe(request) => {
            let parts = split(&request.group_ids, partitions, |group| group);
            parts_of(parts, |groups| request.clone().with_group_ids(groups).into())
        }
        K::DeleteGroups(request) => {
            let parts = split(&request.groups_names, partitions, |group| group);
            parts_of(parts, |groups| request.clone().with_groups_names(groups).into())
        }
        K::ListGroups(_) => Route::All,
        _ => return None,
    })
}

fn split<T: Clone>(groups: &[T], partitions: i32, id: impl Fn(&T) -> &GroupId) -> BTreeMap<i32, Vec<T>> {
    let mut parts: BTreeMap<i32, Vec<T>> = BTreeMap::new();
    for group in groups {
        parts.entry(partition_of(id(group), partitions)).or_default().push(group.clone());
    }
    parts
}

fn parts_of<T>(parts: BTreeMap<i32, Vec<T>>, part: impl Fn(Vec<T>) -> RequestKind) -> Route {
    Route::Parts(parts.into_iter().map(|(partition, groups)| (partition, part(groups))).collect())
}

/// Adds the answer to one part of a request to that of another. For ListGroups the first error counts.
pub fn join(answer: &mut ResponseKind, part: ResponseKind) {
    match (answer, part) {
        (ResponseKind::OffsetFetch(all), ResponseKind::OffsetFetch(part)) => all.groups.extend(part.groups),
        (ResponseKind::DescribeGroups(all), ResponseKind::DescribeGroups(part)) => {
            all.groups.extend(part.groups);
        }
        (ResponseKind::ConsumerGroupDescribe(all), ResponseKind::ConsumerGroupDescribe(part)) => {
            all.groups.extend(part.groups);
        }
        (ResponseKind::DeleteGroups(all), ResponseKind::DeleteGroups(part)) => {
            all.results.extend(part.results);
        }
        (ResponseKind::ListGroups(all), ResponseKind::ListGroups(part)) => {
            all.groups.extend(part.groups);
            if all.error_code == 0 {
                all.error_code = part.error_code;
            }
        }
        (all, part) => unreachable!("no parts of one answer: {all:?} and {part:?}"),
    }
}

#[cfg(test)]
mod tests {
    use wire::messages::*;

    use super::*;

    fn id(name: &str) -> GroupId {
        GroupId(text(name))
    }

    #[test]
    fn a_request_of_one_group_goes_to_its_partition() {
        let request = HeartbeatRequest::default().with_group_id(id("a")).into();
        assert_eq!(route(&request, 50), Some(Route::One(47)));
        let request = OffsetFetchRequest::default().with_group_id(id("a")).into();
        assert_eq!(route(&request, 50), Some(Route::One(47)));
        assert_eq!(route(&ListGroupsRequest::default().into(), 50), Some(Route::All));
        assert_eq!(route(&ProduceRequest::default().into(), 50), None);
    }

    #[test]
    fn a_request_of_many_groups_is_split_and_its_answers_are_joined() {
        let groups = ["a", "test-group", "a"].map(id).to_vec();
        let request = DeleteGroupsRequest::default().with_groups_names(groups);
        let Some(Route::Parts(parts)) = route(&request.into(), 50) else { panic!("it is split") };
        let told: Vec<(i32, usize)> = parts
            .iter()
            .map(|(partition, part)| match part {
                RequestKind::DeleteGroups(part) => (*partition, part.groups_names.len()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(told, [(12, 1), (47, 2)]);
        let answer = |name| {
            let result = delete_groups_response::DeletableGroupResult::default().with_group_id(id(name));
            ResponseKind::from(DeleteGroupsResponse::default().with_results(vec![result]))
        };
        let mut all = answer("a");
        join(&mut all, answer("b"));
        let ResponseKind::DeleteGroups(all) = all else { panic!("it stays one") };
        assert_eq!(all.results.len(), 2);
    }
}
