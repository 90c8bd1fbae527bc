//! Appends fail, commits do not come, the leadership is lost: nothing is acknowledged that may be lost.

use crate::Settings;
use crate::testing::{Life, check};

#[test]
fn a_commit_that_is_not_appended_never_was() {
    check(
        "
        commit - t-0=1
        > - commit t-0=NONE
        fail unavailable
        commit - t-0=2
        > - commit t-0=COORDINATOR_NOT_AVAILABLE
        fetch t-0
        > - fetch NONE t-0=1
        fetch stable t-0
        > - fetch NONE t-0=1
        fail deposed
        commit - t-0=2
        > - commit t-0=NOT_COORDINATOR
        fail large
        commit - t-0=2
        > - commit t-0=UNKNOWN_SERVER_ERROR
        ",
    );
}

#[test]
fn an_offset_is_told_once_it_is_committed_and_not_before() {
    check(
        "
        commit - t-0=1
        > - commit t-0=NONE
        hold
        commit - t-0=2
        fetch t-0
        > - fetch NONE t-0=1
        fetch stable t-0
        release
        > - commit t-0=NONE
        > - fetch NONE t-0=2
        fetch t-0
        > - fetch NONE t-0=2
        ",
    );
}

#[test]
fn a_commit_that_waits_too_long_is_answered_and_may_still_come() {
    check(
        "
        hold
        commit - t-0=1
        pass 4999
        pass 1
        > - commit t-0=COORDINATOR_NOT_AVAILABLE
        release
        fetch t-0
        > - fetch NONE t-0=1
        ",
    );
}

#[test]
fn who_waits_for_a_deposed_coordinator_is_sent_away_and_what_was_not_committed_is_gone() {
    check(
        "
        join a v3
        join b v3
        pass 6000
        > a join a.1 gen=1 range leader=a.1 [a.1 b.2]
        > b join b.2 gen=1 range leader=a.1
        sync b
        hold
        sync a a.1=x b.2=y
        group h
        commit - t-0=1
        join c v3
        group g
        join d v3
        group i
        join e v3
        depose
        > a sync NOT_COORDINATOR
        > b sync NOT_COORDINATOR
        > - commit t-0=NOT_COORDINATOR
        > d join NOT_COORDINATOR d.7
        > c join NOT_COORDINATOR c.6
        > e join NOT_COORDINATOR e.8
        list
        > - list g:,Empty,classic
        ",
    );
}

#[test]
fn an_assignment_that_is_not_appended_can_be_sent_again() {
    check(
        "
        join a v3
        join b v3
        pass 6000
        > a join a.1 gen=1 range leader=a.1 [a.1 b.2]
        > b join b.2 gen=1 range leader=a.1
        sync b
        fail unavailable
        sync a a.1=x b.2=y
        > a sync COORDINATOR_NOT_AVAILABLE
        describe
        > - describe NONE CompletingRebalance,consumer, a.1= b.2=
        sync a a.1=x b.2=y
        > a sync NONE x
        > b sync NONE y
        ",
    );
}

#[test]
fn a_part_is_told_only_when_the_next_coordinator_would_know_it() {
    check(
        "
        join a v3
        join b v3
        pass 6000
        > a join a.1 gen=1 range leader=a.1 [a.1 b.2]
        > b join b.2 gen=1 range leader=a.1
        hold
        sync a a.1=x b.2=y
        sync b
        beat b
        > b beat NONE
        release
        > a sync NONE x
        > b sync NONE y
        ",
    );
}

#[test]
fn a_first_join_that_is_not_appended_leaves_no_group() {
    check(
        "
        fail unavailable
        join a v3
        > a join COORDINATOR_NOT_AVAILABLE
        list
        > - list
        fail unavailable
        join a
        > a join COORDINATOR_NOT_AVAILABLE a.3
        list
        > - list
        ",
    );
}

#[test]
fn a_leave_that_is_not_appended_is_told_so_and_the_member_stays() {
    check(
        "
        join a v3
        pass 3000
        > a join a.1 gen=1 range leader=a.1 [a.1]
        sync a
        > a sync NONE
        fail unavailable
        leave a
        > a leave COORDINATOR_NOT_AVAILABLE
        beat a
        > a beat NONE
        leave a v2
        > a leave NONE
        ",
    );
}

#[test]
fn a_timer_whose_record_fails_tries_again_a_second_later() {
    check(
        "
        join a v3
        pass 3000
        > a join a.1 gen=1 range leader=a.1 [a.1]
        sync a
        > a sync NONE
        fail unavailable
        pass 10000
        list
        > - list g:consumer,Stable,classic
        pass 999
        list
        > - list g:consumer,Stable,classic
        pass 1
        list
        > - list g:consumer,Empty,classic
        ",
    );
}

#[test]
fn a_static_member_whose_return_is_not_appended_is_not_fenced() {
    check(
        "
        join a instance=i
        pass 3000
        > a join i.1 gen=1 range leader=i.1 [i.1]
        sync a
        > a sync NONE
        fail unavailable
        join b instance=i
        > b join COORDINATOR_NOT_AVAILABLE i.3
        beat a instance=i
        > a beat NONE
        ",
    );
}

#[test]
fn replication_may_lag_by_any_number_of_commits() {
    let mut life = Life::new(Settings::default());
    life.run("hold");
    for offset in 0..1100 {
        life.transcript.clear();
        life.run(&format!("commit - t-0={offset}"));
    }
    assert_eq!(life.waiting.len(), 1100);
    life.log.high_watermark = 1050;
    life.run("list");
    life.run("fetch t-0");
    assert_eq!(life.transcript.last().map(String::as_str), Some("> - fetch NONE t-0=998"));
    life.run("release");
    life.run("fetch t-0");
    assert_eq!(life.transcript.last().map(String::as_str), Some("> - fetch NONE t-0=1099"));
    assert!(life.waiting.is_empty());
}
