//! Round trips, Kafka's own bytes, and refusals.

use proptest::prelude::*;

use super::*;
use crate::codec::tests::{check_golden, draw, reread};

/// Everything that Kafka's serialisers wrote: record, version, bytes, fields.
const GOLDEN: &str = include_str!("../../tests/golden/transactions.txt");

/// A record by its name.
fn reread_any(name: &str, version: i16, bytes: &[u8]) -> (Vec<u8>, String) {
    match name {
        "TransactionLogKey" => reread::<TransactionLogKey>(version, bytes),
        "TransactionLogValue" => reread::<TransactionLogValue>(version, bytes),
        other => panic!("no such record: {other}"),
    }
}

#[test]
fn records_are_read_and_written_as_kafka_does() {
    let lines: Vec<&str> = GOLDEN.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines.len(), 40 + 40 + 5, "forty values of each version, five keys");
    lines.into_iter().for_each(|line| check_golden(line, reread_any));
}

#[test]
fn a_key_is_read_as_written_and_refused_when_cut_or_of_another_type() {
    let key = TransactionLogKey { transactional_id: "t".to_owned() };
    let bytes = key.to_bytes().expect("it fits");
    assert_eq!(bytes, [0, 0, 0, 1, b't']);
    assert_eq!(TransactionLogKey::from_bytes(&bytes), Ok(key));
    for end in 0..bytes.len() {
        assert!(TransactionLogKey::from_bytes(&bytes[..end]).is_err());
    }
    assert_eq!(TransactionLogKey::from_bytes(&[0, 1, 0, 0]), Err(DecodeError::Type { key: 1 }));
}

proptest! {
    #[test]
    fn what_is_written_is_read_again_and_refused_when_cut(seed in any::<u64>()) {
        for version in TransactionLogValue::VERSIONS {
            let message: TransactionLogValue = draw::record(version, seed);
            let bytes = value(version, &message).expect("drawn for this version");
            assert_eq!(from_value(&bytes), Ok(message));
            assert!(from_value::<TransactionLogValue>(&bytes[..bytes.len() - 1]).is_err());
        }
    }
}
