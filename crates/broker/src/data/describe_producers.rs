//! DescribeProducers: who writes to a partition, and which transactions are open in it (KIP-664).
//!
//! An open transaction that its coordinator knows nothing of, a hanging one, is seen
//! here alone: tools compare the two and have it aborted with a marker. Who may ask is
//! the caller's question: READ of the topic.

use metadata::Image;
use model::{ErrorCode, Offset};
use wire::messages::describe_producers_request::TopicRequest;
use wire::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use wire::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};

use crate::data::partition::Refused;
use crate::data::plane::Plane;

const NO_TRANSACTION: i64 = -1;

/// Answers a request.
pub async fn handle(
    plane: std::sync::Arc<Plane>,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let picture = plane.options.published.get();
    plane.catch_up(&picture).await;
    let topics = request.topics.into_iter().map(|topic| describe(&plane, &picture.image, topic));
    DescribeProducersResponse::default().with_topics(topics.collect())
}

fn describe(plane: &Plane, image: &Image, topic: TopicRequest) -> TopicResponse {
    let found = image.topic(topic.name.as_str());
    let partitions = topic.partition_indexes.iter().map(|&index| {
        let response = PartitionResponse::default().with_partition_index(index);
        let told = match found {
            Some(found) => producers(plane, image, found.id, index),
            None => Err(ErrorCode::UnknownTopicOrPartition),
        };
        match told {
            Ok(producers) => response.with_active_producers(producers),
            Err(code) => response.with_error_code(code.code()),
        }
    });
    let partitions = partitions.collect();
    TopicResponse::default().with_name(topic.name).with_partitions(partitions)
}

fn producers(
    plane: &Plane,
    image: &Image,
    topic: model::TopicId,
    index: i32,
) -> Result<Vec<ProducerState>, ErrorCode> {
    let partition = plane.find(image, topic, index)?;
    let state = partition.look();
    // Any replica tells: who looks for what hangs asks a follower too.
    let log = state.log.as_ref().ok_or_else(|| Refused::Offline.code())?;
    let told = log.producers().states().map(|producer| {
        ProducerState::default()
            .with_producer_id(ProducerId(producer.id.get()))
            .with_producer_epoch(i32::from(producer.epoch.get()))
            .with_last_sequence(producer.last_sequence)
            .with_last_timestamp(producer.timestamp.get())
            .with_coordinator_epoch(producer.coordinator_epoch)
            .with_current_txn_start_offset(producer.transaction_start.map_or(NO_TRANSACTION, Offset::get))
    });
    Ok(told.collect())
}
