//! Groups of the new protocol: members come, change their minds, are led towards their targets, and go.
//!
//! The scripts without failures, offsets and malformed requests were played to the group coordinator's own class of
//! Kafka 4.3.1: it told the same, record by record, but for expressions, which it looks up in the background, and for
//! what a member is told again because it has not said that it heard.

use std::time::Duration;

use wire::messages::ResponseKind;

use crate::testing::{Life, check_with};
use crate::{ConsumerSettings, Settings};

/// Every change is divided at once, but where the pause between two divisions is what is tested.
fn settings() -> Settings {
    let consumer = ConsumerSettings { assignment_interval: Duration::ZERO, ..ConsumerSettings::default() };
    Settings { consumer, ..Settings::default() }
}

#[track_caller]
fn check(script: &str) {
    check_with(settings(), script);
}

#[test]
fn the_first_member_gets_everything_at_once_and_records_lie_in_kafkas_order() {
    check(
        "
        topics t:2 u:1
        hb a topics=t,u
        > a hb NONE a epoch=2 [t0,t1,u0]
        log
        > member a t,u/
        > epoch 2
        > part a [t0,t1,u0]
        > target 2
        > current a 0<2 Stable [t0,t1,u0] -[]
        hb a
        > a hb NONE a epoch=2 [t0,t1,u0]
        log
        describe-consumer
        > - group NONE Stable 2/2 uniform a@2 consumer [t0,t1,u0]->[t0,t1,u0]
        list
        > - list g:consumer,Stable,consumer
        ",
    );
}

#[test]
fn what_a_member_gives_up_is_given_to_another_once_it_has_said_so() {
    check(
        "
        topics t:4
        hb a
        > a hb NONE a epoch=2 [t0,t1,t2,t3]
        hb b
        > b hb NONE b epoch=3 []
        log
        > member a t/
        > epoch 2
        > part a [t0,t1,t2,t3]
        > target 2
        > current a 0<2 Stable [t0,t1,t2,t3] -[]
        > member b t/
        > epoch 3
        > part a [t0,t1]
        > part b [t2,t3]
        > target 3
        > current b 0<3 UnreleasedPartitions [] -[]
        hb a own
        > a hb NONE a epoch=2 [t0,t1]
        hb b own
        > b hb NONE b epoch=3
        describe-consumer
        > - group NONE Reconciling 3/3 uniform a@2 consumer [t0,t1,t2,t3]->[t0,t1] b@3 consumer []->[t2,t3]
        hb a own
        > a hb NONE a epoch=3
        hb b own
        > b hb NONE b epoch=3 [t2,t3]
        log
        > current a 2<2 UnrevokedPartitions [t0,t1] -[t2,t3]
        > current b 3<3 UnreleasedPartitions [] -[]
        > current a 2<3 Stable [t0,t1] -[]
        > current b 3<3 Stable [t2,t3] -[]
        describe-consumer
        > - group NONE Stable 3/3 uniform a@3 consumer [t0,t1]->[t0,t1] b@3 consumer [t2,t3]->[t2,t3]
        ",
    );
}

#[test]
fn who_leaves_frees_what_it_had() {
    check(
        "
        topics t:2
        hb a
        > a hb NONE a epoch=2 [t0,t1]
        hb b
        > b hb NONE b epoch=3 []
        log
        > member a t/
        > epoch 2
        > part a [t0,t1]
        > target 2
        > current a 0<2 Stable [t0,t1] -[]
        > member b t/
        > epoch 3
        > part a [t0]
        > part b [t1]
        > target 3
        > current b 0<3 UnreleasedPartitions [] -[]
        hb a leave
        > a hb NONE a epoch=-1
        log
        > current a -
        > part a -
        > member a -
        > epoch 4
        hb b own
        > b hb NONE b epoch=4 [t0,t1]
        hb b leave
        > b hb NONE b epoch=-1
        describe-consumer
        > - group NONE Empty 4/5 uniform
        delete
        > - delete NONE
        describe-consumer
        > - group GROUP_ID_NOT_FOUND Group g not found.
        ",
    );
}

#[test]
fn silent_members_and_those_that_give_nothing_up_are_fenced() {
    check(
        "
        topics t:2
        hb a rebalance=20000
        > a hb NONE a epoch=2 [t0,t1]
        pass 44999
        hb a
        > a hb NONE a epoch=2 [t0,t1]
        pass 45000
        hb a
        > a hb UNKNOWN_MEMBER_ID
        hb a rebalance=20000
        > a hb NONE a epoch=4 [t0,t1]
        hb b
        > b hb NONE b epoch=5 []
        hb a
        > a hb NONE a epoch=4 [t0]
        pass 19999
        hb a own=t0,t1
        > a hb NONE a epoch=4 [t0]
        pass 1
        hb a
        > a hb UNKNOWN_MEMBER_ID
        hb b own
        > b hb NONE b epoch=6 [t0,t1]
        ",
    );
}

#[test]
fn another_epoch_than_the_members_own_is_fenced_unless_an_answer_was_lost() {
    check(
        "
        topics t:2
        hb a
        > a hb NONE a epoch=2 [t0,t1]
        hb a epoch=3
        > a hb FENCED_MEMBER_EPOCH
        hb a
        > a hb NONE a epoch=2 [t0,t1]
        topics t:2 u:1
        hb a topics=t,u own
        > a hb NONE a epoch=3 [t0,t1,u0]
        hb a epoch=2 own=t0
        > a hb NONE a epoch=3 [t0,t1,u0]
        hb a epoch=2
        > a hb FENCED_MEMBER_EPOCH
        hb a
        > a hb NONE a epoch=4 [t0,t1]
        hb a epoch=3 own=t0,t9
        > a hb FENCED_MEMBER_EPOCH
        ",
    );
}

#[test]
fn topics_that_come_grow_and_go_are_divided_anew() {
    check(
        "
        topics t:1
        hb a topics=t,u
        > a hb NONE a epoch=2 [t0]
        topics t:1 u:1
        hb a own
        > a hb NONE a epoch=3 [t0,u0]
        topics t:2 u:1
        hb a own
        > a hb NONE a epoch=4 [t0,t1,u0]
        topics t:2
        hb a own
        > a hb NONE a epoch=4 [t0,t1]
        hb a own
        > a hb NONE a epoch=5
        topics t:2@x
        hb a own
        > a hb NONE a epoch=6
        topics t:2@x
        hb a own
        > a hb NONE a epoch=6
        ",
    );
}

#[test]
fn members_choose_how_it_is_divided() {
    check(
        "
        topics t:2 u:2
        hb a topics=t,u assignor=range
        > a hb NONE a epoch=2 [t0,t1,u0,u1]
        hb b topics=t,u
        > b hb NONE b epoch=3 []
        describe-consumer
        > - group NONE Reconciling 3/3 range a@2 consumer [t0,t1,u0,u1]->[t0,u0] b@3 consumer []->[t1,u1]
        hb a assignor=best
        > a hb UNSUPPORTED_ASSIGNOR
        ",
    );
}

#[test]
fn what_a_request_must_say() {
    check(
        "
        topics t:1
        hb a id= epoch=1
        > a hb INVALID_REQUEST
        hb a rebalance=-1
        > a hb INVALID_REQUEST
        hb a own=t0
        > a hb INVALID_REQUEST
        hb a instance=
        > a hb INVALID_REQUEST
        hb a rack=
        > a hb INVALID_REQUEST
        hb a epoch=-3
        > a hb INVALID_REQUEST
        hb a away
        > a hb INVALID_REQUEST
        hb a epoch=1
        > a hb GROUP_ID_NOT_FOUND
        hb a leave
        > a hb GROUP_ID_NOT_FOUND
        hb a v0
        > a hb NONE AAAAAAAAAAAAAAAAAAAACg epoch=2 [t0]
        ",
    );
}

#[test]
fn without_the_feature_or_against_the_operators_will_there_is_no_new_protocol() {
    let check_off = |mut life: Life| {
        for line in ["hb a", "describe-consumer"] {
            life.run(line);
        }
        let told: Vec<&str> =
            life.transcript.iter().filter(|line| line.starts_with('>')).map(String::as_str).collect();
        let why = "The new consumer group protocol is not enabled.";
        assert_eq!(told, ["> a hb UNSUPPORTED_VERSION", &format!("> - group UNSUPPORTED_VERSION {why}")]);
    };
    let mut old = Life::new(settings());
    old.topics.is_old = true;
    old.change_topics(&[]);
    check_off(old);
    let mut off = settings();
    off.consumer.is_enabled = false;
    check_off(Life::new(off));
}

#[test]
fn a_group_has_a_largest_size() {
    let mut settings = settings();
    settings.consumer.members_max = 1;
    check_with(
        settings,
        "
        topics t:1
        hb a
        > a hb NONE a epoch=2 [t0]
        hb b
        > b hb GROUP_MAX_SIZE_REACHED
        hb a epoch=0
        > a hb NONE a epoch=2 [t0]
        ",
    );
}

#[test]
fn a_static_member_comes_back_under_a_new_id_and_has_what_it_had() {
    check(
        "
        topics t:2
        hb a instance=i
        > a hb NONE a epoch=2 [t0,t1]
        hb b instance=i
        > b hb UNRELEASED_INSTANCE_ID
        hb a instance=j away
        > a hb UNKNOWN_MEMBER_ID
        hb a epoch=2 instance=i away
        > a hb NONE a epoch=-2
        log
        > member a t/
        > epoch 2
        > part a [t0,t1]
        > target 2
        > current a 0<2 Stable [t0,t1] -[]
        > current a 0<-2 Stable [t0,t1] -[]
        hb b instance=i
        > b hb NONE b epoch=2 [t0,t1]
        log
        > current a -
        > part a -
        > member a -
        > member b t/
        > part b [t0,t1]
        > current b 0<0 Stable [t0,t1] -[]
        > member b t/
        > current b 0<2 Stable [t0,t1] -[]
        hb a epoch=2 instance=i
        > a hb FENCED_INSTANCE_ID
        hb b instance=i leave
        > b hb NONE b epoch=-1
        ",
    );
}

#[test]
fn a_static_member_that_does_not_come_back_in_time_is_out() {
    check(
        "
        topics t:1
        hb a instance=i
        > a hb NONE a epoch=2 [t0]
        hb a instance=i away
        > a hb NONE a epoch=-2
        pass 44999
        describe-consumer
        > - group NONE Reconciling 2/2 uniform a@-2 consumer [t0]->[t0]
        pass 1
        describe-consumer
        > - group NONE Empty 2/3 uniform
        ",
    );
}

#[test]
fn expressions_are_looked_up_by_the_server() {
    check(
        "
        topics t:1 u:1 v:1
        hb a regex=[tu]
        > a hb NONE a epoch=2 [t0,u0]
        log
        > member a /[tu]
        > regex [tu] t,u
        > epoch 2
        > part a [t0,u0]
        > target 2
        > current a 0<2 Stable [t0,u0] -[]
        hb a regex=(
        > a hb INVALID_REGULAR_EXPRESSION
        hb a regex=t own
        > a hb NONE a epoch=2 [t0]
        log
        > member a /t
        > regex [tu] -
        > regex t t
        > epoch 3
        > part a [t0]
        > target 3
        > current a 2<2 UnrevokedPartitions [t0] -[u0]
        hb a own
        > a hb NONE a epoch=3
        hb a regex= topics=v own
        > a hb NONE a epoch=3 []
        hb a own
        > a hb NONE a epoch=4 [v0]
        hb a leave
        > a hb NONE a epoch=-1
        ",
    );
}

#[test]
fn new_topics_are_found_after_a_pause() {
    check(
        "
        topics ta:1
        hb a regex=t.*
        > a hb NONE a epoch=2 [ta0]
        topics ta:1 tb:1
        hb a
        > a hb NONE a epoch=2 [ta0]
        pass 10001
        hb a
        > a hb NONE a epoch=3 [ta0,tb0]
        hb b regex=t.*
        > b hb NONE b epoch=4 []
        reload
        hb a own
        > a hb NONE a epoch=3 [ta0]
        describe-consumer
        > - group NONE Reconciling 4/4 uniform a@3 consumer [ta0,tb0]->[ta0] b@4 consumer []->[tb0]
        ",
    );
}

#[test]
fn many_changes_are_divided_together() {
    check_with(
        Settings::default(),
        "
        topics t:3
        hb a
        > a hb NONE a epoch=2 [t0,t1,t2]
        hb b
        > b hb NONE b epoch=2 []
        hb c
        > c hb NONE c epoch=2 []
        describe-consumer
        > - group NONE Assigning 2/4 uniform a@2 consumer [t0,t1,t2]->[t0,t1,t2] b@2 consumer []->[] c@2 consumer []->[]
        pass 1000
        hb a own
        > a hb NONE a epoch=2 [t0]
        describe-consumer
        > - group NONE Reconciling 4/4 uniform a@2 consumer [t0,t1,t2]->[t0] b@2 consumer []->[t1] c@2 consumer []->[t2]
        ",
    );
}

#[test]
fn members_commit_in_their_epoch_or_for_what_they_had_before() {
    check(
        "
        topics t:2 u:1
        hb a topics=t
        > a hb NONE a epoch=2 [t0,t1]
        commit a t-0=5
        > a commit t-0=NONE
        commit a gen=3 t-0=6
        > a commit t-0=STALE_MEMBER_EPOCH
        commit a v8 t-0=6
        > a commit t-0=UNSUPPORTED_VERSION
        commit b gen=2 t-0=6
        > b commit t-0=UNKNOWN_MEMBER_ID
        commit - t-0=6
        > - commit t-0=UNKNOWN_MEMBER_ID
        hb a topics=t,u own
        > a hb NONE a epoch=3 [t0,t1,u0]
        commit a gen=2 t-0=7 u-0=7 u-9=7
        > a commit t-0=NONE u-0=STALE_MEMBER_EPOCH u-9=STALE_MEMBER_EPOCH
        fetch t-0
        > - fetch NONE t-0=7
        delete-offset t-0
        > - delete-offset NONE GROUP_SUBSCRIBED_TO_TOPIC
        hb a leave
        > a hb NONE a epoch=-1
        commit - t-0=9
        > - commit t-0=NONE
        ",
    );
}

#[test]
fn a_new_leader_gives_everybody_a_fresh_session() {
    check(
        "
        topics t:2
        hb a rebalance=20000
        > a hb NONE a epoch=2 [t0,t1]
        hb b
        > b hb NONE b epoch=3 []
        hb a
        > a hb NONE a epoch=2 [t0]
        pass 19000
        reload
        pass 19999
        hb a own=t0,t1
        > a hb NONE a epoch=2 [t0]
        pass 1
        hb a
        > a hb UNKNOWN_MEMBER_ID
        pass 24999
        hb b
        > b hb NONE b epoch=4 [t0,t1]
        ",
    );
}

/// A client that gives up waiting for an answer never hears what it said; only its next heartbeat can mend that.
#[test]
fn what_a_member_is_to_have_is_told_until_it_says_that_it_has_it() {
    check(
        "
        topics t:2
        hb a
        > a hb NONE a epoch=2 [t0,t1]
        hb a own=t0,t1
        > a hb NONE a epoch=2
        hb b
        > b hb NONE b epoch=3 []
        hb a
        > a hb NONE a epoch=2 [t0]
        hb a
        > a hb NONE a epoch=2 [t0]
        hb a own=t0
        > a hb NONE a epoch=3
        hb b
        > b hb NONE b epoch=3 [t1]
        hb b
        > b hb NONE b epoch=3 [t1]
        hb b own=t1
        > b hb NONE b epoch=3
        hb b
        > b hb NONE b epoch=3
        ",
    );
}

#[test]
fn a_group_is_divided_once_an_interval() {
    check_with(
        Settings::default(),
        "
        topics t:3
        hb a
        > a hb NONE a epoch=2 [t0,t1,t2]
        pass 5000
        hb b
        > b hb NONE b epoch=3 []
        hb a own=t0,t1,t2
        > a hb NONE a epoch=2 [t0,t1]
        hb a own=t0,t1
        > a hb NONE a epoch=3
        hb c
        > c hb NONE c epoch=3 []
        pass 999
        hb c
        > c hb NONE c epoch=3
        pass 1
        hb c
        > c hb NONE c epoch=4
        ",
    );
}

#[test]
fn who_follows_the_first_member_at_once_waits_for_a_fifth_of_the_interval() {
    check_with(
        Settings::default(),
        "
        topics t:3
        hb a
        > a hb NONE a epoch=2 [t0,t1,t2]
        hb b
        > b hb NONE b epoch=2 []
        hb c
        > c hb NONE c epoch=2 []
        pass 199
        hb b
        > b hb NONE b epoch=2
        pass 1
        hb b
        > b hb NONE b epoch=4
        hb a own=t0,t1,t2
        > a hb NONE a epoch=2 [t0]
        ",
    );
}

#[test]
fn what_cannot_be_appended_has_not_happened() {
    check(
        "
        topics t:2
        fail unavailable
        hb a
        > a hb COORDINATOR_NOT_AVAILABLE
        list
        > - list
        hb a
        > a hb NONE a epoch=2 [t0,t1]
        fail deposed
        hb a leave
        > a hb NOT_COORDINATOR
        hb a
        > a hb NONE a epoch=2 [t0,t1]
        ",
    );
}

/// What the last heartbeat was told of the next one.
fn told_interval(life: &Life) -> i32 {
    match life.answers.last() {
        Some((_, ResponseKind::ConsumerGroupHeartbeat(answer))) => answer.heartbeat_interval_ms,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_member_is_asked_to_come_again_soon_while_something_is_to_come_for_it() {
    let mut life = Life::new(settings());
    let (usual, soon) = (5_000, 1_000);
    life.run("topics t:4");
    for (line, expected) in [
        ("hb a", usual),
        // Waits for what the other one has.
        ("hb b", soon),
        ("hb a own", soon),
        ("hb b own", soon),
        // Has given up its half.
        ("hb a own", usual),
        ("hb b own", usual),
        ("hb b own", usual),
    ] {
        life.run(line);
        assert_eq!(told_interval(&life), expected, "{line}");
    }
}
