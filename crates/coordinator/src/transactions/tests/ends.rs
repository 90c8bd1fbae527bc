//! How transactions end: by their producer, or because their time is up.

use crate::transactions::testing::{Life, check, check_life};

#[test]
fn an_older_client_ends_its_transaction_and_may_ask_again() {
    check(
        "
        init x
        > x init 100/0
        end x commit
        > x end INVALID_TXN_STATE
        end x abort
        > x end INVALID_TXN_STATE
        add x t-0
        > x add t-0=NONE
        end x commit
        > x end NONE
        > marker x 100/0 commit t-0
        end x commit
        > x end CONCURRENT_TRANSACTIONS
        end x abort
        > x end CONCURRENT_TRANSACTIONS
        done x
        end x commit
        > x end NONE
        end x abort
        > x end INVALID_TXN_STATE
        add x t-0
        > x add t-0=NONE
        end x abort
        > x end NONE
        > marker x 100/0 abort t-0
        done x
        end x abort
        > x end NONE
        end x commit
        > x end INVALID_TXN_STATE
        ",
    );
}

#[test]
fn a_newer_client_gets_an_epoch_at_each_end_and_shows_the_one_before_when_it_asks_again() {
    check(
        "
        init x
        > x init 100/0
        add x t-0 v5
        > x add t-0=NONE
        end x commit v5
        > x end 100/1
        > marker x 100/1 commit t-0
        end x commit v5 as=100/0
        > x end CONCURRENT_TRANSACTIONS
        end x abort v5 as=100/0
        > x end CONCURRENT_TRANSACTIONS
        done x
        end x commit v5 as=100/0
        > x end 100/1
        end x abort v5 as=100/0
        > x end INVALID_TXN_STATE
        end x commit v5
        > x end INVALID_TXN_STATE
        end x commit v5 as=100/2
        > x end PRODUCER_FENCED
        add x t-0 v5 as=100/0
        > x add t-0=PRODUCER_FENCED
        add x t-0 v5
        > x add t-0=NONE
        end x abort v5
        > x end 100/2
        > marker x 100/2 abort t-0
        done x
        end x abort v5 as=100/1
        > x end 100/2
        end x commit v5 as=100/1
        > x end INVALID_TXN_STATE
        ",
    );
}

/// franz-go aborts what it has just begun when its group rebalances, a millisecond after the commit before.
#[test]
fn a_producer_that_goes_on_before_the_markers_are_written_comes_again() {
    check_life(
        Life::at_epoch(32_765),
        "
        add x t-0 v5
        > x add t-0=NONE
        end x commit v5
        > x end 100/32766
        > marker x 100/32766 commit t-0
        end x abort v5
        > x end CONCURRENT_TRANSACTIONS
        add x t-0 v5
        > x add t-0=CONCURRENT_TRANSACTIONS
        init x own
        > x init CONCURRENT_TRANSACTIONS
        done x
        add x t-0 v5
        > x add t-0=NONE
        end x commit v5
        > x end 101/0
        > marker x 100/32767 commit t-0
        end x abort v5
        > x end CONCURRENT_TRANSACTIONS
        add x t-0 v5
        > x add t-0=CONCURRENT_TRANSACTIONS
        init x own
        > x init CONCURRENT_TRANSACTIONS
        offsets x g
        > x offsets CONCURRENT_TRANSACTIONS
        done x
        end x abort v5
        > x end 101/1
        ",
    );
}

#[test]
fn a_newer_client_may_abort_what_it_never_began() {
    check(
        "
        init x
        > x init 100/0
        end x commit v5
        > x end INVALID_TXN_STATE
        pass 5
        end x abort v5
        > x end 100/1
        describe x
        > x describe CompleteAbort 100/1 since=5
        end x abort v5
        > x end 100/2
        end x abort v5 as=100/1
        > x end 100/2
        end x abort v5 as=100/0
        > x end PRODUCER_FENCED
        ",
    );
}

#[test]
fn an_end_without_partitions_is_complete_at_once() {
    check(
        "
        init x
        > x init 100/0
        add x
        > x add
        end x commit
        > x end NONE
        describe x
        > x describe CompleteCommit 100/0 since=0
        ",
    );
}

#[test]
fn the_last_epoch_of_an_id_ends_with_a_new_id_and_asking_again_gives_it_again() {
    check_life(
        Life::at_epoch(32_766),
        "
        add x t-0 v5
        > x add t-0=NONE
        end x commit v5
        > x end 101/0
        > marker x 100/32767 commit t-0
        init x as=100/32766
        > x init CONCURRENT_TRANSACTIONS
        done x
        end x commit v5 as=100/32766
        > x end 101/0
        describe x
        > x describe CompleteCommit 101/0 since=0
        add x t-0 v5
        > x add t-0=NONE
        ",
    );
}

#[test]
fn a_transaction_whose_time_is_up_is_aborted_and_its_producer_shut_out() {
    check(
        "
        init x timeout=20000
        > x init 100/0
        add x t-0
        > x add t-0=NONE
        init y timeout=60000
        > y init 101/0
        add y t-0
        > y add t-0=NONE
        pass 20000
        pass 10000
        > marker x 100/2 abort t-0
        add x t-0
        > x add t-0=CONCURRENT_TRANSACTIONS
        done x
        describe x
        > x describe CompleteAbort 100/2 since=0
        end x commit
        > x end PRODUCER_FENCED
        add x t-0
        > x add t-0=PRODUCER_FENCED
        init x own
        > x init PRODUCER_FENCED
        init x
        > x init 100/3
        list
        > - list NONE x:100:Empty y:101:Ongoing
        ",
    );
}

#[test]
fn the_time_of_a_transaction_does_not_jump_with_the_wall_clock() {
    check(
        "
        init x timeout=20000
        > x init 100/0
        add x t-0
        > x add t-0=NONE
        wall +3600000
        pass 10000
        wall -7200000
        pass 10000
        pass 10000
        > marker x 100/2 abort t-0
        ",
    );
}

#[test]
fn a_coordinator_that_finds_a_transaction_open_gives_it_no_more_than_its_time_again() {
    check(
        "
        wall +3600000
        init x timeout=20000
        > x init 100/0
        add x t-0
        > x add t-0=NONE
        wall -3600000
        reload
        pass 20000
        pass 10000
        > marker x 100/2 abort t-0
        ",
    );
}

#[test]
fn markers_are_sent_again_until_every_partition_knows_or_is_gone() {
    check(
        "
        init x
        > x init 100/0
        add x t-0 t-1 t-2
        > x add t-0=NONE t-1=NONE t-2=NONE
        end x commit
        > x end NONE
        > marker x 100/0 commit t-0 t-1 t-2
        done x t-1
        retry x t-0
        pass 99
        retry x t-2
        pass 99
        pass 1
        > marker x 100/0 commit t-0 t-2
        done x t-0
        describe x
        > x describe PrepareCommit 100/0 since=0 t-2
        gone x t-2
        describe x
        > x describe CompleteCommit 100/0 since=0
        ",
    );
}

#[test]
fn a_fenced_coordinator_sends_no_more_and_completes_nothing_until_it_loads_again() {
    check(
        "
        init x
        > x init 100/0
        add x t-0 t-1
        > x add t-0=NONE t-1=NONE
        end x commit
        > x end NONE
        > marker x 100/0 commit t-0 t-1
        fenced x t-0
        retry x t-1
        pass 10000
        describe x
        > x describe PrepareCommit 100/0 since=0 t-0 t-1
        reload
        > marker x 100/0 commit t-0 t-1
        done x
        describe x
        > x describe CompleteCommit 100/0 since=0
        ",
    );
}

#[test]
fn ids_that_nobody_used_for_a_week_are_forgotten_but_not_under_an_open_transaction() {
    let week = 7 * 24 * 3_600_000_u64;
    check(&format!(
        "
        init x
        > x init 100/0
        init y
        > y init 101/0
        init z timeout=900000
        > z init 102/0
        hold
        add z t-0
        pass {}
        > z add t-0=COORDINATOR_NOT_AVAILABLE
        release
        list
        > - list NONE x:100:Empty y:101:Empty z:102:Ongoing
        init y
        > y init 101/1
        pass 7200000
        > marker z 102/2 abort t-0
        list
        > - list NONE y:101:Empty z:102:PrepareAbort
        init x
        > x init 103/0
        ",
        week - 3_600_000
    ));
}

#[test]
fn lists_are_filtered() {
    check(
        "
        init x
        > x init 100/0
        init y
        > y init 101/0
        add y t-0
        > y add t-0=NONE
        pass 500
        list state=Ongoing
        > - list NONE y:101:Ongoing
        list state=Dead
        > - list NONE
        list state=Lost
        > - list NONE unknown=Lost
        list id=100
        > - list NONE x:100:Empty
        list longer=499 id=101
        > - list NONE y:101:Ongoing
        list longer=500 id=101
        > - list NONE
        list like=[xz]
        > - list NONE x:100:Empty
        list like=.
        > - list NONE x:100:Empty y:101:Ongoing
        list like=a|xx
        > - list NONE
        list like=(
        > - list INVALID_REGULAR_EXPRESSION
        describe z
        > z describe TRANSACTIONAL_ID_NOT_FOUND
        describe -
        > - describe INVALID_REQUEST
        ",
    );
}
