//! Logs before and after a pass, written as text; crashes and random logs are in `crashes`.
//!
//! `a=1 b, c=2 / d=3` is a segment of two batches and one of one; `b` is a tombstone. A
//! batch may begin with its producer and sequence, `9@0:`, or `9@0t:` in a transaction;
//! `commit9` and `abort9` end it. The last segment is the one that grows. Of what is left,
//! each record says its offset; `[4-6]` is a batch without records and `~` a delete horizon.

mod crashes;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, Uuid};
use wire::batch::{BatchBuilder, BatchRef, Batches, EndMarker, NewRecord, Producer};
use wire::codec::Codec;

use crate::cleaner::{CleaningError, CleaningLimits, CleaningReport, CompactionRules, Step};
use crate::disk::{Disk, MemDisk};
use crate::partition::{Log, LogOptions};

const DIR: &str = "/data/t-0";
const RULES: CompactionRules =
    CompactionRules { lag_min: Duration::ZERO, lag_max: None, tombstone_retention: Duration::from_secs(1) };
const LIMITS: CleaningLimits = CleaningLimits { map_bytes: 1 << 20, load_factor: 0.9, step_bytes: 100 };

fn options() -> LogOptions {
    LogOptions { segment_bytes: 4_000, index_interval_bytes: 100, ..LogOptions::default() }
}

fn new_log(disk: &MemDisk) -> Log {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Log::create(disk, PathBuf::from(DIR), options(), Some(Uuid::from_u128(7))).expect("no fault")
}

/// One pass from `from` on, all that is cleanable below `stable`.
fn clean_from(
    log: &mut Log,
    from: i64,
    stable: Offset,
    now: i64,
    limits: CleaningLimits,
) -> Result<CleaningReport, CleaningError> {
    log.clean(&RULES, limits, Some(Offset::new(from)), stable, Timestamp::new(now))
}

fn clean(log: &mut Log, now: i64) -> CleaningReport {
    let end = log.end();
    clean_from(log, 0, end, now, LIMITS).expect("no fault")
}

/// Appends the batches of one segment, and begins the next.
fn write_segment(log: &mut Log, text: &str, codec: Codec) {
    for batch in text.split(", ").filter(|batch| !batch.trim().is_empty()) {
        let bytes = encode(batch.trim(), log.end(), codec);
        log.append_as_follower(&bytes, Timestamp::new(0)).expect("no fault");
    }
}

fn encode(text: &str, at: Offset, codec: Codec) -> Vec<u8> {
    let epoch = LeaderEpoch::new(0);
    for (kind, commit) in [("commit", true), ("abort", false)] {
        if let Some(id) = text.strip_prefix(kind) {
            let marker = EndMarker { commit, coordinator_epoch: 1 };
            let id = ProducerId::new(id.parse().expect("a producer"));
            return marker.batch(id, ProducerEpoch::new(0), Timestamp::new(at.get()), (at, epoch));
        }
    }
    let mut builder = BatchBuilder::new(at, epoch).codec(codec, None);
    let (producer, records) = text.split_once(": ").map_or((None, text), |(id, rest)| (Some(id), rest));
    if let Some((id, sequence)) = producer.and_then(|text| text.split_once('@')) {
        let (id, base_sequence) = (id.parse().expect("an id"), sequence.trim_end_matches('t').parse());
        let epoch = ProducerEpoch::new(0);
        let base_sequence = base_sequence.expect("a sequence");
        let producer = Producer { id: ProducerId::new(id), epoch, base_sequence };
        builder = builder.producer(producer, sequence.ends_with('t'));
    }
    for (delta, record) in records.split_whitespace().enumerate() {
        let (key, value) = record.split_once('=').map_or((record, None), |(key, value)| (key, Some(value)));
        builder.push(&NewRecord {
            timestamp: Timestamp::new(at.get() + delta as i64),
            key: (key != "-").then_some(key.as_bytes()),
            value: value.map(str::as_bytes),
            ..NewRecord::default()
        });
    }
    let mut bytes = Vec::new();
    builder.finish(&mut bytes).expect("compresses");
    bytes
}

fn build(disk: &MemDisk, text: &str, codec: Codec) -> Log {
    let mut log = new_log(disk);
    for (index, segment) in text.split(" / ").enumerate() {
        if index > 0 {
            log.roll(log.end()).expect("no fault");
        }
        write_segment(&mut log, segment, codec);
    }
    log
}

fn show_batch(batch: &BatchRef<'_>) -> String {
    let header = &batch.header;
    batch.check_crc().expect("sealed");
    let horizon = if header.has_delete_horizon() { "~" } else { "" };
    if header.count == 0 {
        return format!("[{}-{}]", header.base_offset, header.last_offset());
    }
    if let Some(marker) = EndMarker::read(batch) {
        let kind = if marker.commit { "commit" } else { "abort" };
        return format!("{horizon}{}:{kind}{}", header.base_offset, header.producer_id);
    }
    let records = batch.records(1 << 20).expect("compressed as it was");
    let each = records.iter().map(|record| {
        let record = record.expect("whole");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let value = record.value.map_or_else(String::new, |value| format!("={}", text(value)));
        assert_eq!(record.timestamp.get(), record.offset.get(), "its time is what it was");
        format!("{}:{}{value}", record.offset, record.key.map_or_else(|| "-".into(), text))
    });
    format!("{horizon}{}", each.collect::<Vec<_>>().join(" "))
}

/// All segments but the growing one, read batch by batch as a consumer would.
fn show(log: &mut Log) -> String {
    let mut segments = Vec::new();
    let bounds: Vec<Offset> = log.segments.iter().map(|segment| segment.base).collect();
    for pair in bounds.windows(2) {
        let (mut batches, mut next) = (Vec::new(), pair[0]);
        while let Some(slice) = log.read(next, 1, pair[1], true).expect("in range") {
            let bytes = slice.read().expect("no fault");
            for batch in Batches::new(&bytes) {
                let batch = batch.expect("whole");
                next = batch.header.next_offset();
                batches.push(show_batch(&batch));
            }
        }
        segments.push(batches.join(", "));
    }
    segments.join(" / ")
}

/// What one pass at time 5,000 leaves, whatever the codec.
fn check(before: &str, after: &str) {
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let disk = MemDisk::new();
        let mut log = build(&disk, before, codec);
        clean(&mut log, 5_000);
        assert_eq!(show(&mut log), after, "{codec:?} of {before}");
        assert_sound(&disk, &mut log);
    }
}

/// Indexes lead where they say, nothing is left under way, and the log opens as it is.
fn assert_sound(disk: &MemDisk, log: &mut Log) {
    let (shown, end) = (show(log), log.end());
    for (path, _) in disk.files() {
        let name = path.to_string_lossy();
        assert!(!name.ends_with(".cleaned") && !name.ends_with(".swap"), "{name} is left");
    }
    log.flush().expect("no fault");
    for is_clean in [false, true] {
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let opening = crate::Opening { is_clean, ..Default::default() };
        if is_clean {
            log.close().expect("no fault");
        }
        let (mut again, report) = Log::open(shared, PathBuf::from(DIR), options(), opening).expect("opens");
        assert_eq!(report, None);
        assert_eq!((show(&mut again), again.end()), (shown.clone(), end));
        assert_eq!(again.producers().states().count(), log.producers().states().count());
    }
}

#[test]
fn of_each_key_the_last_record_is_left_where_it_was() {
    check("a=1 b=2, a=3 / b=4, c=5 / d=6", "2:a=3, 3:b=4, 4:c=5");
    check("a=1, a=2, a=3, a=4 / d=6", "3:a=4");
    check("a=1 b=1 c=1, b=2 / a=9", "0:a=1 2:c=1, 3:b=2");
    check("a=1 / b=2 / c=3 / d=4", "0:a=1, 1:b=2, 2:c=3");
}

#[test]
fn the_segment_that_grows_takes_no_part() {
    check("a=1 / a=2", "0:a=1");
    check("a=1, a=2", "");
}

#[test]
fn the_batch_that_ends_a_segment_stays_without_records() {
    check("a=1, b=1, b=2 b=3, a=4 / x=1", "3:b=3, 4:a=4");
    let disk = MemDisk::new();
    let mut log = build(&disk, "a=1, b=2, c=3 / a=4, b=5, c=6 / x=1", Codec::Lz4);
    log.options.segment_bytes = 300;
    clean(&mut log, 5_000);
    assert_eq!(show(&mut log), "[2-2] / 3:a=4, 4:b=5, 5:c=6");
    assert_sound(&disk, &mut log);
}

#[test]
fn a_tombstone_stays_until_its_delete_horizon_and_hides_what_was_before() {
    let disk = MemDisk::new();
    let mut log = build(&disk, "a=1 b=2, a c=3 / x=1", Codec::Zstd);
    clean(&mut log, 5_000);
    assert_eq!(show(&mut log), "1:b=2, ~2:a 3:c=3");
    clean(&mut log, 5_999);
    assert_eq!(show(&mut log), "1:b=2, ~2:a 3:c=3");
    clean(&mut log, 6_000);
    assert_eq!(show(&mut log), "1:b=2, ~3:c=3");
    assert_sound(&disk, &mut log);
}

#[test]
fn records_without_a_key_go() {
    check("-=1 a=1, -=2 / x=1", "1:a=1, [2-2]");
}

#[test]
fn a_producers_last_batch_stays_so_that_its_sequence_goes_on() {
    check("9@0: a=1 b=1, 9@2: a=2, 7@0: a=3, a=4 / x=1", "1:b=1, [2-2], [3-3], 4:a=4");
}

#[test]
fn an_aborted_transactions_records_go_and_hide_nothing() {
    check("a=1, 9@0t: a=2 b=2, 9@2t: c=3, abort9, b=9 / x=1", "0:a=1, [3-3], 4:abort9, 5:b=9");
}

#[test]
fn a_marker_goes_after_its_transaction_and_a_retention() {
    let disk = MemDisk::new();
    let text = "9@0t: a=1, commit9, 8@0t: b=1, abort8, 9@1t: a=2, commit9, 8@1t: b=2, commit8 / 9@2t: a=3, commit9 / x=1";
    let mut log = build(&disk, text, Codec::None);
    clean(&mut log, 5_000);
    assert_eq!(show(&mut log), "1:commit9, 3:abort8, 5:commit9, 6:b=2, 7:commit8, 8:a=3, 9:commit9");
    clean(&mut log, 5_100);
    assert_eq!(show(&mut log), "~1:commit9, ~3:abort8, ~5:commit9, 6:b=2, 7:commit8, 8:a=3, 9:commit9");
    clean(&mut log, 6_099);
    assert_eq!(log.segments[0].size, log.size_bytes() as u32 - log.segments[1].size);
    clean(&mut log, 6_100);
    assert_eq!(show(&mut log), "6:b=2, 7:commit8, 8:a=3, 9:commit9");
    assert_sound(&disk, &mut log);
    assert_eq!(log.last_stable(log.end()), log.end(), "no transaction lost its end");
}

#[test]
fn an_open_transaction_and_what_is_not_committed_wait() {
    let disk = MemDisk::new();
    let mut log = build(&disk, "a=1 / a=2 / 9@0t: b=1 / a=3 / x=1", Codec::None);
    let stable = log.last_stable(log.end());
    let report = clean_from(&mut log, 0, stable, 5_000, LIMITS).expect("no fault");
    assert_eq!((stable.get(), report.first_dirty.get()), (2, 2));
    assert_eq!(show(&mut log), "1:a=2 / 2:b=1 / 3:a=3");
}

#[test]
fn a_full_map_ends_the_pass_early_and_the_next_one_goes_on() {
    let disk = MemDisk::new();
    let mut log = build(&disk, "a=1 b=1 c=1 d=1, e=1 / a=2 b=2, c=2 / d=2 e=2 / x=1", Codec::Snappy);
    let limits = CleaningLimits { map_bytes: 3 * 24, load_factor: 0.9, step_bytes: 1 };
    let mut from = 0;
    let mut steps = Vec::new();
    while from < 10 {
        let end = log.end();
        from = clean_from(&mut log, from, end, 5_000, limits).expect("no fault").first_dirty.get();
        steps.push(from);
    }
    assert_eq!(steps, [2, 4, 6, 8, 10]);
    assert_eq!(show(&mut log), "5:a=2 6:b=2, 7:c=2, 8:d=2 9:e=2");
    assert_sound(&disk, &mut log);
}

#[test]
fn the_dirty_part_is_what_lags_allow() {
    let disk = MemDisk::new();
    let mut log = build(&disk, "a=1 a=2 / a=3 a=4 / a=5 a=6 / x=1", Codec::None);
    let end = log.end();
    let said = |log: &mut Log, rules: CompactionRules, from: Option<i64>, stable: i64, now: i64| {
        let from = from.map(Offset::new);
        let it = log.cleanable(&rules, from, Offset::new(stable), Timestamp::new(now)).expect("no fault");
        let size = log.segments[0].size as u64;
        let (clean, dirty) = (it.clean_bytes / size, it.dirty_bytes / size);
        format!("{}..{} {clean}/{dirty} {}", it.first_dirty, it.end, if it.is_overdue { "now" } else { "" })
    };
    let end = end.get();
    assert_eq!(said(&mut log, RULES, None, end, 0), "0..6 0/3 ");
    assert_eq!(said(&mut log, RULES, Some(2), end, 0), "2..6 1/2 ");
    assert_eq!(said(&mut log, RULES, Some(2), 5, 0), "2..4 1/1 ");
    assert_eq!(said(&mut log, RULES, Some(6), end, 0), "6..6 3/0 ");
    assert_eq!(said(&mut log, RULES, Some(99), end, 0), "0..6 0/3 ", "the checkpoint is of another log");
    let lag_min = CompactionRules { lag_min: Duration::from_millis(10), ..RULES };
    assert_eq!(said(&mut log, lag_min, None, end, 12), "0..2 0/1 ");
    assert_eq!(said(&mut log, lag_min, None, end, 13), "0..4 0/2 ");
    let lag_max = CompactionRules { lag_max: Some(Duration::from_millis(10)), ..RULES };
    assert_eq!(said(&mut log, lag_max, Some(2), end, 13), "2..6 1/2 ");
    assert_eq!(said(&mut log, lag_max, Some(2), end, 14), "2..6 1/2 now");
    log.truncate_to(Offset::new(3)).expect("no fault");
    assert_eq!(said(&mut log, RULES, Some(2), 3, 0), "2..2 1/0 ", "what was cut and written anew is dirty");
}

#[test]
fn a_bad_batch_is_named_and_nothing_is_changed() {
    let disk = MemDisk::new();
    let mut log = build(&disk, "a=1, a=2, a=3 / a=4 / x=1", Codec::None);
    log.flush().expect("no fault");
    let path = log.segments[0].path(&log.dir);
    disk.flip(&path, 80, 1).expect("a byte of the second batch");
    let end = log.end();
    let failed = clean_from(&mut log, 0, end, 5_000, LIMITS).expect_err("a CRC does not match");
    let said = failed.to_string();
    assert!(said.starts_with("/data/t-0/00000000000000000000.log, position 70, behind offset 1:"), "{said}");
    assert_eq!(log.segment_count(), 3);
    assert!(!disk.files().iter().any(|(path, _)| path.to_string_lossy().ends_with(".cleaned")));
}

#[test]
fn a_log_that_changes_under_a_pass_keeps_what_it_became() {
    let disk = MemDisk::new();
    let mut log = build(&disk, "a=1, a=2 / a=3 / x=1", Codec::None);
    let now = Timestamp::new(5_000);
    let cleanable = log.cleanable(&RULES, None, log.end(), now).expect("no fault");
    let mut cleaning = log.begin_cleaning(&cleanable, &RULES, LIMITS, now).expect("no fault");
    let cleaned = loop {
        match cleaning.step().expect("no fault") {
            Step::Swap(cleaned) => break cleaned,
            Step::Worked(_) => {}
            Step::Done(_) => panic!("something was to be swapped"),
        }
    };
    assert!(log.begin_swap(&cleaned).expect("no fault"));
    let synced = cleaned.sync_names();
    log.truncate_to(Offset::new(1)).expect("no fault");
    assert!(!disk.files().iter().any(|(path, _)| path.to_string_lossy().ends_with(".swap")));
    assert!(!log.finish_swap(*cleaned, synced).expect("no fault"));
    assert!(!log.stands_since(&cleaning) && !log.end_cleaning(&cleaning));
    assert_eq!(log.end().get(), 1);
    assert_sound(&disk, &mut log);
}

#[test]
fn leader_epochs_survive_compaction_and_a_crash_without_a_checkpoint() {
    let disk = MemDisk::new();
    let mut log = new_log(&disk);
    for (epoch, text) in [(0, "a=1"), (1, "a=2"), (1, "b=1"), (4, "a=3"), (4, "b=2"), (4, "c=1")] {
        let mut bytes = encode(text, log.end(), Codec::None);
        wire::batch::patch::place(&mut bytes, log.end(), LeaderEpoch::new(epoch));
        log.append_as_follower(&bytes, Timestamp::new(0)).expect("no fault");
        log.roll(log.end()).expect("no fault");
    }
    let ends = |log: &Log| -> Vec<_> {
        (0..5).map(|epoch| log.epoch_end(LeaderEpoch::new(epoch)).map(|(_, end)| end.get())).collect()
    };
    let before = ends(&log);
    assert_eq!(before, [Some(1), Some(3), Some(3), Some(3), Some(6)]);
    clean(&mut log, 5_000);
    assert_eq!(show(&mut log), "3:a=3, 4:b=2, 5:c=1");
    assert_eq!(ends(&log), before);
    log.flush().expect("no fault");
    disk.crash(crate::disk::Crash::Power);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (log, _) = Log::open(shared, PathBuf::from(DIR), options(), Default::default()).expect("opens");
    assert_eq!(ends(&log), before);
}

#[test]
fn times_are_found_in_a_compacted_log() {
    let disk = MemDisk::new();
    let mut log = build(&disk, "a=1 b=1, a=2 / c=1, b=2, d=1 / x=1", Codec::Lz4);
    clean(&mut log, 5_000);
    assert_eq!(show(&mut log), "2:a=2, 3:c=1, 4:b=2, 5:d=1");
    for (time, found) in [(0, 2), (1, 2), (2, 2), (3, 3), (5, 5), (6, 6)] {
        let said = log.find_timestamp(Timestamp::new(time)).expect("no fault").expect("one");
        assert_eq!(said.offset.get(), found, "at {time}");
    }
    assert_eq!(log.find_newest().expect("no fault").expect("one").offset.get(), 6);
}
