//! Finalized feature levels (KIP-584), and how far a move from ZooKeeper is.

use imbl::OrdMap;
use proto::metadata::{FeatureLevelRecord, MetadataRecord, MetadataVersion, ZkMigrationStateRecord};

use crate::changes::Changes;
use crate::error::ReplayError;

/// Feature levels by name, none of them 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Features {
    pub(crate) levels: OrdMap<String, i16>,
    pub(crate) zk_migration_state: i8,
}

impl Features {
    pub(crate) fn metadata_version(&self) -> MetadataVersion {
        let level = self.levels.get(MetadataVersion::FEATURE).copied();
        level.and_then(MetadataVersion::from_level).unwrap_or(MetadataVersion::MINIMUM)
    }

    pub(crate) fn set(
        &mut self,
        record: &FeatureLevelRecord,
        changes: &mut Changes,
    ) -> Result<(), ReplayError> {
        let FeatureLevelRecord { name, feature_level } = record;
        if name == MetadataVersion::FEATURE && MetadataVersion::from_level(*feature_level).is_none() {
            let (least, most) = (MetadataVersion::MINIMUM, MetadataVersion::LATEST);
            let known = format!("{} ({least}) to {} ({most})", least.level(), most.level());
            return Err(ReplayError::invalid("FeatureLevelRecord", name, known, feature_level));
        }
        if *feature_level == 0 {
            self.levels.remove(name);
        } else {
            self.levels.insert(name.clone(), *feature_level);
        }
        changes.features.insert(name.clone());
        Ok(())
    }

    /// `metadata.version` first: it says how the records after it are to be read.
    pub(crate) fn records(&self, emit: &mut dyn FnMut(MetadataRecord)) {
        let mut put = |(name, level): (&String, &i16)| {
            emit(FeatureLevelRecord { name: name.clone(), feature_level: *level }.into());
        };
        let is_first = |(name, _): &(&String, &i16)| *name == MetadataVersion::FEATURE;
        self.levels.iter().filter(is_first).for_each(&mut put);
        self.levels.iter().filter(|level| !is_first(level)).for_each(&mut put);
        if self.zk_migration_state != 0 {
            emit(ZkMigrationStateRecord { zk_migration_state: self.zk_migration_state }.into());
        }
    }
}
