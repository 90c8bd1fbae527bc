//! What each record does.

use super::*;

const TOPIC: &str = "
    topic t
    partition t 0 replicas=1,2,3 epoch=4 state=9
";

#[test]
fn a_topic_comes_with_its_partitions() {
    check(
        "",
        "topic t
         partition t 0 replicas=1,2 epoch=3 state=5
         partition t 1 replicas=2,1 isr=2 dirs=7,8",
        "t new
         t-0 leader=1 epoch=3 state=5 replicas=1,2 isr=1,2
         t-1 leader=2 epoch=0 state=0 replicas=2,1 isr=2 dirs=7,8",
    );
}

#[test]
fn partitions_come_in_any_order() {
    let image = replayed(
        "topic t
         partition t 2 replicas=1
         partition t 0 replicas=1
         partition t 1 replicas=1",
    );
    let topic = image.topic("t").expect("it was created");
    let order: Vec<i32> = topic.partitions().map(|(index, _)| index.get()).collect();
    assert_eq!(order, [0, 1, 2]);
}

#[test]
fn naming_a_leader_begins_an_epoch_even_of_the_same_one() {
    check(TOPIC, "change t 0 leader=2", "t-0 leader=2 epoch=5 state=10 replicas=1,2,3 isr=1,2,3");
    check(TOPIC, "change t 0 leader=1", "t-0 leader=1 epoch=5 state=10 replicas=1,2,3 isr=1,2,3");
    check(TOPIC, "change t 0 leader=-1", "t-0 leader=none epoch=5 state=10 replicas=1,2,3 isr=1,2,3");
}

#[test]
fn an_isr_change_keeps_the_leader_epoch() {
    check(TOPIC, "change t 0 isr=1,2", "t-0 leader=1 epoch=4 state=10 replicas=1,2,3 isr=1,2");
}

#[test]
fn each_change_raises_the_partition_epoch() {
    check(
        TOPIC,
        "change t 0 isr=1
         change t 0 elr=2 last=3
         change t 0 leader=-1 recovery=1",
        "t-0 leader=none epoch=5 state=12 replicas=1,2,3 isr=1 elr=2 last=3 recovering",
    );
}

#[test]
fn a_reassignment_begins_and_completes() {
    check(
        TOPIC,
        "change t 0 replicas=1,2,3,4 adding=4 removing=3",
        "t-0 leader=1 epoch=4 state=10 replicas=1,2,3,4 isr=1,2,3 adding=4 removing=3",
    );
    check(
        &format!("{TOPIC}change t 0 replicas=1,2,3,4 adding=4 removing=3"),
        "change t 0 replicas=1,2,4 isr=1,2,4 adding= removing=",
        "t-0 leader=1 epoch=4 state=11 replicas=1,2,4 isr=1,2,4",
    );
}

#[test]
fn directories_follow_the_replicas() {
    let with_directories = "
        topic t
        partition t 0 replicas=1,2 dirs=7,8
    ";
    check(
        with_directories,
        "change t 0 dirs=7,9",
        "t-0 leader=1 epoch=0 state=1 replicas=1,2 isr=1,2 dirs=7,9",
    );
    check(
        with_directories,
        "change t 0 replicas=1,2,3 dirs=7,8,9",
        "t-0 leader=1 epoch=0 state=1 replicas=1,2,3 isr=1,2 dirs=7,8,9",
    );
    let image = replayed(with_directories);
    let topic = image.topic("t").expect("it was created");
    let (_, partition) = topic.partitions().next().expect("with one partition");
    assert_eq!(partition.directory(NodeId::new(2)), Some(Uuid::from_u128(8)));
    assert_eq!(partition.directory(NodeId::new(3)), None);
}

#[test]
fn clearing_the_elr_changes_only_partitions_that_have_one() {
    let before = "
        topic a
        partition a 0 replicas=1,2 isr=1 elr=2
        partition a 1 replicas=1,2
        topic b
        partition b 0 replicas=1,2 isr=1 last=2
    ";
    check(before, "clear-elr a", "a-0 leader=1 epoch=0 state=1 replicas=1,2 isr=1");
    check(
        before,
        "clear-elr",
        "a-0 leader=1 epoch=0 state=1 replicas=1,2 isr=1
         b-0 leader=1 epoch=0 state=1 replicas=1,2 isr=1",
    );
}

#[test]
fn a_deleted_topic_takes_its_partitions_and_configs_along() {
    check(
        &format!("{TOPIC}config 2/t retention.ms=5"),
        "change t 0 isr=1
         remove t",
        "t gone
         config 2/t none",
    );
}

#[test]
fn a_topic_that_comes_and_goes_within_a_run_is_only_gone() {
    check(
        "",
        "topic t
         partition t 0 replicas=1
         remove t",
        "t gone",
    );
}

#[test]
fn a_name_can_be_used_again() {
    check(
        TOPIC,
        "remove t
         topic t id=other",
        "t gone
         t new",
    );
}

#[test]
fn brokers_register_change_and_leave() {
    check(
        "",
        "broker 1 epoch=5 rack=a ports=9092 to=30 dirs=7",
        "broker 1 epoch=5 port=9092 metadata.version=7..30 rack=a fenced dirs=7",
    );
    let one = "broker 1 epoch=5 dirs=7";
    check(one, "rebroker 1 epoch=5 fenced=-1", "broker 1 epoch=5 dirs=7");
    check(one, "rebroker 1 epoch=5 shutdown=1", "broker 1 epoch=5 fenced shutdown dirs=7");
    check(one, "rebroker 1 epoch=5 dirs=8,9 cordoned=8", "broker 1 epoch=5 fenced dirs=8,9 cordoned=8");
    check(one, "unfence 1 epoch=5", "broker 1 epoch=5 dirs=7");
    check("broker 1 fenced=0", "fence 1", "broker 1 epoch=0 fenced");
    check(one, "broker 1 epoch=9", "broker 1 epoch=9 fenced");
    check(one, "unregister 1 epoch=5", "broker 1 gone");
}

#[test]
fn a_fenced_brokers_partitions_are_found_without_the_others() {
    let mut image = replayed(
        "topic a
         partition a 0 replicas=1,2
         partition a 1 replicas=2,3
         topic b
         partition b 0 replicas=3
         partition b 1 replicas=3,1 leader=3",
    );
    let on = |image: &Image, broker| {
        let found = image.partitions_on(NodeId::new(broker));
        found.map(|(topic, index, _)| format!("{}-{index}", topic.name)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(on(&image, 1), "a-0 b-1");
    assert_eq!(on(&image, 3), "a-1 b-0 b-1");
    assert_eq!(image.partition_count_on(NodeId::new(2)), 2);
    for record in text::records("change b 1 replicas=3 isr=3") {
        image.replay(Offset::ZERO, &record, &mut Changes::default()).expect("it follows");
    }
    assert_eq!(on(&image, 1), "a-0");
    assert_eq!(on(&image, 9), "");
    check_whole(&image);
}

#[test]
fn a_config_is_set_changed_and_removed() {
    check("", "config 2/t a=1\nconfig 2/t b=2", "config 2/t a=1 b=2");
    check("config 4/ a=1", "config 4/ a=2", "config 4/ a=2");
    check("config 4/1 a=1", "config 4/1 a=", "config 4/1 none");
}

#[test]
fn a_feature_of_level_zero_is_none() {
    check("", "level metadata.version 30", "level metadata.version 30");
    check("level group.version 1", "level group.version 0", "level group.version none");
    assert_eq!(Image::default().metadata_version().name(), "3.3-IV3");
}

#[test]
fn what_later_features_need_is_kept() {
    check("", "acl 5 User:ann", "acl 5 User:ann");
    check("acl 5 User:ann", "acl-gone 5", "acl 5 none");
    check("", "scram 1 ann", "scram 1 ann 4096");
    check("scram 1 ann", "scram-gone 1 ann", "scram 1 ann 0");
    check("", "token id User:ann", "token id User:ann");
    check("token id User:ann", "token-gone id", "token id none");
    check("", "quota rate 5.5 user=ann ip=*", "quota ip=* user=ann rate=5.5");
    check("quota rate 5.5 user=ann", "quota rate user=ann", "quota user=ann none");
    check("", "controller 7", "controller 7");
    check("producer-ids 1000", "producer-ids 2000", "producer-ids 2000");
    check("", "zk 2\nnoop", "");
}

#[test]
fn records_of_a_transaction_count_at_its_end() {
    check("", "begin name=x\ntopic t", "");
    check("", "begin\ntopic t\nend", "t new");
    check("", "begin\ntopic t\nabort", "");
    check("begin\ntopic t", "end\ntopic u", "t new\nu new");
}

#[test]
fn a_snapshot_keeps_an_open_transaction() {
    let image = replayed("topic a\nbegin name=x\ntopic b");
    assert!(image.is_in_transaction());
    let (restored, _) = replay_all(&image.to_records());
    assert_eq!(restored, image);
    assert_eq!(restored.digest(), image.digest());
    assert_ne!(restored.digest(), replayed("topic a").digest());
}

#[test]
fn a_copy_stays_as_it_was() {
    let mut image = replayed(TOPIC);
    let copy = image.clone();
    for record in text::records("change t 0 leader=2\nremove t") {
        image.replay(Offset::ZERO, &record, &mut Changes::default()).expect("it follows");
    }
    assert_eq!(copy, replayed(TOPIC));
    assert!(image.topic("t").is_none());
}

#[test]
fn a_lowered_level_leaves_out_what_it_cannot_say() {
    let image = replayed(
        "level metadata.version 16
         broker 1 dirs=7 cordoned=7
         topic t
         partition t 0 replicas=1,2 isr=1 elr=2 dirs=7,8",
    );
    let (restored, changes) = replay_all(&image.to_records());
    assert_eq!(
        text::told(&restored, &changes),
        text::lines(
            "level metadata.version 16
             broker 1 epoch=0 fenced
             t new
             t-0 leader=1 epoch=0 state=0 replicas=1,2 isr=1"
        )
    );
}
