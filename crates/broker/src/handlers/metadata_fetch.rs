//! Fetch on a controller's listener: brokers follow the metadata log (KIP-595).
//!
//! Only the leader answers with records, and only with committed ones; anyone else
//! says who leads and where. At the end of the log the answer waits for the next
//! commit. Kafka's own brokers read this as well as ours do.

use std::sync::Arc;
use std::time::Duration;

use model::{DirectoryId, ErrorCode, LeaderEpoch, METADATA_TOPIC, METADATA_TOPIC_ID, NodeId, Offset};
use quorum::{Quorum, Read, ReadError, ReadFrom, ReadOutcome};
use tokio::time::Instant;
use wire::messages::fetch_request::FetchPartition;
use wire::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData, SnapshotId,
};
use wire::messages::{
    BrokerId, FetchRequest, FetchResponse, RequestKind, ResponseKind, from_wire_uuid, text, to_wire_uuid,
    topic,
};

use crate::context::Context;
use crate::dispatch::RequestContext;

/// The most that one answer carries, whatever is asked for.
const BYTES_MAX: i32 = 8 << 20;
/// The longest wait that is granted.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Topic ids replace names from this version on.
const TOPIC_ID_VERSION: i16 = 13;

/// Answers with records, or with why there are none.
pub async fn handle(context: Arc<Context>, asker: RequestContext, request: FetchRequest) -> ResponseKind {
    let refuse = |code: ErrorCode| {
        wire::errors::respond(&RequestKind::Fetch(request.clone()), asker.version, code, None)
            .expect("Fetch has an error response")
    };
    let cluster = context.cluster.as_str();
    if request.cluster_id.as_ref().is_some_and(|theirs| theirs.as_str() != cluster) {
        return refuse(ErrorCode::InconsistentClusterId);
    }
    let Some(partition) = metadata_partition(&request, asker.version) else {
        return refuse(ErrorCode::UnknownTopicOrPartition);
    };
    let Some(quorum) = &context.quorum else { return refuse(ErrorCode::NotLeaderOrFollower) };
    let read = read(&context, quorum, &request, partition, asker.version).await;
    let endpoint = context.leader_endpoint();
    let leader = endpoint.as_ref().map_or(-1, |(node, ..)| node.get());
    let data = describe(&read, leader, quorum.status().borrow().epoch);
    let responses = vec![
        FetchableTopicResponse::default()
            .with_topic(topic(METADATA_TOPIC))
            .with_topic_id(to_wire_uuid(METADATA_TOPIC_ID))
            .with_partitions(vec![data]),
    ];
    let endpoints = wire_endpoint(endpoint);
    FetchResponse::default().with_responses(responses).with_node_endpoints(endpoints).into()
}

/// The one partition that can be asked for here.
fn metadata_partition(request: &FetchRequest, version: i16) -> Option<&FetchPartition> {
    let [asked] = request.topics.as_slice() else { return None };
    let right = if version >= TOPIC_ID_VERSION {
        from_wire_uuid(asked.topic_id) == METADATA_TOPIC_ID
    } else {
        asked.topic.as_str() == METADATA_TOPIC
    };
    let [partition] = asked.partitions.as_slice() else { return None };
    (right && partition.partition == 0).then_some(partition)
}

/// Reads, and waits for more where there is nothing yet.
async fn read(
    context: &Context,
    quorum: &Quorum,
    request: &FetchRequest,
    partition: &FetchPartition,
    version: i16,
) -> Result<Read, ReadError> {
    let replica = if version >= 15 { request.replica_state.replica_id } else { request.replica_id };
    let directory: DirectoryId = from_wire_uuid(partition.replica_directory_id);
    let from = ReadFrom {
        offset: Offset::new(partition.fetch_offset),
        last_fetched_epoch: LeaderEpoch::from_wire(partition.last_fetched_epoch),
        current_leader_epoch: LeaderEpoch::from_wire(partition.current_leader_epoch),
        bytes_max: bytes_max(request.max_bytes.min(partition.partition_max_bytes)),
        replica: NodeId::from_wire(replica.0).map(|node| (node, directory)),
    };
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
    let deadline = Instant::now() + wait;
    let mut status = quorum.status();
    loop {
        let had = status.borrow_and_update().clone();
        let reader = quorum.clone();
        let found = context.blocking.run(move || reader.read(&from)).await?;
        let empty = matches!(&found.outcome, ReadOutcome::Batches(bytes) if bytes.is_empty());
        // Kafka's brokers ask for no bytes at least, and mean to wait all the same.
        if !empty {
            return Ok(found);
        }
        let moved = status.wait_for(|now| {
            now.high_watermark > had.high_watermark || now.epoch != had.epoch || now.leader != had.leader
        });
        if tokio::time::timeout_at(deadline, moved).await.is_err() {
            return Ok(found);
        }
    }
}

/// A count of bytes as asked for, within bounds.
fn bytes_max(asked: i32) -> usize {
    usize::try_from(asked.clamp(1, BYTES_MAX)).expect("clamped to at least 1")
}

fn describe(read: &Result<Read, ReadError>, leader: i32, epoch: LeaderEpoch) -> PartitionData {
    let leader = LeaderIdAndEpoch::default().with_leader_id(BrokerId(leader)).with_leader_epoch(epoch.get());
    let read = match read {
        Ok(read) => read,
        Err(error) => {
            return PartitionData::default()
                .with_error_code(error.code().code())
                .with_high_watermark(-1)
                .with_current_leader(leader);
        }
    };
    let data = PartitionData::default()
        .with_high_watermark(read.high_watermark.get())
        .with_last_stable_offset(read.high_watermark.get())
        .with_log_start_offset(read.log_start.get())
        .with_current_leader(leader);
    match &read.outcome {
        ReadOutcome::Batches(bytes) => data.with_records(Some(bytes.clone())),
        ReadOutcome::Diverging { epoch, end_offset } => data.with_diverging_epoch(
            EpochEndOffset::default().with_epoch(epoch.get()).with_end_offset(end_offset.get()),
        ),
        ReadOutcome::Snapshot(id) => data.with_snapshot_id(
            SnapshotId::default().with_end_offset(id.end_offset.get()).with_epoch(id.epoch.get()),
        ),
    }
}

fn wire_endpoint(endpoint: Option<(NodeId, String, u16)>) -> Vec<NodeEndpoint> {
    let endpoint = endpoint.map(|(node, host, port)| {
        NodeEndpoint::default()
            .with_node_id(BrokerId(node.get()))
            .with_host(text(&host))
            .with_port(i32::from(port))
    });
    endpoint.into_iter().collect()
}
