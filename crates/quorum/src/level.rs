//! The level of `metadata.version`: how records are encoded.
//!
//! The one thing that the quorum reads in records. A batch is written at the level
//! that it sets itself, else at the one that an earlier batch of the same leader
//! sets, committed or still on its way, else at the one that was applied.

use std::sync::{Mutex, MutexGuard, PoisonError};

use model::LeaderEpoch;
use proto::metadata::MetadataRecord;

/// The feature's name.
const METADATA_VERSION: &str = "metadata.version";
/// In force before the first record says otherwise: 3.3-IV3, the lowest that Kafka 4 runs.
const LEVEL_MIN: i16 = 7;

/// The level in force.
#[derive(Debug)]
pub(crate) struct Level(Mutex<Known>);

#[derive(Debug)]
struct Known {
    applied: i16,
    /// What a leader proposed, and in which epoch. It counts for that leader's later batches,
    /// which stand behind it in the log or are discarded with it.
    proposed: Option<(LeaderEpoch, i16)>,
}

impl Default for Level {
    fn default() -> Self {
        Self(Mutex::new(Known { applied: LEVEL_MIN, proposed: None }))
    }
}

impl Level {
    /// The level of a snapshot with `records`.
    pub(crate) fn for_snapshot(&self, records: &[MetadataRecord]) -> i16 {
        set_by(records).unwrap_or_else(|| self.known().applied)
    }

    /// The level at which the leader of `epoch` writes `records`.
    pub(crate) fn for_append(&self, epoch: LeaderEpoch, records: &[MetadataRecord]) -> i16 {
        let known = self.known();
        let proposed = known.proposed.filter(|(proposed_in, _)| *proposed_in == epoch);
        set_by(records).or(proposed.map(|(_, level)| level)).unwrap_or(known.applied)
    }

    /// The leader of `epoch` has proposed `records`.
    pub(crate) fn propose(&self, epoch: LeaderEpoch, records: &[MetadataRecord]) {
        if let Some(level) = set_by(records) {
            self.known().proposed = Some((epoch, level));
        }
    }

    /// What the leader of `epoch` proposed may not come to be: only what is applied counts.
    pub(crate) fn forget_proposed(&self, epoch: LeaderEpoch) {
        let mut known = self.known();
        known.proposed = known.proposed.filter(|(proposed_in, _)| *proposed_in != epoch);
    }

    /// Takes over what applied records say.
    pub(crate) fn note(&self, records: &[MetadataRecord]) {
        if let Some(level) = set_by(records) {
            self.known().applied = level;
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

#[cfg(test)]
mod tests {
    use model::LeaderEpoch;
    use proto::metadata::{FeatureLevelRecord, MetadataRecord};

    use super::{LEVEL_MIN, Level};

    fn setting(level: i16) -> [MetadataRecord; 1] {
        let name = "metadata.version".to_owned();
        [MetadataRecord::FeatureLevel(FeatureLevelRecord { name, feature_level: level })]
    }

    #[test]
    fn a_level_on_its_way_counts_for_the_same_leaders_later_batches_alone() {
        let (level, epoch) = (Level::default(), LeaderEpoch::new(2));
        assert_eq!(level.for_append(epoch, &setting(30)), 30);
        level.propose(epoch, &setting(30));
        assert_eq!(level.for_append(epoch, &[]), 30);
        assert_eq!(level.for_append(epoch.next(), &[]), LEVEL_MIN, "it may be lost with its leader");
        level.forget_proposed(epoch);
        assert_eq!(level.for_append(epoch, &[]), LEVEL_MIN, "it was refused");
        level.note(&setting(30));
        assert_eq!(level.for_append(epoch.next(), &[]), 30);
    }
}
