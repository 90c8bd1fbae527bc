//! Producers one batch after the other: repeated, out of order, of a new epoch, forgotten.

use std::time::Duration;

use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use wire::batch::{BatchBuilder, BatchHeader, NewRecord, Producer};

use super::{Origin, Producers, Verification, Verifications};

mod transactions;

const ORIGIN: Origin = Origin::Client(Verification::Needed(None));

fn header(base: i64, epoch: i16, base_sequence: i32, records: usize) -> BatchHeader {
    let producer = Producer { id: ProducerId::new(9), epoch: ProducerEpoch::new(epoch), base_sequence };
    let mut builder = BatchBuilder::new(Offset::new(base), LeaderEpoch::new(0)).producer(producer, false);
    for _ in 0..records {
        builder.push(&NewRecord { timestamp: Timestamp::new(base), ..NewRecord::default() });
    }
    let mut bytes = Vec::new();
    builder.finish(&mut bytes).expect("no codec");
    BatchHeader::parse(&bytes).expect("a batch")
}

/// Each batch is (epoch, first sequence, records); appended unless refused. The outcome says
/// `ok`, `at OFFSET` for a repeated one, or the error's code.
fn check(batches: &[(i16, i32, usize)], outcome: &[&str]) {
    let mut producers = Producers::default();
    let mut end = 0;
    let mut said = Vec::new();
    for &(epoch, sequence, records) in batches {
        let batch = header(end, epoch, sequence, records);
        said.push(match producers.judge(&batch, ORIGIN, &Verifications::default()) {
            Ok(Some(written)) => format!("at {}", written.first_offset),
            Err(error) => error.code().name().to_owned(),
            Ok(None) => {
                producers.note(&batch, None);
                end = batch.next_offset().get();
                "ok".to_owned()
            }
        });
    }
    assert_eq!(said, outcome);
    assert_eq!(Producers::decode(&producers.encode()).expect("fresh").encode(), producers.encode());
}

#[test]
fn batches_in_sequence_are_taken_and_repeats_answered_with_their_place() {
    check(&[(0, 0, 3), (0, 3, 2), (0, 3, 2), (0, 0, 3), (0, 5, 1)], &["ok", "ok", "at 3", "at 0", "ok"]);
}

#[test]
fn a_gap_and_an_unknown_repeat_are_out_of_order() {
    check(
        &[(0, 0, 3), (0, 4, 1), (0, 0, 2)],
        &["ok", "OUT_OF_ORDER_SEQUENCE_NUMBER", "OUT_OF_ORDER_SEQUENCE_NUMBER"],
    );
}

#[test]
fn only_the_last_five_batches_are_remembered() {
    let mut batches: Vec<_> = (0..6).map(|sequence| (0, sequence, 1)).collect();
    batches.extend([(0, 0, 1), (0, 1, 1)]);
    let mut outcome = vec!["ok"; 6];
    outcome.extend(["OUT_OF_ORDER_SEQUENCE_NUMBER", "at 1"]);
    check(&batches, &outcome);
}

#[test]
fn a_new_epoch_begins_with_zero_and_fences_the_old() {
    check(
        &[(3, 7, 1), (4, 8, 1), (4, 0, 1), (3, 8, 1)],
        &["ok", "OUT_OF_ORDER_SEQUENCE_NUMBER", "ok", "INVALID_PRODUCER_EPOCH"],
    );
}

#[test]
fn a_sequence_wraps_to_zero() {
    check(&[(0, i32::MAX, 1), (0, 0, 1), (0, 0, 1)], &["ok", "ok", "at 1"]);
    check(&[(0, i32::MAX - 1, 3), (0, 1, 1)], &["ok", "ok"]);
}

#[test]
fn a_silent_producer_is_forgotten() {
    let mut producers = Producers::default();
    producers.note(&header(1_000, 0, 0, 1), None);
    producers.expire(Timestamp::new(1_500), Duration::from_secs(1));
    assert!(!producers.is_empty());
    producers.expire(Timestamp::new(2_000), Duration::from_secs(1));
    assert!(producers.is_empty());
}

#[test]
fn a_damaged_snapshot_is_refused_wherever_it_is_damaged() {
    let mut producers = Producers::default();
    producers.note(&header(1_000, 0, 0, 1), None);
    let whole = producers.encode();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        assert!(Producers::decode(&changed).is_err(), "changed at {at}");
        assert!(Producers::decode(&whole[..at]).is_err(), "cut at {at}");
    }
}
