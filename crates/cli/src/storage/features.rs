//! The feature levels that a new cluster begins with.
//!
//! `metadata.version` from `--release-version`, the others as that release has them by
//! default, `--feature` over both. `kraft.version` is a control record and not among them.

use std::collections::BTreeMap;

use controller::settings::METADATA_VERSION_MIN;
use proto::metadata::{FeatureLevelRecord, MetadataRecord, MetadataVersion};

const KRAFT_VERSION: &str = "kraft.version";

/// A feature, its highest level, its default, and the metadata.version from which the default holds.
const FEATURES: [(&str, i16, i16, i16); 5] = [
    ("eligible.leader.replicas.version", 1, 1, 26),
    ("group.version", 1, 1, 22),
    ("share.version", 1, 1, 28),
    ("streams.version", 1, 1, 29),
    ("transaction.version", 2, 2, 24),
];

/// The levels chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    /// `metadata.version`.
    pub metadata: MetadataVersion,
    /// `kraft.version`, where it was asked for.
    pub kraft: Option<i16>,
    others: BTreeMap<&'static str, i16>,
}

impl Levels {
    /// Chooses levels; an error is the cause and what to try.
    pub fn choose(release: Option<&str>, features: &[String]) -> Result<Self, String> {
        let mut asked = BTreeMap::new();
        for text in features {
            let (name, level) = parse(text)?;
            if asked.insert(name, level).is_some() {
                return Err(format!("feature {name} is given twice; give it once"));
            }
        }
        let metadata = match (release, asked.remove(MetadataVersion::FEATURE)) {
            (Some(_), Some(_)) => {
                return Err(
                    "--release-version and --feature metadata.version are both given; use --release-version \
                            alone to avoid ambiguity"
                        .to_owned(),
                );
            }
            (Some(release), None) => level_of(release)?,
            (None, Some(level)) => check_level(level)?,
            (None, None) => MetadataVersion::LATEST,
        };
        if metadata.level() < METADATA_VERSION_MIN {
            let oldest = check_level(METADATA_VERSION_MIN)?.name();
            return Err(format!(
                "metadata.version {} is too old: Kastle runs at {oldest} and later; choose one of those, or none",
                metadata.name()
            ));
        }
        let kraft = asked.remove(KRAFT_VERSION);
        let mut others: BTreeMap<&'static str, i16> = FEATURES
            .iter()
            .map(|&(name, _, default, from)| (name, if metadata.level() >= from { default } else { 0 }))
            .collect();
        for (name, level) in asked {
            let &(name, highest, ..) =
                FEATURES.iter().find(|(known, ..)| *known == name).ok_or_else(|| unsupported(name))?;
            if !(0..=highest).contains(&level) {
                return Err(format!("{name} has no level {level}; choose 0 to {highest}"));
            }
            others.insert(name, level);
        }
        Ok(Self { metadata, kraft, others })
    }

    /// The release's name: `4.3-IV0`.
    pub fn release(&self) -> &'static str {
        self.metadata.name()
    }

    /// What the first leader appends.
    pub fn to_records(&self) -> Vec<MetadataRecord> {
        let set = self.others.iter().filter(|(_, level)| **level > 0).map(|(name, level)| (*name, *level));
        let all = std::iter::once((MetadataVersion::FEATURE, self.metadata.level())).chain(set);
        let record = |(name, feature_level): (&str, i16)| {
            MetadataRecord::FeatureLevel(FeatureLevelRecord { name: name.to_owned(), feature_level })
        };
        all.map(record).collect()
    }
}

fn check_level(level: i16) -> Result<MetadataVersion, String> {
    MetadataVersion::from_level(level).ok_or_else(|| {
        let (low, high) = (METADATA_VERSION_MIN, MetadataVersion::LATEST.level());
        format!("metadata.version has no level {level}; choose {low} to {high}")
    })
}

fn level_of(release: &str) -> Result<MetadataVersion, String> {
    MetadataVersion::from_name(release).ok_or_else(|| {
        let runnable = MetadataVersion::all().filter(|known| known.level() >= METADATA_VERSION_MIN);
        let known: Vec<&str> = runnable.map(MetadataVersion::name).collect();
        format!("Unknown metadata.version '{release}'. Supported metadata.version are: {}", known.join(", "))
    })
}

fn parse(text: &str) -> Result<(&str, i16), String> {
    let parsed =
        text.split_once('=').and_then(|(name, level)| Some((name.trim(), level.trim().parse().ok()?)));
    parsed.ok_or_else(|| {
        format!("--feature {text} is no FEATURE=LEVEL; write for example transaction.version=2")
    })
}

fn unsupported(name: &str) -> String {
    let names: Vec<&str> = FEATURES.iter().map(|(name, ..)| *name).collect();
    format!("Unsupported feature: {name}. Supported features are: {}, {KRAFT_VERSION}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use proto::metadata::MetadataRecord;

    use super::Levels;

    /// Arguments and the levels they come to, as text.
    fn check(release: Option<&str>, features: &[&str], outcome: &str) {
        let features: Vec<String> = features.iter().map(ToString::to_string).collect();
        let text = Levels::choose(release, &features).map_or_else(
            |error| error,
            |levels| {
                let shown = levels.to_records().into_iter().map(|record| match record {
                    MetadataRecord::FeatureLevel(feature) => {
                        format!("{}={}", feature.name, feature.feature_level)
                    }
                    other => panic!("no feature: {other:?}"),
                });
                format!("{}: {}", levels.release(), shown.collect::<Vec<_>>().join(" "))
            },
        );
        assert!(text.starts_with(outcome), "{text}");
    }

    #[test]
    fn a_new_cluster_has_kafkas_defaults() {
        check(
            None,
            &[],
            "4.3-IV0: metadata.version=30 eligible.leader.replicas.version=1 group.version=1 share.version=1 \
             streams.version=1 transaction.version=2",
        );
        check(Some("4.0"), &[], "4.0-IV3: metadata.version=25 group.version=1 transaction.version=2");
        check(
            None,
            &["metadata.version=25"],
            "4.0-IV3: metadata.version=25 group.version=1 transaction.version=2",
        );
        check(Some("3.9.1"), &[], "3.9-IV0: metadata.version=21");
        check(Some("4.0"), &["group.version=0"], "4.0-IV3: metadata.version=25 transaction.version=2");
    }

    #[test]
    fn what_no_release_has_is_refused() {
        check(
            Some("9.9"),
            &[],
            "Unknown metadata.version '9.9'. Supported metadata.version are: 3.9-IV0, 4.0-IV0",
        );
        let too_old = "metadata.version 3.8-IV0 is too old: Kastle runs at 3.9-IV0 and later";
        check(Some("3.8"), &[], too_old);
        check(None, &["metadata.version=20"], too_old);
        check(Some("4"), &[], "Unknown metadata.version '4'");
        check(
            None,
            &["foo.version=1"],
            "Unsupported feature: foo.version. Supported features are: eligible.",
        );
        check(None, &["transaction.version=9"], "transaction.version has no level 9; choose 0 to 2");
        check(None, &["metadata.version=31"], "metadata.version has no level 31; choose 21 to 30");
        check(None, &["group"], "--feature group is no FEATURE=LEVEL");
        check(
            Some("4.0"),
            &["metadata.version=25"],
            "--release-version and --feature metadata.version are both",
        );
        check(None, &["group.version=1", "group.version=0"], "feature group.version is given twice");
    }
}
