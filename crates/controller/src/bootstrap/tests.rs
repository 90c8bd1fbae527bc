//! The first records of clusters, as text.

use metadata::Image;
use proto::metadata::{FeatureLevelRecord, MetadataRecord};

use super::decide;
use crate::settings::Settings;
use crate::testing::{assert_lines, cluster};

fn describe(records: &[MetadataRecord]) -> String {
    let line = |record: &MetadataRecord| match record {
        MetadataRecord::FeatureLevel(level) => format!("{}={}", level.name, level.feature_level),
        MetadataRecord::Config(config) => format!("config {} {:?}", config.name, config.value),
        other => format!("{other:?}"),
    };
    records.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_new_cluster_begins_with_the_levels_kafkas_storage_tool_writes() {
    let decision = decide(&Image::default(), &Settings::default(), &[]);
    assert_lines(
        &describe(&decision.records),
        r#"
        metadata.version=30
        eligible.leader.replicas.version=1
        group.version=1
        share.version=1
        streams.version=1
        transaction.version=2
        config min.insync.replicas Some("1")
        "#,
    );
}

#[test]
fn what_was_formatted_is_taken_as_it_is() {
    let level = FeatureLevelRecord { name: "metadata.version".to_owned(), feature_level: 25 };
    let decision = decide(&Image::default(), &Settings::default(), &[level.into()]);
    assert_lines(&describe(&decision.records), "metadata.version=25");
}

#[test]
fn the_minimum_of_the_file_becomes_the_clusters() {
    let mut settings = Settings::default();
    settings.static_configs.insert("min.insync.replicas".to_owned(), "2".to_owned());
    let decision = decide(&Image::default(), &settings, &[]);
    assert!(describe(&decision.records).ends_with("config min.insync.replicas Some(\"2\")"));
}

#[test]
fn a_cluster_begins_once() {
    let begun = cluster("");
    assert!(decide(&begun.image, &begun.settings, &[]).records.is_empty());
}
