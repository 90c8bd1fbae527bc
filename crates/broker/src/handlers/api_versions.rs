//! ApiVersions: what this listener serves, and the cluster's feature levels (KIP-584).

use wire::messages::api_versions_response::{FinalizedFeatureKey, SupportedFeatureKey};
use wire::messages::{ApiVersionsResponse, text};

use crate::context::Context;
use crate::dispatch::RequestContext;

/// Lists APIs, supported features and finalized ones.
pub fn handle(context: &Context, asker: &RequestContext) -> ApiVersionsResponse {
    let picture = context.published.get();
    let supported = context.features.iter().map(|(name, &(min, max))| {
        // Before version 4 a client drops what begins at 0 (KAFKA-17011).
        let min = if asker.version < 4 { min.max(1) } else { min };
        SupportedFeatureKey::default().with_name(text(name)).with_min_version(min).with_max_version(max)
    });
    let finalized = picture.image.features().filter(|&(_, level)| level > 0).map(|(name, level)| {
        FinalizedFeatureKey::default()
            .with_name(text(name))
            .with_min_version_level(level)
            .with_max_version_level(level)
    });
    wire::response::api_versions(asker.listener.kind)
        .with_supported_features(supported.collect())
        .with_finalized_features(finalized.collect())
        .with_finalized_features_epoch(picture.end.get() - 1)
}
