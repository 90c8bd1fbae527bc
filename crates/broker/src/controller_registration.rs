//! A controller makes itself known to the active one (KIP-919).
//!
//! Brokers and tools learn the controllers' addresses and feature levels from these
//! registrations. One is sent whenever the image does not hold this incarnation's.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{ErrorCode, IncarnationId, NodeId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wire::messages::controller_registration_request::{Feature, Listener};
use wire::messages::{ControllerRegistrationRequest, ResponseKind, text, to_wire_uuid};

use crate::controller_link::ControllerLink;
use crate::lifecycle::Advertised;
use crate::publish::{Picture, Published};

const VERSION: i16 = 0;
/// One try; the link retries within it.
const TIMEOUT: Duration = Duration::from_secs(5);
/// After a refusal.
const PAUSE: Duration = Duration::from_secs(1);

/// What a controller says of itself.
#[derive(Clone, Debug)]
pub struct ControllerDescription {
    /// This node.
    pub node: NodeId,
    /// This run of the process.
    pub incarnation: IncarnationId,
    /// Its controller listeners.
    pub listeners: Vec<Advertised>,
    /// Supported feature levels: name to lowest and highest.
    pub features: BTreeMap<String, (i16, i16)>,
}

/// Keeps this controller registered until told to stop.
pub async fn keep(
    describe: ControllerDescription,
    link: ControllerLink,
    mut published: Published,
    stop: CancellationToken,
) {
    let is_known = |picture: &Picture| {
        let known = picture.image.controllers().find(|known| known.id == describe.node);
        known.is_some_and(|known| known.incarnation == describe.incarnation)
    };
    let keeping = async {
        let mut refused = None;
        while published.wait_for(|picture| !is_known(picture)).await.is_some() {
            let taken = register(&describe, &link, &mut refused).await;
            // What was committed shows here soon; a refusal is not repeated at once.
            let shown = tokio::time::timeout(PAUSE, published.wait_for(is_known)).await;
            if taken && shown.is_err() {
                tracing::debug!(node = %describe.node, "this controller's registration does not show yet");
            }
        }
    };
    tokio::select! {
        () = keeping => {}
        () = stop.cancelled() => {}
    }
}

/// Whether the active controller took it. Its answer comes after the commit, not after the replay here.
/// A refusal is told once: `refused` remembers the last.
async fn register(
    describe: &ControllerDescription,
    link: &ControllerLink,
    refused: &mut Option<ErrorCode>,
) -> bool {
    let answer = link.request(VERSION, request(describe), Instant::now() + TIMEOUT).await;
    let code = match answer {
        Ok(ResponseKind::ControllerRegistration(response)) => ErrorCode::from_code(response.error_code),
        Ok(_) => return false,
        Err(error) => {
            tracing::debug!(node = %describe.node, %error, "this controller is not registered yet");
            return false;
        }
    };
    if code.is_error() && refused.replace(code) != Some(code) {
        tracing::warn!(node = %describe.node, %code, "the active controller refused to register this one");
    }
    !code.is_error()
}

fn request(describe: &ControllerDescription) -> ControllerRegistrationRequest {
    let listener = |advertised: &Advertised| {
        Listener::default()
            .with_name(text(&advertised.listener))
            .with_host(text(&advertised.host))
            .with_port(advertised.port)
            .with_security_protocol(advertised.security_protocol)
    };
    let feature = |(name, &(min, max)): (&String, &(i16, i16))| {
        Feature::default()
            .with_name(text(name))
            .with_min_supported_version(min)
            .with_max_supported_version(max)
    };
    ControllerRegistrationRequest::default()
        .with_controller_id(describe.node.get())
        .with_incarnation_id(to_wire_uuid(describe.incarnation))
        .with_listeners(describe.listeners.iter().map(listener).collect())
        .with_features(describe.features.iter().map(feature).collect())
}
