//! A group's coordinator: found, asked, and found again when it has moved.

use model::ErrorCode;
use tokio::time::Instant;
use wire::messages::{RequestKind, ResponseKind};

use crate::client::{Cluster, PATIENCE, PAUSE, To, refused};
use crate::coordinator::{Coordinated, find};
use crate::failure::{Kind, Outcome};

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
        let trouble = match find(cluster, Coordinated::Group, group).await? {
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
