//! Appends fail, commits do not come, producer ids do not come, the leadership is lost: nothing is acknowledged nor
//! told to a partition that may be lost.

use crate::transactions::testing::check;

#[test]
fn a_step_that_is_not_appended_never_was() {
    check(
        "
        fail unavailable
        init x
        > x init COORDINATOR_NOT_AVAILABLE
        describe x
        > x describe TRANSACTIONAL_ID_NOT_FOUND
        init x
        > x init 101/0
        fail deposed
        add x t-0
        > x add t-0=NOT_COORDINATOR
        fail unavailable
        offsets x g
        > x offsets COORDINATOR_NOT_AVAILABLE
        fail large
        add x t-0 v5
        > x add t-0=UNKNOWN_SERVER_ERROR
        describe x
        > x describe Empty 101/0 since=-
        add x t-0
        > x add t-0=NONE
        fail unavailable
        end x commit
        > x end COORDINATOR_NOT_AVAILABLE
        end x abort
        > x end NONE
        > marker x 101/0 abort t-0
        ",
    );
}

#[test]
fn a_step_counts_once_it_is_committed_and_until_then_no_other_is_taken() {
    check(
        "
        init x
        > x init 100/0
        hold
        add x t-0
        verify x t-0
        > x add t-0=TRANSACTION_ABORTABLE
        add x t-0
        > x add t-0=CONCURRENT_TRANSACTIONS
        end x abort v5
        > x end CONCURRENT_TRANSACTIONS
        init x
        > x init CONCURRENT_TRANSACTIONS
        describe x
        > x describe Empty 100/0 since=-
        release
        > x add t-0=NONE
        describe x
        > x describe Ongoing 100/0 since=0 t-0
        hold
        end x commit
        end x commit
        > x end CONCURRENT_TRANSACTIONS
        release
        > x end NONE
        > marker x 100/0 commit t-0
        ",
    );
}

#[test]
fn an_answer_that_waits_too_long_is_an_error_and_the_step_may_still_come() {
    check(
        "
        init x
        > x init 100/0
        hold
        add x t-0
        pass 29999
        pass 1
        > x add t-0=COORDINATOR_NOT_AVAILABLE
        add x t-0
        > x add t-0=CONCURRENT_TRANSACTIONS
        release
        add x t-0
        > x add t-0=NONE
        ",
    );
}

#[test]
fn a_deposed_coordinator_acknowledges_nothing_and_tells_nobody() {
    check(
        "
        init x
        > x init 100/0
        add x t-0
        > x add t-0=NONE
        hold
        end x commit
        depose
        > x end NOT_COORDINATOR
        release
        end x abort
        > x end NONE
        > marker x 100/0 abort t-0
        ",
    );
}

#[test]
fn the_next_coordinator_waits_for_what_it_found_uncommitted() {
    check(
        "
        init x
        > x init 100/0
        add x t-0
        > x add t-0=NONE
        hold
        end x commit
        reload
        > x end NOT_COORDINATOR
        end x commit
        > x end CONCURRENT_TRANSACTIONS
        describe x
        > x describe Ongoing 100/0 since=0 t-0
        release
        > marker x 100/0 commit t-0
        reload
        > marker x 100/0 commit t-0
        hold
        done x
        reload
        describe x
        > x describe PrepareCommit 100/0 since=0 t-0
        release
        describe x
        > x describe CompleteCommit 100/0 since=0
        ",
    );
}

#[test]
fn what_time_asks_for_is_tried_again_when_it_cannot_be_appended() {
    check(
        "
        init x timeout=1000
        > x init 100/0
        add x t-0
        > x add t-0=NONE
        fail unavailable
        pass 10000
        pass 10000
        > marker x 100/2 abort t-0
        fail unavailable
        done x
        describe x
        > x describe PrepareAbort 100/2 since=0
        pass 1000
        describe x
        > x describe CompleteAbort 100/2 since=0
        ",
    );
}

#[test]
fn who_needs_a_producer_id_waits_for_it() {
    check(
        "
        stingy
        init x
        init y
        ids 1
        > x init 100/0
        add x t-0
        > x add t-0=NONE
        no-ids
        > y init COORDINATOR_LOAD_IN_PROGRESS
        init y
        reload
        > y init NOT_COORDINATOR
        ids 1
        init y
        > y init 101/0
        ",
    );
}
