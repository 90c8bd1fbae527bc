//! Records that cannot be true, and how that is said.

use super::*;

const IMAGE: &str = "
    topic t
    partition t 0 replicas=1,2,3 dirs=7,8,9
    broker 1 epoch=5
    producer-ids 2000
";

fn check_refused(script: &str, error: &str) {
    check(IMAGE, script, &format!("error: {error}"));
}

#[test]
fn what_is_not_there_cannot_change() {
    let missing = text::topic_id("x");
    check_refused("change x 0 leader=1", &format!("PartitionChangeRecord: there is no topic {missing}"));
    check_refused("change t 7 leader=1", "PartitionChangeRecord: there is no partition 7 of topic t");
    check_refused("partition x 0 replicas=1", &format!("PartitionRecord: there is no topic {missing}"));
    check_refused("remove x", &format!("RemoveTopicRecord: there is no topic {missing}"));
    check_refused("clear-elr x", "ClearElrRecord: there is no topic x");
    check_refused("fence 9", "FenceBrokerRecord: there is no broker 9");
    check_refused("unregister 9", "UnregisterBrokerRecord: there is no broker 9");
    check_refused("rebroker 9", "BrokerRegistrationChangeRecord: there is no broker 9");
    check_refused("acl-gone 4", "RemoveAccessControlEntryRecord: there is no ACL AAAAAAAAAAAAAAAAAAAABA");
}

#[test]
fn a_name_or_id_belongs_to_one_topic() {
    let (had, got) = (text::topic_id("t"), text::topic_id("u"));
    check_refused("topic t id=u", &format!("TopicRecord: name t belongs to {had}, not to {got}"));
    check_refused("topic u id=t", &format!("TopicRecord: id {had} belongs to t, not to u"));
    check_refused(
        "topic a/b",
        "TopicRecord: name: expected a topic's name, got 'a/b' contains one or more characters other than ASCII \
         alphanumerics, '.', '_' and '-'",
    );
}

#[test]
fn a_record_for_another_registration_is_refused() {
    check_refused("fence 1 epoch=4", "FenceBrokerRecord: the epoch of broker 1 has 5, the record 4");
    check_refused("unfence 1 epoch=6", "UnfenceBrokerRecord: the epoch of broker 1 has 5, the record 6");
    check_refused("unregister 1", "UnregisterBrokerRecord: the epoch of broker 1 has 5, the record 0");
}

#[test]
fn producer_ids_never_go_back() {
    check_refused("producer-ids 1999", "ProducerIdsRecord: the next producer id has 2000, the record 1999");
}

fn check_partition(change: &str, what: &str, rest: &str) {
    let id = text::topic_id("t");
    check_refused(
        &format!("change t 0 {change}"),
        &format!("PartitionChangeRecord: {what} of partition 0 of topic {id}: expected {rest}"),
    );
}

#[test]
fn a_partitions_parts_must_agree() {
    check_partition("leader=4", "leader", "among replicas [1, 2, 3], got 4");
    check_partition("leader=-3", "leader", "a node or -1, got -3");
    check_partition("isr=1,4", "isr", "among replicas [1, 2, 3], got [1, 4]");
    check_partition("isr=1,1", "isr", "among replicas [1, 2, 3], got [1, 1]");
    check_partition("replicas=1,2,2", "replicas", "each node once, got [1, 2, 2]");
    check_partition("replicas=2,3,4 isr=2", "leader", "among replicas [2, 3, 4], got 1");
    check_partition("replicas=1,2 isr=1", "directories", "one for each of 2 replicas, got 3");
    check_partition("dirs=7", "directories", "one for each of 3 replicas, got 1");
    check_partition("recovery=2", "leader recovery state", "0 or 1, got 2");
}

#[test]
fn an_epoch_at_its_end_is_refused_and_does_not_wrap() {
    let id = text::topic_id("t");
    let last = "partition t 0 replicas=1 epoch=2147483647 state=2147483647\n";
    check_refused(
        &format!("{last}change t 0 leader=1"),
        &format!(
            "PartitionChangeRecord: leader epoch of partition 0 of topic {id}: expected an epoch below \
             2147483647, got 2147483647"
        ),
    );
    check_refused(
        &format!("{last}change t 0 isr=1"),
        &format!(
            "PartitionChangeRecord: partition epoch of partition 0 of topic {id}: expected an epoch below \
             2147483647, got 2147483647"
        ),
    );
}

#[test]
fn clearing_the_elr_at_an_epochs_end_is_refused() {
    let id = text::topic_id("t");
    check_refused(
        "partition t 0 replicas=1 elr=1 state=2147483647\nclear-elr t",
        &format!(
            "ClearElrRecord: partition epoch of partition 0 of topic {id}: expected an epoch below 2147483647, \
             got 2147483647"
        ),
    );
}

#[test]
fn a_partition_has_an_index() {
    let id = text::topic_id("t");
    check_refused(
        "partition t -1 replicas=1",
        &format!("PartitionRecord: index of a partition of topic {id}: expected 0 or more, got -1"),
    );
}

#[test]
fn a_registration_change_says_what_it_means() {
    check_refused(
        "rebroker 1 epoch=5 fenced=2",
        "BrokerRegistrationChangeRecord: fenced of broker 1: expected -1, 0 or 1, got 2",
    );
    check_refused(
        "rebroker 1 epoch=5 shutdown=-1",
        "BrokerRegistrationChangeRecord: in_controlled_shutdown of broker 1: expected 0 or 1, got -1",
    );
}

#[test]
fn a_level_that_is_not_known_is_refused() {
    check_refused(
        "level metadata.version 31",
        "FeatureLevelRecord: metadata.version: expected 7 (3.3-IV3) to 30 (4.3-IV0), got 31",
    );
    check_refused(
        "level metadata.version 0",
        "FeatureLevelRecord: metadata.version: expected 7 (3.3-IV3) to 30 (4.3-IV0), got 0",
    );
}

#[test]
fn transactions_do_not_nest_nor_end_twice() {
    check_refused(
        "noop\nbegin\nbegin",
        "BeginTransactionRecord: the transaction begun at offset 1 has not ended",
    );
    check_refused("end", "EndTransactionRecord: no transaction has begun");
    check_refused("begin\nabort\nabort", "AbortTransactionRecord: no transaction has begun");
    check_refused("begin\nfence 9\nend", "FenceBrokerRecord: there is no broker 9");
}

#[test]
fn a_refused_record_changes_nothing() {
    let before = replayed(IMAGE);
    for script in
        ["change t 0 leader=4 isr=2", "topic t id=u", "fence 1 epoch=4", "partition t 0 replicas=1,1"]
    {
        let mut image = before.clone();
        let mut changes = Changes::default();
        for record in text::records(script) {
            image.replay(Offset::ZERO, &record, &mut changes).expect_err("it cannot be true");
        }
        assert_eq!(image, before);
        assert!(changes.is_empty());
    }
}
