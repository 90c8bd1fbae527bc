//! Static members come back under new ids, and fence who they were (KIP-345).

use crate::testing::check;

const TWO: &str = "
    join a instance=i
    join b instance=j
    pass 6000
    > a join i.1 gen=1 range leader=i.1 [i.1 j.2]
    > b join j.2 gen=1 range leader=i.1
    sync a i.1=x j.2=y
    > a sync NONE x
    sync b
    > b sync NONE y
";

fn after_two(script: &str) {
    check(&format!("{TWO}{script}"));
}

#[test]
fn a_follower_restarts_without_a_rebalance() {
    after_two(
        "
        join c instance=j
        > c join j.5 gen=1 range leader=i.1
        sync c
        > c sync NONE y
        beat a
        > a beat NONE
        beat b instance=j
        > b beat FENCED_INSTANCE_ID
        beat b
        > b beat UNKNOWN_MEMBER_ID
        sync b instance=j
        > b sync FENCED_INSTANCE_ID
        commit b instance=j t-0=1
        > b commit t-0=FENCED_INSTANCE_ID
        join b instance=j
        > b join FENCED_INSTANCE_ID j.2
        ",
    );
}

#[test]
fn a_leader_that_restarts_may_skip_the_assignment_or_must_not_notice() {
    after_two(
        "
        join c instance=i
        > c join i.5 gen=1 range leader=i.5 [i.5 j.2] skip
        sync c
        > c sync NONE x
        join d instance=i v8
        > d join i.7 gen=1 range leader=i.5
        sync d
        > d sync NONE x
        beat b
        > b beat NONE
        ",
    );
}

#[test]
fn a_restart_that_changes_the_protocol_rebalances() {
    check(
        "
        join a instance=i protocols=range,sticky
        join b instance=j protocols=range,sticky
        pass 6000
        > a join i.1 gen=1 range leader=i.1 [i.1 j.2]
        > b join j.2 gen=1 range leader=i.1
        sync a
        > a sync NONE
        sync b
        > b sync NONE
        join c instance=j protocols=sticky
        beat a
        > a beat REBALANCE_IN_PROGRESS
        join a instance=i protocols=range,sticky
        > a join i.1 gen=2 sticky leader=i.1 [i.1 j.5]
        > c join j.5 gen=2 sticky leader=i.1
        ",
    );
}

#[test]
fn a_restart_while_others_wait_for_the_leader_rebalances() {
    check(
        "
        join a instance=i
        join b instance=j
        pass 6000
        > a join i.1 gen=1 range leader=i.1 [i.1 j.2]
        > b join j.2 gen=1 range leader=i.1
        sync b
        join c instance=j
        > b sync FENCED_INSTANCE_ID
        sync a
        > a sync REBALANCE_IN_PROGRESS
        join a instance=i
        > a join i.1 gen=2 range leader=i.1 [i.1 j.4]
        > c join j.4 gen=2 range leader=i.1
        ",
    );
}

#[test]
fn a_second_process_of_an_instance_fences_the_first_that_still_waits() {
    check(
        "
        join a instance=i
        join b instance=i
        > a join FENCED_INSTANCE_ID i.1
        pass 6000
        > b join i.2 gen=1 range leader=i.2 [i.2]
        ",
    );
}

#[test]
fn a_static_member_keeps_its_place_while_its_session_lasts() {
    after_two(
        "
        join a instance=i session=30000 topics=u
        beat b session=1
        > b beat REBALANCE_IN_PROGRESS
        pass 9999
        pass 1
        > a join i.1 gen=2 range leader=i.1 [i.1]
        ",
    );
}

#[test]
fn an_administrator_sends_an_instance_away() {
    after_two(
        "
        leave - instance=j
        > - leave NONE NONE
        leave - instance=nobody
        > - leave NONE UNKNOWN_MEMBER_ID
        join a instance=i
        > a join i.1 gen=2 range leader=i.1 [i.1]
        leave - instance=i
        > - leave NONE NONE
        describe
        > - describe NONE Empty,consumer,
        ",
    );
}

#[test]
fn static_members_survive_a_new_coordinator() {
    after_two(
        "
        reload
        join c instance=j
        > c join j.5 gen=1 range leader=i.1
        sync c
        > c sync NONE y
        beat a instance=i
        > a beat NONE
        ",
    );
}
