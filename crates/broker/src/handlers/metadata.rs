//! Metadata: which brokers there are, which topics, and who leads their partitions.
//!
//! A topic that is asked for and missing may be created on the way. Then the answer
//! waits a moment for it, so that a client's first produce needs no second round.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use metadata::{Image, Partition, Topic};
use model::{ErrorCode, NodeId, TopicName};
use tokio::time::Instant;
use wire::messages::create_topics_request::CreatableTopic;
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use wire::messages::{
    BrokerId, CreateTopicsRequest, MetadataRequest, MetadataResponse, ResponseKind, StrBytes, from_wire_uuid,
    text, to_wire_uuid,
};

use crate::context::Context;
use crate::dispatch::RequestContext;
use crate::groups::internal_topics::InternalTopic;
use crate::handlers::view::{self, CLUSTER_OPERATIONS, TOPIC_OPERATIONS};
use crate::publish::Picture;

/// How long an answer waits for the topics that it had created.
const CREATION_WAIT: Duration = Duration::from_secs(2);
/// The version whose errors tell the controller's reasons; no client sees it.
const CREATE_TOPICS_VERSION: i16 = 7;

/// Answers from the published image, after creating what is missing where that is wanted.
pub async fn handle(
    context: Arc<Context>,
    asker: RequestContext,
    request: MetadataRequest,
) -> MetadataResponse {
    let mut picture = context.published.get();
    if request.allow_auto_topic_creation && context.config.topics.auto_create {
        let missing = missing_names(&picture.image, &request);
        if !missing.is_empty() {
            picture = create(&context, missing).await;
        }
    }
    answer(&context, &asker, &request, &picture)
}

fn answer(
    context: &Context,
    asker: &RequestContext,
    request: &MetadataRequest,
    picture: &Picture,
) -> MetadataResponse {
    let image = &picture.image;
    let view = View { image, listener: &asker.listener.name, version: asker.version };
    let operations = request.include_topic_authorized_operations;
    let asked = request.topics.as_ref().filter(|asked| !(asker.version == 0 && asked.is_empty()));
    let topics = match asked {
        None => image.topics().map(|topic| view.topic(topic, operations)).collect(),
        Some(asked) => asked.iter().map(|asked| view.asked(asked, operations)).collect(),
    };
    let response = MetadataResponse::default()
        .with_brokers(view.brokers())
        .with_cluster_id(Some(text(context.cluster.as_str())))
        // Any broker forwards what is for the controller.
        .with_controller_id(BrokerId(context.node.get()))
        .with_topics(topics);
    if request.include_cluster_authorized_operations {
        response.with_cluster_authorized_operations(CLUSTER_OPERATIONS)
    } else {
        response
    }
}

struct View<'a> {
    image: &'a Image,
    listener: &'a str,
    version: i16,
}

impl View<'_> {
    fn brokers(&self) -> Vec<MetadataResponseBroker> {
        let alive = self.image.brokers().filter(|broker| !broker.fenced);
        let described = alive.filter_map(|broker| {
            let (host, port) = view::endpoint(broker, self.listener)?;
            let described = MetadataResponseBroker::default()
                .with_node_id(BrokerId(broker.id.get()))
                .with_host(text(host))
                .with_port(i32::from(port))
                .with_rack(broker.rack.as_deref().map(text));
            Some(described)
        });
        described.collect()
    }

    fn asked(&self, asked: &MetadataRequestTopic, operations: bool) -> MetadataResponseTopic {
        let missing = MetadataResponseTopic::default()
            .with_name(asked.name.as_ref().map(|name| wire::messages::topic(name)))
            .with_topic_id(asked.topic_id);
        let found = match &asked.name {
            Some(name) => match TopicName::new(name) {
                Ok(name) => self.image.topic(name.as_str()).ok_or(ErrorCode::UnknownTopicOrPartition),
                Err(_) => Err(ErrorCode::InvalidTopicException),
            },
            None if asked.topic_id.is_nil() => Err(ErrorCode::InvalidRequest),
            None => self.image.topic_by_id(from_wire_uuid(asked.topic_id)).ok_or(ErrorCode::UnknownTopicId),
        };
        match found {
            Ok(topic) => self.topic(topic, operations),
            // As Kafka: what could be done to a topic of that name if there were one.
            Err(code) if operations && asked.name.is_some() => {
                missing.with_error_code(code.code()).with_topic_authorized_operations(TOPIC_OPERATIONS)
            }
            Err(code) => missing.with_error_code(code.code()),
        }
    }

    fn topic(&self, topic: &Topic, operations: bool) -> MetadataResponseTopic {
        let partitions =
            topic.partitions().map(|(index, partition)| self.partition(index.get(), partition)).collect();
        let response = MetadataResponseTopic::default()
            .with_name(Some(wire::messages::topic(topic.name.as_str())))
            .with_topic_id(to_wire_uuid(topic.id))
            .with_is_internal(view::is_internal(topic.name.as_str()))
            .with_partitions(partitions);
        if operations { response.with_topic_authorized_operations(TOPIC_OPERATIONS) } else { response }
    }

    fn partition(&self, index: i32, partition: &Partition) -> MetadataResponsePartition {
        let (leader, error) = self.leader(partition);
        let offline = view::offline_replicas(self.image, partition, self.listener);
        MetadataResponsePartition::default()
            .with_error_code(error.code())
            .with_partition_index(index)
            .with_leader_id(BrokerId(leader.map_or(-1, NodeId::get)))
            .with_leader_epoch(partition.leader_epoch.get())
            .with_replica_nodes(view::wire_ids(&partition.replicas))
            .with_isr_nodes(view::wire_ids(&partition.isr))
            .with_offline_replicas(view::wire_ids(&offline))
    }

    /// The leader, if the client can reach it where it asks.
    fn leader(&self, partition: &Partition) -> (Option<NodeId>, ErrorCode) {
        let leader = partition.leader.and_then(|leader| self.image.broker(leader));
        let Some(leader) = leader.filter(|leader| !leader.fenced) else {
            return (None, ErrorCode::LeaderNotAvailable);
        };
        if view::endpoint(leader, self.listener).is_some() {
            return (Some(leader.id), ErrorCode::None);
        }
        // Clients before version 6 do not know the better code.
        let unreachable =
            if self.version >= 6 { ErrorCode::ListenerNotFound } else { ErrorCode::LeaderNotAvailable };
        (None, unreachable)
    }
}

/// Names that are asked for, legal, and not there.
fn missing_names(image: &Image, request: &MetadataRequest) -> BTreeSet<StrBytes> {
    let asked = request.topics.iter().flatten().filter_map(|asked| asked.name.as_ref());
    asked
        .filter(|name| TopicName::new(name).is_ok() && image.topic(name.as_str()).is_none())
        .map(|name| name.0.clone())
        .collect()
}

/// Has topics created and waits until they show, or until it is clear that they will not.
async fn create(context: &Context, names: BTreeSet<StrBytes>) -> Arc<Picture> {
    let topic = |name: &StrBytes| match InternalTopic::named(name) {
        Some(internal) => internal.creatable(&context.config),
        // The cluster's own number of partitions and replicas.
        None => CreatableTopic::default()
            .with_name(wire::messages::topic(name))
            .with_num_partitions(-1)
            .with_replication_factor(-1),
    };
    let request = CreateTopicsRequest::default()
        .with_topics(names.iter().map(topic).collect())
        .with_timeout_ms(i32::try_from(CREATION_WAIT.as_millis()).unwrap_or(i32::MAX));
    let deadline = Instant::now() + CREATION_WAIT;
    let created = context.controllers.request(CREATE_TOPICS_VERSION, request, deadline).await;
    let expected: Vec<StrBytes> = match created {
        Ok(ResponseKind::CreateTopics(response)) => {
            let exists = [ErrorCode::None.code(), ErrorCode::TopicAlreadyExists.code()];
            let there = response.topics.into_iter().filter(|topic| exists.contains(&topic.error_code));
            there.map(|topic| topic.name.0).collect()
        }
        Ok(_) => Vec::new(),
        Err(error) => {
            tracing::info!(node = %context.node, %error, "topics were not created on demand");
            Vec::new()
        }
    };
    let mut published = context.published.clone();
    let shown = published
        .wait_for(|picture| expected.iter().all(|name| picture.image.topic(name.as_str()).is_some()));
    match tokio::time::timeout_at(deadline, shown).await {
        Ok(Some(picture)) => picture,
        Ok(None) | Err(_) => context.published.get(),
    }
}
