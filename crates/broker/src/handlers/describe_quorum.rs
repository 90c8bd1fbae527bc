//! DescribeQuorum: the voters and observers of the metadata log, as its leader sees them.

use std::sync::Arc;

use metadata::Image;
use model::{ErrorCode, METADATA_TOPIC, Timestamp};
use quorum::{QuorumDescription, ReplicaState};
use wire::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState as WireReplica, TopicData,
};
use wire::messages::{
    BrokerId, DescribeQuorumRequest, DescribeQuorumResponse, ResponseKind, WireUuid, text, to_wire_uuid,
    topic,
};

use crate::context::Context;
use crate::controller_link::Office;
use crate::dispatch::RequestContext;
use crate::handlers::forward;

/// The first version with the voters' addresses and directories (KIP-853).
const NODES_FROM: i16 = 2;

/// Asked at a broker: answered here if the leader is in this process, else there.
pub async fn at_broker(
    context: Arc<Context>,
    asker: RequestContext,
    request: DescribeQuorumRequest,
) -> ResponseKind {
    match context.controllers.office() {
        Office::Here => handle(context, asker.version, request).await.into(),
        Office::At { .. } | Office::Vacant => forward::handle(context, asker, request.into()).await,
    }
}

/// Answers as leader; anyone else says who that is not: NOT_LEADER_OR_FOLLOWER.
pub async fn handle(
    context: Arc<Context>,
    version: i16,
    request: DescribeQuorumRequest,
) -> DescribeQuorumResponse {
    let is_metadata = |name: &str, partition: i32| name == METADATA_TOPIC && partition == 0;
    let asked_right = request.topics.iter().all(|asked| {
        asked.partitions.iter().all(|part| is_metadata(&asked.topic_name, part.partition_index))
    });
    if !asked_right || request.topics.len() != 1 {
        let code = ErrorCode::UnknownTopicOrPartition.code();
        return DescribeQuorumResponse::default().with_error_code(code);
    }
    let description = match &context.quorum {
        Some(quorum) => quorum.describe().await.ok(),
        None => None,
    };
    match description {
        Some(description) => describe(&description, &context.published.get().image, version),
        None => partition(
            PartitionData::default()
                .with_error_code(ErrorCode::NotLeaderOrFollower.code())
                .with_leader_id(BrokerId(context.active_controller().map_or(-1, |node| node.get()))),
        ),
    }
}

fn describe(description: &QuorumDescription, image: &Image, version: i16) -> DescribeQuorumResponse {
    let has_nodes = version >= NODES_FROM;
    let replica = |state: &ReplicaState| replica(state, has_nodes);
    let data = PartitionData::default()
        .with_leader_id(BrokerId(description.leader.get()))
        .with_leader_epoch(description.epoch.get())
        .with_high_watermark(description.high_watermark.get())
        .with_current_voters(description.voters.iter().map(&replica).collect())
        .with_observers(description.observers.iter().map(replica).collect());
    partition(data).with_nodes(if has_nodes { nodes(description, image) } else { Vec::new() })
}

fn partition(data: PartitionData) -> DescribeQuorumResponse {
    let topic = TopicData::default().with_topic_name(topic(METADATA_TOPIC)).with_partitions(vec![data]);
    DescribeQuorumResponse::default().with_topics(vec![topic])
}

fn replica(state: &ReplicaState, has_directory: bool) -> WireReplica {
    let time = |at: Option<Timestamp>| at.map_or(-1, Timestamp::get);
    let directory = if has_directory { to_wire_uuid(state.directory) } else { WireUuid::nil() };
    WireReplica::default()
        .with_replica_id(BrokerId(state.id.get()))
        .with_replica_directory_id(directory)
        .with_log_end_offset(state.log_end.map_or(-1, |end| end.get()))
        .with_last_fetch_timestamp(time(state.last_fetch))
        .with_last_caught_up_timestamp(time(state.last_caught_up))
}

fn nodes(description: &QuorumDescription, image: &Image) -> Vec<Node> {
    let registered = |state: &ReplicaState| image.controllers().find(|controller| controller.id == state.id);
    let described = description.voters.iter().filter_map(registered).map(|controller| {
        let listener = |endpoint: &metadata::Endpoint| {
            Listener::default()
                .with_name(text(&endpoint.name))
                .with_host(text(&endpoint.host))
                .with_port(endpoint.port)
        };
        Node::default()
            .with_node_id(BrokerId(controller.id.get()))
            .with_listeners(controller.listeners.iter().map(listener).collect())
    });
    described.collect()
}
