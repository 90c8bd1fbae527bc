//! Who is the producer of a transactional id, and what it adds to its transaction.

use crate::transactions::Settings;
use crate::transactions::testing::{Life, check, check_life, check_with};

#[test]
fn a_producer_begins_and_shuts_out_the_one_before() {
    check(
        "
        init x
        > x init 100/0
        init x
        > x init 100/1
        add x t-0 as=100/0
        > x add t-0=PRODUCER_FENCED
        add x t-0 as=100/0 v1
        > x add t-0=INVALID_PRODUCER_EPOCH
        add x t-0 as=100/2
        > x add t-0=PRODUCER_FENCED
        end x commit as=100/0
        > x end PRODUCER_FENCED
        end x commit as=100/0 v1
        > x end INVALID_PRODUCER_EPOCH
        init y
        > y init 101/0
        add x t-0 as=101/0
        > x add t-0=INVALID_PRODUCER_ID_MAPPING
        ",
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    check(
        "
        init -
        > - init INVALID_REQUEST
        init x as=5/-1
        > x init INVALID_REQUEST
        init x as=-1/5
        > x init INVALID_REQUEST
        init x timeout=0
        > x init INVALID_TRANSACTION_TIMEOUT
        init x timeout=900001
        > x init INVALID_TRANSACTION_TIMEOUT
        init x timeout=900000
        > x init 100/0
        add - t-0 as=100/0
        > - add t-0=INVALID_REQUEST
        add - t-0 as=100/0 v5
        > - add t-0=INVALID_REQUEST
        verify - t-0 as=100/0
        > - add t-0=INVALID_REQUEST
        end - commit as=100/0
        > - end INVALID_REQUEST
        add y t-0 as=100/0
        > y add t-0=INVALID_PRODUCER_ID_MAPPING
        end y commit as=100/0
        > y end INVALID_PRODUCER_ID_MAPPING
        end y commit as=100/0 v5
        > y end INVALID_PRODUCER_ID_MAPPING
        offsets y g as=100/0
        > y offsets INVALID_PRODUCER_ID_MAPPING
        ",
    );
}

#[test]
fn a_producer_that_shows_itself_goes_on_and_a_lost_answer_is_given_again() {
    check(
        "
        init x
        > x init 100/0
        init x own
        > x init 100/1
        init x as=100/0
        > x init 100/1
        init x own
        > x init 100/2
        init x as=100/0
        > x init PRODUCER_FENCED
        init x as=100/0 v3
        > x init INVALID_PRODUCER_EPOCH
        init x as=99/2
        > x init PRODUCER_FENCED
        init y as=99/2
        > y init 101/0
        ",
    );
}

#[test]
fn after_a_load_nobody_remembers_the_epoch_before() {
    check(
        "
        init x
        > x init 100/0
        init x own
        > x init 100/1
        reload
        init x as=100/0
        > x init PRODUCER_FENCED
        init x own
        > x init 100/2
        ",
    );
}

#[test]
fn an_open_transaction_is_aborted_for_the_next_producer_which_waits() {
    let older = Settings { version: 1, ..Settings::default() };
    check_with(
        older,
        "
        init x
        > x init 100/0
        add x t-0
        > x add t-0=NONE
        init x
        > x init CONCURRENT_TRANSACTIONS
        > marker x 100/1 abort t-0
        init x
        > x init CONCURRENT_TRANSACTIONS
        end x commit as=100/0
        > x end PRODUCER_FENCED
        done x
        init x
        > x init 100/2
        ",
    );
    check(
        "
        init x
        > x init 100/0
        add x t-0
        > x add t-0=NONE
        init x
        > x init CONCURRENT_TRANSACTIONS
        > marker x 100/2 abort t-0
        done x
        init x
        > x init 100/3
        ",
    );
}

#[test]
fn partitions_are_added_once_and_only_to_an_open_end() {
    check(
        "
        init x
        > x init 100/0
        describe x
        > x describe Empty 100/0 since=-
        pass 7
        add x t-0 u-1
        > x add t-0=NONE u-1=NONE
        pass 5
        add x t-0 t-2
        > x add t-0=NONE t-2=NONE
        add x u-1
        > x add u-1=NONE
        offsets x g
        > x offsets NONE
        describe x
        > x describe Ongoing 100/0 since=7 __consumer_offsets-3 t-0 t-2 u-1
        end x commit
        > x end NONE
        > marker x 100/0 commit __consumer_offsets-3 t-0 t-2 u-1
        add x t-0
        > x add t-0=CONCURRENT_TRANSACTIONS
        add x t-0 v5
        > x add t-0=CONCURRENT_TRANSACTIONS
        verify x t-0
        > x add t-0=CONCURRENT_TRANSACTIONS
        done x t-0 u-1 __consumer_offsets-3
        describe x
        > x describe PrepareCommit 100/0 since=7 t-2
        done x t-2
        describe x
        > x describe CompleteCommit 100/0 since=7
        add x t-0
        > x add t-0=NONE
        describe x
        > x describe Ongoing 100/0 since=12 t-0
        ",
    );
}

#[test]
fn a_leader_sees_whether_a_batch_belongs_to_a_transaction() {
    check(
        "
        init x
        > x init 100/0
        verify x t-0
        > x add t-0=TRANSACTION_ABORTABLE
        add x t-0
        > x add t-0=NONE
        verify x t-0 t-1
        > x add t-0=NONE t-1=TRANSACTION_ABORTABLE
        verify x t-0 as=100/1
        > x add t-0=PRODUCER_FENCED
        verify x t-0 as=101/0
        > x add t-0=INVALID_PRODUCER_ID_MAPPING
        verify y t-0 as=100/0
        > y add t-0=INVALID_PRODUCER_ID_MAPPING
        add x t-1 v5
        > x add t-1=NONE
        verify x t-1
        > x add t-1=NONE
        ",
    );
}

#[test]
fn a_producer_whose_epochs_are_used_up_gets_a_new_id() {
    check_life(
        Life::at_epoch(32_765),
        "
        init x own
        > x init 100/32766
        init x as=100/32765
        > x init 100/32766
        init x own
        > x init 101/0
        init x as=100/32766
        > x init 101/0
        init x own
        > x init 101/1
        init x as=100/32766
        > x init PRODUCER_FENCED
        ",
    );
}

#[test]
fn a_fence_may_use_the_last_epoch_which_no_client_gets() {
    check_life(
        Life::at_epoch(32_766),
        "
        add x t-0
        > x add t-0=NONE
        init x
        > x init CONCURRENT_TRANSACTIONS
        > marker x 100/32767 abort t-0
        done x
        init x
        > x init 101/0
        ",
    );
}
