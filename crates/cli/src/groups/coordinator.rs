//! A group's coordinator: found, asked, and found again when it has moved.

use model::ErrorCode;
use tokio::time::Instant;
use wire::messages::{FindCoordinatorRequest, RequestKind, ResponseKind, text};

use crate::client::{Cluster, PATIENCE, PAUSE, To, answer, refused, unexpected};
use crate::failure::{Kind, Outcome};

/// From which version on several coordinators are asked for at once.
const SEVERAL: i16 = 4;

/// Asks a group's coordinator to do `deed`, waits out elections and loading; which node answered, and what. `code` takes
/// the code that tells of a coordinator that moved out of an answer.
pub async fn ask(
    cluster: &mut Cluster,
    group: &str,
    deed: &str,
    request: impl Into<RequestKind>,
    code: impl Fn(&ResponseKind) -> ErrorCode,
) -> Outcome<(i32, ResponseKind)> {
    let request = request.into();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let trouble = match find(cluster, group).await? {
            Err(code) => code,
            Ok(node) => match cluster.ask(To::Node(node), request.clone()).await {
                Ok(response) => match code(&response) {
                    code @ (ErrorCode::NotCoordinator
                    | ErrorCode::CoordinatorLoadInProgress
                    | ErrorCode::CoordinatorNotAvailable) => code,
                    _ => return Ok((node, response)),
                },
                Err(failure) if failure.kind == Kind::Unreachable => ErrorCode::NetworkException,
                Err(failure) => return Err(failure),
            },
        };
        if Instant::now() >= deadline || !trouble.is_retriable() {
            return Err(refused(deed, trouble, None));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Who coordinates a group, or why nobody does yet.
pub async fn find(cluster: &mut Cluster, group: &str) -> Outcome<Result<i32, ErrorCode>> {
    let request = FindCoordinatorRequest::default();
    let version = cluster.version_at(To::Any, &request.clone().into()).await?;
    let request = if version >= SEVERAL {
        request.with_coordinator_keys(vec![text(group)])
    } else {
        request.with_key(text(group))
    };
    let response = answer!(FindCoordinator, cluster.ask(To::Any, request).await?);
    let (code, node) = if version >= SEVERAL {
        let Some(found) = response.coordinators.first() else { return Err(unexpected()) };
        (found.error_code, found.node_id.0)
    } else {
        (response.error_code, response.node_id.0)
    };
    let code = ErrorCode::from_code(code);
    if code.is_error() {
        return Ok(Err(code));
    }
    if !cluster.node_ids().contains(&node) {
        cluster.metadata(Some(&[]), false).await?;
    }
    Ok(Ok(node))
}
