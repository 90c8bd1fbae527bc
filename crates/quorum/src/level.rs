//! The level of `metadata.version`: how records are encoded.
//!
//! The one thing that the quorum reads in records. It follows what was applied, so a
//! batch is written at the level in force when it was proposed, or at the one that the
//! batch itself sets.

use std::sync::atomic::{AtomicI16, Ordering};

use proto::metadata::MetadataRecord;

/// The feature's name.
const METADATA_VERSION: &str = "metadata.version";
/// In force before the first record says otherwise: 3.3-IV3, the lowest that Kafka 4 runs.
const LEVEL_MIN: i16 = 7;

/// The level in force.
#[derive(Debug)]
pub(crate) struct Level(AtomicI16);

impl Default for Level {
    fn default() -> Self {
        Self(AtomicI16::new(LEVEL_MIN))
    }
}

impl Level {
    /// The level at which `records` are written.
    pub(crate) fn for_records(&self, records: &[MetadataRecord]) -> i16 {
        set_by(records).unwrap_or_else(|| self.0.load(Ordering::Acquire))
    }

    /// Takes over what applied records say.
    pub(crate) fn note(&self, records: &[MetadataRecord]) {
        if let Some(level) = set_by(records) {
            self.0.store(level, Ordering::Release);
        }
    }
}

fn set_by(records: &[MetadataRecord]) -> Option<i16> {
    records.iter().rev().find_map(|record| match record {
        MetadataRecord::FeatureLevel(feature) if feature.name == METADATA_VERSION => {
            Some(feature.feature_level)
        }
        _ => None,
    })
}
