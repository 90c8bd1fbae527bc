//! A cut that did not reach the disk: what was cut is back, beside what was written in its place.

use super::*;
use crate::disk::{OpenMode, Survival};
use crate::segment::{LOG_SUFFIX, file_name};

/// Every write and every name survives; no change of length does, but for what is synced.
struct AllButCuts;

impl Survival for AllButCuts {
    fn of_write(&mut self, len: usize, _later: usize) -> usize {
        len
    }

    fn of_names(&mut self, changes: usize) -> usize {
        changes
    }
}

/// Where each batch begins, and its epoch.
fn batches(log: &mut Log) -> Vec<(i64, i32)> {
    let mut found = Vec::new();
    let mut next = log.start();
    while let Some(slice) = log.read(next, 1, log.end(), true).expect("in range") {
        let bytes = slice.read().expect("no fault");
        for batch in Batches::new(&bytes) {
            let header = batch.expect("whole batches only").header;
            found.push((header.base_offset.get(), header.leader_epoch.get()));
            next = header.next_offset();
        }
    }
    found
}

/// Four batches of two records in the first epoch, of which the second half makes way for a segment of a later one.
fn cut_and_go_on(disk: &MemDisk, epoch: i32) -> Vec<u8> {
    let mut log = new_log(disk, 1 << 20);
    for _ in 0..4 {
        append(&mut log, 2, 3).expect("no fault");
    }
    let before = crate::disk::read_file(disk, &first_segment(), 1 << 20).expect("it is there");
    log.truncate_to(Offset::new(4)).expect("no fault");
    log.set_options(options(1));
    append(&mut log, 3, epoch).expect("no fault");
    assert_eq!(log.segment_count(), 2);
    before
}

fn first_segment() -> PathBuf {
    Path::new(DIR).join(file_name(Offset::ZERO, LOG_SUFFIX))
}

#[test]
fn a_cut_is_on_disk_before_anything_takes_the_place_of_what_was_cut() {
    let disk = MemDisk::new();
    cut_and_go_on(&disk, 9);
    disk.lose_power(&mut AllButCuts);
    disk.crash(Crash::Process);
    let mut log = reopen(&disk, 1 << 20, Opening::default());
    assert_eq!(log.take_mended(), Vec::<String>::new());
    assert_eq!(batches(&mut log), [(0, 3), (2, 3), (4, 9)]);
}

#[test]
fn a_segment_whose_removal_was_never_synced_does_not_come_back() {
    let disk = MemDisk::new();
    let mut log = new_log(&disk, 1);
    for _ in 0..4 {
        append(&mut log, 2, 3).expect("no fault");
    }
    log.flush().expect("no fault");
    log.truncate_to(Offset::new(4)).expect("no fault");
    disk.crash(Crash::Power);
    assert_eq!(reopen(&disk, 1, Opening::default()).end(), Offset::new(4));
}

/// A start finds the first segment as it was before the cut, and the next one.
fn check_after_a_lost_cut(epoch: i32, expected: &[(i64, i32)]) {
    let disk = MemDisk::new();
    let before = cut_and_go_on(&disk, epoch);
    let file = disk.open(&first_segment(), OpenMode::ReadWrite).expect("it is there");
    file.write_at(&before, 0).expect("no fault");
    for _ in 0..2 {
        let mut log = reopen(&disk, 1 << 20, Opening::default());
        assert_eq!(batches(&mut log), expected);
    }
}

#[test]
fn of_two_histories_of_an_offset_the_later_epochs_is_kept() {
    check_after_a_lost_cut(9, &[(0, 3), (2, 3), (4, 9)]);
    check_after_a_lost_cut(3, &[(0, 3), (2, 3), (4, 3)]);
    check_after_a_lost_cut(2, &[(0, 3), (2, 3)]);
}
