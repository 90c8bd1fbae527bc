//! What another coordinator wrote is taken over; what cannot be read is named.

use model::Offset;
use proto::DecodeError;
use proto::offsets::*;
use wire::messages::text;

use crate::record::{ConsumerEntry, Entry, ReplayError};
use crate::testing::{Life, check};
use crate::{Group, GroupKind, Settings, Shard};

#[test]
fn a_stable_group_goes_on_where_it_was() {
    check(
        "
        join a v3
        join b v3
        pass 6000
        > a join a.1 gen=1 range leader=a.1 [a.1 b.2]
        > b join b.2 gen=1 range leader=a.1
        sync a a.1=x b.2=y
        > a sync NONE x
        sync b
        > b sync NONE y
        reload
        describe
        > - describe NONE Stable,consumer,range a.1=x b.2=y
        beat a
        > a beat NONE
        join b
        > b join b.2 gen=1 range leader=a.1
        sync b
        > b sync NONE y
        pass 9999
        beat a
        > a beat NONE
        pass 1
        beat a
        > a beat REBALANCE_IN_PROGRESS
        ",
    );
}

#[test]
fn a_rebalance_is_lost_with_its_coordinator_and_members_begin_again() {
    check(
        "
        join a v3
        pass 3000
        > a join a.1 gen=1 range leader=a.1 [a.1]
        reload
        sync a
        > a sync UNKNOWN_MEMBER_ID
        join a
        > a join UNKNOWN_MEMBER_ID a.1
        join a v3
        pass 3000
        > a join a.4 gen=1 range leader=a.4 [a.4]
        ",
    );
}

fn shard() -> Shard {
    Shard::new(Settings::default(), Offset::new(1000))
}

/// Replays one record, and gives what is wrong with it.
fn refused(key: &[u8], value: Option<&[u8]>) -> ReplayError {
    let mut shard = shard();
    let error = shard.replay(key, value, Offset::new(7)).expect_err("it cannot be read");
    shard.loaded(Life::new(Settings::default()).now());
    assert_eq!((shard.groups().count(), shard.hard().offsets().len()), (0, 0));
    error
}

#[test]
fn unknown_types_and_versions_and_halves_are_named() {
    assert_eq!(refused(&[0, 99, 1], None), ReplayError::UnknownType { offset: 7, kind: 99 });
    let key = Key::GroupMetadata { group: "g".to_owned() }.to_bytes().expect("short");
    let error = refused(&key, Some(&[0, 9, 0]));
    assert!(error.to_string().contains("GroupMetadataValue in version 9"), "{error}");
    let value = value(3, &GroupMetadataValue { protocol_type: "consumer".to_owned(), ..Default::default() });
    let value = value.expect("short");
    for end in 0..value.len() {
        assert!(matches!(refused(&key, Some(&value[..end])), ReplayError::Unreadable { offset: 7, .. }));
    }
    let half = refused(&key[..2], None);
    assert!(matches!(half, ReplayError::Unreadable { cause: DecodeError::Record { .. }, .. }));
    assert!(matches!(refused(&[], None), ReplayError::Unreadable { .. }));
}

/// A shard that has loaded these records.
fn loaded(entries: &[Entry]) -> Shard {
    let mut shard = shard();
    for (at, entry) in entries.iter().enumerate() {
        let record = entry.to_record().expect("it fits");
        let at = Offset::new(i64::try_from(at).expect("few"));
        shard.replay(&record.key, record.value.as_deref(), at).expect("it can be read");
    }
    shard.loaded(Life::new(Settings::default()).now());
    shard
}

fn member(id: &str) -> MemberMetadata {
    MemberMetadata { member_id: id.to_owned(), session_timeout: 10_000, ..Default::default() }
}

fn classic(value: GroupMetadataValue) -> Entry {
    Entry::Classic("g".into(), Some(value))
}

#[test]
fn a_group_without_sense_is_taken_as_far_as_it_makes_some() {
    let members = vec![member("b"), member("a"), member("b")];
    let shard = loaded(&[classic(GroupMetadataValue {
        protocol_type: "consumer".to_owned(),
        generation: i32::MAX,
        leader: Some("nobody".to_owned()),
        members,
        ..Default::default()
    })]);
    let (_, group) = shard.groups().next().expect("it is there");
    let Group::Classic(group) = group else { panic!("it is classic") };
    group.check_members();
    assert_eq!((group.members().len(), group.leader()), (2, Some(&text("a"))));
    assert_eq!(group.phase_since(), None);
}

#[test]
fn the_oldest_values_have_the_newest_defaults() {
    let mut value = GroupMetadataValue { protocol_type: "consumer".to_owned(), ..Default::default() };
    value.members.push(member("a"));
    let mut shard = shard();
    let key = Key::GroupMetadata { group: "g".to_owned() }.to_bytes().expect("short");
    let old = proto::offsets::value(0, &value).expect("version 0 drops what it lacks");
    shard.replay(&key, Some(&old), Offset::ZERO).expect("it can be read");
    shard.loaded(Life::new(Settings::default()).now());
    let (_, Group::Classic(group)) = shard.groups().next().expect("it is there") else { panic!("classic") };
    let member = group.members().next().expect("there is one");
    assert_eq!((member.rebalance_timeout_ms, group.phase_since()), (10_000, None));
}

#[test]
fn groups_of_the_new_protocol_are_known_and_kept_apart() {
    let entry = |entry| Entry::Consumer("g".into(), entry);
    let metadata = ConsumerGroupMemberMetadataValue {
        subscribed_topic_names: vec!["t".to_owned()],
        ..Default::default()
    };
    let mut entries = vec![
        entry(ConsumerEntry::Member("m".to_owned(), Some(metadata))),
        entry(ConsumerEntry::Group(Some(ConsumerGroupMetadataValue { epoch: 3, ..Default::default() }))),
    ];
    let shard = loaded(&entries);
    let (_, group) = shard.groups().next().expect("it is there");
    assert_eq!((group.kind(), group.state()), (GroupKind::Consumer, "Assigning"));
    assert!(group.is_subscribed_to("t") && !group.is_subscribed_to("u"));
    entries.push(entry(ConsumerEntry::Member("m".to_owned(), None)));
    entries.push(entry(ConsumerEntry::Group(None)));
    assert_eq!(loaded(&entries).groups().count(), 0);
}

#[test]
fn a_group_that_became_too_large_while_nobody_led_it_shrinks() {
    let settings = Settings { members_max: 1, ..Settings::default() };
    let mut shard = Shard::new(settings, Offset::new(1000));
    let members = vec![member("a"), member("b")];
    let value = GroupMetadataValue { protocol_type: "consumer".to_owned(), members, ..Default::default() };
    let record = classic(value).to_record().expect("it fits");
    shard.replay(&record.key, record.value.as_deref(), Offset::ZERO).expect("it can be read");
    shard.loaded(Life::new(Settings::default()).now());
    assert_eq!(shard.groups().next().expect("it is there").1.state(), "PreparingRebalance");
}

/// What Kafka wrote, record by record.
fn of_kafka() -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let lines = include_str!("kafka_4_3.txt").lines().filter(|line| !line.starts_with('#'));
    let byte = |pair: &[u8]| {
        let digits = std::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(digits, 16).expect("two hex digits")
    };
    let bytes = |text: &str| text.as_bytes().chunks(2).map(byte).collect::<Vec<u8>>();
    let record = |line: &str| {
        let (key, value) = line.split_once(' ').expect("a key and a value");
        (bytes(key), (value != "-").then(|| bytes(value)))
    };
    lines.map(record).collect()
}

#[test]
fn what_kafka_wrote_is_read_and_would_be_written_alike() {
    let records = of_kafka();
    assert!(records.len() > 20);
    for (key, value) in records {
        let entry = Entry::read(&key, value.as_deref(), 0, &crate::offsets::Offsets::default())
            .expect("Kafka wrote it");
        let record = entry.to_record().expect("it was written before");
        assert_eq!((record.key, record.value), (key, value), "{entry:?}");
    }
}

#[test]
fn groups_that_kafka_wrote_go_on_here() {
    let mut shard = shard();
    for (at, (key, value)) in of_kafka().iter().enumerate() {
        let at = Offset::new(i64::try_from(at).expect("few"));
        shard.replay(key, value.as_deref(), at).expect("Kafka wrote it");
    }
    shard.loaded(Life::new(Settings::default()).now());
    let told: Vec<String> = shard
        .groups()
        .map(|(id, group)| {
            let members = match group {
                Group::Classic(group) => {
                    group.check_members();
                    let member = |member: &std::sync::Arc<crate::classic::Member>| {
                        String::from_utf8_lossy(&member.assignment).into_owned()
                    };
                    group.members().map(member).collect::<Vec<_>>().join(",")
                }
                Group::Consumer(group) => {
                    if group.group().is_subscribed_to("u") { "t,u" } else { "t" }.to_owned()
                }
            };
            let offsets = shard.committed_offsets().of(id).count();
            let (kind, state) = (group.kind().name(), group.state());
            format!("{id} {kind} {state} [{members}] {offsets}")
        })
        .collect();
    let expected = [
        "a_follower_restarts_without_a_rebalance-g classic Stable [x,y] 0",
        "a_leader_that_restarts_may_skip_the_assignment_or_must_not_notice-g classic Stable [x,y] 0",
        "before_version_4_no_id_is_asked_for-g classic Empty [] 0",
        "members_commit_in_their_generation_but_not_before_the_leader_has_spoken-g classic Empty [] 1",
        "members_that_come_and_go_make_new_generations-g classic Stable [x,y,z] 0",
        "modern consumer Stable [t,u] 20",
        "protocols_must_fit-g classic Empty [] 0",
        "protocols_must_fit-h classic Empty [] 0",
    ];
    assert_eq!(told, expected);
}
