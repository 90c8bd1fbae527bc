//! Round trips and refusals; bytes of Kafka's own are in `tests/golden.rs`.

use proptest::prelude::*;

use super::*;
use crate::codec::tests::draw;

/// Each type in each version, its `version` field saying so.
fn drawn(seed: u64) -> Vec<ControlRecord> {
    let mut all = Vec::new();
    for version in LeaderChangeMessage::VERSIONS {
        let record = LeaderChangeMessage { version, ..draw::record(version, seed) };
        all.push(ControlRecord::LeaderChange(record));
    }
    all.push(ControlRecord::SnapshotHeader(SnapshotHeaderRecord { version: 0, ..draw::record(0, seed) }));
    all.push(ControlRecord::SnapshotFooter(SnapshotFooterRecord { version: 0 }));
    all.push(ControlRecord::KRaftVersion(KRaftVersionRecord { version: 0, ..draw::record(0, seed) }));
    all.push(ControlRecord::KRaftVoters(VotersRecord { version: 0, ..draw::record(0, seed) }));
    all
}

fn value(record: &ControlRecord) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.to_value(&mut bytes).expect("drawn for this version");
    bytes
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(seed in any::<u64>()) {
        for record in drawn(seed) {
            assert_eq!(ControlRecord::from_key_value(&record.to_key(), &value(&record)), Ok(record));
        }
    }
}

#[test]
fn a_record_cut_anywhere_is_an_error() {
    for record in drawn(5) {
        let bytes = value(&record);
        for end in 0..bytes.len() {
            assert!(ControlRecord::from_key_value(&record.to_key(), &bytes[..end]).is_err());
        }
        assert!(ControlRecord::from_key_value(&record.to_key()[..3], &bytes).is_err());
    }
}

fn check_refused(key: [u8; 4], value: &[u8], message: &str) {
    let error = ControlRecord::from_key_value(&key, value).expect_err(message);
    assert_eq!(error.to_string(), message);
}

#[test]
fn an_unknown_type_or_version_is_named() {
    check_refused(
        [0, 0, 0, 9],
        &[0, 0],
        "record type 9 is unknown here; a newer release may have written it: run that release",
    );
    check_refused(
        [0, 0, 0, 2],
        &[0, 2],
        "LeaderChangeMessage in version 2 is unknown here (known: 0 to 1); a newer release may have written \
         it: run that release",
    );
}
