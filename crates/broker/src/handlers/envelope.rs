//! Envelope (KIP-590): a client's request, forwarded by a broker to its controller.
//!
//! What is inside is a whole frame and treated with the same mistrust.

use std::sync::Arc;

use model::ErrorCode;
use wire::api::{ApiKey, ListenerKind};
use wire::messages::{EnvelopeRequest, EnvelopeResponse};

use crate::context::Context;
use crate::dispatch::{self, Body, RequestContext};
use crate::handlers::describe_quorum;

/// What a client may have forwarded.
const FORWARDABLE: &[ApiKey] = &[
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::AlterConfigs,
    ApiKey::CreatePartitions,
    ApiKey::ElectLeaders,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::AlterPartitionReassignments,
    ApiKey::ListPartitionReassignments,
    ApiKey::DescribeQuorum,
    ApiKey::UpdateFeatures,
    ApiKey::UnregisterBroker,
];

/// Opens the envelope, has its request decided, and puts the answer in another.
pub async fn handle(
    context: Arc<Context>,
    asker: RequestContext,
    request: EnvelopeRequest,
) -> EnvelopeResponse {
    let refused = |code: ErrorCode| EnvelopeResponse::default().with_error_code(code.code());
    let Ok(inner) = dispatch::decode(request.request_data, ListenerKind::Controller) else {
        tracing::warn!(peer = %asker.peer, "an envelope holds no request");
        return refused(ErrorCode::InvalidRequest);
    };
    let Body::Message(request) = inner.body else { return refused(ErrorCode::InvalidRequest) };
    if !FORWARDABLE.iter().any(|api| *api as i16 == inner.api_key) {
        return refused(ErrorCode::InvalidRequest);
    }
    let Some(controller) = &context.controller else { return refused(ErrorCode::NotController) };
    let response = match request {
        wire::messages::RequestKind::DescribeQuorum(request) => {
            describe_quorum::handle(context.clone(), inner.version, request).await.into()
        }
        request => match controller.decide(inner.version, request).await {
            Ok(response) => response,
            Err(_) => return refused(ErrorCode::NotController),
        },
    };
    let mut frame = Vec::new();
    match dispatch::encode(inner.correlation_id, inner.api_key, inner.version, &response, &mut frame) {
        Ok(()) => {
            frame.drain(..wire::frame::LENGTH_BYTES);
            EnvelopeResponse::default().with_response_data(Some(frame.into()))
        }
        Err(error) => {
            tracing::error!(api = inner.api_key, error, "an answer cannot be encoded");
            refused(ErrorCode::UnknownServerError)
        }
    }
}
