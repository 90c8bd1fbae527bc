//! DeleteRecords: a log begins later, here at once and on every live replica before the answer.
//!
//! The leader moves its log start; followers learn of it with their next fetch and say
//! so with the one after. Until the last live replica has moved, the request waits: a
//! record that was reported as deleted must not come back with another leader.

use std::sync::Arc;
use std::time::Duration;

use model::{ErrorCode, NodeId, Offset};
use tokio::time::Instant;
use wire::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use wire::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use crate::data::partition::{Partition, Refused};
use crate::data::plane::Plane;
use crate::data::waiters::{Awaits, Waiter};

/// Everything that is committed shall go.
const HIGH_WATERMARK: i64 = -1;
/// What Kafka keeps for itself: deleting there would take its own state.
const INTERNAL: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];
/// A broker that dies wakes nobody, but no longer counts.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Why nothing is deleted.
#[derive(Debug, thiserror::Error)]
enum Undeleted {
    #[error("{}", .0.name())]
    Code(ErrorCode),
    #[error(transparent)]
    Partition(#[from] Refused),
}

impl Undeleted {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Code(code) => *code,
            Self::Partition(refused) => refused.code(),
        }
    }
}

/// A log whose start was moved.
struct Deleting {
    partition: Arc<Partition>,
    /// Nothing below shall be served by anybody.
    below: Offset,
}

/// Answers a request.
pub async fn handle(plane: Arc<Plane>, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let picture = plane.options.published.get();
    plane.catch_up(&picture).await;
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let deadline = Instant::now() + timeout;
    let blocking = plane.options.blocking.clone();
    let mover = plane.clone();
    let moved = blocking.run(move || move_all(&mover, request)).await;
    let mut topics = Vec::with_capacity(moved.len());
    for (name, partitions) in moved {
        let mut results = Vec::with_capacity(partitions.len());
        for (index, moved) in partitions {
            let reached = match moved {
                Ok(deleting) => wait(&plane, &deleting, deadline).await,
                Err(undeleted) => Err(undeleted.code()),
            };
            let result = DeleteRecordsPartitionResult::default().with_partition_index(index);
            results.push(match reached {
                Ok(low) => result.with_low_watermark(low.get()),
                Err(code) => result.with_low_watermark(-1).with_error_code(code.code()),
            });
        }
        topics.push(DeleteRecordsTopicResult::default().with_name(name).with_partitions(results));
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

type Moved = Vec<(i32, Result<Deleting, Undeleted>)>;

/// Moves the start of every log that this node leads; removes what lies before.
fn move_all(plane: &Plane, request: DeleteRecordsRequest) -> Vec<(wire::messages::TopicName, Moved)> {
    let image = &plane.options.published.get().image;
    let topics = request.topics.into_iter().map(|topic| {
        let found = match image.topic(topic.name.as_str()) {
            Some(_) if INTERNAL.contains(&topic.name.as_str()) => Err(ErrorCode::InvalidTopicException),
            Some(found) => Ok(found.id),
            None => Err(ErrorCode::UnknownTopicOrPartition),
        };
        let partitions = topic.partitions.iter().map(|data| {
            let partition = found.and_then(|id| plane.find(image, id, data.partition_index));
            let moved = partition.map_err(Undeleted::Code).and_then(|it| move_start(plane, it, data.offset));
            (data.partition_index, moved)
        });
        let partitions = partitions.collect();
        (topic.name, partitions)
    });
    topics.collect()
}

fn move_start(plane: &Plane, partition: Arc<Partition>, offset: i64) -> Result<Deleting, Undeleted> {
    let mut state = partition.lock();
    let deletes = state.settings.topic.cleanup.delete;
    state.used_at = Some(plane.options.clock.now());
    let (log, leader) = state.lead()?;
    if !deletes {
        // A compacted topic's records are its keys' latest values, not a history.
        return Err(Undeleted::Code(ErrorCode::PolicyViolation));
    }
    let watermark = leader.high_watermark();
    let below = match offset {
        HIGH_WATERMARK => watermark,
        offset => Offset::from_wire(offset)
            .filter(|&offset| offset <= watermark)
            .ok_or(Undeleted::Code(ErrorCode::OffsetOutOfRange))?,
    };
    if let Err(error) = log.advance_start(below) {
        tracing::error!(partition = %partition.name, %error, "records cannot be deleted");
        state.fail_if_poisoned();
        return Err(Refused::from(error).into());
    }
    plane.bury(&mut state);
    drop(state);
    // Followers that wait for records shall hear of it now.
    partition.waiters.wake();
    Ok(Deleting { partition, below })
}

/// Waits until no live replica serves what was deleted.
async fn wait(plane: &Plane, deleting: &Deleting, deadline: Instant) -> Result<Offset, ErrorCode> {
    loop {
        let waiter = Waiter::new();
        deleting.partition.waiters.register(&waiter, Awaits::Appends);
        if let Some(low) = low_watermark(plane, &deleting.partition)?.filter(|&low| low >= deleting.below) {
            return Ok(low);
        }
        if Instant::now() >= deadline {
            return Err(ErrorCode::RequestTimedOut);
        }
        let again = deadline.min(Instant::now() + LOOK_AGAIN);
        let _ = tokio::time::timeout_at(again, waiter.progress()).await;
    }
}

fn low_watermark(plane: &Plane, partition: &Partition) -> Result<Option<Offset>, ErrorCode> {
    let image = &plane.options.published.get().image;
    let is_live = |node: NodeId| image.broker(node).is_some_and(|broker| !broker.fenced);
    let mut state = partition.lock();
    let (log, leader) = state.lead().map_err(|refused| refused.code())?;
    Ok(leader.low_watermark(log.start(), is_live))
}
