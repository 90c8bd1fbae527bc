//! WriteTxnMarkers: a transaction's coordinator ends it in the partitions that are led here.
//!
//! Each partition gets its marker at once, in the order of the requests, and answers
//! when every in-sync replica has it. The coordinator asks again until all have: a
//! marker that comes twice changes nothing. Who may send markers is the caller's
//! question: CLUSTER_ACTION, or ALTER of the cluster.

use std::sync::Arc;
use std::time::Duration;

use log::producers::TransactionEnd;
use metadata::Image;
use model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId};
use tokio::time::Instant;
use wire::messages::write_txn_markers_request::WritableTxnMarker;
use wire::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use wire::messages::{TopicName, WriteTxnMarkersRequest, WriteTxnMarkersResponse};

use crate::data::partition::{Outcome, Partition};
use crate::data::plane::Plane;
use crate::data::produce::{Written, settled, wait};
use crate::server::{Answer, Reply};

/// The topic whose transactions a group coordinator ends.
const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// `request.timeout.ms`: so long the replicas are waited for.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A transaction ended in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The epoch of the leader that wrote the marker.
    pub epoch: LeaderEpoch,
    /// Where the marker is. It counts when it is committed.
    pub last: Offset,
    /// `flush.messages` asks for a sync now.
    pub needs_sync: bool,
}

/// Who writes the markers in partitions of `__consumer_offsets`: the group coordinator, which has to take
/// note of each in the order of its own records.
pub trait MarkerWriter: Send + Sync {
    /// Appends a marker, in the epoch in which the partition's groups are coordinated here.
    fn write(&self, partition: PartitionIndex, end: &TransactionEnd) -> Result<Ended, ErrorCode>;
}

/// A partition of a request, and what becomes of it.
struct Marking {
    index: i32,
    outcome: Result<Written, ErrorCode>,
}

type Topics = Vec<(TopicName, Vec<Marking>)>;

/// Answers a request: appends at once, waits in the second stage.
pub async fn handle(plane: &Arc<Plane>, request: WriteTxnMarkersRequest) -> Answer {
    let picture = plane.options.published.get();
    plane.catch_up(&picture).await;
    let deadline = Instant::now() + TIMEOUT;
    let mut marked: Vec<(i64, Topics)> = Vec::with_capacity(request.markers.len());
    for marker in request.markers {
        let end = end_of(&marker);
        let topics = marker.topics.into_iter().map(|topic| {
            let mark = |&index: &i32| Marking {
                index,
                outcome: mark(plane, &picture.image, topic.name.as_str(), index, &end),
            };
            let markings = topic.partition_indexes.iter().map(mark).collect();
            (topic.name, markings)
        });
        marked.push((end.producer.get(), topics.collect()));
    }
    let plane = plane.clone();
    Answer::Later(Box::pin(async move {
        let mut results = Vec::with_capacity(marked.len());
        for (producer, topics) in marked {
            results.push(finish(&plane, producer, topics, deadline).await);
        }
        Reply::message(WriteTxnMarkersResponse::default().with_markers(results))
    }))
}

fn end_of(marker: &WritableTxnMarker) -> TransactionEnd {
    TransactionEnd {
        producer: ProducerId::new(marker.producer_id.0),
        epoch: ProducerEpoch::new(marker.producer_epoch),
        commit: marker.transaction_result,
        coordinator_epoch: marker.coordinator_epoch,
        version: wire::markers::transaction_version(marker),
    }
}

fn mark(
    plane: &Plane,
    image: &Image,
    topic: &str,
    index: i32,
    end: &TransactionEnd,
) -> Result<Written, ErrorCode> {
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let found = image.topic(topic).ok_or(unknown)?;
    let partition = plane.partition((found.id, PartitionIndex::new(index))).ok_or(unknown)?;
    let writer = plane.seams.writer().filter(|_| topic == OFFSETS_TOPIC);
    let ended = match writer {
        Some(writer) => writer.write(partition.key.1, end)?,
        None => append(plane, &partition, end)?,
    };
    Ok(Written { partition, epoch: ended.epoch, end: ended.last.next(), needs_sync: ended.needs_sync })
}

fn append(plane: &Plane, partition: &Arc<Partition>, end: &TransactionEnd) -> Result<Ended, ErrorCode> {
    let (now, wall) = (plane.options.clock.now(), plane.options.clock.wall());
    let mut state = partition.lock();
    let appended = state.append_with(now, None, true, |log, epoch| log.append_end(end, epoch, wall));
    let (appended, epoch, outcome) = match appended {
        Ok(appended) => appended,
        Err(unwritten) => {
            drop(state);
            partition.waiters.wake();
            tracing::info!(partition = %partition.name, ?end, error = %unwritten, "a transaction's end was refused");
            return Err(unwritten.code());
        }
    };
    let needs_sync = state.is_sync_due();
    drop(state);
    plane.carry_out(partition, Outcome { wake: true, ..outcome });
    Ok(Ended { epoch, last: appended.last, needs_sync })
}

async fn finish(plane: &Plane, producer: i64, topics: Topics, deadline: Instant) -> WritableTxnMarkerResult {
    let mut results = Vec::with_capacity(topics.len());
    for (name, markings) in topics {
        let mut partitions = Vec::with_capacity(markings.len());
        for Marking { index, outcome } in markings {
            let code = match outcome {
                Err(code) => code,
                Ok(written) => match settled(&written, true) {
                    Some(outcome) => outcome.err().unwrap_or(ErrorCode::None),
                    None => wait(plane, &written, true, deadline).await.err().unwrap_or(ErrorCode::None),
                },
            };
            let result = WritableTxnMarkerPartitionResult::default().with_partition_index(index);
            partitions.push(result.with_error_code(code.code()));
        }
        results.push(WritableTxnMarkerTopicResult::default().with_name(name).with_partitions(partitions));
    }
    WritableTxnMarkerResult::default().with_producer_id(producer.into()).with_topics(results)
}
