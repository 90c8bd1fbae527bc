//! Writes a compacted partition directory that real Kafka can be asked to read.
//!
//! ```text
//! cargo run -p kastle-log --example compact_sample -- /tmp/sample/orders-0
//! kafka-dump-log --deep-iteration --print-data-log --files <each .log, .index, .timeindex, .txnindex>
//! kafka-dump-log --index-sanity-check --files <each .index and .timeindex>
//! ```
//!
//! Batches of every codec, tombstones, idempotent producers, transactions that were
//! committed and aborted; then two passes, the second after the tombstones' time.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kastle_log::cleaner::{CleaningLimits, CompactionRules};
use kastle_log::disk::RealDisk;
use kastle_log::{Log, LogOptions};
use model::{LeaderEpoch, ProducerEpoch, ProducerId, Timestamp, Uuid};
use wire::batch::{BatchBuilder, EndMarker, NewRecord, Producer};
use wire::codec::Codec;

const BATCHES: i64 = 3_000;
const BEGAN: i64 = 1_790_000_000_000;
const RULES: CompactionRules = CompactionRules {
    lag_min: Duration::ZERO,
    lag_max: None,
    tombstone_retention: Duration::from_secs(3_600),
};
const LIMITS: CleaningLimits = CleaningLimits { map_bytes: 1 << 20, load_factor: 0.9, step_bytes: 64 << 10 };
const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn main() -> Result<(), Box<dyn Error>> {
    let dir = PathBuf::from(std::env::args().nth(1).ok_or("usage: compact_sample DIR")?);
    let options =
        LogOptions { segment_bytes: 32 << 10, index_interval_bytes: 1_000, ..LogOptions::default() };
    let mut log = Log::create(Arc::new(RealDisk), dir, options, Some(Uuid::from_u128(4_711)))?;
    let mut from = None;
    for number in 0..BATCHES {
        append(&mut log, number)?;
        if number % 1_000 == 999 {
            let (end, now) = (log.end(), Timestamp::new(BEGAN + number * 3_600));
            let stable = log.last_stable(end);
            let report = log.clean(&RULES, LIMITS, from, stable, now)?;
            println!("{report:?}");
            from = Some(report.first_dirty);
        }
    }
    for path in log.take_retired() {
        // The same name may have been retired twice.
        let _ = std::fs::remove_file(path);
    }
    log.close()?;
    println!("{} holds offsets {} to {}", log.dir().display(), log.start(), log.end());
    Ok(())
}

/// Appends one batch of three records, and now and then a marker.
fn append(log: &mut Log, number: i64) -> Result<(), Box<dyn Error>> {
    let now = Timestamp::new(BEGAN + number);
    let codec = CODECS[usize::try_from(number)? % CODECS.len()];
    let mut builder = BatchBuilder::new(log.end(), LeaderEpoch::new(0)).codec(codec, None);
    let (id, epoch) = (ProducerId::new(1_000 + number % 4), ProducerEpoch::new(0));
    if number % 4 > 0 {
        let base_sequence = i32::try_from(number / 4 * 3)?;
        builder = builder.producer(Producer { id, epoch, base_sequence }, number % 4 > 1);
    }
    for record in 0..3 {
        let key = format!("key{}", (number * 7 + record * 13) % 400);
        let value = format!("{number}.{record} {}", "x".repeat(100));
        let value = ((number + record) % 10 > 0).then_some(value.as_bytes());
        builder.push(&NewRecord {
            timestamp: now,
            key: Some(key.as_bytes()),
            value,
            headers: &[(b"h", None)],
        });
    }
    let mut bytes = Vec::new();
    builder.finish(&mut bytes)?;
    log.append_as_follower(&bytes, now)?;
    if number % 4 > 1 {
        let marker = EndMarker { commit: number % 4 == 2, coordinator_epoch: 1 };
        let bytes = marker.batch(id, epoch, now, (log.end(), LeaderEpoch::new(0)));
        log.append_as_follower(&bytes, now)?;
    }
    Ok(())
}
