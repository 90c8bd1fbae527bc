//! FetchSnapshot (KIP-630): a broker that is too far behind the log takes the state instead.

use std::sync::Arc;

use model::{ErrorCode, LeaderEpoch, METADATA_TOPIC, NodeId, Offset};
use quorum::{ReadError, SnapshotChunk, SnapshotId as QuorumSnapshotId};
use wire::messages::fetch_snapshot_request::PartitionSnapshot as Asked;
use wire::messages::fetch_snapshot_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionSnapshot, SnapshotId, TopicSnapshot,
};
use wire::messages::{BrokerId, FetchSnapshotRequest, FetchSnapshotResponse, text};

use crate::context::Context;

/// The most that one answer carries, whatever is asked for.
const BYTES_MAX: i32 = 8 << 20;

/// Answers with a piece of the snapshot.
pub async fn handle(context: Arc<Context>, request: FetchSnapshotRequest) -> FetchSnapshotResponse {
    let refuse = |code: ErrorCode| FetchSnapshotResponse::default().with_error_code(code.code());
    let cluster = context.cluster.as_str();
    if request.cluster_id.as_ref().is_some_and(|theirs| theirs.as_str() != cluster) {
        return refuse(ErrorCode::InconsistentClusterId);
    }
    let mut answered = Vec::new();
    for asked_topic in &request.topics {
        let mut partitions = Vec::with_capacity(asked_topic.partitions.len());
        for asked in &asked_topic.partitions {
            partitions.push(if asked_topic.name.as_str() == METADATA_TOPIC && asked.partition == 0 {
                let read = read(&context, asked, request.max_bytes).await;
                describe(&context, asked, read)
            } else {
                let code = ErrorCode::UnknownTopicOrPartition.code();
                PartitionSnapshot::default().with_index(asked.partition).with_error_code(code)
            });
        }
        answered
            .push(TopicSnapshot::default().with_name(asked_topic.name.clone()).with_partitions(partitions));
    }
    FetchSnapshotResponse::default().with_topics(answered).with_node_endpoints(leader_endpoint(&context))
}

async fn read(context: &Context, asked: &Asked, max_bytes: i32) -> Result<SnapshotChunk, ReadError> {
    let Some(quorum) = context.quorum.clone() else {
        return Err(ReadError::NotLeader { leader: None, epoch: LeaderEpoch::default() });
    };
    let id = QuorumSnapshotId {
        end_offset: Offset::new(asked.snapshot_id.end_offset),
        epoch: LeaderEpoch::new(asked.snapshot_id.epoch),
    };
    let bytes_max = usize::try_from(max_bytes.clamp(1, BYTES_MAX)).expect("clamped to at least 1");
    let epoch = LeaderEpoch::from_wire(asked.current_leader_epoch);
    let position = asked.position;
    context.blocking.run(move || quorum.read_snapshot(id, position, bytes_max, epoch)).await
}

fn describe(context: &Context, asked: &Asked, read: Result<SnapshotChunk, ReadError>) -> PartitionSnapshot {
    let id = SnapshotId::default()
        .with_end_offset(asked.snapshot_id.end_offset)
        .with_epoch(asked.snapshot_id.epoch);
    let (leader, epoch) = match &context.quorum {
        Some(quorum) => {
            let status = quorum.status().borrow().clone();
            (status.leader.map_or(-1, NodeId::get), status.epoch.get())
        }
        None => (-1, -1),
    };
    let leader = LeaderIdAndEpoch::default().with_leader_id(BrokerId(leader)).with_leader_epoch(epoch);
    let data = PartitionSnapshot::default().with_snapshot_id(id).with_current_leader(leader);
    match read {
        Ok(chunk) => data
            .with_size(i64::try_from(chunk.size).unwrap_or(i64::MAX))
            .with_position(asked.position)
            .with_unaligned_records(chunk.bytes),
        Err(error) => data.with_error_code(error.code().code()),
    }
}

fn leader_endpoint(context: &Context) -> Vec<NodeEndpoint> {
    let endpoint = context.leader_endpoint().map(|(node, host, port)| {
        NodeEndpoint::default().with_node_id(BrokerId(node.get())).with_host(text(&host)).with_port(port)
    });
    endpoint.into_iter().collect()
}
