//! Dynamic members join, rebalance, fall silent and leave.

use std::time::Duration;

use crate::Settings;
use crate::testing::{Life, check, check_with};

/// Two members in generation 1, `a` leading.
const TWO: &str = "
    join a v3
    join b v3
    pass 3000
    > a join a.1 gen=1 range leader=a.1 [a.1 b.2]
    > b join b.2 gen=1 range leader=a.1
    sync b
    sync a a.1=x b.2=y
    > a sync NONE x
    > b sync NONE y
";

fn after_two(script: &str) {
    check(&format!("{TWO}{script}"));
}

#[test]
fn a_new_member_gets_its_id_first_and_then_waits_out_the_initial_delay() {
    check(
        "
        join a
        > a join MEMBER_ID_REQUIRED a.1
        join a
        pass 2999
        pass 1
        > a join a.1 gen=1 range leader=a.1 [a.1]
        sync a a.1=x
        > a sync NONE x
        describe
        > - describe NONE Stable,consumer,range a.1=x
        ",
    );
}

#[test]
fn before_version_4_no_id_is_asked_for() {
    check("join a v3\npass 3000\n> a join a.1 gen=1 range leader=a.1 [a.1]");
}

#[test]
fn an_id_not_used_in_time_is_forgotten() {
    check(
        "
        join a
        > a join MEMBER_ID_REQUIRED a.1
        pass 10000
        join a
        > a join UNKNOWN_MEMBER_ID a.1
        ",
    );
}

#[test]
fn ids_are_not_handed_out_without_end() {
    let mut life = Life::new(Settings::default());
    let request = || {
        let request = wire::messages::JoinGroupRequest::default();
        let protocol = wire::messages::join_group_request::JoinGroupRequestProtocol::default();
        let group = wire::messages::GroupId(wire::messages::text("g"));
        request
            .with_group_id(group)
            .with_session_timeout_ms(10_000)
            .with_protocol_type(wire::messages::text("consumer"))
            .with_protocols(vec![protocol])
    };
    for _ in 0..crate::classic::EXPECTED_MAX {
        life.ask("a", 9, request().into());
    }
    assert!(life.transcript.last().is_some_and(|line| line.contains("MEMBER_ID_REQUIRED")));
    life.ask("b", 9, request().into());
    assert_eq!(life.transcript.last().map(String::as_str), Some("> b join REBALANCE_IN_PROGRESS"));
    life.pass(10_000);
    life.ask("b", 9, request().into());
    assert!(life.transcript.last().is_some_and(|line| line.contains("b join MEMBER_ID_REQUIRED")));
}

#[test]
fn the_initial_delay_grows_as_members_come_but_not_beyond_the_rebalance_timeout() {
    check(
        "
        join a v3 rebalance=5000
        pass 2000
        join b v3 rebalance=5000
        pass 1400
        join c v3 rebalance=5000
        pass 1400
        join d v3 rebalance=5000
        pass 199
        pass 1
        > a join a.1 gen=1 range leader=a.1 [a.1 b.2 c.3 d.4]
        > b join b.2 gen=1 range leader=a.1
        > c join c.3 gen=1 range leader=a.1
        > d join d.4 gen=1 range leader=a.1
        ",
    );
}

#[test]
fn members_that_come_at_once_wait_for_the_initial_delay_once() {
    check(
        "
        join a v3
        pass 1500
        join b v3
        pass 1499
        pass 1
        > a join a.1 gen=1 range leader=a.1 [a.1 b.2]
        > b join b.2 gen=1 range leader=a.1
        ",
    );
}

#[test]
fn half_the_initial_delay_passes_after_the_last_member_that_came() {
    check(
        "
        join a v3
        pass 2900
        join b v3
        pass 1499
        pass 1
        > a join a.1 gen=1 range leader=a.1 [a.1 b.2]
        > b join b.2 gen=1 range leader=a.1
        ",
    );
}

#[test]
fn members_that_come_and_go_make_new_generations() {
    after_two(
        "
        join c v3
        beat a
        > a beat REBALANCE_IN_PROGRESS
        join a
        beat b
        > b beat REBALANCE_IN_PROGRESS
        join b
        > a join a.1 gen=2 range leader=a.1 [a.1 b.2 c.5]
        > b join b.2 gen=2 range leader=a.1
        > c join c.5 gen=2 range leader=a.1
        beat c
        > c beat NONE
        sync c
        sync a a.1=x b.2=y c.5=z
        > a sync NONE x
        > c sync NONE z
        sync b
        > b sync NONE y
        leave a
        > a leave NONE NONE
        join b
        join c
        > b join b.2 gen=3 range leader=b.2 [b.2 c.5]
        > c join c.5 gen=3 range leader=b.2
        ",
    );
}

#[test]
fn who_does_not_come_back_in_time_is_out() {
    after_two(
        "
        join a
        beat b
        > b beat REBALANCE_IN_PROGRESS
        pass 9000
        beat b
        > b beat REBALANCE_IN_PROGRESS
        pass 9999
        pass 1
        > a join a.1 gen=2 range leader=a.1 [a.1]
        beat b
        > b beat UNKNOWN_MEMBER_ID
        ",
    );
}

#[test]
fn who_beats_but_never_joins_is_out_after_the_rebalance_timeout() {
    check(
        "
        join a v3 rebalance=5000
        join b v3 rebalance=5000
        pass 5000
        > a join a.1 gen=1 range leader=a.1 [a.1 b.2]
        > b join b.2 gen=1 range leader=a.1
        sync a a.1=x
        > a sync NONE x
        sync b
        > b sync NONE
        join a rebalance=5000
        pass 4999
        beat b
        > b beat REBALANCE_IN_PROGRESS
        pass 1
        > a join a.1 gen=2 range leader=a.1 [a.1]
        ",
    );
}

#[test]
fn silence_ends_a_session_and_an_empty_group_keeps_its_generation() {
    after_two(
        "
        pass 9999
        beat a
        > a beat NONE
        pass 1
        beat a
        > a beat REBALANCE_IN_PROGRESS
        pass 10000
        describe
        > - describe NONE Empty,consumer,
        list
        > - list g:consumer,Empty,classic
        join a
        > a join UNKNOWN_MEMBER_ID a.1
        join a v3
        pass 3000
        > a join a.10 gen=3 range leader=a.10 [a.10]
        ",
    );
}

#[test]
fn members_that_never_ask_for_their_assignment_are_dropped() {
    check(
        "
        join a v3 rebalance=5000
        join b v3 rebalance=5000
        pass 3000
        > a join a.1 gen=1 range leader=a.1 [a.1 b.2]
        > b join b.2 gen=1 range leader=a.1
        sync b
        pass 4000
        beat a
        > a beat NONE
        pass 1000
        > b sync REBALANCE_IN_PROGRESS
        beat a
        > a beat UNKNOWN_MEMBER_ID
        join b
        > b join b.2 gen=2 range leader=b.2 [b.2]
        ",
    );
}

#[test]
fn a_join_cancels_the_waits_for_assignments() {
    check(
        "
        join a v3
        join b v3
        pass 6000
        > a join a.1 gen=1 range leader=a.1 [a.1 b.2]
        > b join b.2 gen=1 range leader=a.1
        sync b
        join c v3
        > b sync REBALANCE_IN_PROGRESS
        sync a a.1=x
        > a sync REBALANCE_IN_PROGRESS
        join a
        join b
        > a join a.1 gen=2 range leader=a.1 [a.1 b.2 c.4]
        > b join b.2 gen=2 range leader=a.1
        > c join c.4 gen=2 range leader=a.1
        ",
    );
}

#[test]
fn a_follower_that_comes_back_unchanged_disturbs_nobody_but_a_leader_does() {
    after_two(
        "
        join b
        > b join b.2 gen=1 range leader=a.1
        beat a
        > a beat NONE
        join b topics=t,u
        beat a
        > a beat REBALANCE_IN_PROGRESS
        join a
        > a join a.1 gen=2 range leader=a.1 [a.1 b.2]
        > b join b.2 gen=2 range leader=a.1
        join a
        > a join a.1 gen=2 range leader=a.1 [a.1 b.2]
        sync a a.1=x b.2=y
        > a sync NONE x
        join a
        beat b
        > b beat REBALANCE_IN_PROGRESS
        ",
    );
}

#[test]
fn stale_generations_and_strangers_are_refused() {
    after_two(
        "
        beat a gen=0
        > a beat ILLEGAL_GENERATION
        beat c id=made-up
        > c beat UNKNOWN_MEMBER_ID
        join c id=made-up
        > c join UNKNOWN_MEMBER_ID made-up
        sync b gen=2
        > b sync ILLEGAL_GENERATION
        sync b protocol=sticky
        > b sync INCONSISTENT_GROUP_PROTOCOL
        sync b protocol=-
        > b sync INCONSISTENT_GROUP_PROTOCOL
        sync b protocol=- v4
        > b sync NONE y
        sync b protocol=range
        > b sync NONE y
        leave c id=made-up
        > c leave NONE UNKNOWN_MEMBER_ID
        leave c id=made-up v2
        > c leave UNKNOWN_MEMBER_ID
        commit a gen=7 t-0=1
        > a commit t-0=ILLEGAL_GENERATION
        commit c id=made-up gen=1 t-0=1
        > c commit t-0=UNKNOWN_MEMBER_ID
        commit - t-0=1
        > - commit t-0=UNKNOWN_MEMBER_ID
        fetch t-0
        > - fetch NONE t-0=-1
        ",
    );
}

#[test]
fn protocols_must_fit() {
    after_two(
        "
        join c v3 type=connect
        > c join INCONSISTENT_GROUP_PROTOCOL
        join c v3 protocols=sticky
        > c join INCONSISTENT_GROUP_PROTOCOL
        group h
        join c v3 protocols=
        > c join INCONSISTENT_GROUP_PROTOCOL
        join c v3 type=
        > c join INCONSISTENT_GROUP_PROTOCOL
        describe
        > - describe GROUP_ID_NOT_FOUND Group h not found. Dead,,
        describe v5
        > - describe NONE Dead,,
        ",
    );
}

#[test]
fn timeouts_and_names_outside_their_bounds_are_refused() {
    check(
        "
        join a session=5999
        > a join INVALID_SESSION_TIMEOUT
        join a session=1800001
        > a join INVALID_SESSION_TIMEOUT
        join a session=-1
        > a join INVALID_SESSION_TIMEOUT
        beat a
        > a beat UNKNOWN_MEMBER_ID
        sync a
        > a sync UNKNOWN_MEMBER_ID
        leave a
        > a leave NONE UNKNOWN_MEMBER_ID
        ",
    );
    let mut life = Life::new(Settings::default());
    life.group = String::new();
    for command in ["join a", "sync a", "beat a", "leave a", "delete-offset t-0"] {
        life.run(command);
        let told = life.transcript.last().expect("an answer");
        assert!(told.contains("INVALID_GROUP_ID"), "{told}");
    }
}

#[test]
fn a_full_group_takes_nobody_but_its_own() {
    let settings = Settings { members_max: 2, ..Settings::default() };
    check_with(
        settings,
        &format!(
            "{TWO}
            join c v3
            > c join GROUP_MAX_SIZE_REACHED
            join a
            join c v3
            join d v3
            > d join GROUP_MAX_SIZE_REACHED
            join b
            > a join a.1 gen=2 range leader=a.1 [a.1 c.7]
            > c join c.7 gen=2 range leader=a.1
            > b join GROUP_MAX_SIZE_REACHED
            "
        ),
    );
}

#[test]
fn a_request_sent_again_releases_the_one_before() {
    check(
        "
        join a v3
        join b v3
        pass 6000
        > a join a.1 gen=1 range leader=a.1 [a.1 b.2]
        > b join b.2 gen=1 range leader=a.1
        sync b
        sync b
        > b sync REBALANCE_IN_PROGRESS
        join a topics=u
        > b sync REBALANCE_IN_PROGRESS
        join a topics=u
        > a join REBALANCE_IN_PROGRESS a.1
        ",
    );
}

#[test]
fn a_first_join_may_wait_five_minutes_and_no_longer() {
    let rebalance_max = "join a v3 rebalance=900000\njoin b v3 rebalance=900000";
    check_with(
        Settings { initial_rebalance_delay: Duration::from_secs(400), ..Settings::default() },
        &format!(
            "{rebalance_max}
            pass 299999
            pass 1
            > a join UNKNOWN_MEMBER_ID
            > b join UNKNOWN_MEMBER_ID
            "
        ),
    );
}
