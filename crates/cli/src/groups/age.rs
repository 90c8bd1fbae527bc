//! How long a partition's first unread record has waited: one batch is fetched and its timestamp looked at.

use std::collections::BTreeMap;

use model::ErrorCode;
use wire::batch::Batches;
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::fetch_response::PartitionData;
use wire::messages::{BrokerId, FetchRequest, topic};

use crate::client::{Cluster, To, answer};
use crate::failure::{Kind, Outcome};
use crate::groups::offsets::{Route, partitions_of};
use crate::groups::scope::Place;

/// The largest batch that is decompressed.
const RECORDS_BYTES_MAX: usize = 64 << 20;
/// From which version on Fetch names topics by their ids.
const BY_ID: i16 = 13;

/// The timestamp of the first record of each partition from an offset on. Where it cannot be told there is none:
/// the rest of what is shown is worth more than an error.
pub async fn first_unread(
    cluster: &mut Cluster,
    from: &BTreeMap<Place, i64>,
) -> Outcome<BTreeMap<Place, i64>> {
    let topics = from.keys().map(|place| place.topic.clone()).collect();
    let routes = partitions_of(cluster, &topics).await?;
    let mut found = BTreeMap::new();
    for (place, &offset) in from {
        let Some(&route) = routes.get(place).filter(|route| route.leader >= 0) else { continue };
        match time_at(cluster, route, place, offset).await {
            Ok(Some(time)) => drop(found.insert(place.clone(), time)),
            Ok(None) => {}
            Err(failure) if failure.kind == Kind::Unreachable => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(found)
}

async fn time_at(cluster: &mut Cluster, route: Route, place: &Place, offset: i64) -> Outcome<Option<i64>> {
    let Some(answer) = fetch(cluster, route, place, offset).await? else { return Ok(None) };
    match ErrorCode::from_code(answer.error_code) {
        ErrorCode::None => Ok(first_time(&answer, offset)),
        // Retention took what was next: the first record that is left is the oldest unread one.
        ErrorCode::OffsetOutOfRange if answer.log_start_offset > offset => {
            let again = fetch(cluster, route, place, answer.log_start_offset).await?;
            Ok(again.and_then(|answer| first_time(&answer, answer.log_start_offset)))
        }
        _ => Ok(None),
    }
}

/// Fetches one batch.
async fn fetch(
    cluster: &mut Cluster,
    route: Route,
    place: &Place,
    offset: i64,
) -> Outcome<Option<PartitionData>> {
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_min_bytes(0)
        .with_max_bytes(1)
        .with_session_epoch(-1);
    let version = cluster.version_at(To::Node(route.leader), &request.clone().into()).await?;
    let partition = FetchPartition::default()
        .with_partition(place.partition)
        .with_current_leader_epoch(-1)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1);
    let asked = FetchTopic::default().with_partitions(vec![partition]);
    let asked = if version >= BY_ID {
        asked.with_topic_id(route.topic)
    } else {
        asked.with_topic(topic(&place.topic))
    };
    let response =
        answer!(Fetch, cluster.ask(To::Node(route.leader), request.with_topics(vec![asked])).await?);
    Ok(response.responses.into_iter().flat_map(|topic| topic.partitions).next())
}

fn first_time(answer: &PartitionData, from: i64) -> Option<i64> {
    for batch in Batches::new(answer.records.as_deref().unwrap_or_default()) {
        let batch = batch.ok()?;
        if batch.header.is_control() {
            continue;
        }
        let records = batch.records(RECORDS_BYTES_MAX).ok()?;
        for record in records.iter() {
            let record = record.ok()?;
            if record.offset.get() >= from {
                return Some(record.timestamp.get());
            }
        }
    }
    None
}
