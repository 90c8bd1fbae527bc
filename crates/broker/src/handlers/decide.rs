//! Whatever the controller decides, asked on its own listener.

use std::sync::Arc;

use model::ErrorCode;
use wire::messages::{RequestKind, ResponseKind};

use crate::context::Context;
use crate::dispatch::RequestContext;

/// Hands the request to the controller loop.
pub async fn handle(context: Arc<Context>, asker: RequestContext, request: RequestKind) -> ResponseKind {
    let refused = |request: &RequestKind| {
        wire::errors::respond(request, asker.version, ErrorCode::NotController, None)
            .expect("every API of the table has an error response")
    };
    match &context.controller {
        Some(controller) => match controller.decide(asker.version, request.clone()).await {
            Ok(response) => response,
            Err(_) => refused(&request),
        },
        None => refused(&request),
    }
}
