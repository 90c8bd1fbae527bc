//! Groups on their way between the classic protocol and the new one, with all their members.
//!
//! The scripts were played to the group coordinator's own class of Kafka 4.3.1, which told the same, record by record.

use std::time::Duration;

use crate::testing::check_with;
use crate::{ConsumerSettings, Migration, Settings};

/// Every change is divided at once.
fn settings(migration: Migration) -> Settings {
    let consumer = ConsumerSettings { assignment_interval: Duration::ZERO, migration, ..Default::default() };
    Settings { consumer, ..Settings::default() }
}

/// A classic group of one, which has both partitions.
const ONE: &str = "
    topics t:2
    join a v3
    pass 3000
    > a join a.1 gen=1 range leader=a.1 [a.1]
    sync a a.1=[t0,t1]
    > a sync NONE [t0,t1]
    log
    > classic 0 []
    > classic 1 [a.1]
";

#[track_caller]
fn after_one(script: &str) {
    check_with(settings(Migration::Bidirectional), &format!("{ONE}{script}"));
}

#[test]
fn a_classic_group_is_upgraded_when_a_member_of_the_new_protocol_joins() {
    after_one(
        "
        hb b
        > b hb NONE b epoch=2 []
        log
        > classic -
        > member a.1 t/
        > epoch 1
        > part a.1 [t0,t1]
        > target 1
        > current a.1 1<1 Stable [t0,t1] -[]
        > member b t/
        > epoch 2
        > part a.1 [t0]
        > part b [t1]
        > target 2
        > current b 0<2 UnreleasedPartitions [] -[]
        describe-consumer
        > - group NONE Reconciling 2/2 uniform a.1@1 classic [t0,t1]->[t0] b@2 consumer []->[t1]
        beat a
        > a beat REBALANCE_IN_PROGRESS
        join a own
        > a join a.1 gen=1 range leader=
        sync a
        > a sync NONE [t0]
        beat a
        > a beat REBALANCE_IN_PROGRESS
        join a own
        > a join a.1 gen=2 range leader=
        sync a
        > a sync NONE [t0]
        beat a
        > a beat NONE
        hb b own
        > b hb NONE b epoch=2 [t1]
        commit a t-0=5
        > a commit t-0=NONE
        commit a gen=9 t-0=5
        > a commit t-0=ILLEGAL_GENERATION
        describe-consumer
        > - group NONE Stable 2/2 uniform a.1@2 classic [t0]->[t0] b@2 consumer [t1]->[t1]
        ",
    );
}

#[test]
fn the_group_is_classic_again_when_the_last_member_of_the_new_protocol_leaves() {
    after_one(
        "
        hb b
        > b hb NONE b epoch=2 []
        beat a
        > a beat REBALANCE_IN_PROGRESS
        join a
        > a join a.1 gen=2 range leader=
        sync a
        > a sync NONE [t0]
        log
        > classic -
        > member a.1 t/
        > epoch 1
        > part a.1 [t0,t1]
        > target 1
        > current a.1 1<1 Stable [t0,t1] -[]
        > member b t/
        > epoch 2
        > part a.1 [t0]
        > part b [t1]
        > target 2
        > current b 0<2 UnreleasedPartitions [] -[]
        > current a.1 1<2 Stable [t0] -[]
        hb b leave
        > b hb NONE b epoch=-1
        log
        > current a.1 -
        > current b -
        > part a.1 -
        > part b -
        > target -
        > member a.1 -
        > member b -
        > topics false
        > epoch -
        > classic 2 [a.1]
        beat a
        > a beat REBALANCE_IN_PROGRESS
        join a
        > a join a.1 gen=3 range leader=a.1 [a.1]
        sync a a.1=[t0,t1]
        > a sync NONE [t0,t1]
        ",
    );
}

#[test]
fn who_waits_in_a_rebalance_is_told_to_join_again() {
    after_one(
        "
        join c v3
        hb b
        > c join REBALANCE_IN_PROGRESS c.3
        > b hb NONE b epoch=2 []
        describe-consumer
        > - group NONE Reconciling 2/2 uniform a.1@1 classic [t0,t1]->[t0] b@2 consumer []->[t1] c.3@1 classic []->[]
        ",
    );
}

#[test]
fn classic_members_come_and_go_in_a_group_of_the_new_protocol() {
    check_with(
        settings(Migration::Bidirectional),
        "
        topics t:2
        hb b
        > b hb NONE b epoch=2 [t0,t1]
        join a
        > a join MEMBER_ID_REQUIRED AAAAAAAAAAAAAAAAAAAAAg
        join a type=connect
        > a join INCONSISTENT_GROUP_PROTOCOL AAAAAAAAAAAAAAAAAAAAAg
        join a
        > a join AAAAAAAAAAAAAAAAAAAAAg gen=3 range leader=
        join c id= protocols=sticky
        > c join INCONSISTENT_GROUP_PROTOCOL
        sync a gen=9
        > a sync ILLEGAL_GENERATION
        sync a protocol=sticky
        > a sync INCONSISTENT_GROUP_PROTOCOL
        sync b
        > b sync UNKNOWN_MEMBER_ID
        sync a
        > a sync NONE []
        beat a
        > a beat NONE
        beat b
        > b beat UNKNOWN_MEMBER_ID
        hb b own
        > b hb NONE b epoch=2 [t0]
        hb b own
        > b hb NONE b epoch=3
        beat a
        > a beat REBALANCE_IN_PROGRESS
        join a own
        > a join AAAAAAAAAAAAAAAAAAAAAg gen=3 range leader=
        sync a
        > a sync NONE [t1]
        leave a
        > a leave NONE NONE
        hb b own
        > b hb NONE b epoch=4 [t0,t1]
        leave b
        > b leave NONE UNKNOWN_MEMBER_ID
        ",
    );
}

#[test]
fn classic_members_have_to_join_ask_and_live_in_time() {
    check_with(
        settings(Migration::Bidirectional),
        "
        topics t:1
        hb b
        > b hb NONE b epoch=2 [t0]
        join a v3 rebalance=5000 session=10000
        > a join AAAAAAAAAAAAAAAAAAAAAg gen=3 range leader=
        pass 4999
        hb b
        > b hb NONE b epoch=3 [t0]
        pass 1
        sync a
        > a sync UNKNOWN_MEMBER_ID
        join a v3 id= rebalance=5000 session=10000
        > a join AAAAAAAAAAAAAAAAAAAABQ gen=5 range leader=
        sync a
        > a sync NONE []
        hb b topics=t,u
        > b hb NONE b epoch=6 [t0]
        beat a
        > a beat REBALANCE_IN_PROGRESS
        pass 4000
        beat a
        > a beat REBALANCE_IN_PROGRESS
        pass 1000
        beat a
        > a beat UNKNOWN_MEMBER_ID
        join a v3 id= session=10000
        > a join AAAAAAAAAAAAAAAAAAAACw gen=8 range leader=
        sync a
        > a sync NONE []
        pass 9999
        beat a
        > a beat NONE
        pass 10000
        beat a
        > a beat UNKNOWN_MEMBER_ID
        ",
    );
}

#[test]
fn a_static_member_goes_back_to_the_classic_protocol_and_the_group_with_it() {
    check_with(
        settings(Migration::Bidirectional),
        "
        topics t:1
        hb a instance=i
        > a hb NONE a epoch=2 [t0]
        join b v5 instance=i
        > b join AAAAAAAAAAAAAAAAAAAAAg gen=2 range leader=
        list
        > - list g:consumer,Stable,classic
        sync b instance=i
        > b sync NONE [t0]
        hb c
        > c hb NONE c epoch=3 []
        hb a instance=i epoch=2
        > a hb FENCED_INSTANCE_ID
        ",
    );
}

#[test]
fn the_operator_says_which_way_is_open() {
    let closed = settings(Migration::Downgrade);
    check_with(closed, &format!("{ONE}hb b\n> b hb GROUP_ID_NOT_FOUND\nbeat a\n> a beat NONE"));
    check_with(
        settings(Migration::Upgrade),
        &format!(
            "{ONE}
            hb b
            > b hb NONE b epoch=2 []
            hb b leave
            > b hb NONE b epoch=-1
            list
            > - list g:consumer,Assigning,consumer
            "
        ),
    );
}

#[test]
fn no_classic_member_joins_where_the_way_is_closed() {
    check_with(
        settings(Migration::Disabled),
        "
        topics t:1
        hb b
        > b hb NONE b epoch=2 [t0]
        join a v3
        > a join INCONSISTENT_GROUP_PROTOCOL
        ",
    );
}

#[test]
fn only_groups_of_consumers_are_upgraded() {
    check_with(
        settings(Migration::Bidirectional),
        "
        join a v3 type=connect
        pass 3000
        > a join a.1 gen=1 range leader=a.1 [a.1]
        hb b
        > b hb GROUP_ID_NOT_FOUND
        ",
    );
    after_one(
        "
        join c v3
        beat a
        > a beat REBALANCE_IN_PROGRESS
        join a v3
        > a join a.1 gen=2 range leader=a.1 [a.1 c.3]
        > c join c.3 gen=2 range leader=a.1
        sync a a.1=x c.3=y
        > a sync NONE x
        hb b
        > b hb GROUP_ID_NOT_FOUND
        ",
    );
}

#[test]
fn an_empty_group_of_either_kind_makes_room_for_the_other() {
    check_with(
        settings(Migration::Disabled),
        "
        topics t:1
        commit - t-0=3
        > - commit t-0=NONE
        hb a
        > a hb NONE a epoch=2 [t0]
        fetch t-0
        > - fetch NONE t-0=3
        hb a leave
        > a hb NONE a epoch=-1
        join b v3
        pass 3000
        > b join b.5 gen=1 range leader=b.5 [b.5]
        list
        > - list g:consumer,CompletingRebalance,classic
        ",
    );
}

#[test]
fn a_new_leader_goes_on_with_a_group_on_its_way() {
    after_one(
        "
        hb b
        > b hb NONE b epoch=2 []
        reload
        beat a
        > a beat REBALANCE_IN_PROGRESS
        join a own
        > a join a.1 gen=1 range leader=
        pass 9999
        sync a
        > a sync NONE [t0]
        pass 10000
        beat a
        > a beat UNKNOWN_MEMBER_ID
        hb b own
        > b hb NONE b epoch=3 [t0,t1]
        ",
    );
}
