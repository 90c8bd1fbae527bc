//! From a frame to the handler of its API, and from a reply to a frame.
//!
//! The only place that lists every API; what one means is said in `handlers` (the
//! metadata's) and `data` (the records'). Decoding is all or nothing: the bounds
//! walk of `wire` has seen every byte before a message exists.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use wire::api::{ApiKey, ListenerKind, quorum};
use wire::header::RequestHeader;
use wire::messages::{RequestKind, ResponseKind, StrBytes};
use wire::request::RequestError;
use wire::{cordoned, topic_ids};

use crate::context::Context;
use crate::handlers;
use crate::server::{Answer, Chunk, ListenerSpec, Reply};

/// Who asks, and in which version.
#[derive(Clone)]
pub struct RequestContext {
    /// The API's number.
    pub api_key: i16,
    /// The version of request and response.
    pub version: i16,
    /// What the client calls itself. A slice of the frame: copy what is kept.
    pub client_id: Option<StrBytes>,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Where it came in.
    pub listener: Arc<ListenerSpec>,
}

/// A request, as far as it could be understood.
pub struct Decoded {
    /// Goes back with the response.
    pub correlation_id: i32,
    /// The API's number.
    pub api_key: i16,
    /// The version of request and response.
    pub version: i16,
    /// What the client calls itself.
    pub client_id: Option<StrBytes>,
    /// What is asked.
    pub body: Body,
}

/// What is asked.
#[allow(clippy::large_enum_variant, reason = "messages are the rule; a box would cost an allocation each")]
pub enum Body {
    /// A message of Kafka's.
    Message(RequestKind),
    /// A message between the controllers, which the quorum reads.
    Quorum(Bytes),
    /// ApiVersions in a version to come: the one request that is answered unread (KIP-511).
    VersionsToCome,
}

/// Reads a frame. An error is the reason to close the connection.
pub fn decode(mut frame: Bytes, listener: ListenerKind) -> Result<Decoded, String> {
    let mut header = RequestHeader::decode(&mut frame).map_err(|error| error.to_string())?;
    if header.api_key == ApiKey::WriteTxnMarkers as i16 && header.api_version == wire::markers::VERSION {
        let body = wire::markers::to_version_1(&frame).ok_or("WriteTxnMarkers 2 that is none")?;
        frame = body.into();
    }
    if topic_ids::are_in(header.api_key, header.api_version) {
        return decode_by_ids(header, &frame, listener);
    }
    let asked = header.api_version;
    header.api_version = wire::api::message_version(header.api_key, asked);
    let body = decode_body(&header, frame, listener)?;
    let RequestHeader { api_key, api_version, correlation_id, client_id } = header;
    let version = if cordoned::are_described_in(api_key, asked) { asked } else { api_version };
    Ok(Decoded { correlation_id, api_key, version, client_id, body })
}

/// A request whose topics go by their ids; it is answered in its own version.
fn decode_by_ids(mut header: RequestHeader, frame: &[u8], listener: ListenerKind) -> Result<Decoded, String> {
    let name = || format!("{} {}", wire::api::name(header.api_key), header.api_version);
    let (body, ids) =
        topic_ids::to_version_9(header.api_key, frame).ok_or_else(|| format!("{} that is none", name()))?;
    header.api_version = topic_ids::MESSAGE_VERSION;
    let mut body = decode_body(&header, body.into(), listener)?;
    if let Body::Message(request) = &mut body {
        topic_ids::put(request, ids);
    }
    let RequestHeader { api_key, correlation_id, client_id, .. } = header;
    Ok(Decoded { correlation_id, api_key, version: topic_ids::VERSION, client_id, body })
}

fn decode_body(header: &RequestHeader, body: Bytes, listener: ListenerKind) -> Result<Body, String> {
    if quorum::is_private(header.api_key) && listener == ListenerKind::Controller {
        return Ok(Body::Quorum(body));
    }
    match wire::request::admit(header, listener) {
        Ok(_) => {}
        Err(RequestError::UnsupportedVersion { api_key, version, max, .. })
            if api_key == ApiKey::ApiVersions as i16 && version > max =>
        {
            return Ok(Body::VersionsToCome);
        }
        Err(error) => return Err(error.to_string()),
    }
    wire::request::decode(header, body).map(Body::Message).map_err(|error| error.to_string())
}

/// Puts the frame of a message behind what is in `out`.
pub fn encode(
    correlation_id: i32,
    api_key: i16,
    version: i16,
    message: &ResponseKind,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let api = ApiKey::try_from(api_key).map_err(|()| format!("API {api_key} has no messages"))?;
    wire::response::encode(correlation_id, api, version, message, out).map_err(|error| error.to_string())
}

/// The start of a frame whose body of `body_bytes` follows, behind what is in `out`. `None` when no frame
/// can be as long.
pub fn encode_head(
    correlation_id: i32,
    api_key: i16,
    version: i16,
    body_bytes: usize,
    out: &mut Vec<u8>,
) -> Option<()> {
    let frame = wire::response::begin(correlation_id, api_key, version, out);
    frame.end(out, body_bytes).map(drop)
}

/// Has a request answered by whoever serves it.
pub async fn answer(
    context: &Arc<Context>,
    asker: RequestContext,
    correlation_id: i32,
    body: Body,
) -> Answer {
    match body {
        Body::Message(request) => match asker.listener.kind {
            ListenerKind::Broker => of_broker(context, asker, request).await,
            ListenerKind::Controller => of_controller(context, asker, request),
        },
        Body::Quorum(body) => of_quorum(context, asker.api_key, body),
        Body::VersionsToCome => {
            let mut frame = Vec::new();
            wire::response::unsupported_api_versions(correlation_id, asker.listener.kind, &mut frame);
            Answer::Now(Reply::Frame(frame))
        }
    }
}

/// A second stage that ends in a message.
fn later<R: Into<ResponseKind>>(handling: impl Future<Output = R> + Send + 'static) -> Answer {
    Answer::Later(Box::pin(async move { Reply::message(handling.await) }))
}

async fn of_broker(context: &Arc<Context>, asker: RequestContext, request: RequestKind) -> Answer {
    use RequestKind as K;
    let cx = context.clone();
    let Some(data) = &context.data else {
        return Answer::Now(Reply::Close("this node is no broker"));
    };
    match request {
        K::Produce(request) => data.produce(&asker, request).await,
        K::Fetch(request) => data.fetch(&asker, request).await,
        K::ListOffsets(request) => data.list_offsets(&asker, request).await,
        K::DeleteRecords(request) => data.delete_records(request).await,
        K::DescribeLogDirs(request) => data.describe_log_dirs(&asker, request).await,
        K::AlterReplicaLogDirs(request) => data.alter_replica_log_dirs(request).await,
        K::OffsetForLeaderEpoch(request) => data.offset_for_leader_epoch(&asker, request).await,
        K::WriteTxnMarkers(request) => data.write_txn_markers(request).await,
        K::DescribeProducers(request) => data.describe_producers(request).await,
        K::InitProducerId(request) if request.transactional_id.is_none() => {
            data.init_producer_id(&asker, request).await
        }
        K::ApiVersions(_) => Answer::message(handlers::api_versions::handle(context, &asker)),
        K::Metadata(request) => later(handlers::metadata::handle(cx, asker, request)),
        K::DescribeCluster(request) => {
            Answer::message(handlers::describe_cluster::handle(context, &asker, request))
        }
        K::DescribeConfigs(request) => Answer::message(handlers::describe_configs::handle(context, request)),
        K::FindCoordinator(request) => later(handlers::find_coordinator::handle(cx, asker, request)),
        K::DescribeTopicPartitions(request) => {
            let listener = &asker.listener.name;
            Answer::message(handlers::describe_topic_partitions::handle(context, listener, request))
        }
        K::ListConfigResources(request) => {
            let (listener, version) = (&asker.listener.name, asker.version);
            let answer = handlers::list_config_resources::handle(context, listener, version, &request);
            Answer::message(answer)
        }
        K::DescribeQuorum(request) => later(handlers::describe_quorum::at_broker(cx, asker, request)),
        other => match handlers::acls::handle(&other, asker.version) {
            Some(refused) => Answer::message(refused),
            None => of_coordinators(cx, asker, other),
        },
    }
}

/// What groups and transactions are asked; the rest is the controller's.
fn of_coordinators(context: Arc<Context>, asker: RequestContext, request: RequestKind) -> Answer {
    let (Some(groups), Some(transactions)) = (&context.groups, &context.transactions) else {
        return Answer::Now(Reply::Close("this node is no broker"));
    };
    let answer = groups.answer(&asker, request).or_else(|request| transactions.answer(&asker, *request));
    match answer {
        Ok(answer) => answer,
        Err(forwarded) => later(handlers::forward::handle(context.clone(), asker, *forwarded)),
    }
}

fn of_controller(context: &Arc<Context>, asker: RequestContext, request: RequestKind) -> Answer {
    use RequestKind as K;
    let cx = context.clone();
    match request {
        K::ApiVersions(_) => Answer::message(handlers::api_versions::handle(context, &asker)),
        K::DescribeCluster(request) => {
            Answer::message(handlers::describe_cluster::handle(context, &asker, request))
        }
        K::DescribeConfigs(request) => Answer::message(handlers::describe_configs::handle(context, request)),
        K::DescribeQuorum(request) => later(handlers::describe_quorum::handle(cx, asker.version, request)),
        K::Fetch(request) => later(handlers::metadata_fetch::handle(cx, asker, request)),
        K::FetchSnapshot(request) => later(handlers::fetch_snapshot::handle(cx, request)),
        K::Envelope(request) => later(handlers::envelope::handle(cx, asker, request)),
        decided => later(handlers::decide::handle(cx, asker, decided)),
    }
}

fn of_quorum(context: &Arc<Context>, api_key: i16, body: Bytes) -> Answer {
    let Some(quorum) = context.quorum.clone() else {
        return Answer::Now(Reply::Close("this node is no controller"));
    };
    Answer::Later(Box::pin(async move {
        match quorum.handle_rpc(api_key, body).await {
            Ok(answer) => Reply::Body(vec![Chunk::Bytes(answer.into())]),
            Err(_) => Reply::Close("the quorum of this node has stopped"),
        }
    }))
}
