//! Feature levels raised, lowered and kept, as text.

use wire::messages::update_features_request::FeatureUpdateKey;
use wire::messages::{UpdateFeaturesRequest, text};

use super::decide;
use crate::testing::{assert_lines, cluster};

/// `metadata.version=29:safe`, of types `upgrade`, `safe`, `unsafe`.
#[track_caller]
fn check(spec: &str, version: i16, asked: &str, outcome: &str) {
    let mut cluster = cluster(spec);
    let update = |word: &str| {
        let (name, rest) = word.split_once('=').expect("name=level:type");
        let (level, kind) = rest.split_once(':').expect("level:type");
        let kind = match kind {
            "upgrade" => 1,
            "safe" => 2,
            "unsafe" => 3,
            _ => 0,
        };
        FeatureUpdateKey::default()
            .with_feature(text(name))
            .with_max_version_level(level.parse().expect("a level"))
            .with_upgrade_type(kind)
    };
    let request =
        UpdateFeaturesRequest::default().with_feature_updates(asked.split_whitespace().map(update).collect());
    let decision = decide(&cluster.view(), version, &request);
    let (records, response) = cluster.take(decision);
    let mut lines = vec![records];
    if response.error_code != 0 {
        let code = model::ErrorCode::from_code(response.error_code);
        let message = response.error_message.as_deref().unwrap_or_default();
        let cause = message
            .strip_prefix("The update failed for all features since the following feature had an error: ");
        lines.push(format!("-> {code} {}", cause.expect("Kafka's words for all or nothing")));
    }
    lines.extend(response.results.iter().map(|result| {
        format!("-> {} {}", result.feature.as_str(), model::ErrorCode::from_code(result.error_code))
    }));
    assert_lines(&lines.join("\n"), outcome);
}

#[test]
fn a_feature_goes_up_when_everybody_can() {
    check("", 2, "group.version=1:upgrade", "feature group.version=1");
    check("feature group.version=1", 2, "group.version=1:upgrade", "");
    check("feature group.version=1", 2, "group.version=0:safe", "feature group.version=0");
}

#[test]
fn a_node_that_cannot_is_named() {
    check(
        "",
        2,
        "metadata.version=31:upgrade",
        "-> INVALID_UPDATE_VERSION Invalid update version 31 for feature metadata.version. Local controller 100 only \
         supports versions 21-30",
    );
    check(
        "broker 4",
        2,
        "group.version=1:upgrade",
        "-> INVALID_UPDATE_VERSION Invalid update version 1 for feature group.version. Broker 4 does not support this \
         feature.",
    );
    check(
        "",
        2,
        "no.such=1:upgrade",
        "-> INVALID_UPDATE_VERSION Invalid update version 1 for feature no.such. Local controller 100 does not support \
         this feature.",
    );
}

#[test]
fn a_downgrade_must_be_meant_and_metadata_is_never_lost() {
    check(
        "feature group.version=1",
        2,
        "group.version=0:upgrade",
        "-> INVALID_UPDATE_VERSION Invalid update version 0 for feature group.version. Can't downgrade the version of \
         this feature without setting the upgrade type to either safe or unsafe downgrade.",
    );
    check(
        "",
        2,
        "group.version=1:safe",
        "-> INVALID_UPDATE_VERSION Invalid update version 1 for feature group.version. Can't downgrade to a newer \
         version.",
    );
    check(
        "",
        2,
        "metadata.version=29:unsafe",
        "-> INVALID_UPDATE_VERSION Unsupported metadata.version downgrade from 30 to 29. Unsafe metadata downgrade is \
         not supported in this version.",
    );
}

#[test]
fn malformed_updates_are_refused() {
    check(
        "",
        2,
        "no.such=0:unsafe",
        "-> INVALID_UPDATE_VERSION Invalid update version 0 for feature no.such. Feature no.such not found.",
    );
    check(
        "",
        2,
        "metadata.version=29:safe",
        "-> INVALID_UPDATE_VERSION Unsupported metadata.version downgrade from 30 to 29. Refusing to perform the \
         requested downgrade because it might delete metadata information.",
    );
    check(
        "",
        2,
        "group.version=-1:safe",
        "-> INVALID_UPDATE_VERSION Invalid update version -1 for feature group.version. A feature version cannot be \
         less than 0.",
    );
    check(
        "",
        2,
        "group.version=1:other",
        "-> INVALID_UPDATE_VERSION Invalid update version 1 for feature group.version. The controller does not \
         support the given upgrade type.",
    );
}

#[test]
fn one_refusal_refuses_all_whatever_the_client_speaks() {
    for version in 1..=2 {
        check(
            "",
            version,
            "group.version=1:upgrade no.such=1:upgrade",
            "-> INVALID_UPDATE_VERSION Invalid update version 1 for feature no.such. Local controller 100 does not \
             support this feature.",
        );
    }
}

#[test]
fn older_clients_hear_which_features_were_set() {
    check(
        "feature transaction.version=2",
        1,
        "group.version=1:upgrade transaction.version=2:upgrade",
        "
        feature group.version=1
        -> group.version NONE
        -> transaction.version NONE
        ",
    );
}
