//! BrokerRegistration: a broker process asks to be part of the cluster.
//!
//! Each run of the process gets a broker epoch of its own, the offset of its
//! registration in the log; with it come all its later requests, so that a run that
//! was replaced is told apart. What an earlier run left behind is cleaned up first:
//! if the broker can name that run's epoch it stopped in order and lost nothing,
//! else it is eligible nowhere until it has caught up again (KIP-966).
//!
//! A second process with the same id is refused while the first is heard of. Being
//! stricter than "its session has not expired" lets a node that was killed together
//! with the controller come back at once.

use std::collections::BTreeSet;

use metadata::Broker;
use model::{BrokerEpoch, ErrorCode, IncarnationId, Mutant, NodeId, Offset};
use proto::metadata::{BrokerEndpoint, BrokerFeature, MetadataRecord, RegisterBrokerRecord};
use wire::messages::{BrokerRegistrationRequest, BrokerRegistrationResponse, from_wire_uuid};

use crate::decision::Decision;
use crate::fence::clean_up;
use crate::sessions::Contact;
use crate::settings::METADATA_VERSION;
use crate::view::View;

/// Why a broker is turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterBrokerError {
    /// It belongs elsewhere.
    #[error("Expected cluster ID {expected}, but got cluster ID {got}")]
    Cluster {
        /// This cluster.
        expected: String,
        /// The broker's.
        got: String,
    },
    /// Its id is in use.
    #[error(
        "Another broker is registered with that broker id. If the broker was recently restarted this should \
         self-resolve once the heartbeat manager expires the broker's session."
    )]
    Duplicate,
    /// A broker that migrates from ZooKeeper.
    #[error("Controller does not support registering ZK brokers.")]
    ZooKeeper,
    /// A negative id, or something of the kind.
    #[error("Invalid broker ID {0}")]
    Id(i32),
    /// No log directories.
    #[error("No directories specified in request")]
    NoDirectories,
    /// A log directory twice.
    #[error("Duplicate directory ID in request")]
    DuplicateDirectory,
    /// An id that no directory may have.
    #[error("Reserved directory ID in request")]
    ReservedDirectory,
    /// A directory that another broker has: a copied disk.
    #[error("Broker {broker} is already registered with directory {directory}")]
    TakenDirectory {
        /// The other broker.
        broker: NodeId,
        /// The directory.
        directory: model::DirectoryId,
    },
    /// It says nothing about metadata.version.
    #[error("Request features do not contain '{METADATA_VERSION}'")]
    NoMetadataVersion,
    /// It cannot do what the cluster does.
    #[error(
        "Unable to register because the broker does not support finalized version {level} of {name}. The broker \
         wants a version between {min} and {max}, inclusive."
    )]
    Feature {
        /// The feature.
        name: String,
        /// Its level here.
        level: i16,
        /// The lowest it can do.
        min: i16,
        /// The highest it can do.
        max: i16,
    },
}

impl RegisterBrokerError {
    /// What the broker is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Cluster { .. } => ErrorCode::InconsistentClusterId,
            Self::Duplicate => ErrorCode::DuplicateBrokerRegistration,
            Self::ZooKeeper => ErrorCode::BrokerIdNotRegistered,
            Self::NoDirectories
            | Self::Id(_)
            | Self::DuplicateDirectory
            | Self::ReservedDirectory
            | Self::TakenDirectory { .. } => ErrorCode::InvalidRequest,
            Self::NoMetadataVersion => ErrorCode::InvalidRegistration,
            Self::Feature { .. } => ErrorCode::UnsupportedVersion,
        }
    }
}

/// Registers the broker, or says why not.
pub fn decide(
    view: &View<'_>,
    request: &BrokerRegistrationRequest,
) -> Result<Decision<BrokerRegistrationResponse>, RegisterBrokerError> {
    let node = NodeId::from_wire(*request.broker_id).ok_or(RegisterBrokerError::Id(*request.broker_id))?;
    let incarnation = from_wire_uuid(request.incarnation_id);
    let existing = view.image.broker(node);
    check_identity(view, request, existing)?;
    check_directories(view, node, request)?;
    check_features(view, request)?;

    let mut record = record_of(request, node, incarnation);
    let mut records = Vec::new();
    match existing.filter(|known| known.incarnation == incarnation) {
        Some(same) => {
            // The answer to its first request was lost, or its listeners changed: it is the same run.
            record.broker_epoch = same.epoch.get();
            record.fenced = same.fenced;
            record.in_controlled_shutdown = same.in_controlled_shutdown;
        }
        None => {
            let clean = existing.is_none_or(|known| known.epoch.get() == request.previous_broker_epoch)
                || Mutant::CleanShutdownClaimed.is_planted();
            record.broker_epoch = view.next_offset.get();
            clean_up(view, node, clean, &mut records);
        }
    }
    let epoch = BrokerEpoch::new(record.broker_epoch);
    // First in its batch: its offset is its epoch, up to which a broker must have replayed to be unfenced.
    records.insert(0, MetadataRecord::from(record));
    Ok(Decision {
        records,
        response: BrokerRegistrationResponse::default().with_broker_epoch(epoch.get()),
        contact: Some(Contact::Heard { broker: node, epoch, metadata_offset: None, at: view.now }),
    })
}

/// The answer that turns it away.
pub fn refuse(error: &RegisterBrokerError) -> BrokerRegistrationResponse {
    BrokerRegistrationResponse::default().with_error_code(error.code().code()).with_broker_epoch(-1)
}

/// The offset up to which a broker must have replayed the metadata before it may be unfenced: that of
/// its registration.
pub fn registered_at(epoch: BrokerEpoch) -> Offset {
    Offset::new(epoch.get())
}

fn check_identity(
    view: &View<'_>,
    request: &BrokerRegistrationRequest,
    existing: Option<&Broker>,
) -> Result<(), RegisterBrokerError> {
    if request.cluster_id.as_str() != view.settings.cluster_id {
        let (expected, got) = (view.settings.cluster_id.clone(), request.cluster_id.to_string());
        return Err(RegisterBrokerError::Cluster { expected, got });
    }
    if request.is_migrating_zk_broker {
        return Err(RegisterBrokerError::ZooKeeper);
    }
    let Some(known) = existing else { return Ok(()) };
    let is_another = known.incarnation != from_wire_uuid(request.incarnation_id);
    let timeout = view.settings.session_timeout;
    let is_alive = view.sessions.is_alive(known.id, known.epoch, timeout, view.now);
    // Whoever knows that run's epoch holds its directories: that run has ended.
    let is_successor = known.epoch.get() == request.previous_broker_epoch;
    if is_another && is_alive && !is_successor && !known.in_controlled_shutdown {
        return Err(RegisterBrokerError::Duplicate);
    }
    Ok(())
}

fn check_directories(
    view: &View<'_>,
    node: NodeId,
    request: &BrokerRegistrationRequest,
) -> Result<(), RegisterBrokerError> {
    if request.log_dirs.is_empty() {
        return Err(RegisterBrokerError::NoDirectories);
    }
    let mut seen = BTreeSet::new();
    for directory in request.log_dirs.iter().copied().map(from_wire_uuid) {
        if directory.is_reserved() {
            return Err(RegisterBrokerError::ReservedDirectory);
        }
        if !seen.insert(directory) {
            return Err(RegisterBrokerError::DuplicateDirectory);
        }
        let owner =
            view.image.brokers().find(|other| other.id != node && other.log_dirs.contains(&directory));
        if let Some(owner) = owner {
            return Err(RegisterBrokerError::TakenDirectory { broker: owner.id, directory });
        }
    }
    Ok(())
}

fn check_features(view: &View<'_>, request: &BrokerRegistrationRequest) -> Result<(), RegisterBrokerError> {
    let announced = |name: &str| request.features.iter().find(|feature| feature.name.as_str() == name);
    if announced(METADATA_VERSION).is_none() {
        return Err(RegisterBrokerError::NoMetadataVersion);
    }
    for (name, level) in view.image.features() {
        // A feature that a broker does not name it can do without, and only without.
        let (min, max) = announced(name)
            .map_or((0, 0), |feature| (feature.min_supported_version, feature.max_supported_version));
        if !(min..=max).contains(&level) {
            return Err(RegisterBrokerError::Feature { name: name.to_owned(), level, min, max });
        }
    }
    Ok(())
}

fn record_of(
    request: &BrokerRegistrationRequest,
    node: NodeId,
    incarnation: IncarnationId,
) -> RegisterBrokerRecord {
    let end_points = request.listeners.iter().map(|listener| BrokerEndpoint {
        name: listener.name.to_string(),
        host: listener.host.to_string(),
        port: listener.port,
        security_protocol: listener.security_protocol,
    });
    let features = request.features.iter().map(|feature| BrokerFeature {
        name: feature.name.to_string(),
        min_supported_version: feature.min_supported_version,
        max_supported_version: feature.max_supported_version,
    });
    RegisterBrokerRecord {
        broker_id: node.get(),
        incarnation_id: incarnation,
        end_points: end_points.collect(),
        features: features.collect(),
        rack: request.rack.as_ref().map(ToString::to_string),
        fenced: true,
        log_dirs: request.log_dirs.iter().copied().map(from_wire_uuid).collect(),
        ..RegisterBrokerRecord::default()
    }
}

#[cfg(test)]
mod tests;
