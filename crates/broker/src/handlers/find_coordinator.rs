//! FindCoordinator: there are no group or transaction coordinators yet, and it says so.

use model::ErrorCode;
use wire::messages::{FindCoordinatorRequest, RequestKind, ResponseKind};

/// Answers every key with COORDINATOR_NOT_AVAILABLE, which clients retry.
pub fn handle(version: i16, request: FindCoordinatorRequest) -> ResponseKind {
    let request = RequestKind::FindCoordinator(request);
    wire::errors::respond(&request, version, ErrorCode::CoordinatorNotAvailable, None)
        .expect("FindCoordinator has an error response")
}
