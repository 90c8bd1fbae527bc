//! Round trips, Kafka's own bytes, and refusals.

use proptest::prelude::*;

use super::*;
use crate::codec::tests::{check_golden, draw, reread};

/// Everything that Kafka's serialisers wrote: record, version, bytes, fields.
const GOLDEN: &str = include_str!("../../tests/golden/offsets.txt");

/// A record by its name.
fn reread_any(name: &str, version: i16, bytes: &[u8]) -> (Vec<u8>, String) {
    macro_rules! by_name {
        ($($known:ident)*) => {
            match name {
                $(stringify!($known) => reread::<$known>(version, bytes),)*
                other => panic!("no such record: {other}"),
            }
        };
    }
    by_name! {
        OffsetCommitKey OffsetCommitValue GroupMetadataKey GroupMetadataValue
        ConsumerGroupMetadataKey ConsumerGroupMetadataValue
        ConsumerGroupPartitionMetadataKey ConsumerGroupPartitionMetadataValue
        ConsumerGroupMemberMetadataKey ConsumerGroupMemberMetadataValue
        ConsumerGroupTargetAssignmentMetadataKey ConsumerGroupTargetAssignmentMetadataValue
        ConsumerGroupTargetAssignmentMemberKey ConsumerGroupTargetAssignmentMemberValue
        ConsumerGroupCurrentMemberAssignmentKey ConsumerGroupCurrentMemberAssignmentValue
        ConsumerGroupRegularExpressionKey ConsumerGroupRegularExpressionValue
    }
}

#[test]
fn records_are_read_and_written_as_kafka_does() {
    let lines: Vec<&str> = GOLDEN.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines.len(), 5 * 26, "five of each record in each version");
    lines.into_iter().for_each(|line| check_golden(line, reread_any));
}

fn keys() -> Vec<Key> {
    let (group, member) = ("g".to_owned(), "m".to_owned());
    vec![
        Key::OffsetCommit { group: group.clone(), topic: "t".to_owned(), partition: 7 },
        Key::GroupMetadata { group: group.clone() },
        Key::ConsumerGroupMetadata { group: group.clone() },
        Key::ConsumerGroupPartitionMetadata { group: group.clone() },
        Key::ConsumerGroupMemberMetadata { group: group.clone(), member: member.clone() },
        Key::ConsumerGroupTargetAssignmentMetadata { group: group.clone() },
        Key::ConsumerGroupTargetAssignmentMember { group: group.clone(), member: member.clone() },
        Key::ConsumerGroupCurrentMemberAssignment { group: group.clone(), member },
        Key::ConsumerGroupRegularExpression { group, expression: "a.*".to_owned() },
    ]
}

#[test]
fn keys_are_read_as_written_and_refused_when_cut() {
    for key in keys() {
        let bytes = key.to_bytes().expect("it fits");
        assert_eq!(i16::from_be_bytes([bytes[0], bytes[1]]), key.kind());
        assert_eq!(Key::from_bytes(&bytes), Ok(key));
        for end in 0..bytes.len() {
            assert!(Key::from_bytes(&bytes[..end]).is_err());
        }
    }
}

#[test]
fn the_oldest_key_is_an_offset_too() {
    let bytes = [0, 0, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 7];
    assert_eq!(Key::from_bytes(&bytes), Ok(keys().remove(0)));
}

#[test]
fn an_unknown_type_is_told_apart_and_an_unknown_version_is_named() {
    assert_eq!(Key::from_bytes(&[0, 99, 0, 0]), Err(DecodeError::Type { key: 99 }));
    let error = from_value::<OffsetCommitValue>(&[0, 5]).expect_err("there are 0 to 4");
    let text = "OffsetCommitValue in version 5 is unknown here (known: 0 to 4); a newer release may have \
                written it: run that release";
    assert_eq!(error.to_string(), text);
}

proptest! {
    #[test]
    fn what_is_written_is_read_again_and_refused_when_cut(seed in any::<u64>()) {
        for version in GroupMetadataValue::VERSIONS {
            let message: GroupMetadataValue = draw::record(version, seed);
            let bytes = value(version, &message).expect("drawn for this version");
            assert_eq!(from_value(&bytes), Ok(message));
            assert!(from_value::<GroupMetadataValue>(&bytes[..bytes.len() - 1]).is_err());
        }
        let message: ConsumerGroupMemberMetadataValue = draw::record(0, seed);
        let bytes = value(0, &message).expect("drawn for this version");
        assert_eq!(from_value(&bytes), Ok(message));
        assert!(from_value::<ConsumerGroupMemberMetadataValue>(&bytes[..bytes.len() - 1]).is_err());
    }
}

#[test]
fn the_key_of_an_offset_is_read_and_written_without_its_names_being_copied() {
    let key = Key::OffsetCommit { group: "g".to_owned(), topic: "topic".to_owned(), partition: 7 };
    let bytes = key.to_bytes().expect("short names");
    assert_eq!(offset_key(&bytes), Some(("g", "topic", 7)));
    assert_eq!(offset_key_bytes("g", "topic", 7).expect("short names"), bytes);
    for end in 0..bytes.len() {
        assert_eq!(offset_key(&bytes[..end]), None, "{end}");
    }
    let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
    assert_eq!(offset_key(&longer), None);
    let other = Key::GroupMetadata { group: "g".to_owned() }.to_bytes().expect("a short name");
    assert_eq!(offset_key(&other), None);
    assert!(offset_key_bytes(&"x".repeat(40_000), "t", 0).is_err());
}
