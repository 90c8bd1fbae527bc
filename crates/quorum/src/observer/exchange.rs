//! Fetch and FetchSnapshot of the metadata log: requests made, responses reduced to what counts.

use std::time::Duration;

use bytes::Bytes;
use model::{
    ClusterId, DirectoryId, ErrorCode, LeaderEpoch, METADATA_TOPIC, METADATA_TOPIC_ID, NodeId, Offset,
};
use net::{Connection, SendError};
use wire::messages::{
    self, BrokerId, FetchRequest, FetchResponse, FetchSnapshotRequest, FetchSnapshotResponse, RequestKind,
    ResponseKind, fetch_request, fetch_response, fetch_snapshot_request, fetch_snapshot_response,
};

use crate::snapshot::SnapshotId;

const FETCH_VERSION: i16 = 17;
const FETCH_SNAPSHOT_VERSION: i16 = 1;
/// How long the leader may hold a fetch that finds nothing new.
const WAIT: Duration = Duration::from_millis(500);
const FETCH_BYTES: i32 = 8 << 20;
const SNAPSHOT_BYTES: i32 = 1 << 20;

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub(super) node: NodeId,
    pub(super) directory: DirectoryId,
    pub(super) cluster: ClusterId,
    pub(super) timeout: Duration,
}

/// Who leads, by a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LeaderNews {
    pub(super) leader: Option<NodeId>,
    pub(super) epoch: Option<LeaderEpoch>,
    pub(super) addresses: Vec<(NodeId, String, u16)>,
}

/// What a fetch brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    Batches { bytes: Bytes, high_watermark: Offset },
    Diverging { epoch: LeaderEpoch, end_offset: Offset },
    Snapshot(SnapshotId),
}

/// A piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) size: u64,
    pub(super) position: u64,
    pub(super) bytes: Bytes,
}

/// Why an exchange did not help.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("a controller answers with {0:?}")]
    Code(ErrorCode),
    #[error("a controller's answer is not about the metadata log")]
    Other,
}

/// An outcome and, whatever it is, what was said of the leader.
pub(super) type Answer<T> = (Result<T, ExchangeError>, LeaderNews);

fn checked(code: i16) -> Result<(), ExchangeError> {
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(()),
        code => Err(ExchangeError::Code(code)),
    }
}

/// Asks for what follows `offset`.
pub(super) async fn fetch(
    connection: &Connection,
    asker: &Asker,
    epoch: LeaderEpoch,
    offset: Offset,
    last_fetched_epoch: LeaderEpoch,
) -> Answer<Fetched> {
    let partition = fetch_request::FetchPartition::default()
        .with_partition(0)
        .with_current_leader_epoch(epoch.get())
        .with_fetch_offset(offset.get())
        .with_last_fetched_epoch(last_fetched_epoch.get())
        .with_partition_max_bytes(FETCH_BYTES)
        .with_replica_directory_id(messages::to_wire_uuid(asker.directory));
    let topic = fetch_request::FetchTopic::default()
        .with_topic_id(messages::to_wire_uuid(METADATA_TOPIC_ID))
        .with_partitions(vec![partition]);
    let replica = fetch_request::ReplicaState::default().with_replica_id(BrokerId(asker.node.get()));
    let request = FetchRequest::default()
        .with_cluster_id(Some(messages::text(asker.cluster.as_str())))
        .with_replica_state(replica.with_replica_epoch(-1))
        .with_max_wait_ms(WAIT.as_millis() as i32)
        .with_min_bytes(1)
        .with_max_bytes(FETCH_BYTES)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let sent = connection.send(FETCH_VERSION, RequestKind::Fetch(request), asker.timeout + WAIT).await;
    match sent {
        Err(error) => (Err(error.into()), LeaderNews::default()),
        Ok(ResponseKind::Fetch(response)) => read_fetch(response),
        Ok(_) => (Err(ExchangeError::Other), LeaderNews::default()),
    }
}

fn read_fetch(mut response: FetchResponse) -> Answer<Fetched> {
    let address = |endpoint: &fetch_response::NodeEndpoint| {
        let port = u16::try_from(endpoint.port).ok()?;
        Some((NodeId::new(endpoint.node_id.0), endpoint.host.to_string(), port))
    };
    let addresses = response.node_endpoints.iter().filter_map(address).collect();
    let news = LeaderNews { addresses, ..LeaderNews::default() };
    if let Err(error) = checked(response.error_code) {
        return (Err(error), news);
    }
    let partition = response.responses.pop().and_then(|mut topic| topic.partitions.pop());
    let Some(partition) = partition else { return (Err(ExchangeError::Other), news) };
    let news = LeaderNews {
        leader: NodeId::from_wire(partition.current_leader.leader_id.0),
        epoch: LeaderEpoch::from_wire(partition.current_leader.leader_epoch),
        ..news
    };
    (checked(partition.error_code).map(|()| read_partition(partition)), news)
}

fn read_partition(partition: fetch_response::PartitionData) -> Fetched {
    let snapshot = (Offset::from_wire(partition.snapshot_id.end_offset), partition.snapshot_id.epoch);
    let diverging =
        (LeaderEpoch::from_wire(partition.diverging_epoch.epoch), partition.diverging_epoch.end_offset);
    match (snapshot, diverging) {
        ((Some(end_offset), epoch), _) if epoch >= 0 => {
            Fetched::Snapshot(SnapshotId { end_offset, epoch: LeaderEpoch::new(epoch) })
        }
        (_, (Some(epoch), end_offset)) => {
            Fetched::Diverging { epoch, end_offset: Offset::new(end_offset.max(0)) }
        }
        _ => Fetched::Batches {
            bytes: partition.records.unwrap_or_default(),
            high_watermark: Offset::new(partition.high_watermark.max(0)),
        },
    }
}

/// Asks for the piece of snapshot `id` at `position`.
pub(super) async fn fetch_snapshot(
    connection: &Connection,
    asker: &Asker,
    epoch: LeaderEpoch,
    id: SnapshotId,
    position: u64,
) -> Answer<Piece> {
    let wanted = fetch_snapshot_request::SnapshotId::default()
        .with_end_offset(id.end_offset.get())
        .with_epoch(id.epoch.get());
    let partition = fetch_snapshot_request::PartitionSnapshot::default()
        .with_partition(0)
        .with_current_leader_epoch(epoch.get())
        .with_snapshot_id(wanted)
        .with_position(position as i64)
        .with_replica_directory_id(messages::to_wire_uuid(asker.directory));
    let topic = fetch_snapshot_request::TopicSnapshot::default()
        .with_name(messages::topic(METADATA_TOPIC))
        .with_partitions(vec![partition]);
    let request = FetchSnapshotRequest::default()
        .with_cluster_id(Some(messages::text(asker.cluster.as_str())))
        .with_replica_id(BrokerId(asker.node.get()))
        .with_max_bytes(SNAPSHOT_BYTES)
        .with_topics(vec![topic]);
    let sent =
        connection.send(FETCH_SNAPSHOT_VERSION, RequestKind::FetchSnapshot(request), asker.timeout).await;
    match sent {
        Err(error) => (Err(error.into()), LeaderNews::default()),
        Ok(ResponseKind::FetchSnapshot(response)) => read_snapshot(response),
        Ok(_) => (Err(ExchangeError::Other), LeaderNews::default()),
    }
}

fn read_snapshot(mut response: FetchSnapshotResponse) -> Answer<Piece> {
    let address = |endpoint: &fetch_snapshot_response::NodeEndpoint| {
        (NodeId::new(endpoint.node_id.0), endpoint.host.to_string(), endpoint.port)
    };
    let news = LeaderNews {
        addresses: response.node_endpoints.iter().map(address).collect(),
        ..LeaderNews::default()
    };
    if let Err(error) = checked(response.error_code) {
        return (Err(error), news);
    }
    let partition = response.topics.pop().and_then(|mut topic| topic.partitions.pop());
    let Some(partition) = partition else { return (Err(ExchangeError::Other), news) };
    let news = LeaderNews {
        leader: NodeId::from_wire(partition.current_leader.leader_id.0),
        epoch: LeaderEpoch::from_wire(partition.current_leader.leader_epoch),
        ..news
    };
    let piece = || Piece {
        size: partition.size.max(0) as u64,
        position: partition.position.max(0) as u64,
        bytes: partition.unaligned_records.clone(),
    };
    (checked(partition.error_code).map(|()| piece()), news)
}
