//! Whatever only the active controller can answer: sent there, and its answer given back.

use std::sync::Arc;
use std::time::Duration;

use model::ErrorCode;
use tokio::time::Instant;
use wire::messages::{RequestKind, ResponseKind};

use crate::context::Context;
use crate::dispatch::RequestContext;

/// For requests that name no timeout of their own: what Kafka's clients wait for by default.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// The longest timeout of a request that is believed.
const TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// The shortest: a client that will not wait still gets the controller's answer if it is at hand.
const TIMEOUT_MIN: Duration = Duration::from_millis(100);

/// Asks the active controller.
pub async fn handle(context: Arc<Context>, asker: RequestContext, request: RequestKind) -> ResponseKind {
    let deadline = Instant::now() + timeout(&request);
    let refusal = |code, message: &str| {
        wire::errors::respond(&request, asker.version, code, Some(message))
            .expect("every API of the table has an error response")
    };
    match context.controllers.forward(&asker, request.clone(), deadline).await {
        Ok(response) => response,
        Err(error) => {
            tracing::info!(node = %context.node, api = asker.api_key, %error, "a request was not forwarded");
            match error.code() {
                ErrorCode::RequestTimedOut => refusal(ErrorCode::RequestTimedOut, &error.to_string()),
                code => refusal(code, &error.to_string()),
            }
        }
    }
}

fn timeout(request: &RequestKind) -> Duration {
    let asked = match request {
        RequestKind::CreateTopics(request) => request.timeout_ms,
        RequestKind::DeleteTopics(request) => request.timeout_ms,
        RequestKind::CreatePartitions(request) => request.timeout_ms,
        RequestKind::AlterPartitionReassignments(request) => request.timeout_ms,
        RequestKind::ListPartitionReassignments(request) => request.timeout_ms,
        RequestKind::ElectLeaders(request) => request.timeout_ms,
        RequestKind::UpdateFeatures(request) => request.timeout_ms,
        _ => return TIMEOUT_DEFAULT,
    };
    let asked = Duration::from_millis(u64::try_from(asked).unwrap_or(0));
    asked.clamp(TIMEOUT_MIN, TIMEOUT_MAX)
}
