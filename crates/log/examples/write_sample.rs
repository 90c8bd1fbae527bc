//! Writes a partition directory that real Kafka can be asked to read.
//!
//! ```text
//! cargo run -p kastle-log --example write_sample -- /tmp/sample/orders-0
//! kafka-dump-log --deep-iteration --print-data-log --files <each .log, .index, .timeindex, .txnindex, .snapshot>
//! kafka-dump-log --index-sanity-check --files <each .index and .timeindex>
//! ```
//!
//! Small segments, several epochs, plain and idempotent batches, transactions that
//! overlap and end either way, times that go back now and then, a truncation and a
//! clean stop: what a log goes through in a year.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use kastle_log::disk::RealDisk;
use kastle_log::producers::{Origin, TransactionEnd, Verification};
use kastle_log::{LeaderRules, Log, LogOptions};
use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, Uuid};
use wire::batch::{BatchBuilder, NewRecord, Producer, Rules};

const RULES: LeaderRules = LeaderRules {
    batch: Rules {
        batch_bytes_max: 1 << 20,
        decompressed_bytes_max: 1 << 20,
        needs_keys: false,
        timestamps: None,
        is_rewritten: false,
    },
    log_append_time: false,
};

/// An arbitrary point in time from which the sample's records are dated.
const BEGAN: i64 = 1_790_000_000_000;
const BATCHES: i64 = 400;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = PathBuf::from(std::env::args().nth(1).ok_or("usage: write_sample DIR")?);
    let options = LogOptions { segment_bytes: 64 << 10, ..LogOptions::default() };
    let mut log = Log::create(Arc::new(RealDisk), dir, options, Some(Uuid::from_u128(4_711)))?;
    for number in 0..BATCHES {
        append(&mut log, number)?;
        if number % 10 == 5 {
            transact(&mut log, number)?;
        }
        if number % 100 == 50 {
            log.flush()?;
        }
        if number == BATCHES / 2 {
            log.truncate_to(Offset::new(log.end().get() - 20))?;
        }
    }
    log.close()?;
    println!("{} holds offsets {} to {}", log.dir().display(), log.start(), log.end());
    Ok(())
}

/// Appends one batch of three records, every second one by an idempotent producer.
fn append(log: &mut Log, number: i64) -> Result<(), Box<dyn Error>> {
    let mut builder = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(0));
    if number % 2 == 1 {
        // After the truncation the producer comes with a new epoch and begins again.
        let epoch = i16::from(number > BATCHES / 2);
        let since = if epoch == 0 { number } else { number - BATCHES / 2 };
        let base_sequence = i32::try_from(since / 2 * 3)?;
        let producer =
            Producer { id: ProducerId::new(1_000), epoch: ProducerEpoch::new(epoch), base_sequence };
        builder = builder.producer(producer, false);
    }
    for record in 0..3 {
        let time = BEGAN + number * 1_000 + record - if number % 7 == 0 { 5_000 } else { 0 };
        let value = format!("{number}.{record} {}", "x".repeat(usize::try_from(number)? * 3));
        builder.push(&NewRecord {
            timestamp: Timestamp::new(time),
            key: Some(b"key"),
            value: Some(value.as_bytes()),
            headers: &[],
        });
    }
    let mut bytes = Vec::new();
    builder.finish(&mut bytes)?;
    let epoch = LeaderEpoch::new(i32::try_from(number / 60)?);
    log.append_as_leader(&bytes, epoch, Timestamp::new(BEGAN + number * 1_000), &RULES)?;
    Ok(())
}

/// Goes on with the transactions of two producers: each begins one, and ends it when it is its turn again,
/// every third one with a commit.
fn transact(log: &mut Log, number: i64) -> Result<(), Box<dyn Error>> {
    let (turn, epoch) = (number / 10, LeaderEpoch::new(i32::try_from(number / 60)?));
    let (producer, now) = (ProducerId::new(2_000 + turn % 2), Timestamp::new(BEGAN + number * 1_000));
    // Every transaction has an epoch of its own, and so begins with sequence 0.
    let era = i16::try_from(turn / 2)?;
    if log.producers().transaction_of(producer).is_some() {
        let commit = turn % 3 == 0;
        let (epoch_of_end, coordinator_epoch) = (ProducerEpoch::new(era), 7);
        let end = TransactionEnd { producer, epoch: epoch_of_end, commit, coordinator_epoch, version: 2 };
        log.append_end(&end, epoch, now)?;
    }
    let first = Producer { id: producer, epoch: ProducerEpoch::new(era), base_sequence: 0 };
    let mut builder = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(0)).producer(first, true);
    builder.push(&NewRecord {
        timestamp: now,
        value: Some(b"part of a transaction"),
        ..NewRecord::default()
    });
    let mut bytes = Vec::new();
    builder.finish(&mut bytes)?;
    log.append_from(Origin::Client(Verification::Off), &bytes, epoch, now, &RULES)?;
    Ok(())
}
