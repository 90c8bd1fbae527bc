//! How long it takes to make many partition logs, and to open them again.
//!
//! ```text
//! cargo run --release -p kastle-log --example open_many -- /tmp/many 10000
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use kastle_log::disk::RealDisk;
use kastle_log::{LeaderRules, Log, LogError, LogOptions, Opening};
use model::{LeaderEpoch, Offset, Timestamp, Uuid};
use wire::batch::{BatchBuilder, NewRecord, Rules};

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
/// As a node would: one for each of two cores.
const THREADS: usize = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let root = PathBuf::from(words.next().ok_or("usage: open_many DIR COUNT")?);
    let count: usize = words.next().ok_or("usage: open_many DIR COUNT")?.parse()?;
    let dirs: Vec<PathBuf> = (0..count).map(|number| root.join(format!("topic-{number}"))).collect();
    let id = Some(Uuid::from_u128(4_711));
    timed("make", &dirs, |dir| Log::create(Arc::new(RealDisk), dir.to_owned(), LogOptions::default(), id))?;
    for clean in [true, false] {
        timed(&format!("open empty, clean: {clean}"), &dirs, |dir| open(dir, clean))?;
    }
    timed("append one record", &dirs, |dir| open(dir, true).map(append_one))?;
    for clean in [true, false] {
        timed(&format!("open with a record, clean: {clean}"), &dirs, |dir| open(dir, clean))?;
    }
    Ok(())
}

fn open(dir: &Path, is_clean: bool) -> Result<Log, LogError> {
    let opening = Opening { is_clean, ..Opening::default() };
    Ok(Log::open(Arc::new(RealDisk), dir.to_owned(), LogOptions::default(), opening)?.0)
}

fn append_one(mut log: Log) -> Log {
    let mut builder = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(0));
    builder.push(&NewRecord { value: Some(b"value"), ..NewRecord::default() });
    let mut bytes = Vec::new();
    builder.finish(&mut bytes).expect("no codec is used");
    let appended = log.append_as_leader(&bytes, LeaderEpoch::new(0), Timestamp::new(0), &RULES);
    appended.expect("there is room on the disk");
    log
}

fn timed(
    what: &str,
    dirs: &[PathBuf],
    act: impl Fn(&Path) -> Result<Log, LogError> + Send + Sync,
) -> Result<(), LogError> {
    let began = Instant::now();
    let share = dirs.len().div_ceil(THREADS);
    std::thread::scope(|scope| {
        let parts: Vec<_> = dirs.chunks(share).map(|part| scope.spawn(|| each(part, &act))).collect();
        parts.into_iter().try_for_each(|part| part.join().expect("no panic"))
    })?;
    let took = began.elapsed();
    let each = took.as_nanos() / dirs.len().max(1) as u128 / 1_000;
    println!("{what}: {} ms, {each} us each", took.as_millis());
    Ok(())
}

fn each(dirs: &[PathBuf], act: &impl Fn(&Path) -> Result<Log, LogError>) -> Result<(), LogError> {
    for dir in dirs {
        act(dir)?.release();
    }
    Ok(())
}
