//! ControllerRegistration (KIP-919): a controller says where it listens and what it can do.

use model::ErrorCode;
use proto::metadata::{ControllerEndpoint, ControllerFeature, RegisterControllerRecord};
use wire::messages::{ControllerRegistrationRequest, ControllerRegistrationResponse, from_wire_uuid};

use crate::decision::{Decision, Refusal};
use crate::view::View;

/// metadata.version from which on there is a record for it (3.7-IV0).
const METADATA_VERSION_MIN: i16 = 15;

/// The cluster's records do not know controllers yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The current MetadataVersion is too old to support controller registrations.")]
pub struct TooOld;

impl TooOld {
    /// What the controller is told.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::UnsupportedVersion
    }
}

/// Registers the controller; a later registration replaces an earlier one.
pub fn decide(
    view: &View<'_>,
    request: &ControllerRegistrationRequest,
) -> Result<Decision<ControllerRegistrationResponse>, TooOld> {
    if view.image.metadata_version().level() < METADATA_VERSION_MIN {
        return Err(TooOld);
    }
    let end_points = request.listeners.iter().map(|listener| ControllerEndpoint {
        name: listener.name.to_string(),
        host: listener.host.to_string(),
        port: listener.port,
        security_protocol: listener.security_protocol,
    });
    let features = request.features.iter().map(|feature| ControllerFeature {
        name: feature.name.to_string(),
        min_supported_version: feature.min_supported_version,
        max_supported_version: feature.max_supported_version,
    });
    let record = RegisterControllerRecord {
        controller_id: request.controller_id,
        incarnation_id: from_wire_uuid(request.incarnation_id),
        zk_migration_ready: request.zk_migration_ready,
        end_points: end_points.collect(),
        features: features.collect(),
    };
    Ok(Decision::new(vec![record.into()], ControllerRegistrationResponse::default().with_error_message(None)))
}

/// The answer when it cannot be registered.
pub fn refuse(error: &TooOld) -> ControllerRegistrationResponse {
    let refusal = Refusal::new(error.code(), error);
    ControllerRegistrationResponse::default()
        .with_error_code(refusal.code.code())
        .with_error_message(refusal.text())
}

#[cfg(test)]
mod tests {
    use proto::metadata::FeatureLevelRecord;
    use wire::messages::ControllerRegistrationRequest;

    use super::decide;
    use crate::testing::cluster;

    #[test]
    fn a_controller_is_registered_as_it_says() {
        let mut cluster = cluster("");
        let request = ControllerRegistrationRequest::default().with_controller_id(7);
        let decision = decide(&cluster.view(), &request).expect("the level allows it");
        cluster.take(decision);
        assert!(cluster.image.controller(model::NodeId::new(7)).is_some());
    }

    #[test]
    fn records_of_an_old_level_know_no_controllers() {
        let mut cluster = cluster("");
        let old = FeatureLevelRecord { name: "metadata.version".to_owned(), feature_level: 14 };
        cluster.replay(&[old.into()]);
        let request = ControllerRegistrationRequest::default().with_controller_id(7);
        let refused = decide(&cluster.view(), &request).expect_err("too old");
        assert_eq!(refused.code(), model::ErrorCode::UnsupportedVersion);
    }
}
