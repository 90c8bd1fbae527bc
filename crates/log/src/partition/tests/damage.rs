//! What a log makes of damaged indexes, stale snapshots, gaps and syncs that come late.

use super::*;
use crate::disk::{OpenMode, Survival};
use crate::producers::Producers;
use crate::segment::{LOG_SUFFIX, file_name};

const SUFFIXES: [&str; 2] = ["index", "timeindex"];

/// Three segments with several index entries each; values and times are the offsets.
fn indexed(disk: &MemDisk) -> Log {
    let mut log = new_log(disk, 900);
    for _ in 0..30 {
        append(&mut log, 2, 0).expect("no fault");
    }
    assert!(log.segments.len() >= 3);
    log.close().expect("no fault");
    log
}

fn index_files(disk: &MemDisk) -> Vec<PathBuf> {
    let names = disk.list(Path::new(DIR)).expect("no fault").into_iter().map(|entry| entry.name);
    let wanted = |name: &String| SUFFIXES.iter().any(|suffix| name.ends_with(&format!(".{suffix}")));
    names.filter(wanted).map(|name| Path::new(DIR).join(name)).collect()
}

/// Opens the log again, clean and unclean, and looks at every record by offset and by time.
fn check_serves_all(damage: &str, make: impl Fn() -> MemDisk) {
    for is_clean in [true, false] {
        let opening =
            Opening { is_clean, recovery_point: Offset::new(60), start: Offset::ZERO, ..Opening::default() };
        let mut log = reopen(&make(), 900, opening);
        assert_holds(&mut log, 0, 60);
        for time in (0..60).step_by(7) {
            let found = log.find_timestamp(Timestamp::new(time)).expect("no fault").expect("there is one");
            assert_eq!(found.offset.get(), time, "{damage}, clean: {is_clean}");
        }
        let newest = log.find_newest().expect("no fault").map(|found| found.offset.get());
        assert_eq!(newest, Some(59), "{damage}, clean: {is_clean}");
        let young = Retention { bytes: None, age: Some(Duration::from_millis(100)) };
        assert_eq!(log.retain(&young, Timestamp::new(100), Offset::new(60)).expect("no fault"), 0);
        append(&mut log, 2, 1).expect("goes on");
        log.truncate_to(Offset::new(41)).expect("no fault");
        assert_holds(&mut log, 0, 40);
    }
}

#[test]
fn an_index_flipped_at_any_byte_serves_every_record() {
    let disk = MemDisk::new();
    indexed(&disk);
    for path in index_files(&disk) {
        for at in 0..disk.file_len(&path).expect("exists") {
            for bits in [0x01, 0x80] {
                check_serves_all(&format!("{} flipped at {at}", path.display()), || {
                    let disk = MemDisk::new();
                    indexed(&disk);
                    disk.flip(&path, at, bits).expect("exists");
                    disk
                });
            }
        }
    }
}

#[test]
fn an_index_cut_anywhere_or_missing_serves_every_record() {
    let disk = MemDisk::new();
    indexed(&disk);
    for path in index_files(&disk) {
        for len in 0..disk.file_len(&path).expect("exists") {
            check_serves_all(&format!("{} cut to {len}", path.display()), || {
                let disk = MemDisk::new();
                indexed(&disk);
                let file = disk.open(&path, OpenMode::ReadWrite).expect("exists");
                file.truncate(len).expect("no fault");
                disk
            });
        }
        check_serves_all("missing", || {
            let disk = MemDisk::new();
            indexed(&disk);
            disk.remove_file(&path).expect("exists");
            disk
        });
    }
}

#[test]
fn indexes_filled_with_zeroes_ahead_as_kafka_leaves_them_serve_every_record() {
    check_serves_all("zeroes ahead", || {
        let disk = MemDisk::new();
        indexed(&disk);
        for path in index_files(&disk) {
            let len = disk.file_len(&path).expect("exists");
            let file = disk.open(&path, OpenMode::ReadWrite).expect("exists");
            file.truncate(len + 240).expect("no fault");
        }
        disk
    });
}

#[test]
fn a_sync_that_began_before_a_truncation_proves_nothing_after_it() {
    let mut log = new_log(&MemDisk::new(), 1 << 20);
    for _ in 0..5 {
        append(&mut log, 2, 0).expect("no fault");
    }
    let unsynced = log.unsynced().expect("sound").expect("ten records");
    log.truncate_to(Offset::new(4)).expect("no fault");
    for _ in 0..5 {
        append(&mut log, 2, 1).expect("no fault");
    }
    log.note_synced(unsynced.sync()).expect("it succeeded");
    assert_eq!(log.recovery_point(), Offset::ZERO);
}

#[test]
fn a_shared_sync_makes_segments_epochs_and_names_durable() {
    let disk = MemDisk::new();
    let mut log = new_log(&disk, 300);
    for epoch in 0..12 {
        append(&mut log, 2, epoch).expect("no fault");
    }
    let unsynced = log.unsynced().expect("sound").expect("something");
    append(&mut log, 2, 12).expect("an append while the sync runs");
    log.note_synced(unsynced.sync()).expect("no fault");
    assert_eq!(log.recovery_point(), Offset::new(24));
    let recovery_point = log.recovery_point();
    drop(log);
    disk.crash(Crash::Power);
    let mut log = reopen(&disk, 300, Opening { recovery_point, ..Opening::default() });
    assert_holds(&mut log, 0, 24);
    let ends = |epoch| log.epoch_end(LeaderEpoch::new(epoch)).map(|(_, end)| end.get());
    assert_eq!([ends(0), ends(5), ends(11)], [Some(2), Some(12), Some(24)]);
}

#[test]
fn a_truncation_into_a_gap_ends_the_log_where_it_was_told() {
    let mut log = new_log(&MemDisk::new(), 1 << 20);
    append(&mut log, 2, 0).expect("no fault");
    let mut builder = BatchBuilder::new(Offset::new(50), LeaderEpoch::new(0));
    builder.push(&NewRecord { value: Some(b"50"), ..NewRecord::default() });
    let mut bytes = Vec::new();
    builder.finish(&mut bytes).expect("no codec");
    log.append_as_follower(&bytes, Timestamp::new(0)).expect("compaction leaves gaps");
    assert_eq!(log.end(), Offset::new(51));
    log.truncate_to(Offset::new(20)).expect("no fault");
    assert_eq!(log.end(), Offset::new(20));
    assert_eq!(read_all(&mut log, 0), [0, 1]);
}

#[test]
fn records_missing_between_two_segments_cut_the_log_there() {
    let disk = MemDisk::new();
    let mut log = new_log(&disk, 300);
    (0..12).for_each(|_| append(&mut log, 2, 0).expect("no fault"));
    let base = log.segments[2].base;
    // The page cache wrote the later segments first, and of this one all but the last batch.
    let size = log.segments[1].size;
    let one = batch(base.get() - 2, 2).len() as u64;
    log.file_of(1).expect("exists").truncate(u64::from(size) - one).expect("no fault");
    drop(log);
    let opened = Log::open(Arc::new(disk.clone()), DIR.into(), options(300), Opening::default());
    let (mut log, report) = opened.expect("opens");
    assert!(report.is_some_and(|report| report.reason.contains(&format!("begins at offset {base}"))));
    assert_holds(&mut log, 0, base.get() - 2);
}

#[test]
fn only_the_end_of_a_write_that_was_broken_off_is_called_torn() {
    let is_torn = |harm: &dyn Fn(&MemDisk, &Path, u64)| {
        let disk = MemDisk::new();
        let mut log = new_log(&disk, 10_000);
        (0..3).for_each(|_| append(&mut log, 2, 0).expect("no fault"));
        let path = Path::new(DIR).join(file_name(Offset::ZERO, LOG_SUFFIX));
        harm(&disk, &path, u64::from(log.segments[0].size));
        drop(log);
        let opened = Log::open(Arc::new(disk.clone()), DIR.into(), options(10_000), Opening::default());
        opened.expect("opens").1.expect("something was cut").is_torn
    };
    let truncate = |disk: &MemDisk, path: &Path, size: u64| {
        disk.open(path, OpenMode::ReadWrite).and_then(|file| file.truncate(size - 1)).expect("no fault");
    };
    let flip = |disk: &MemDisk, path: &Path, size: u64| disk.flip(path, size - 1, 1).expect("exists");
    assert!(is_torn(&truncate), "a write that was broken off was never acknowledged");
    assert!(!is_torn(&flip), "a batch that is all there may have been");
}

#[test]
fn a_segment_ends_when_its_index_is_full_or_it_is_old() {
    let disk = MemDisk::new();
    let full = LogOptions { index_bytes_max: 48, index_interval_bytes: 0, ..LogOptions::default() };
    let mut log = Log::create(Arc::new(disk.clone()), DIR.into(), full, None).expect("no fault");
    (0..12).for_each(|_| append(&mut log, 2, 0).expect("no fault"));
    assert!(log.segments.len() > 2);
    assert!(log.segments.iter().all(|segment| segment.index_bytes() <= 48));

    let disk = MemDisk::new();
    let old = LogOptions { segment_age: Duration::from_millis(10), ..LogOptions::default() };
    let mut log = Log::create(Arc::new(disk.clone()), DIR.into(), old.clone(), None).expect("no fault");
    (0..4).for_each(|_| append(&mut log, 2, 0).expect("no fault"));
    log.close().expect("no fault");
    drop(log);
    let opening =
        Opening { is_clean: true, recovery_point: Offset::new(8), start: Offset::ZERO, ..Opening::default() };
    let mut log = Log::open(Arc::new(disk.clone()), DIR.into(), old, opening).expect("opens").0;
    (0..4).for_each(|_| append(&mut log, 2, 0).expect("no fault"));
    assert_eq!(log.segments.len(), 2, "its age outlives a restart");
}

#[test]
fn a_snapshot_above_the_logs_end_is_removed_before_it_can_come_true() {
    let disk = MemDisk::new();
    drop(four_batches(&disk));
    for offset in [3, 6, 12, 13, 400] {
        let path = Path::new(DIR).join(format!("{offset:020}.snapshot"));
        let file = disk.open(&path, OpenMode::ReadWrite).expect("no fault");
        file.write_at(&Producers::default().encode(), 0).expect("no fault");
    }
    reopen(&disk, 1 << 20, Opening::default());
    let names = disk.list(Path::new(DIR)).expect("no fault").into_iter().map(|entry| entry.name);
    let left: Vec<_> = names.filter(|name| name.ends_with(".snapshot")).collect();
    assert_eq!(left, ["00000000000000000012.snapshot"]);
}

/// Everything a log does, each call made whether or not the one before went well.
fn use_all(log: &mut Log) {
    for round in 0..4 {
        (0..5).for_each(|_| drop(append(log, 2, round)));
        let _ = log.flush();
        let _ = log.truncate_to(Offset::new(log.end().get() - 3));
        let _ = append(log, 2, round);
        let _ = log.advance_start(Offset::new(log.start().get() + 4));
        let _ = log.retain(&Retention { bytes: Some(300), age: None }, Timestamp::new(0), log.end());
        let _ = log.find_newest();
        if round == 2 {
            let _ = log.restart_at(log.end().plus(10));
        }
    }
    let _ = log.close();
}

#[test]
fn an_error_at_any_step_leaves_a_log_that_answers_and_opens_again() {
    for step in 0.. {
        let disk = MemDisk::new();
        let mut log = new_log(&disk, 300);
        let began = disk.operations();
        disk.fail_after(step);
        use_all(&mut log);
        let done = disk.operations() - began;
        let point = log.recovery_point();
        drop(log);
        disk.crash(Crash::Power);
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let opening = Opening { recovery_point: point, ..Opening::default() };
        if let Ok((mut log, _)) = Log::open(disk.clone(), DIR.into(), options(300), opening) {
            assert!(log.end() >= point, "step {step}: {point} was durable, {} is left", log.end());
            let (start, end) = (log.start().get(), log.end().get());
            assert_holds(&mut log, start, end);
        } else {
            assert!(!disk.exists(Path::new(DIR)).expect("no fault"), "step {step}: it cannot be opened");
        }
        if step > done {
            return;
        }
    }
}

#[test]
fn an_idle_log_takes_less_than_a_kibibyte() {
    let size = size_of::<Log>() + size_of::<crate::segment::Segment>() + DIR.len();
    assert!(size < 1_024, "{size} bytes");
}

/// A power cut that leaves all names, and of each file the first `keep` bytes.
struct Torn {
    keep: usize,
}

impl Survival for Torn {
    fn of_write(&mut self, len: usize, _later: usize) -> usize {
        self.keep.min(len)
    }

    fn of_resize(&mut self) -> bool {
        true
    }

    fn of_names(&mut self, changes: usize) -> usize {
        changes
    }
}

#[test]
fn records_that_nobody_synced_come_through_a_power_cut_with_their_topic_or_not_at_all() {
    let mut survived = 0;
    for (keep, changes) in (0..200).step_by(7).flat_map(|keep| (0..12).map(move |changes| (keep, changes))) {
        let disk = MemDisk::new();
        let mut log = new_log(&disk, 1 << 20);
        disk.stop_after(changes);
        let _ = append(&mut log, 2, 0);
        drop(log);
        disk.lose_power(&mut Torn { keep });
        disk.crash(Crash::Process);
        let log = reopen(&disk, 1 << 20, Opening::default());
        if log.end() > Offset::ZERO {
            assert_eq!(log.topic_id(), Some(topic_id()), "{keep} bytes after {changes} changes");
            survived += 1;
        }
    }
    assert!(survived > 0, "a cut that takes everything shows nothing");
}

#[test]
fn the_topic_of_a_log_is_durable_before_its_first_record_and_once_it_is_closed() {
    for appends in [true, false] {
        let disk = MemDisk::new();
        let mut log = new_log(&disk, 1 << 20);
        if appends {
            append(&mut log, 2, 0).expect("no fault");
        } else {
            log.close().expect("no fault");
        }
        drop(log);
        disk.crash(Crash::Power);
        let log = reopen(&disk, 1 << 20, Opening::default());
        assert_eq!(log.topic_id(), Some(topic_id()), "appends: {appends}");
    }
}

/// Four records are left of a cut log; the next go to a segment of their own and are synced with it.
fn check_stays_cut(disk: &MemDisk, mut log: Log) {
    log.set_options(options(1));
    append(&mut log, 3, 9).expect("no fault");
    log.flush().expect("no fault");
    assert_eq!((log.recovery_point(), log.segment_count()), (Offset::new(7), 2));
    drop(log);
    let logs = || disk.files().into_iter().filter(|(path, _)| path.extension().is_some_and(|it| it == "log"));
    let before: Vec<_> = logs().collect();
    disk.crash(Crash::Power);
    assert_eq!(logs().collect::<Vec<_>>(), before, "what was cut is back");
}

#[test]
fn what_was_cut_stays_cut_when_the_power_goes_after_the_next_segment_was_synced() {
    let disk = MemDisk::new();
    let mut log = new_log(&disk, 1 << 20);
    for round in 0..4 {
        append(&mut log, 2, round).expect("no fault");
    }
    log.flush().expect("no fault");
    log.truncate_to(Offset::new(4)).expect("no fault");
    check_stays_cut(&disk, log);
}

#[test]
fn damage_that_a_start_cut_stays_cut_when_the_power_goes_after_the_next_segment_was_synced() {
    let disk = MemDisk::new();
    let mut log = new_log(&disk, 1 << 20);
    for round in 0..2 {
        append(&mut log, 2, round).expect("no fault");
    }
    log.flush().expect("no fault");
    drop(log);
    let path = Path::new(DIR).join(file_name(Offset::ZERO, LOG_SUFFIX));
    let file = disk.open(&path, OpenMode::ReadWrite).expect("it is there");
    file.write_at(&[0; 100], file.len().expect("no fault")).expect("no fault");
    file.sync().expect("no fault");
    let opening = Opening { recovery_point: Offset::new(4), ..Opening::default() };
    check_stays_cut(&disk, reopen(&disk, 1 << 20, opening));
}
