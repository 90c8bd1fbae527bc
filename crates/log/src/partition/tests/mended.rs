//! Small files that are damaged and made anew, and gaps between segments that a cleaner left.

use super::*;
use crate::disk::{OpenMode, read_file};
use crate::epochs::FILE_NAME as EPOCHS;

/// Four epochs over several segments; a snapshot of its producers at the end.
fn of_four_epochs() -> MemDisk {
    let disk = MemDisk::new();
    let mut log = new_log(&disk, 300);
    for epoch in [0, 2, 3, 7] {
        log.begin_epoch(LeaderEpoch::new(epoch));
        (0..4).for_each(|_| append(&mut log, 3, epoch).expect("no fault"));
    }
    let producer = Producer { id: ProducerId::new(7), epoch: ProducerEpoch::new(0), base_sequence: 0 };
    let bytes = batch_of(log.end().get(), 1, Some(producer));
    let wrote = log.append_as_leader(&bytes, LeaderEpoch::new(7), Timestamp::new(0), &RULES);
    wrote.expect("no fault");
    log.close().expect("no fault");
    disk
}

const END: i64 = 49;

/// What is told of the epochs: where each ends.
fn ends(log: &Log) -> Vec<Option<(i32, i64)>> {
    let end = |epoch| log.epoch_end(LeaderEpoch::new(epoch)).map(|(epoch, end)| (epoch.get(), end.get()));
    (0..9).map(end).collect()
}

fn replace(disk: &MemDisk, path: &Path, bytes: &[u8]) {
    let file = disk.open(path, OpenMode::ReadWrite).expect("no fault");
    file.truncate(0).and_then(|()| file.write_at(bytes, 0)).expect("no fault");
}

/// Opens the log with other bytes in one of its files, after a stop and after a kill. Says what was mended.
fn open_with(name: &str, bytes: &[u8]) -> Vec<(Log, Vec<String>)> {
    let opened = [true, false].map(|is_clean| {
        let disk = of_four_epochs();
        replace(&disk, &Path::new(DIR).join(name), bytes);
        let recovery_point = Offset::new(END);
        let mut log = reopen(&disk, 300, Opening { is_clean, recovery_point, ..Opening::default() });
        assert_holds(&mut log, 0, END);
        let mended = log.take_mended();
        log.flush().expect("no fault");
        let again = reopen(&disk, 300, Opening { is_clean, recovery_point, ..Opening::default() });
        assert_eq!(ends(&log), ends(&again));
        (log, mended)
    });
    opened.into()
}

fn content(name: &str) -> Vec<u8> {
    read_file(&of_four_epochs(), &Path::new(DIR).join(name), 1_000).expect("it is there")
}

#[test]
fn epochs_that_cannot_be_read_are_found_in_the_batches() {
    let whole = content(EPOCHS);
    assert_eq!(String::from_utf8_lossy(&whole), "0\n4\n0 0\n2 12\n3 24\n7 36\n");
    let sound = ends(&open_with(EPOCHS, &whole)[0].0);
    assert_eq!(sound[5], Some((3, 36)));
    let (mut mended, mut trials) = (0, 0);
    let mut check = |bytes: &[u8], must_mend: bool| {
        for (log, told) in open_with(EPOCHS, bytes) {
            trials += 1;
            assert!(told.iter().all(|told| told.contains(EPOCHS)), "{told:?}");
            assert!(!told.is_empty() || !must_mend, "{:?} was believed", String::from_utf8_lossy(bytes));
            if !told.is_empty() {
                mended += 1;
                assert_eq!(ends(&log), sound, "{:?}", String::from_utf8_lossy(bytes));
            }
        }
    };
    for len in 0..whole.len() {
        // Without the last line's end it says the same; cut within its number it does not.
        check(&whole[..len], len < whole.len() - 3);
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            check(&flipped, false);
        }
    }
    check(b"\xff\xfe what is this", true);
    check(b"0\n2\n3 0\n2 12\n", true);
    check(b"0\n1\n3 -4\n", true);
    assert!(mended * 2 > trials, "{mended} of {trials}");
}

#[test]
fn a_damaged_snapshot_is_named_and_goes() {
    let name = format!("{END:020}.snapshot");
    let whole = content(&name);
    for at in (0..whole.len()).step_by(5) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        let opened = open_with(&name, &flipped);
        let (clean, told) = &opened[0];
        assert!(told.len() == 1 && told[0].contains(&name), "flipped at {at}: {told:?}");
        // After a kill the batches are read in any case.
        let (killed, told) = &opened[1];
        assert!(told.is_empty(), "{told:?}");
        assert!([clean, killed].iter().all(|log| log.producers().states().count() == 1));
    }
}

/// Two segments, the first of which ends at 4 and the second begins at 10.
fn with_a_gap(is_thinned: bool) -> MemDisk {
    let disk = MemDisk::new();
    let mut log = new_log(&disk, 10_000);
    append(&mut log, 4, 0).expect("no fault");
    if is_thinned {
        let path = Path::new(DIR).join("00000000000000000000.log");
        let mut bytes = read_file(&disk, &path, 1_000).expect("it is there");
        // Its last record had the offset 4; the cleaner took it and left its number.
        bytes[26] += 1;
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        replace(&disk, &path, &bytes);
    }
    log.roll(Offset::new(10)).expect("no fault");
    let file = disk.open(&Path::new(DIR).join("00000000000000000010.log"), OpenMode::ReadWrite);
    let mut bytes = batch(10, 3);
    wire::batch::patch::place(&mut bytes, Offset::new(10), LeaderEpoch::new(0));
    file.expect("made").write_at(&bytes, 0).expect("no fault");
    disk
}

#[test]
fn a_gap_between_segments_is_the_cleaners_unless_what_was_there_may_never_have_been_written() {
    let check = |is_thinned, opening: Opening, end: i64| {
        let log = reopen(&with_a_gap(is_thinned), 10_000, opening);
        assert_eq!(log.end(), Offset::new(end), "thinned: {is_thinned}, {opening:?}");
    };
    let at = Offset::new;
    check(false, Opening::default(), 4);
    check(false, Opening { recovery_point: at(4), ..Opening::default() }, 4);
    check(false, Opening { cleaned: at(9), ..Opening::default() }, 4);
    check(false, Opening { cleaned: at(10), ..Opening::default() }, 13);
    check(false, Opening { recovery_point: at(10), ..Opening::default() }, 13);
    check(false, Opening { is_clean: true, ..Opening::default() }, 13);
    check(true, Opening::default(), 13);
}
