//! Random logs under passes, restarts and power cuts at every step of the disk: what a reader makes of
//! the log, the last value of each key, is always what was written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use fastrand::Rng;
use model::{Offset, Timestamp};
use wire::batch::Batches;
use wire::codec::Codec;

use super::{DIR, LIMITS, clean_from, encode, new_log, options};
use crate::cleaner::CleaningLimits;
use crate::disk::{Crash, Disk, MemDisk, Survival};
use crate::partition::{Log, Opening};

/// What was written: by offset, key and value.
type Journal = BTreeMap<i64, (String, Option<String>)>;

const KEYS: u8 = 12;

/// Appends random segments, some of them with producers and transactions, and syncs them.
fn grow(log: &mut Log, journal: &mut Journal, rng: &mut Rng, sequences: &mut [i32; 3]) {
    for _ in 0..rng.usize(2..5) {
        for _ in 0..rng.usize(1..6) {
            let count = rng.usize(1..5);
            let (at, mut text) = (log.end().get(), String::new());
            let producer = rng.usize(0..4);
            if let Some(sequence) = sequences.get_mut(producer) {
                text = format!("{producer}@{sequence}: ");
                *sequence += count as i32;
            }
            for index in 0..count {
                let key = format!("k{}", rng.u8(0..KEYS));
                let value = (rng.u8(0..5) > 0).then(|| format!("v{}", at + index as i64));
                text += &value.as_ref().map_or(format!("{key} "), |value| format!("{key}={value} "));
                journal.insert(at + index as i64, (key, value));
            }
            let codec = *rng.choice(&[Codec::None, Codec::Lz4, Codec::Zstd]).expect("some");
            let bytes = encode(text.trim(), log.end(), codec);
            log.append_as_follower(&bytes, Timestamp::new(at)).expect("no fault");
        }
        log.roll(log.end()).expect("no fault");
    }
    log.flush().expect("no fault");
}

/// What a consumer makes of the log: each record is as written, and of each key the last one is there.
fn assert_readable(log: &mut Log, journal: &Journal, what: &str) {
    let (mut next, mut last) = (log.start(), BTreeMap::new());
    while let Some(slice) = log.read(next, 400, log.end(), true).expect("in range") {
        let bytes = slice.read().expect("no fault");
        for batch in Batches::new(&bytes) {
            let batch = batch.expect("whole");
            batch.check_crc().expect("sealed");
            for record in batch.records(1 << 20).expect("readable").iter() {
                let record = record.expect("whole");
                assert!(record.offset >= next, "{what}: offsets go up");
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let (key, value) = (record.key.map(text).expect("a key"), record.value.map(text));
                let written = journal.get(&record.offset.get()).expect("was written");
                assert_eq!((&key, &value), (&written.0, &written.1), "{what}: at {}", record.offset);
                last.insert(key, value);
            }
            next = batch.header.next_offset();
        }
    }
    let mut model: BTreeMap<String, Option<String>> = journal.values().cloned().collect();
    // A tombstone may be gone, and then all of its key is.
    model.retain(|_, value| value.is_some());
    last.retain(|_, value| value.is_some());
    assert_eq!(last, model, "{what}");
}

fn open(disk: &MemDisk, recovery_point: Offset) -> Log {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let opening = Opening { recovery_point, ..Opening::default() };
    let (log, report) = Log::open(shared, PathBuf::from(DIR), options(), opening).expect("opens");
    assert_eq!(report, None, "nothing of it is damaged");
    log
}

/// What a producer's next batch is judged by.
fn states(log: &Log) -> Vec<(i64, i16, i32)> {
    let each = log.producers().states();
    each.map(|state| (state.id.get(), state.epoch.get(), state.last_sequence)).collect()
}

fn limits(rng: &mut Rng) -> CleaningLimits {
    CleaningLimits { map_bytes: 24 * rng.usize(2..40), step_bytes: rng.usize(1..400), ..LIMITS }
}

#[test]
fn random_logs_read_the_same_after_any_number_of_passes() {
    for seed in 0..60 {
        let mut rng = Rng::with_seed(seed);
        let (disk, mut journal, mut from, mut now) = (MemDisk::new(), Journal::new(), 0, 0);
        let mut log = new_log(&disk);
        let mut sequences = [0; 3];
        for round in 0..8 {
            grow(&mut log, &mut journal, &mut rng, &mut sequences);
            now += rng.i64(0..2_000);
            let (end, limits) = (log.end(), limits(&mut rng));
            let stable = Offset::new(rng.i64(from.max(end.get() / 2)..=end.get()));
            from = clean_from(&mut log, from, stable, now, limits).expect("no fault").first_dirty.get();
            assert_eq!(log.end(), end);
            assert_readable(&mut log, &journal, &format!("seed {seed} round {round}"));
            if rng.bool() {
                let states = states(&log);
                log = open(&disk, if rng.bool() { Offset::ZERO } else { log.recovery_point() });
                assert_eq!(log.end(), end);
                assert_eq!(self::states(&log), states, "seed {seed}");
                assert_readable(&mut log, &journal, &format!("seed {seed} round {round} opened"));
            }
        }
        let (records, size) = (journal.len() as u64, log.size_bytes());
        assert!(size < records * 70, "seed {seed}: {size} bytes for {records} records, it never shrank");
    }
}

/// Keeps what was not synced as a seed says; of a directory's names the first ones.
struct Random(Rng);

impl Survival for Random {
    fn of_write(&mut self, len: usize, _later: usize) -> usize {
        if self.0.bool() { len } else { self.0.usize(0..=len) }
    }

    fn of_resize(&mut self) -> bool {
        self.0.bool()
    }

    fn of_names(&mut self, changes: usize) -> usize {
        self.0.usize(0..=changes)
    }
}

/// A log of two rounds, the first of them cleaned; then a pass that is stopped after `steps` changes of the
/// disk. Says whether it came to its end before.
fn stop_a_pass_after(steps: u64, seed: u64, survival: Option<u64>) -> bool {
    let mut rng = Rng::with_seed(seed);
    let (disk, mut journal, mut sequences) = (MemDisk::new(), Journal::new(), [0; 3]);
    let mut log = new_log(&disk);
    grow(&mut log, &mut journal, &mut rng, &mut sequences);
    let end = log.end();
    clean_from(&mut log, 0, end, 10, LIMITS).expect("no fault");
    grow(&mut log, &mut journal, &mut rng, &mut sequences);
    log.options.segment_bytes = 600;
    let (end, what) = (log.end(), format!("seed {seed} stopped after {steps}, survival {survival:?}"));
    disk.stop_after(steps);
    let is_done = clean_from(&mut log, 0, end, 5_000, LIMITS).is_ok();
    match survival {
        None => disk.crash(Crash::Power),
        Some(seed) => drop(disk.lose_power(&mut Random(Rng::with_seed(seed)))),
    }
    for recovery_point in [Offset::ZERO, end] {
        let mut log = open(&disk, recovery_point);
        assert_eq!(log.end(), end, "{what}");
        assert_readable(&mut log, &journal, &what);
        let states = log.producers().states().count();
        assert_eq!(states, sequences.iter().filter(|sequence| **sequence > 0).count(), "{what}");
    }
    let mut log = open(&disk, end);
    clean_from(&mut log, 0, end, 6_000, LIMITS).expect("the disk works again");
    assert_readable(&mut log, &journal, &what);
    is_done
}

#[test]
fn a_power_cut_at_any_step_leaves_a_log_that_reads_the_same() {
    for seed in 0..4 {
        let mut steps = 0;
        while !stop_a_pass_after(steps, seed, None) {
            for survival in 0..6 {
                stop_a_pass_after(steps, seed, Some(survival));
            }
            steps += 1;
        }
        assert!(steps > 20, "a pass takes some steps: {steps}");
    }
}
