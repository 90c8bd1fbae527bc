//! What groups committed, and where logs begin and end.

use std::collections::{BTreeMap, BTreeSet};

use model::ErrorCode;
use tokio::time::Instant;
use wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::offset_fetch_request::OffsetFetchRequestGroup;
use wire::messages::{BrokerId, GroupId, ListOffsetsRequest, OffsetFetchRequest, ResponseKind, text, topic};

use crate::client::{Cluster, PATIENCE, PAUSE, To, answer, refused, unexpected};
use crate::failure::{Kind, Outcome};
use crate::groups::coordinator;
use crate::groups::scope::Place;

/// Timestamps that mean an end of a log.
pub const EARLIEST: i64 = -2;
pub const LATEST: i64 = -1;
/// From which version on OffsetFetch asks for several groups at once.
const SEVERAL: i16 = 8;

/// All that a group committed.
pub async fn committed(cluster: &mut Cluster, group: &str) -> Outcome<BTreeMap<Place, i64>> {
    let deed = format!("fetch the offsets of {group}");
    let asked = OffsetFetchRequestGroup::default().with_group_id(GroupId(text(group))).with_topics(None);
    let several = OffsetFetchRequest::default().with_groups(vec![asked]);
    let version = cluster.version_at(To::Any, &several.clone().into()).await?;
    let request = match version >= SEVERAL {
        true => several,
        false => OffsetFetchRequest::default().with_group_id(GroupId(text(group))).with_topics(None),
    };
    let (_, response) = coordinator::ask(cluster, group, &deed, request, code_of).await?;
    let code = code_of(&response);
    if code.is_error() {
        return Err(refused(&deed, code, None));
    }
    let response = answer!(OffsetFetch, response);
    let one = |topic: &str, partition: i32, offset: i64| (Place::new(topic, partition), offset);
    let mut found = BTreeMap::new();
    for topic in response.groups.iter().flat_map(|group| &group.topics) {
        let partitions = topic.partitions.iter().filter(|it| it.error_code == 0);
        found.extend(partitions.map(|it| one(&topic.name, it.partition_index, it.committed_offset)));
    }
    for topic in &response.topics {
        let partitions = topic.partitions.iter().filter(|it| it.error_code == 0);
        found.extend(partitions.map(|it| one(&topic.name, it.partition_index, it.committed_offset)));
    }
    found.retain(|_, offset| *offset >= 0);
    Ok(found)
}

fn code_of(response: &ResponseKind) -> ErrorCode {
    let ResponseKind::OffsetFetch(response) = response else { return ErrorCode::None };
    let of_group = response.groups.first().map(|group| group.error_code);
    ErrorCode::from_code(of_group.unwrap_or(response.error_code))
}

/// A partition's leader, and its topic's id.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    pub leader: i32,
    pub topic: wire::messages::WireUuid,
}

/// The partitions of these topics; those that do not exist have none.
pub async fn partitions_of(
    cluster: &mut Cluster,
    topics: &BTreeSet<String>,
) -> Outcome<BTreeMap<Place, Route>> {
    let mut found = BTreeMap::new();
    if topics.is_empty() {
        return Ok(found);
    }
    let names: Vec<String> = topics.iter().cloned().collect();
    for topic in cluster.metadata(Some(&names), false).await?.topics {
        let Some(name) = &topic.name else { return Err(unexpected()) };
        for partition in &topic.partitions {
            let route = Route { leader: partition.leader_id.0, topic: topic.topic_id };
            found.insert(Place::new(name.as_str(), partition.partition_index), route);
        }
    }
    Ok(found)
}

/// Where each partition is at a time, or where it begins or ends; `committed_only` ends it before the first open
/// transaction. Those that do not exist have no answer; a time that no record has reached has a negative one.
pub async fn list(
    cluster: &mut Cluster,
    places: impl IntoIterator<Item = Place>,
    timestamp: i64,
    committed_only: bool,
) -> Outcome<BTreeMap<Place, i64>> {
    let mut left: BTreeSet<Place> = places.into_iter().collect();
    let mut found = BTreeMap::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let topics = left.iter().map(|place| place.topic.clone()).collect();
        let routes = partitions_of(cluster, &topics).await?;
        left.retain(|place| routes.contains_key(place));
        let mut trouble = None;
        for (leader, request) in requests(&left, &routes, timestamp, committed_only) {
            match cluster.ask(To::Node(leader), request).await {
                Ok(response) => {
                    for topic in answer!(ListOffsets, response).topics {
                        for it in topic.partitions {
                            let place = Place::new(topic.name.as_str(), it.partition_index);
                            match ErrorCode::from_code(it.error_code) {
                                ErrorCode::None => {
                                    left.remove(&place);
                                    found.insert(place, it.offset);
                                }
                                code => trouble = Some((place, code)),
                            }
                        }
                    }
                }
                Err(failure) if failure.kind == Kind::Unreachable => {}
                Err(failure) => return Err(failure),
            }
        }
        if left.is_empty() {
            return Ok(found);
        }
        let stuck = trouble.as_ref().is_some_and(|(_, code)| !code.is_retriable());
        if stuck || Instant::now() >= deadline {
            let first = left.first().expect("some are left").clone();
            let (place, code) = trouble.unwrap_or((first, ErrorCode::LeaderNotAvailable));
            return Err(refused(&format!("find the offsets of {place}"), code, None));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What each leader is asked; partitions without one wait.
fn requests(
    places: &BTreeSet<Place>,
    routes: &BTreeMap<Place, Route>,
    timestamp: i64,
    committed_only: bool,
) -> Vec<(i32, ListOffsetsRequest)> {
    let mut asked: BTreeMap<i32, BTreeMap<&str, Vec<ListOffsetsPartition>>> = BTreeMap::new();
    for place in places {
        let Some(leader) = routes.get(place).map(|route| route.leader).filter(|leader| *leader >= 0) else {
            continue;
        };
        let one = ListOffsetsPartition::default().with_partition_index(place.partition);
        let of_leader = asked.entry(leader).or_default();
        of_leader.entry(&place.topic).or_default().push(one.with_timestamp(timestamp));
    }
    let request = |topics: BTreeMap<&str, Vec<ListOffsetsPartition>>| {
        let one = |(name, partitions): (&str, Vec<ListOffsetsPartition>)| {
            ListOffsetsTopic::default().with_name(topic(name)).with_partitions(partitions)
        };
        ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(i8::from(committed_only))
            .with_topics(topics.into_iter().map(one).collect())
    };
    asked.into_iter().map(|(leader, topics)| (leader, request(topics))).collect()
}
