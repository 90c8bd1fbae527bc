//! Why groups rebalanced, as whoever asks for it is told.

use std::time::Duration;

use proto::rebalances::{Rebalances, TAG};
use wire::messages::*;

use crate::testing::{Life, label};
use crate::{ConsumerSettings, Settings};

const TWO: &str = "
    join a v3
    join b v3
    pass 3000
    sync b
    sync a a.1=x b.2=y
";

/// Lives through a script, and finds it told why the group rebalanced: the epoch that ended, the member, the client,
/// the reason.
#[track_caller]
fn check(script: &str, expected: &[&str]) {
    let consumer = ConsumerSettings { assignment_interval: Duration::ZERO, ..ConsumerSettings::default() };
    let mut life = Life::new(Settings { consumer, ..Settings::default() });
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        life.run(line);
    }
    assert_eq!(told(&mut life), expected);
    let logged = life.shard.rebalanced();
    let (_, group) = life.shard.groups().next().expect("there is a group");
    assert!(logged.iter().map(|told| &*told.cause).eq(group.causes()), "the log is told the same");
}

fn told(life: &mut Life) -> Vec<String> {
    let group = vec![GroupId(text("g"))];
    let classic = DescribeGroupsRequest::default().with_groups(group.clone());
    life.ask("-", 6, classic.with_unknown_tagged_field(TAG, Bytes::new()).into());
    let consumer = ConsumerGroupDescribeRequest::default().with_group_ids(group);
    life.ask("-", 1, consumer.with_unknown_tagged_field(TAG, Bytes::new()).into());
    let [.., (_, classic), (_, consumer)] = &life.answers[..] else { panic!("both are answered") };
    let (ResponseKind::DescribeGroups(classic), ResponseKind::ConsumerGroupDescribe(consumer)) =
        (classic, consumer)
    else {
        panic!("{classic:?} {consumer:?}");
    };
    let fields = [&classic.groups[0].unknown_tagged_fields, &consumer.groups[0].unknown_tagged_fields];
    let found: Vec<&Bytes> = fields.into_iter().filter_map(|fields| fields.get(&TAG)).collect();
    assert_eq!(found.len(), 1, "a group is of one kind");
    let told = Rebalances::from_bytes(found[0]).expect("it is whole");
    let tell = |told: &proto::rebalances::Rebalance| {
        let member = label(&text(&told.member));
        format!("{} {member} {}{} {}", told.epoch, told.client_id, told.client_host, told.reason)
    };
    told.rebalances.iter().map(tell).collect()
}

#[test]
fn nobody_else_is_told() {
    let mut life = Life::new(Settings::default());
    for line in TWO.lines().map(str::trim).filter(|line| !line.is_empty()) {
        life.run(line);
    }
    life.run("describe");
    let Some((_, ResponseKind::DescribeGroups(answer))) = life.answers.last() else { panic!("it is told") };
    assert!(answer.groups[0].unknown_tagged_fields.is_empty());
}

#[test]
fn members_come_and_leave_with_their_own_words() {
    check(
        &format!("{TWO} leave b reason=closing"),
        &["0 a.1 a/h a member joined", "1 b.2 b/h a member left: closing"],
    );
    check(
        &format!("{TWO} join c v3 reason=hello\njoin a reason=more\njoin b"),
        &["0 a.1 a/h a member joined", "1 c.5 c/h a member joined: hello"],
    );
}

#[test]
fn members_join_again_for_reasons_that_can_be_told_apart() {
    let after = |line: &str, told: &str| check(&format!("{TWO}{line}"), &["0 a.1 a/h a member joined", told]);
    after("join a reason=enforced", "1 a.1 a/h the leader joined again: enforced");
    after("join b topics=u", "1 b.2 b/h a member joined again with another subscription");
    after("join b protocols=range,sticky", "1 b.2 b/h a member joined again with other assignors");
}

#[test]
fn silent_and_late_members_are_named() {
    let began = "0 a.1 a/h a member joined";
    check(&format!("{TWO} pass 9000\nbeat a\npass 1000"), &[began, "1 b.2 b/h a member's session timed out"]);
    check(
        "join a v3 session=1800000
         join b v3 session=1800000
         pass 3000
         sync b
         sync a a.1=x
         join c v3
         join a session=1800000
         pass 60000",
        &[began, "1 c.5 c/h a member joined", "1 b.2 b/h a member did not join in time"],
    );
    let beats = "\npass 9000\nbeat a\nbeat b\nbeat c".repeat(6);
    check(
        &format!("join a v3\njoin b v3\njoin c v3\npass 3000\nsync a a.1=x{beats}\npass 9000"),
        &[began, "1 b.2 b/h a member did not ask for its assignment in time, and 1 more"],
    );
}

#[test]
fn a_static_member_that_was_replaced_is_named() {
    check(
        "join a instance=i
         pass 3000
         sync a i.1=x
         join b instance=i protocols=sticky,range",
        &["0 i.1 a/h a member joined", "1 i.3 a/h a static member came back under a new id"],
    );
}

#[test]
fn groups_of_the_new_protocol_tell_too() {
    check(
        "topics t:1
         hb a
         topics t:2
         hb a
         hb b
         hb a topics=u own
         pass 45000
         hb c",
        &[
            "0 a a/h a member joined",
            "2 a a/h topics or their partitions changed",
            "3 b b/h a member joined",
            "4 a a/h a member reads other topics",
            "5 a a/h a member's session timed out",
            "6 b b/h a member's session timed out",
            "7 c c/h a member joined",
        ],
    );
}

#[test]
fn a_group_takes_its_reasons_along_to_the_other_protocol_and_back() {
    check(
        "topics t:4
         join a v3
         pass 3000
         sync a a.1=[t0,t1,t2,t3]
         hb b
         hb b leave",
        &[
            "0 a.1 a/h a member joined",
            "1   a member of the new protocol came: the group went over to it",
            "1 b b/h a member joined",
            "2 b b/h a member left, the last of the new protocol: the group went back to the classic one",
        ],
    );
}

#[test]
fn a_rebalance_whose_record_failed_is_not_remembered() {
    check(
        "topics t:1\nhb a\nfail unavailable\nhb b\nhb c",
        &["0 a a/h a member joined", "2 c c/h a member joined"],
    );
}

#[test]
fn only_the_last_reasons_are_kept() {
    let mut life = Life::new(Settings::default());
    life.run("topics t:1");
    for number in 0..20 {
        life.run(&format!("hb m{number}"));
    }
    let told = told(&mut life);
    assert_eq!((told.len(), told[0].as_str()), (16, "5 m4 m4/h a member joined"));
}
