//! What `Changes` says of runs put together, and of two images side by side.

use super::*;

const OLD: &str = "
    level metadata.version 30
    broker 1 epoch=5
    broker 2 epoch=6
    topic a
    partition a 0 replicas=1,2
    partition a 1 replicas=2,1
    topic b
    partition b 0 replicas=1
    config 2/a x=1
    scram 1 ann
    token id User:ann
    quota rate 5 user=ann
    acl 5 User:ann
    producer-ids 1000
";

/// What differs between an image and the same after more lines.
fn check_between(script: &str, outcome: &str) {
    let old = replayed(OLD);
    let new = replayed(&format!("{OLD}{script}"));
    let changes = Changes::between(&old, &new);
    new.check(&changes);
    assert_eq!(text::told(&new, &changes), text::lines(outcome));
}

/// What two runs changed, put together.
fn check_merged(first: &str, second: &str, outcome: &str) {
    let mut image = replayed(OLD);
    let mut merged = Changes::default();
    for script in [first, second] {
        let mut changes = Changes::default();
        for record in text::records(script) {
            image.replay(Offset::ZERO, &record, &mut changes).expect("it follows");
        }
        image.check(&changes);
        merged.merge(changes);
    }
    image.check(&merged);
    assert_eq!(text::told(&image, &merged), text::lines(outcome));
}

#[test]
fn equal_images_differ_in_nothing() {
    check_between("", "");
    check_between("noop", "");
    check_between("config 2/a x=2\nconfig 2/a x=1", "");
}

#[test]
fn only_partitions_that_differ_are_named() {
    check_between("change a 1 isr=2", "a-1 leader=2 epoch=0 state=1 replicas=2,1 isr=2");
    check_between("partition a 2 replicas=1", "a-2 leader=1 epoch=0 state=0 replicas=1 isr=1");
}

#[test]
fn topics_that_came_and_went_are_named() {
    check_between(
        "topic c
         partition c 0 replicas=2",
        "c new
         c-0 leader=2 epoch=0 state=0 replicas=2 isr=2",
    );
    check_between("remove b", "b gone");
    check_between(
        "remove a",
        "a gone
         config 2/a none",
    );
}

#[test]
fn a_topic_made_anew_is_both_gone_and_new() {
    check_between(
        "remove b
         topic b id=b2
         partition b2 0 replicas=2",
        "b gone
         b new
         b-0 leader=2 epoch=0 state=0 replicas=2 isr=2",
    );
}

#[test]
fn nodes_features_and_the_rest_are_named_where_they_differ() {
    check_between("fence 1 epoch=5", "");
    check_between("unfence 1 epoch=5", "broker 1 epoch=5");
    check_between("unregister 2 epoch=6", "broker 2 gone");
    check_between("controller 7", "controller 7");
    check_between("level group.version 1", "level group.version 1");
    check_between("scram-gone 1 ann\nscram 2 ann", "scram 1 ann 0\nscram 2 ann 4096");
    check_between("token-gone id", "token id none");
    check_between("quota rate 6 user=ann", "quota user=ann rate=6");
    check_between("acl-gone 5", "acl 5 none");
    check_between("producer-ids 2000", "producer-ids 2000");
}

#[test]
fn a_later_deletion_takes_back_what_was_told_of_the_topic() {
    check_merged(
        "topic c
         partition c 0 replicas=1",
        "remove c",
        "c gone",
    );
    check_merged("change a 0 isr=1", "remove a", "a gone\nconfig 2/a none");
}

#[test]
fn a_later_creation_stands_beside_the_deletion() {
    check_merged(
        "remove b",
        "topic b
         partition b 0 replicas=2",
        "b gone
         b new
         b-0 leader=2 epoch=0 state=0 replicas=2 isr=2",
    );
}

#[test]
fn what_both_runs_changed_is_told_once_as_it_ended() {
    check_merged(
        "change a 0 isr=1
         config 2/a y=1
         unfence 1 epoch=5",
        "change a 0 leader=2
         config 2/a y=
         fence 1 epoch=5",
        "broker 1 epoch=5 fenced
         a-0 leader=2 epoch=1 state=2 replicas=1,2 isr=1
         config 2/a x=1",
    );
}

#[test]
fn an_empty_run_changes_nothing() {
    check_merged("", "noop", "");
    assert!(Changes::default().is_empty());
}

#[test]
fn the_partitions_of_one_topic_are_picked_out() {
    let (_, changes) = replay_all(&text::records(OLD));
    let of = |name| changes.partitions_of(text::topic_id(name)).map(PartitionIndex::get).collect::<Vec<_>>();
    assert_eq!(of("a"), [0, 1]);
    assert_eq!(of("b"), [0]);
    assert_eq!(of("c"), [0; 0]);
}

/// The records that a snapshot begins with say how the rest is read, and each follows what it needs.
#[test]
fn a_snapshot_is_written_in_an_order_that_replays() {
    let image = replayed(&format!("level a.version 1\n{OLD}controller 7\nzk 2\nbegin\ntopic z"));
    let kinds: Vec<&str> = image.to_records().iter().map(MetadataRecord::name).collect();
    let expected = "FeatureLevelRecord FeatureLevelRecord ZkMigrationStateRecord RegisterBrokerRecord \
        RegisterBrokerRecord RegisterControllerRecord TopicRecord PartitionRecord PartitionRecord TopicRecord \
        PartitionRecord ConfigRecord ClientQuotaRecord ProducerIdsRecord AccessControlEntryRecord \
        UserScramCredentialRecord DelegationTokenRecord BeginTransactionRecord TopicRecord";
    assert_eq!(kinds.join(" "), expected);
    let first = image.to_records().swap_remove(0);
    assert!(matches!(first, MetadataRecord::FeatureLevel(level) if level.name == "metadata.version"));
}
