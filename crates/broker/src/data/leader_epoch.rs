//! OffsetForLeaderEpoch: where an epoch ends in the leader's log (KIP-101, KIP-320).

use std::sync::Arc;

use metadata::Image;
use model::{ErrorCode, LeaderEpoch, Offset};
use wire::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use wire::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use wire::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use crate::data::partition::Partition;
use crate::data::plane::Plane;

/// Answers a request.
pub async fn handle(plane: Arc<Plane>, request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let picture = plane.options.published.get();
    plane.catch_up(&picture).await;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|data| look(&plane, &picture.image, &topic.topic, data));
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions)
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

fn look(plane: &Plane, image: &Image, topic: &str, data: &OffsetForLeaderPartition) -> EpochEndOffset {
    let response =
        EpochEndOffset::default().with_partition(data.partition).with_leader_epoch(-1).with_end_offset(-1);
    let found = match image.topic(topic) {
        Some(found) => plane.find(image, found.id, data.partition),
        None => Err(ErrorCode::UnknownTopicOrPartition),
    };
    match found.and_then(|partition| epoch_end(&partition, data)) {
        Ok(Some((epoch, end))) => response.with_leader_epoch(epoch.get()).with_end_offset(end.get()),
        Ok(None) => response,
        Err(code) => response.with_error_code(code.code()),
    }
}

/// `None` when the leader knows no such epoch.
fn epoch_end(
    partition: &Partition,
    data: &OffsetForLeaderPartition,
) -> Result<Option<(LeaderEpoch, Offset)>, ErrorCode> {
    let mut state = partition.lock();
    let current = LeaderEpoch::from_wire(data.current_leader_epoch);
    let (log, _) = state.lead_in(current).map_err(|refused| refused.code())?;
    let asked = LeaderEpoch::from_wire(data.leader_epoch);
    let known = asked.filter(|&asked| log.last_epoch().is_some_and(|last| asked <= last));
    Ok(known.map(|asked| log.epoch_end(asked).unwrap_or((asked, log.start()))))
}
