//! Which node coordinates a group or a transactional id.

use model::ErrorCode;
use wire::messages::{FindCoordinatorRequest, text};

use crate::client::{Cluster, To, answer, unexpected};
use crate::failure::Outcome;

/// From which version on several coordinators are asked for at once.
const SEVERAL: i16 = 4;

/// What is coordinated, by its number on the wire.
#[derive(Clone, Copy)]
pub enum Coordinated {
    Group = 0,
    Transaction = 1,
}

/// Who coordinates `key`, or why nobody does yet.
pub async fn find(cluster: &mut Cluster, kind: Coordinated, key: &str) -> Outcome<Result<i32, ErrorCode>> {
    let request = FindCoordinatorRequest::default().with_key_type(kind as i8);
    let version = cluster.version_at(To::Any, &request.clone().into()).await?;
    let request = if version >= SEVERAL {
        request.with_coordinator_keys(vec![text(key)])
    } else {
        request.with_key(text(key))
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
