//! `metadata.version`: the levels from 3.3 to 4.3, and the record versions that each writes.
//!
//! A cluster's level says what its oldest node can read. A record is written in the version
//! that its level has, whatever newer versions this build knows.

use std::fmt;

use super::{BrokerRegistrationChangeRecord, MetadataRecord};

/// One level of `metadata.version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetadataVersion(i16);

/// The lowest level's number.
const FIRST: i16 = 7;

/// Each level's name from [`FIRST`] on, and whether it changed the records in the log.
const LEVELS: &[(&str, bool)] = &[
    ("3.3-IV3", true),
    ("3.4-IV0", true),
    ("3.5-IV0", false),
    ("3.5-IV1", false),
    ("3.5-IV2", true),
    ("3.6-IV0", false),
    ("3.6-IV1", true),
    ("3.6-IV2", true),
    ("3.7-IV0", true),
    ("3.7-IV1", false),
    ("3.7-IV2", true),
    ("3.7-IV3", false),
    ("3.7-IV4", false),
    ("3.8-IV0", false),
    ("3.9-IV0", false),
    ("4.0-IV0", false),
    ("4.0-IV1", true),
    ("4.0-IV2", false),
    ("4.0-IV3", false),
    ("4.1-IV0", false),
    ("4.1-IV1", false),
    ("4.2-IV0", false),
    ("4.2-IV1", false),
    ("4.3-IV0", true),
];

impl MetadataVersion {
    /// The feature's name.
    pub const FEATURE: &'static str = "metadata.version";
    /// The lowest level that Kafka 4 starts with, 3.3-IV3.
    pub const MINIMUM: Self = Self(FIRST);
    /// The level that a new cluster gets, 4.3-IV0.
    pub const LATEST: Self = Self(FIRST + LEVELS.len() as i16 - 1);

    /// The level of that number; `None` for one that is not known here.
    pub fn from_level(level: i16) -> Option<Self> {
        (Self::MINIMUM.0..=Self::LATEST.0).contains(&level).then_some(Self(level))
    }

    /// The level of a name like `4.3-IV0`, or the last of a release like `4.3` or `4.3.1`.
    pub fn from_name(name: &str) -> Option<Self> {
        let release = name.split('.').take(2).collect::<Vec<_>>().join(".");
        let is_release = name.split('.').all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
        let matches =
            |known: &str| known == name || is_release && known.split('-').next() == Some(release.as_str());
        let position = LEVELS.iter().rposition(|(known, _)| matches(known))?;
        Some(Self(FIRST + position as i16))
    }

    /// Every level, lowest first.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        (Self::MINIMUM.0..=Self::LATEST.0).map(Self)
    }

    /// Its number.
    pub const fn level(self) -> i16 {
        self.0
    }

    /// Its name, like `4.3-IV0`.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// Whether this level changed the records in the log: only then does a downgrade lose something.
    pub fn did_metadata_change(self) -> bool {
        self.row().1
    }

    /// Whether the records of the log differ between two levels.
    pub fn did_metadata_change_between(self, other: Self) -> bool {
        let (low, high) = (self.min(other), self.max(other));
        Self::all().any(|level| level > low && level <= high && level.did_metadata_change())
    }

    fn row(self) -> &'static (&'static str, bool) {
        usize::try_from(self.0 - FIRST)
            .ok()
            .and_then(|index| LEVELS.get(index))
            .expect("a level is made by from_level or from_name, from the table")
    }

    /// Each ISR shrink begins a new leader epoch (until 3.6-IV0).
    pub const fn bumps_leader_epoch_on_isr_shrink(self) -> bool {
        self.0 < 12
    }

    /// KIP-900: SCRAM credentials in the log.
    pub const fn has_scram(self) -> bool {
        self.0 >= 11
    }

    /// KIP-868: metadata transactions.
    pub const fn has_transactions(self) -> bool {
        self.0 >= 13
    }

    /// Delegation tokens in the log.
    pub const fn has_delegation_tokens(self) -> bool {
        self.0 >= 14
    }

    /// KIP-919: controllers register themselves.
    pub const fn has_controller_registration(self) -> bool {
        self.0 >= 15
    }

    /// KIP-866: migration from ZooKeeper.
    pub const fn has_migration(self) -> bool {
        self.0 >= 8
    }

    /// KIP-858: replicas know their log directory.
    pub const fn has_directories(self) -> bool {
        self.0 >= 17
    }

    /// KIP-966: eligible leader replicas.
    pub const fn has_elr(self) -> bool {
        self.0 >= 23
    }

    /// KIP-1066: cordoned log directories.
    pub const fn has_cordoned_log_dirs(self) -> bool {
        self.0 >= 30
    }

    /// Whether every broker knows WriteTxnMarkers 2 (KIP-1228).
    pub const fn has_markers_with_versions(self) -> bool {
        self.0 >= 30
    }

    /// The version that this level writes a record in.
    pub fn record_version(self, record: &MetadataRecord) -> i16 {
        match record {
            MetadataRecord::RegisterBroker(_) => self.register_broker_version(),
            MetadataRecord::Partition(_) | MetadataRecord::PartitionChange(_) => self.partition_version(),
            MetadataRecord::BrokerRegistrationChange(record) => registration_change_version(record),
            _ => 0,
        }
    }

    const fn register_broker_version(self) -> i16 {
        match self.0 {
            ..8 => 1,
            8..17 => 2,
            17..30 => 3,
            30.. => 4,
        }
    }

    const fn partition_version(self) -> i16 {
        match self.0 {
            ..17 => 0,
            17..23 => 1,
            23.. => 2,
        }
    }
}

/// The lowest version that carries what changed, as Kafka writes it.
fn registration_change_version(record: &BrokerRegistrationChangeRecord) -> i16 {
    if record.cordoned_log_dirs.is_some() {
        3
    } else if !record.log_dirs.is_empty() {
        2
    } else {
        i16::from(record.in_controlled_shutdown != 0)
    }
}

impl fmt::Display for MetadataVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::MetadataVersion;

    fn check(name: &str, level: Option<i16>) {
        assert_eq!(MetadataVersion::from_name(name).map(MetadataVersion::level), level, "{name}");
    }

    #[test]
    fn a_name_or_a_release_gives_its_level() {
        check("3.3-IV3", Some(7));
        check("3.3.2", Some(7));
        check("3.7", Some(19));
        check("3.9-IV0", Some(21));
        check("4.3", Some(30));
        check("4.3.1", Some(30));
        check("4.3-IV0", Some(30));
    }

    #[test]
    fn a_name_that_is_none_gives_none() {
        for name in ["", "4", "4.4", "4.3-IV1", "2.8", "4.3-IV0.1", "x.y", "4.30", "3.3-IV3 "] {
            check(name, None);
        }
    }

    #[test]
    fn every_level_is_found_by_its_name_and_its_number() {
        for level in MetadataVersion::all() {
            check(level.name(), Some(level.level()));
            assert_eq!(MetadataVersion::from_level(level.level()), Some(level));
        }
        assert_eq!(MetadataVersion::from_level(6), None);
        assert_eq!(MetadataVersion::from_level(31), None);
    }

    #[test]
    fn the_log_differs_between_levels_only_where_one_in_between_changed_it() {
        let level = |number| MetadataVersion::from_level(number).expect("within 7 to 30");
        assert!(level(30).did_metadata_change_between(level(29)));
        assert!(!level(29).did_metadata_change_between(level(23)));
        assert!(level(22).did_metadata_change_between(level(23)));
        assert!(!level(7).did_metadata_change_between(level(7)));
    }
}
