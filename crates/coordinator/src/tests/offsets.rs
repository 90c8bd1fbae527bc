//! Offsets are committed, fetched, deleted and forgotten.

use crate::Settings;
use crate::testing::{check, check_with};

/// A member in generation 1 that reads `t`.
const ONE: &str = "
    join a v3
    pass 3000
    > a join a.1 gen=1 range leader=a.1 [a.1]
";

fn after_one(script: &str) {
    check(&format!("{ONE}{script}"));
}

#[test]
fn a_simple_consumer_commits_without_a_group() {
    check(
        "
        commit - t-0=5'note' u-3=7
        > - commit t-0=NONE u-3=NONE
        fetch t-0
        > - fetch NONE t-0=5'note'
        fetch t-1
        > - fetch NONE t-1=-1
        fetch all
        > - fetch NONE t-0=5'note' u-3=7
        fetch t-0 v7
        > - fetch NONE t-0=5
        list
        > - list g:,Empty,classic
        reload
        fetch all
        > - fetch NONE t-0=5'note' u-3=7
        list
        > - list g:,Empty,classic
        group h
        fetch all
        > - fetch NONE
        ",
    );
}

#[test]
fn members_commit_in_their_generation_but_not_before_the_leader_has_spoken() {
    after_one(
        "
        commit a t-0=1
        > a commit t-0=REBALANCE_IN_PROGRESS
        sync a a.1=x
        > a sync NONE x
        commit a t-0=1
        > a commit t-0=NONE
        join b v3
        commit a t-0=2
        > a commit t-0=NONE
        fetch t-0
        > - fetch NONE t-0=2
        ",
    );
}

#[test]
fn a_commit_keeps_the_session_alive() {
    after_one(
        "
        sync a a.1=x
        > a sync NONE x
        pass 9999
        commit a t-0=1
        > a commit t-0=NONE
        pass 9999
        beat a
        > a beat NONE
        ",
    );
}

#[test]
fn an_unknown_group_has_no_generations() {
    check(
        "
        commit a gen=3 t-0=1
        > a commit t-0=GROUP_ID_NOT_FOUND
        commit a gen=3 t-0=1 v8
        > a commit t-0=ILLEGAL_GENERATION
        delete-offset t-0
        > - delete-offset GROUP_ID_NOT_FOUND
        delete
        > - delete GROUP_ID_NOT_FOUND
        ",
    );
}

#[test]
fn notes_are_bounded_in_the_units_of_java() {
    let settings = Settings { offset_metadata_max: 3, ..Settings::default() };
    check_with(
        settings,
        "
        commit - t-0=1'äöü' t-1=1'abcd' t-2=1'ab'
        > - commit t-0=NONE t-1=OFFSET_METADATA_TOO_LARGE t-2=NONE
        fetch all
        > - fetch NONE t-0=1'äöü' t-2=1'ab'
        ",
    );
}

#[test]
fn a_topic_that_is_read_keeps_its_offsets() {
    after_one(
        "
        sync a
        > a sync NONE
        commit a t-0=1 u-0=2
        > a commit t-0=NONE u-0=NONE
        delete-offset t-0
        > - delete-offset NONE GROUP_SUBSCRIBED_TO_TOPIC
        delete-offset u-0
        > - delete-offset NONE NONE
        delete-offset u-7
        > - delete-offset NONE NONE
        fetch all
        > - fetch NONE t-0=1
        delete
        > - delete NON_EMPTY_GROUP
        leave a
        > a leave NONE NONE
        delete-offset t-0
        > - delete-offset NONE NONE
        delete
        > - delete NONE
        list
        > - list
        reload
        list
        > - list
        ",
    );
}

#[test]
fn a_group_of_another_kind_keeps_its_offsets_while_it_has_members() {
    check(
        "
        join a v3 type=connect
        pass 3000
        > a join a.1 gen=1 range leader=a.1 [a.1]
        delete-offset t-0
        > - delete-offset NON_EMPTY_GROUP
        ",
    );
}

#[test]
fn a_group_goes_with_all_it_committed() {
    check(
        "
        commit - t-0=5 u-3=7
        > - commit t-0=NONE u-3=NONE
        delete
        > - delete NONE
        fetch all
        > - fetch NONE
        delete
        > - delete GROUP_ID_NOT_FOUND
        ",
    );
}

#[test]
fn groups_are_listed_by_state_and_kind() {
    after_one(
        "
        list state=completingrebalance
        > - list g:consumer,CompletingRebalance,classic
        list state=Stable
        > - list
        list type=classic
        > - list g:consumer,CompletingRebalance,classic
        list type=consumer
        > - list
        ",
    );
}

/// Seven days, in milliseconds, and the ten minutes between two searches.
const RETENTION: u64 = 7 * 24 * 3600 * 1000;
const SEARCH: u64 = 600_000;

#[test]
fn offsets_of_a_simple_consumer_expire_with_their_group() {
    check(&format!(
        "
        commit - t-0=5
        > - commit t-0=NONE
        pass {}
        commit - t-1=6
        > - commit t-1=NONE
        pass {}
        fetch all
        > - fetch NONE t-1=6
        pass {RETENTION}
        fetch all
        > - fetch NONE
        list
        > - list
        ",
        RETENTION / 2,
        RETENTION / 2 + SEARCH
    ));
}

#[test]
fn offsets_of_a_group_expire_once_it_was_empty_for_so_long() {
    after_one(&format!(
        "
        sync a
        > a sync NONE
        commit a t-0=1
        > a commit t-0=NONE
        pass 5000
        leave a
        > a leave NONE NONE
        pass {}
        fetch t-0
        > - fetch NONE t-0=1
        reload
        pass {SEARCH}
        pass 10000
        fetch t-0
        > - fetch NONE t-0=-1
        list
        > - list
        ",
        RETENTION - SEARCH
    ));
}

#[test]
fn offsets_of_topics_that_nobody_reads_expire_under_a_living_group() {
    check(&format!(
        "
        join a v3 session=1800000
        pass 3000
        > a join a.1 gen=1 range leader=a.1 [a.1]
        sync a
        > a sync NONE
        commit a t-0=1 u-0=2
        > a commit t-0=NONE u-0=NONE
        {}
        fetch all
        > - fetch NONE t-0=1
        ",
        "pass 1700000\nbeat a\n> a beat NONE\n".repeat(RETENTION as usize / 1_700_000 + 2)
    ));
}

#[test]
fn a_client_may_say_how_long_its_offsets_last() {
    check(&format!(
        "
        commit - t-0=5 retention=1000 v4
        > - commit t-0=NONE
        commit - t-1=5
        > - commit t-1=NONE
        pass {SEARCH}
        fetch all
        > - fetch NONE t-1=5
        "
    ));
}

#[test]
fn offsets_of_a_deleted_topic_are_forgotten() {
    check(
        "
        commit - t-0=5 u-0=6
        > - commit t-0=NONE u-0=NONE
        group h
        commit - t-9=5
        > - commit t-9=NONE
        forget t
        fetch all
        > - fetch NONE
        group g
        fetch all
        > - fetch NONE u-0=6
        ",
    );
}
