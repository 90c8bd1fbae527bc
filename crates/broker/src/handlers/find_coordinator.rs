//! FindCoordinator: which broker a group, or a transactional producer, has to talk to.
//!
//! It is whoever leads the partition of the coordinator's topic that the key falls into. The topic
//! is created when it is asked for first; until it has a leader a client is told to ask again.

use std::sync::Arc;

use metadata::Image;
use model::ErrorCode;
use wire::messages::find_coordinator_response::Coordinator;
use wire::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse, StrBytes, text};

use crate::context::Context;
use crate::dispatch::RequestContext;
use crate::groups::internal_topics::InternalTopic;
use crate::handlers::view;

/// From this version on several keys are asked for at once (KIP-699).
const SEVERAL_FROM: i16 = 4;
/// From this version on an error explains itself.
const MESSAGES_FROM: i16 = 1;
/// The kinds of key.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// Answers each key with a broker.
pub async fn handle(
    context: Arc<Context>,
    asker: RequestContext,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let version = asker.version;
    let kind = if version == 0 { GROUP } else { request.key_type };
    let keys = match version {
        SEVERAL_FROM.. => request.coordinator_keys,
        _ => vec![request.key],
    };
    let image = match topic_of(kind) {
        Some(topic) => context.internal_topics.ensure(topic).await.map(|picture| (topic, picture)),
        None => Err(ErrorCode::InvalidRequest),
    };
    let answers = keys.into_iter().map(|key| match &image {
        Ok((topic, picture)) => find(&picture.image, &asker.listener.name, *topic, key),
        Err(code) => nobody(key, *code),
    });
    let mut answers: Vec<Coordinator> = answers.collect();
    if version >= SEVERAL_FROM {
        return FindCoordinatorResponse::default().with_coordinators(answers);
    }
    let only = answers.pop().expect("one key was asked for");
    FindCoordinatorResponse::default()
        .with_error_code(only.error_code)
        .with_error_message(only.error_message.filter(|_| version >= MESSAGES_FROM))
        .with_node_id(only.node_id)
        .with_host(only.host)
        .with_port(only.port)
}

/// Share groups have no coordinator here: Kafka without them answers as for a kind that does not exist.
fn topic_of(kind: i8) -> Option<InternalTopic> {
    match kind {
        GROUP => Some(InternalTopic::Offsets),
        TRANSACTION => Some(InternalTopic::Transactions),
        _ => None,
    }
}

fn find(image: &Image, listener: &str, topic: InternalTopic, key: StrBytes) -> Coordinator {
    let leader = topic.coordinator(image, &key).and_then(|leader| image.broker(leader));
    let leader = leader.filter(|leader| !leader.fenced);
    let found = leader.and_then(|leader| Some((leader.id, view::endpoint(leader, listener)?)));
    match found {
        Some((node, (host, port))) => Coordinator::default()
            .with_key(key)
            .with_node_id(BrokerId(node.get()))
            .with_host(text(host))
            .with_port(i32::from(port)),
        None => nobody(key, ErrorCode::CoordinatorNotAvailable),
    }
}

fn nobody(key: StrBytes, code: ErrorCode) -> Coordinator {
    Coordinator::default()
        .with_key(key)
        .with_node_id(BrokerId(-1))
        .with_port(-1)
        .with_error_code(code.code())
        .with_error_message(Some(text(code.name())))
}
