//! The first records of a new cluster.
//!
//! Formatting decides what they are and leaves them in `bootstrap.checkpoint`; the
//! first controller writes them as the first batch, before any other decision.

use metadata::{ConfigResource, Image, ResourceKind};
use proto::metadata::{ConfigRecord, FeatureLevelRecord, MetadataRecord};

use crate::decision::Decision;
use crate::settings::{ELIGIBLE_LEADER_REPLICAS_VERSION, METADATA_VERSION, METADATA_VERSION_MAX, Settings};

const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// The features of a cluster of this release that nobody formatted otherwise.
pub fn default_records() -> Vec<MetadataRecord> {
    let levels = [
        (METADATA_VERSION, METADATA_VERSION_MAX),
        (ELIGIBLE_LEADER_REPLICAS_VERSION, 1),
        ("group.version", 1),
        ("share.version", 1),
        ("streams.version", 1),
        ("transaction.version", 2),
    ];
    let record =
        |(name, feature_level): (&str, i16)| FeatureLevelRecord { name: name.to_owned(), feature_level };
    levels.into_iter().map(|level| record(level).into()).collect()
}

/// Begins the cluster with `formatted`; nothing when it has begun already.
///
/// With eligible leader replicas all nodes must agree on `min.insync.replicas`, so the value of this
/// controller's file becomes the cluster's.
pub fn decide(image: &Image, settings: &Settings, formatted: &[MetadataRecord]) -> Decision<()> {
    if image.features().next().is_some() {
        return Decision::answer(());
    }
    let mut records = if formatted.is_empty() { default_records() } else { formatted.to_vec() };
    let enables_elr = |record: &MetadataRecord| {
        matches!(record, MetadataRecord::FeatureLevel(level)
            if level.name == ELIGIBLE_LEADER_REPLICAS_VERSION && level.feature_level > 0)
    };
    let everywhere = ConfigResource::all_brokers();
    let sets_minimum = |record: &MetadataRecord| {
        matches!(record, MetadataRecord::Config(config) if config.name == MIN_INSYNC_REPLICAS
            && config.resource_type == ResourceKind::BROKER.0 && config.resource_name == everywhere.name)
    };
    if records.iter().any(enables_elr) && !records.iter().any(sets_minimum) {
        let value =
            settings.static_configs.get(MIN_INSYNC_REPLICAS).cloned().unwrap_or_else(|| "1".to_owned());
        let record = ConfigRecord {
            resource_type: ResourceKind::BROKER.0,
            resource_name: everywhere.name,
            name: MIN_INSYNC_REPLICAS.to_owned(),
            value: Some(value),
        };
        records.push(record.into());
    }
    Decision::new(records, ())
}

#[cfg(test)]
mod tests;
