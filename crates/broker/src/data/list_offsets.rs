//! ListOffsets: where a log begins and ends, and where a point in time lies in it.

use std::sync::Arc;

use log::FoundTimestamp;
use metadata::Image;
use model::{ErrorCode, LeaderEpoch, NodeId, Offset, Timestamp};
use wire::messages::list_offsets_request::ListOffsetsPartition;
use wire::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use wire::messages::{ListOffsetsRequest, ListOffsetsResponse};

use crate::data::partition::{Partition, Refused};
use crate::data::plane::Plane;
use crate::dispatch::RequestContext;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const NEWEST: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LAST_TIERED: i64 = -5;
const FIRST_TO_BE_TIERED: i64 = -6;
/// From this version on a client knows that an end may not be known yet (KIP-207).
const NOT_AVAILABLE_FROM: i16 = 5;
/// From this version on epochs are told.
const EPOCHS_FROM: i16 = 4;

/// The isolation level of who reads no open transactions.
const READ_COMMITTED: i8 = 1;

/// How far into a log the asker sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// To its end: a follower.
    Everything,
    /// To the high watermark.
    Committed,
    /// To the first open transaction.
    Stable,
}

/// What is told of one partition.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    offset: Option<Offset>,
    timestamp: Option<Timestamp>,
    epoch: Option<LeaderEpoch>,
}

/// Why nothing is told.
#[derive(Debug, thiserror::Error)]
enum Unlisted {
    #[error("{}", .0.name())]
    Code(ErrorCode),
    #[error(transparent)]
    Partition(#[from] Refused),
}

impl Unlisted {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Code(code) => *code,
            Self::Partition(refused) => refused.code(),
        }
    }
}

/// Answers a request. Looking for a time may read batches: it runs where waiting is allowed.
pub async fn handle(
    plane: Arc<Plane>,
    asker: RequestContext,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let picture = plane.options.published.get();
    plane.catch_up(&picture).await;
    let reads = |data: &ListOffsetsPartition| data.timestamp >= 0 || data.timestamp == NEWEST;
    let is_slow = request.topics.iter().flat_map(|topic| &topic.partitions).any(reads);
    let blocking = plane.options.blocking.clone();
    let work = move || list(&plane, &picture.image, asker.version, request);
    if is_slow { blocking.run(work).await } else { work() }
}

fn list(plane: &Plane, image: &Image, version: i16, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let follower = NodeId::from_wire(request.replica_id.0);
    let reach = match (follower, request.isolation_level) {
        (Some(_), _) => Reach::Everything,
        (None, READ_COMMITTED) => Reach::Stable,
        (None, _) => Reach::Committed,
    };
    let topics = request.topics.into_iter().map(|topic| {
        let found = image.topic(topic.name.as_str());
        let partitions = topic.partitions.iter().map(|data| {
            let partition = match found {
                Some(found) => plane.find(image, found.id, data.partition_index),
                None => Err(ErrorCode::UnknownTopicOrPartition),
            };
            let told = partition.map_err(Unlisted::Code).and_then(|partition| {
                look(&partition, data, version, reach).inspect_err(|error| {
                    if error.code() == ErrorCode::KafkaStorageError {
                        tracing::warn!(partition = %partition.name, %error, "a log cannot be looked through");
                    }
                })
            });
            respond(data.partition_index, version, told)
        });
        let partitions = partitions.collect();
        ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions)
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn respond(index: i32, version: i16, told: Result<Found, Unlisted>) -> ListOffsetsPartitionResponse {
    let response = ListOffsetsPartitionResponse::default().with_partition_index(index);
    let (code, found) = match told {
        Ok(found) => (ErrorCode::None, found),
        Err(error) => (error.code(), Found::default()),
    };
    let epoch = found.epoch.filter(|_| version >= EPOCHS_FROM);
    response
        .with_error_code(code.code())
        .with_offset(found.offset.map_or(-1, Offset::get))
        .with_timestamp(found.timestamp.map_or(-1, Timestamp::get))
        .with_leader_epoch(epoch.map_or(-1, LeaderEpoch::get))
}

fn look(
    partition: &Partition,
    data: &ListOffsetsPartition,
    version: i16,
    reach: Reach,
) -> Result<Found, Unlisted> {
    let mut state = partition.lock();
    let (log, leader) = state.lead_in(LeaderEpoch::from_wire(data.current_leader_epoch))?;
    let visible = match reach {
        Reach::Everything => log.end(),
        Reach::Committed => leader.high_watermark(),
        Reach::Stable => log.last_stable(leader.high_watermark()),
    };
    // A new leader may not know yet how far the last one's watermark was; an answer now could take
    // back what a consumer has been told.
    let is_behind = reach != Reach::Everything && leader.high_watermark() < leader.epoch_start();
    let unknown_yet = || {
        let code = if version >= NOT_AVAILABLE_FROM {
            ErrorCode::OffsetNotAvailable
        } else {
            ErrorCode::LeaderNotAvailable
        };
        Unlisted::Code(code)
    };
    let at = |offset: Offset, epoch| Found { offset: Some(offset), timestamp: None, epoch };
    match data.timestamp {
        LATEST if is_behind => Err(unknown_yet()),
        LATEST => Ok(at(visible, Some(leader.leader_epoch()))),
        EARLIEST | EARLIEST_LOCAL => {
            let start = log.start();
            Ok(at(start, log.epoch_at(start)))
        }
        NEWEST => {
            let found = log.find_newest().map_err(Refused::from)?;
            Ok(found.filter(|found| found.offset < visible).map(tell).unwrap_or_default())
        }
        LAST_TIERED | FIRST_TO_BE_TIERED => Ok(Found::default()),
        timestamp if timestamp >= 0 => {
            let found = log.find_timestamp(Timestamp::new(timestamp)).map_err(Refused::from)?;
            match found.filter(|found| found.offset < visible) {
                Some(found) => Ok(tell(found)),
                None if is_behind => Err(unknown_yet()),
                None => Ok(Found::default()),
            }
        }
        _ => Err(Unlisted::Code(ErrorCode::UnsupportedVersion)),
    }
}

fn tell(found: FoundTimestamp) -> Found {
    Found { offset: Some(found.offset), timestamp: Some(found.timestamp), epoch: Some(found.epoch) }
}
