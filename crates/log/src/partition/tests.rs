//! A log under ordinary use, random use, and crashes at every step.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, Uuid};
use wire::batch::{BatchBuilder, Batches, NewRecord, Producer, Rules};

use super::{AppendError, LeaderRules, Log, LogError, LogOptions, Opening, Retention};
use crate::disk::{Crash, Disk, MemDisk};

mod damage;
mod full;
mod mended;
mod overlap;

const DIR: &str = "/data/t-0";
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

fn options(segment_bytes: u32) -> LogOptions {
    LogOptions { segment_bytes, index_interval_bytes: 100, ..LogOptions::default() }
}

fn topic_id() -> Uuid {
    Uuid::from_u128(1_000)
}

fn new_log(disk: &MemDisk, segment_bytes: u32) -> Log {
    Log::create(Arc::new(disk.clone()), PathBuf::from(DIR), options(segment_bytes), Some(topic_id()))
        .expect("no fault")
}

fn reopen(disk: &MemDisk, segment_bytes: u32, opening: Opening) -> Log {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Log::open(disk, PathBuf::from(DIR), options(segment_bytes), opening).expect("opens").0
}

/// A batch of `count` records; record `i` has the value `first + i` and that many milliseconds.
fn batch(first: i64, count: i64) -> Vec<u8> {
    batch_of(first, count, None)
}

fn batch_of(first: i64, count: i64, producer: Option<Producer>) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(0));
    if let Some(producer) = producer {
        builder = builder.producer(producer, false);
    }
    for number in first..first + count {
        let value = number.to_string();
        builder.push(&NewRecord {
            timestamp: Timestamp::new(number),
            value: Some(value.as_bytes()),
            ..NewRecord::default()
        });
    }
    let mut bytes = Vec::new();
    builder.finish(&mut bytes).expect("no codec");
    bytes
}

/// Appends a batch whose values are its offsets.
fn append(log: &mut Log, count: i64, epoch: i32) -> Result<(), AppendError> {
    let first = log.end().get();
    let bytes = batch(first, count);
    log.append_as_leader(&bytes, LeaderEpoch::new(epoch), Timestamp::new(first), &RULES).map(|_| ())
}

/// Every value from `from` on, read through several small fetches; each must equal its offset.
fn read_all(log: &mut Log, from: i64) -> Vec<i64> {
    let mut values = Vec::new();
    let mut next = Offset::new(from);
    while let Some(slice) = log.read(next, 150, log.end(), true).expect("in range") {
        let bytes = slice.read().expect("no fault");
        for batch in Batches::new(&bytes) {
            let batch = batch.expect("whole batches only");
            batch.check_crc().expect("as appended");
            for record in batch.records(1 << 20).expect("no codec").iter() {
                let record = record.expect("as appended");
                let value = std::str::from_utf8(record.value.expect("has one")).expect("a number");
                assert_eq!(value, record.offset.to_string());
                values.push(record.offset.get());
            }
            next = batch.header.next_offset();
        }
    }
    values
}

fn assert_holds(log: &mut Log, from: i64, end: i64) {
    assert_eq!((log.start().get(), log.end().get()), (from, end));
    assert_eq!(read_all(log, from), (from..end).collect::<Vec<_>>());
}

#[test]
fn what_is_appended_is_read_across_segments() {
    let disk = MemDisk::new();
    let mut log = new_log(&disk, 300);
    for count in [1, 5, 2, 9, 1, 1, 30, 4] {
        append(&mut log, count, 0).expect("no fault");
    }
    assert_holds(&mut log, 0, 53);
    assert!(log.segments.len() > 3);
    log.close().expect("no fault");
    let mut log = reopen(
        &disk,
        300,
        Opening {
            is_clean: true,
            recovery_point: Offset::new(53),
            start: Offset::ZERO,
            ..Opening::default()
        },
    );
    assert_eq!(log.topic_id(), Some(topic_id()));
    assert_holds(&mut log, 0, 53);
}

#[test]
fn a_read_from_within_a_batch_begins_with_that_batch() {
    let disk = MemDisk::new();
    let mut log = new_log(&disk, 1 << 20);
    append(&mut log, 10, 0).expect("no fault");
    append(&mut log, 10, 0).expect("no fault");
    let slice = log.read(Offset::new(15), 1, Offset::new(20), true).expect("in range").expect("something");
    let bytes = slice.read().expect("no fault");
    let first = Batches::new(&bytes).next().expect("one").expect("whole");
    assert_eq!(first.header.base_offset, Offset::new(10));
    let too_small = log.read(Offset::new(15), 1, Offset::new(20), false).expect("in range");
    assert!(too_small.is_none(), "unless asked for, nothing larger than the bound comes");
}

#[test]
fn a_read_ends_below_its_upper_bound() {
    let disk = MemDisk::new();
    let mut log = new_log(&disk, 200);
    for _ in 0..10 {
        append(&mut log, 3, 0).expect("no fault");
    }
    for upper in 0..=30 {
        let mut next = Offset::ZERO;
        while let Some(slice) = log.read(next, 1 << 20, Offset::new(upper), true).expect("in range") {
            let bytes = slice.read().expect("no fault");
            next = Batches::new(&bytes).last().expect("some").expect("whole").header.next_offset();
        }
        assert_eq!(next.get(), upper / 3 * 3, "up to {upper}");
    }
    assert!(matches!(log.read(Offset::new(31), 1, Offset::new(31), true), Err(LogError::OutOfRange { .. })));
}

#[test]
fn records_are_found_by_their_time() {
    let disk = MemDisk::new();
    let mut log = new_log(&disk, 300);
    for _ in 0..20 {
        append(&mut log, 3, 0).expect("no fault");
    }
    for timestamp in [0, 1, 17, 30, 59] {
        let found = log.find_timestamp(Timestamp::new(timestamp)).expect("no fault").expect("there is one");
        assert_eq!((found.offset.get(), found.timestamp.get()), (timestamp, timestamp));
    }
    assert_eq!(log.find_timestamp(Timestamp::new(60)).expect("no fault"), None);
    assert_eq!(log.find_newest().expect("no fault").map(|found| found.offset.get()), Some(59));
}

#[test]
fn truncation_cuts_at_the_batch_and_forgets_later_epochs() {
    for end in 0..=20 {
        let disk = MemDisk::new();
        let mut log = new_log(&disk, 250);
        for epoch in 0..10 {
            append(&mut log, 2, epoch).expect("no fault");
        }
        log.truncate_to(Offset::new(end)).expect("no fault");
        let kept = end / 2 * 2;
        assert_holds(&mut log, 0, kept);
        assert_eq!(log.last_epoch().map(LeaderEpoch::get), (kept > 0).then(|| (kept as i32 - 1) / 2));
        append(&mut log, 2, 20).expect("no fault");
        assert_holds(&mut log, 0, kept + 2);
    }
}

#[test]
fn retention_takes_whole_segments_and_never_what_is_not_committed() {
    let disk = MemDisk::new();
    let mut log = new_log(&disk, 250);
    for _ in 0..30 {
        append(&mut log, 2, 0).expect("no fault");
    }
    let by_size = Retention { bytes: Some(300), age: None };
    log.retain(&by_size, Timestamp::new(0), Offset::ZERO).expect("no fault");
    assert_eq!(log.start(), Offset::ZERO, "nothing is committed");
    log.retain(&by_size, Timestamp::new(0), log.end()).expect("no fault");
    assert!(log.size_bytes() >= 300 && log.start() > Offset::ZERO);
    let start = log.start().get();
    assert_holds(&mut log, start, 60);
    let by_age = Retention { bytes: None, age: Some(Duration::from_millis(1_000)) };
    log.retain(&by_age, Timestamp::new(5_000), log.end()).expect("no fault");
    assert_holds(&mut log, 60, 60);
    log.close().expect("no fault");
    let opening = Opening {
        is_clean: true,
        recovery_point: Offset::new(60),
        start: Offset::new(60),
        ..Opening::default()
    };
    let mut log = reopen(&disk, 250, opening);
    append(&mut log, 2, 0).expect("no fault");
    assert_holds(&mut log, 60, 62);
}

#[test]
fn what_lies_below_the_start_goes_with_its_segment_and_the_last_one_too() {
    let disk = MemDisk::new();
    let mut log = new_log(&disk, 250);
    for _ in 0..5 {
        append(&mut log, 2, 0).expect("no fault");
    }
    log.advance_start(Offset::new(7)).expect("in range");
    let size = log.size_bytes();
    assert_eq!(log.remove_deleted().expect("no fault"), 0, "a part of the first one is served");
    log.advance_start(log.end()).expect("in range");
    assert_eq!(log.remove_deleted().expect("no fault"), 1);
    assert_eq!((log.size_bytes(), size > 0), (0, true));
    append(&mut log, 2, 0).expect("no fault");
    assert_holds(&mut log, 10, 12);
}

#[test]
fn a_follower_takes_what_continues_its_log_and_nothing_else() {
    let (leader_disk, follower_disk) = (MemDisk::new(), MemDisk::new());
    let mut leader = new_log(&leader_disk, 1 << 20);
    let mut follower = new_log(&follower_disk, 200);
    for epoch in [3, 3, 5] {
        append(&mut leader, 4, epoch).expect("no fault");
    }
    let slice = leader.read(Offset::ZERO, 1 << 20, leader.end(), true).expect("in range").expect("something");
    let bytes = slice.read().expect("no fault");
    let cut = bytes.len() - 1;
    follower
        .append_as_follower(&bytes[..cut], Timestamp::new(0))
        .expect("whole batches")
        .expect("two of them");
    assert_eq!(follower.end(), Offset::new(8));
    let again = follower.append_as_follower(&bytes, Timestamp::new(0));
    assert!(matches!(again, Err(AppendError::Gap { .. })), "{again:?}");
    assert_eq!(follower.last_fetched_epoch(), Some(LeaderEpoch::new(3)));
    assert_holds(&mut follower, 0, 8);
    follower.restart_at(Offset::new(100)).expect("no fault");
    assert_holds(&mut follower, 100, 100);
}

#[test]
fn a_repeated_batch_is_recognised_after_a_restart_of_any_kind() {
    let producer =
        |base_sequence| Producer { id: ProducerId::new(7), epoch: ProducerEpoch::new(0), base_sequence };
    for is_clean in [true, false] {
        let disk = MemDisk::new();
        let mut log = new_log(&disk, 200);
        for number in 0..6 {
            let bytes = batch_of(number, 1, Some(producer(number as i32)));
            log.append_as_leader(&bytes, LeaderEpoch::new(0), Timestamp::new(0), &RULES).expect("in order");
        }
        if is_clean {
            log.close().expect("no fault");
        }
        drop(log);
        disk.crash(Crash::Process);
        let opening = Opening {
            is_clean,
            recovery_point: Offset::new(if is_clean { 6 } else { 0 }),
            start: Offset::ZERO,
            ..Opening::default()
        };
        let mut log = reopen(&disk, 200, opening);
        let bytes = batch_of(5, 1, Some(producer(5)));
        let again = log.append_as_leader(&bytes, LeaderEpoch::new(0), Timestamp::new(0), &RULES);
        let again = again.expect("a repeat");
        assert!(again.is_duplicate && again.first == Offset::new(5), "clean: {is_clean}");
    }
}

/// A log of four batches in one segment, and where in the file each begins.
fn four_batches(disk: &MemDisk) -> (Log, Vec<u64>) {
    let mut log = new_log(disk, 1 << 20);
    let mut begins = Vec::new();
    for _ in 0..4 {
        begins.push(log.size_bytes());
        append(&mut log, 3, 0).expect("no fault");
    }
    (log, begins)
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_to_the_last_whole_batch() {
    let (log, begins) = four_batches(&MemDisk::new());
    for len in 0..log.size_bytes() {
        let disk = MemDisk::new();
        let (log, _) = four_batches(&disk);
        log.file_of(0).expect("open").truncate(len).expect("no fault");
        drop(log);
        let mut log = reopen(&disk, 1 << 20, Opening::default());
        let whole = begins.iter().filter(|&&begin| begin > 0 && begin <= len).count();
        assert_holds(&mut log, 0, 3 * i64::try_from(whole).expect("few"));
        append(&mut log, 3, 1).expect("goes on");
    }
}

#[test]
fn a_flipped_bit_behind_the_recovery_point_cuts_the_log_there() {
    let path = Path::new(DIR).join("00000000000000000000.log");
    let (log, begins) = four_batches(&MemDisk::new());
    for at in 0..log.size_bytes() {
        let disk = MemDisk::new();
        drop(four_batches(&disk));
        disk.flip(&path, at, 0x10).expect("exists");
        let mut log = reopen(&disk, 1 << 20, Opening::default());
        let hit = begins.partition_point(|&begin| begin <= at) - 1;
        let within = at - begins[hit];
        // Base offset and leader epoch lie outside the CRC: only their order and range guard them.
        if (8..12).contains(&within) || within >= 16 {
            assert_holds(&mut log, 0, 3 * i64::try_from(hit).expect("few"));
        }
        assert!(log.end().get() <= i64::from(i32::MAX) + 1, "flip at {at}");
    }
}

/// Runs `scenario` with the machine stopping at every step; whatever was flushed must be there
/// afterwards, and what is there must be a prefix of what was appended.
fn crash_everywhere(how: Crash, scenario: impl Fn(&MemDisk, &mut i64) -> Option<()>) {
    for step in 0.. {
        let disk = MemDisk::new();
        disk.create_dir_all(Path::new(DIR)).expect("no fault");
        disk.sync_dir(Path::new(DIR)).expect("no fault");
        disk.stop_after(step);
        let mut flushed = 0;
        let finished = scenario(&disk, &mut flushed).is_some();
        disk.crash(how);
        let opening = Opening { recovery_point: Offset::new(flushed), ..Opening::default() };
        let mut log = reopen(&disk, 300, opening);
        let end = log.end().get();
        assert!(end >= flushed, "step {step}: {flushed} were flushed, {end} are left");
        let start = log.start().get();
        assert_holds(&mut log, start, end);
        append(&mut log, 2, 99).expect("goes on");
        assert_holds(&mut log, start, end + 2);
        if finished {
            return;
        }
    }
}

fn append_roll_and_flush(disk: &MemDisk, flushed: &mut i64) -> Option<()> {
    let mut log = Log::create(Arc::new(disk.clone()), PathBuf::from(DIR), options(300), None).ok()?;
    for round in 0..12 {
        append(&mut log, 3, round / 4).ok()?;
        if round % 3 == 2 {
            log.flush().ok()?;
            *flushed = log.end().get();
        }
    }
    log.close().ok()?;
    *flushed = log.end().get();
    Some(())
}

fn truncate_and_go_on(disk: &MemDisk, flushed: &mut i64) -> Option<()> {
    append_roll_and_flush(disk, &mut 0)?;
    let mut log =
        Log::open(Arc::new(disk.clone()), PathBuf::from(DIR), options(300), Opening::default()).ok()?.0;
    log.truncate_to(Offset::new(9)).ok()?;
    append(&mut log, 3, 50).ok()?;
    log.flush().ok()?;
    *flushed = log.end().get();
    Some(())
}

fn delete_the_oldest(disk: &MemDisk, flushed: &mut i64) -> Option<()> {
    append_roll_and_flush(disk, flushed)?;
    let opening = Opening { recovery_point: Offset::new(*flushed), ..Opening::default() };
    let mut log = Log::open(Arc::new(disk.clone()), PathBuf::from(DIR), options(300), opening).ok()?.0;
    log.advance_start(Offset::new(20)).ok()?;
    append(&mut log, 3, 50).ok()?;
    log.flush().ok()?;
    *flushed = log.end().get();
    log.retain(&Retention { bytes: Some(0), age: None }, Timestamp::new(0), log.end()).ok()?;
    append(&mut log, 3, 50).ok()?;
    log.flush().ok()?;
    *flushed = log.end().get();
    Some(())
}

#[test]
fn a_crash_at_any_step_keeps_what_was_flushed() {
    for how in [Crash::Process, Crash::Power, Crash::TornPower { keep: 70 }] {
        crash_everywhere(how, append_roll_and_flush);
        crash_everywhere(how, truncate_and_go_on);
        crash_everywhere(how, delete_the_oldest);
    }
}

#[test]
fn after_a_failed_sync_nothing_more_is_taken() {
    let disk = MemDisk::new();
    let mut log = new_log(&disk, 300);
    append(&mut log, 3, 0).expect("no fault");
    disk.fail_next_sync();
    assert!(log.flush().is_err());
    let refused = append(&mut log, 3, 0).expect_err("poisoned");
    assert_eq!(refused.code().name(), "KAFKA_STORAGE_ERROR");
    assert!(log.flush().is_err(), "a second sync may succeed without the lost bytes");
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    let disk = MemDisk::new();
    let mut log = new_log(&disk, 1 << 20);
    append(&mut log, 3, 0).expect("no fault");
    disk.set_capacity(Some(log.size_bytes() + 60));
    assert!(append(&mut log, 3, 0).is_err());
    assert_holds(&mut log, 0, 3);
    disk.set_capacity(None);
    append(&mut log, 3, 0).expect("there is room again");
    assert_holds(&mut log, 0, 6);
}

#[test]
fn random_use_agrees_with_a_plain_list() {
    for seed in 0..60 {
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = MemDisk::new();
        let mut log = new_log(&disk, 400);
        let mut end = 0;
        for _ in 0..60 {
            match random.u8(0..10) {
                0 => {
                    log.truncate_to(Offset::new(random.i64(log.start().get()..=end))).expect("no fault");
                    end = log.end().get();
                }
                1 => {
                    log.close().expect("no fault");
                    let opening = Opening {
                        is_clean: true,
                        recovery_point: log.end(),
                        start: log.start(),
                        ..Opening::default()
                    };
                    drop(log);
                    log = reopen(&disk, 400, opening);
                }
                2 => {
                    let opening = Opening {
                        is_clean: false,
                        recovery_point: log.recovery_point(),
                        start: log.start(),
                        ..Opening::default()
                    };
                    drop(log);
                    disk.crash(Crash::Process);
                    log = reopen(&disk, 400, opening);
                }
                3 => log.flush().expect("no fault"),
                4 => log.advance_start(Offset::new(random.i64(log.start().get()..=end))).expect("in range"),
                5 => log.release(),
                _ => {
                    let count = random.i64(1..6);
                    append(&mut log, count, i32::try_from(end / 10).expect("small")).expect("no fault");
                    end += count;
                }
            }
            assert_eq!(log.end().get(), end, "seed {seed}");
            let start = log.start().get();
            let read = read_all(&mut log, start);
            assert!(read.first().is_none_or(|&first| first <= start) && read.is_sorted(), "seed {seed}");
            assert_eq!(
                read.iter().filter(|&&value| value >= start).count() as i64,
                end - start,
                "seed {seed}"
            );
        }
    }
}

#[test]
fn a_producers_false_maximum_timestamp_does_not_reach_the_log() {
    let disk = MemDisk::default();
    let mut log = new_log(&disk, 1 << 20);
    let mut bytes = batch(0, 3);
    wire::batch::patch::set_max_timestamp(&mut bytes, Timestamp::new(i64::MAX));
    log.append_as_leader(&bytes, LeaderEpoch::new(1), Timestamp::new(0), &RULES).expect("corrected");
    let stored = log.read(Offset::ZERO, 1 << 20, log.end(), true).expect("in range").expect("a batch");
    let stored = stored.read().expect("no fault");
    let stored = Batches::new(&stored).next().expect("one").expect("well formed");
    stored.check_crc().expect("sealed again");
    assert_eq!(stored.header.max_timestamp, Timestamp::new(2));
}
