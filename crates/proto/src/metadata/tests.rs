//! What the frame, the versions and the levels do; bytes of Kafka's own are in `tests/golden.rs`.

use proptest::prelude::*;

use super::*;
use crate::codec::tests::draw;

/// Draws each record type in each version and lets `check` see it.
fn each_drawn(seed: u64, mut check: impl FnMut(MetadataRecord, i16)) {
    macro_rules! draw {
        ($($type:ident)*) => {$(
            for version in $type::VERSIONS {
                check(MetadataRecord::from(draw::record::<$type>(version, seed)), version);
            }
        )*};
    }
    draw!(RegisterBrokerRecord UnregisterBrokerRecord TopicRecord PartitionRecord ConfigRecord
        PartitionChangeRecord FenceBrokerRecord UnfenceBrokerRecord RemoveTopicRecord DelegationTokenRecord
        UserScramCredentialRecord FeatureLevelRecord ClientQuotaRecord ProducerIdsRecord
        BrokerRegistrationChangeRecord AccessControlEntryRecord RemoveAccessControlEntryRecord NoOpRecord
        ZkMigrationStateRecord RemoveUserScramCredentialRecord BeginTransactionRecord EndTransactionRecord
        AbortTransactionRecord RemoveDelegationTokenRecord RegisterControllerRecord ClearElrRecord);
}

fn value(record: &MetadataRecord, version: i16) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.to_value_in(version, &mut bytes).expect("drawn for this version");
    bytes
}

#[test]
fn every_type_is_drawn_in_every_version() {
    let mut drawn = Vec::new();
    each_drawn(1, |record, version| drawn.push((record.key(), version)));
    let all = MetadataRecord::TYPES.iter();
    let known: Vec<(i16, i16)> =
        all.flat_map(|(key, _, versions)| versions.clone().map(|version| (*key, version))).collect();
    assert_eq!(drawn, known);
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(seed in any::<u64>()) {
        each_drawn(seed, |record, version| {
            let bytes = value(&record, version);
            assert_eq!(MetadataRecord::from_value(&bytes), Ok(record));
        });
    }
}

#[test]
fn a_record_cut_anywhere_is_an_error() {
    each_drawn(2, |record, version| {
        let bytes = value(&record, version);
        for end in 0..bytes.len() {
            assert!(MetadataRecord::from_value(&bytes[..end]).is_err(), "{record:?} cut at {end}");
        }
    });
}

#[test]
fn tagged_fields_of_a_newer_writer_are_skipped() {
    each_drawn(3, |record, version| {
        let mut bytes = value(&record, version);
        if bytes.last() != Some(&0) || !tags_are_empty(&record) {
            return;
        }
        bytes.pop();
        bytes.extend_from_slice(&[1, 99, 3, 7, 7, 7]);
        assert_eq!(MetadataRecord::from_value(&bytes), Ok(record));
    });
}

/// Whether the last byte is surely the count of tagged fields.
fn tags_are_empty(record: &MetadataRecord) -> bool {
    use MetadataRecord as R;
    matches!(record, R::Topic(_) | R::FenceBroker(_) | R::RemoveTopic(_) | R::NoOp(_) | R::EndTransaction(_))
}

/// What reading `bytes` says.
fn check_refused(bytes: &[u8], message: &str) {
    let error = MetadataRecord::from_value(bytes).expect_err(message);
    assert_eq!(error.to_string(), message);
}

#[test]
fn an_unknown_frame_type_or_version_is_named() {
    check_refused(&[2, 20, 0, 0], "the record's frame has version 2, known is 1");
    check_refused(
        &[1, 13, 0, 0],
        "record type 13 is unknown here; a newer release may have written it: run that release",
    );
    check_refused(
        &[1, 3, 9, 0],
        "PartitionRecord in version 9 is unknown here (known: 0 to 2); a newer release may have written it: \
         run that release",
    );
}

#[test]
fn what_is_wrong_is_named_with_its_record_and_place() {
    let topic = |body: &[u8]| [&[1, 2, 0], body].concat();
    check_refused(&topic(&[]), "TopicRecord in version 0: at byte 0: needs 1 more bytes, 0 are left");
    check_refused(&topic(&[0]), "TopicRecord in version 0: at byte 0: null where it is not allowed");
    check_refused(&topic(&[3, b'a']), "TopicRecord in version 0: at byte 1: needs 2 more bytes, 1 are left");
    check_refused(&topic(&[2, 0xff]), "TopicRecord in version 0: at byte 0: a string that is not UTF-8");
    check_refused(
        &topic(&[0xff; 6]),
        "TopicRecord in version 0: at byte 0: a variable-length number beyond 32 bits",
    );
    check_refused(
        &topic(&[&[1][..], &[0; 16], &[5, 0, 0]].concat()),
        "TopicRecord in version 0: at byte 17: a count of 5 where at most 1 fit",
    );
    check_refused(
        &[1, 25, 0, 1, 0, 3, 2, b'a', b'b'],
        "AbortTransactionRecord in version 0: at byte 5: 1 bytes are left over",
    );
}

/// The version that `level` writes `record` in, or why it cannot.
fn check_level(record: impl Into<MetadataRecord>, level: i16, outcome: Result<i16, &str>) {
    let mut bytes = vec![0xaa];
    let written = record.into().to_value(level, &mut bytes).map_err(|error| error.to_string());
    let version = written.map(|()| MetadataRecord::version_of(&bytes[1..]).expect("just written"));
    assert_eq!(version, outcome.map_err(str::to_owned));
    assert!(outcome.is_ok() || bytes == [0xaa], "an error leaves nothing behind");
}

#[test]
fn the_level_says_the_record_version() {
    for (level, version) in [(7, 1), (8, 2), (16, 2), (17, 3), (29, 3), (30, 4)] {
        check_level(RegisterBrokerRecord::default(), level, Ok(version));
    }
    for (level, version) in [(7, 0), (16, 0), (17, 1), (22, 1), (23, 2), (30, 2)] {
        check_level(PartitionRecord::default(), level, Ok(version));
        check_level(PartitionChangeRecord::default(), level, Ok(version));
    }
    check_level(TopicRecord::default(), 30, Ok(0));
    let change = BrokerRegistrationChangeRecord::default;
    check_level(change(), 30, Ok(0));
    check_level(BrokerRegistrationChangeRecord { in_controlled_shutdown: 1, ..change() }, 7, Ok(1));
    check_level(BrokerRegistrationChangeRecord { log_dirs: vec![Uuid::ZERO], ..change() }, 17, Ok(2));
    check_level(BrokerRegistrationChangeRecord { cordoned_log_dirs: Some(vec![]), ..change() }, 30, Ok(3));
}

#[test]
fn what_a_level_cannot_say_is_refused() {
    let elr = PartitionRecord { eligible_leader_replicas: Some(vec![1]), ..PartitionRecord::default() };
    check_level(elr, 22, Err("PartitionRecord needs eligible_leader_replicas, which version 1 lacks"));
    let directories = PartitionChangeRecord { directories: Some(vec![]), ..PartitionChangeRecord::default() };
    check_level(directories, 16, Err("PartitionChangeRecord needs directories, which version 0 lacks"));
    check_level(
        NoOpRecord::default(),
        31,
        Err("metadata.version 31 is unknown here (known: 3.3-IV3 to 4.3-IV0)"),
    );
    check_level(
        TopicRecord { name: "a".repeat(40_000), topic_id: Uuid::ZERO },
        30,
        Err("a value of 40000 bytes or elements, at most 32767 can be written"),
    );
}

#[test]
fn defaults_are_kafkas() {
    let change = PartitionChangeRecord::default();
    assert_eq!((change.leader, change.leader_recovery_state, change.isr), (-2, -1, None));
    let partition = PartitionRecord::default();
    assert_eq!((partition.leader, partition.leader_epoch, partition.partition_epoch), (-1, -1, -1));
    assert!(RegisterBrokerRecord::default().fenced);
    assert_eq!(ProducerIdsRecord::default().broker_epoch, -1);
    assert_eq!(ConfigRecord::default().value.as_deref(), Some(""));
}
