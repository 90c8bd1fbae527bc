//! UpdateFeatures: raises or lowers what the whole cluster does (KIP-584).
//!
//! A level is only set when every registered node can run at it: a node that cannot
//! read a record stops, and records of a new level are written at once.

use model::ErrorCode;
use proto::metadata::{FeatureLevelRecord, MetadataRecord};
use wire::messages::update_features_request::FeatureUpdateKey;
use wire::messages::update_features_response::UpdatableFeatureResult;
use wire::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use crate::decision::{Decision, Refusal};
use crate::settings::{METADATA_VERSION, Supported};
use crate::view::View;

/// Up to this version the response names the features that were set; it never says which one was refused.
const NAMES_FEATURES_UNTIL: i16 = 1;
/// The upgrade type that accepts a loss.
const UNSAFE_DOWNGRADE: i8 = 3;

/// Why a feature keeps its level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpdateFeatureError {
    /// It cannot have that level.
    #[error("Invalid update version {level} for feature {name}. {reason}")]
    Invalid {
        /// Which feature.
        name: String,
        /// The level asked for.
        level: i16,
        /// Why not.
        reason: Reason,
    },
    /// Records of the present level would be unreadable.
    #[error("Unsupported metadata.version downgrade from {from} to {to}. {}", if *.is_unsafe {
        "Unsafe metadata downgrade is not supported in this version."
    } else {
        "Refusing to perform the requested downgrade because it might delete metadata information."
    })]
    LosesMetadata {
        /// The present level.
        from: i16,
        /// The level asked for.
        to: i16,
        /// Whether the loss was asked for.
        is_unsafe: bool,
    },
}

/// The reason within the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Below zero.
    #[error("A feature version cannot be less than 0.")]
    Negative,
    /// Neither upgrade, safe nor unsafe downgrade.
    #[error("The controller does not support the given upgrade type.")]
    UpgradeType,
    /// A node that cannot.
    #[error("{node} only supports versions {min}-{max}")]
    Range {
        /// Which node.
        node: String,
        /// Its lowest.
        min: i16,
        /// Its highest.
        max: i16,
    },
    /// A node that does not know it.
    #[error("{0} does not support this feature.")]
    Unknown(String),
    /// A downgrade that does not say so.
    #[error(
        "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade."
    )]
    DowngradeUnsaid,
    /// A downgrade to a higher level.
    #[error("Can't downgrade to a newer version.")]
    DowngradeUp,
    /// No release has it, so nobody needs to be told to leave it off.
    #[error("Feature {0} not found.")]
    NotFound(String),
}

impl UpdateFeatureError {
    /// What the client is told.
    pub fn code(&self) -> ErrorCode {
        ErrorCode::InvalidUpdateVersion
    }
}

/// Sets all levels, or none; `version` is the request's.
pub fn decide(
    view: &View<'_>,
    version: i16,
    request: &UpdateFeaturesRequest,
) -> Decision<UpdateFeaturesResponse> {
    let updates = request.feature_updates.iter().map(|asked| update(view, version, asked));
    match updates.collect::<Result<Vec<_>, _>>() {
        Err(error) => Decision::answer(refused(&error)),
        Ok(_) if request.validate_only => Decision::answer(accepted(version, request)),
        Ok(records) => Decision::new(records.into_iter().flatten().collect(), accepted(version, request)),
    }
}

fn refused(error: &UpdateFeatureError) -> UpdateFeaturesResponse {
    let message =
        format!("The update failed for all features since the following feature had an error: {error}");
    let refusal = Refusal::new(error.code(), message);
    UpdateFeaturesResponse::default().with_error_code(refusal.code.code()).with_error_message(refusal.text())
}

fn accepted(version: i16, request: &UpdateFeaturesRequest) -> UpdateFeaturesResponse {
    let named = request.feature_updates.iter().filter(|_| version <= NAMES_FEATURES_UNTIL);
    let results = named.map(|asked| {
        UpdatableFeatureResult::default().with_feature(asked.feature.clone()).with_error_message(None)
    });
    UpdateFeaturesResponse::default().with_error_message(None).with_results(results.collect())
}

fn update(
    view: &View<'_>,
    version: i16,
    asked: &FeatureUpdateKey,
) -> Result<Option<MetadataRecord>, UpdateFeatureError> {
    let (name, level) = (asked.feature.to_string(), asked.max_version_level);
    let refuse = |reason| UpdateFeatureError::Invalid { name: name.clone(), level, reason };
    // Version 0 has a flag where later ones have a type: 1 upgrade, 2 safe, 3 unsafe downgrade.
    let upgrade_type = match (version, asked.allow_downgrade) {
        (0, true) => 2,
        (0, false) => 1,
        _ => asked.upgrade_type,
    };
    if !(1..=3).contains(&upgrade_type) {
        return Err(refuse(Reason::UpgradeType));
    }
    if level < 0 {
        return Err(refuse(Reason::Negative));
    }
    let current = view.image.feature(&name).unwrap_or(0);
    check_support(view, &name, level).map_err(refuse)?;
    if level < current && upgrade_type == 1 {
        return Err(refuse(Reason::DowngradeUnsaid));
    }
    if level > current && upgrade_type != 1 {
        return Err(refuse(Reason::DowngradeUp));
    }
    if name == METADATA_VERSION && level < current {
        let is_unsafe = upgrade_type == UNSAFE_DOWNGRADE;
        return Err(UpdateFeatureError::LosesMetadata { from: current, to: level, is_unsafe });
    }
    let record = FeatureLevelRecord { name: name.clone(), feature_level: level };
    Ok((level != current).then(|| record.into()))
}

/// Whether this controller and every registered node can run at that level.
fn check_support(view: &View<'_>, name: &str, level: i16) -> Result<(), Reason> {
    let own = view.settings.features.get(name).copied();
    if own.is_none() && level == 0 {
        return Err(Reason::NotFound(name.to_owned()));
    }
    supports(format!("Local controller {}", view.settings.node), own, level)?;
    let range = |features: &std::collections::BTreeMap<String, metadata::VersionRange>| {
        features.get(name).map(|range| Supported { min: range.min, max: range.max })
    };
    for broker in view.image.brokers() {
        supports(format!("Broker {}", broker.id), range(&broker.features), level)?;
    }
    for controller in view.image.controllers() {
        supports(format!("Controller {}", controller.id), range(&controller.features), level)?;
    }
    Ok(())
}

/// Level 0 is "off", which everybody can do but for what has no off.
fn supports(node: String, range: Option<Supported>, level: i16) -> Result<(), Reason> {
    match range {
        None if level == 0 => Ok(()),
        None => Err(Reason::Unknown(node)),
        Some(Supported { min, max }) if (min..=max).contains(&level) => Ok(()),
        Some(Supported { min, max }) => Err(Reason::Range { node, min, max }),
    }
}

#[cfg(test)]
mod tests;
