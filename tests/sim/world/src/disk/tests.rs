//! Each fault bites, and nothing but what it says.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use log::Disk;
use log::disk::{DiskFile, OpenMode};

use super::{Counts, ProcessDisk, SimDisk, Torn};

const DIR: &str = "/d";
const FILE: &str = "/d/f";

/// A disk with one durable file that holds `synced`, open in a process.
fn machine(seed: u64, synced: &[u8]) -> (SimDisk, ProcessDisk, Arc<dyn DiskFile>) {
    let disk = SimDisk::new(seed);
    let process = disk.process();
    process.create_dir_all(Path::new(DIR)).expect("no fault");
    let file = open(&process, FILE);
    file.write_at(synced, 0).and_then(|()| file.sync()).expect("no fault");
    process.sync_dir(Path::new(DIR)).expect("no fault");
    (disk, process, file)
}

fn open(process: &ProcessDisk, path: &str) -> Arc<dyn DiskFile> {
    process.open(Path::new(path), OpenMode::ReadWrite).expect("no fault")
}

fn content(disk: &SimDisk) -> Vec<u8> {
    disk.read(Path::new(FILE)).expect("its name is durable")
}

fn kind<T>(outcome: io::Result<T>) -> Option<io::ErrorKind> {
    outcome.err().map(|error| error.kind())
}

/// What is left, over many seeds, of `change` to a durable `abcd` after a power cut.
fn outcomes(torn: Torn, change: impl Fn(&dyn DiskFile)) -> BTreeSet<Vec<u8>> {
    let left = (0..400).map(|seed| {
        let (disk, _process, file) = machine(seed, b"abcd");
        change(file.as_ref());
        disk.crash_power(torn);
        content(&disk)
    });
    left.collect()
}

fn check(torn: Torn, change: impl Fn(&dyn DiskFile), left: &[&[u8]]) {
    let left: BTreeSet<Vec<u8>> = left.iter().map(|bytes| bytes.to_vec()).collect();
    assert_eq!(outcomes(torn, change), left);
}

fn append_twice(file: &dyn DiskFile) {
    file.write_at(b"XY", 4).and_then(|()| file.write_at(b"Z", 6)).expect("no fault");
}

#[test]
fn a_power_cut_takes_all_that_was_not_synced() {
    check(Torn::No, append_twice, &[b"abcd"]);
    check(Torn::No, |file| file.write_at(b"XY", 1).expect("no fault"), &[b"abcd"]);
    check(Torn::No, |file| file.truncate(1).expect("no fault"), &[b"abcd"]);
    let synced = |file: &dyn DiskFile| {
        append_twice(file);
        file.sync().expect("no fault");
    };
    for torn in [Torn::No, Torn::Prefix, Torn::Any] {
        check(torn, synced, &[b"abcdXYZ"]);
    }
}

#[test]
fn a_torn_tail_is_cut_at_every_byte() {
    check(Torn::Prefix, append_twice, &[b"abcd", b"abcdX", b"abcdXY", b"abcdXYZ"]);
    let cut_and_written = |file: &dyn DiskFile| {
        file.truncate(2).and_then(|()| file.write_at(b"XY", 2)).expect("no fault");
    };
    check(Torn::Prefix, cut_and_written, &[b"abcd", b"ab", b"abX", b"abXY"]);
}

#[test]
fn writes_that_were_never_synced_survive_in_any_subset() {
    let left: &[&[u8]] = &[b"abcd", b"abcdX", b"abcdXY", b"abcdXYZ", b"abcdX\0Z", b"abcd\0\0Z"];
    check(Torn::Any, append_twice, left);
}

#[test]
fn names_whose_directory_was_not_synced_go_with_the_power_and_stay_with_the_process() {
    let names = |disk: &SimDisk| disk.files().into_iter().map(|(path, _)| path).collect::<Vec<PathBuf>>();
    let make = |torn: Option<Torn>| {
        let (disk, process, _file) = machine(1, b"abcd");
        open(&process, "/d/new").sync().expect("no fault");
        process.rename(Path::new(FILE), Path::new("/d/g")).expect("no fault");
        match torn {
            Some(torn) => disk.crash_power(torn),
            None => disk.crash_process(),
        }
        (names(&disk), disk.counts().lost_names)
    };
    assert_eq!(make(None), (vec!["/d/g".into(), "/d/new".into()], 0));
    assert_eq!(make(Some(Torn::No)), (vec![FILE.into()], 2));
}

#[test]
fn a_killed_process_leaves_every_byte_and_reaches_nothing_any_more() {
    let (disk, process, file) = machine(1, b"abcd");
    append_twice(file.as_ref());
    let lock = process.lock(Path::new("/d/.lock")).expect("free");
    disk.crash_process();
    assert_eq!(content(&disk), b"abcdXYZ");
    assert!(file.write_at(b"late", 0).is_err() && file.sync().is_err() && file.truncate(0).is_err());
    assert!(process.open(Path::new(FILE), OpenMode::Read).is_err());
    assert!(process.remove_file(Path::new(FILE)).is_err());

    let next = disk.process();
    let held = next.lock(Path::new("/d/.lock")).expect("its holder died");
    drop(lock);
    assert_eq!(kind(next.lock(Path::new("/d/.lock"))), Some(io::ErrorKind::WouldBlock));
    drop(held);
    assert!(file.write_at(b"late", 0).is_err(), "nor when another process lives");
    assert_eq!(content(&disk), b"abcdXYZ");
    // What was in the page cache is still not durable.
    disk.crash_power(Torn::No);
    assert_eq!(content(&disk), b"abcd");
    let expected = Counts { process_crashes: 1, power_cuts: 1, lost_bytes: 3, stale: 6, ..disk.counts() };
    assert_eq!(disk.counts(), expected);
}

#[test]
fn a_flipped_bit_is_one_bit_of_a_file_that_was_meant() {
    let (disk, process, _file) = machine(3, b"abcd");
    open(&process, "/d/other").write_at(b"efgh", 0).expect("no fault");
    for _ in 0..50 {
        let before = content(&disk);
        let flip = disk.flip_bit(|path| path == Path::new(FILE)).expect("it holds something");
        let differing: u32 = before.iter().zip(content(&disk)).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!((flip.path.as_path(), differing), (Path::new(FILE), 1));
    }
    assert_eq!(disk.read(Path::new("/d/other")).expect("there"), b"efgh");
    assert_eq!(disk.flip_bit(|path| path == Path::new("/d/none")), None);
    let damaged = content(&disk);
    disk.crash_power(Torn::No);
    assert_eq!((content(&disk), disk.counts().flips), (damaged, 50));
}

#[test]
fn a_full_disk_takes_what_fits_and_no_new_name() {
    let (disk, process, file) = machine(1, b"abcd");
    disk.set_capacity(Some(6));
    assert_eq!(kind(file.write_at(b"XYZ", 4)), Some(io::ErrorKind::StorageFull));
    assert_eq!((content(&disk), disk.counts().cut_writes), (b"abcdXY".to_vec(), 1));
    disk.set_full(true);
    assert_eq!(kind(file.write_at(b"Z", 6)), Some(io::ErrorKind::StorageFull));
    assert_eq!(
        kind(process.open(Path::new("/d/new"), OpenMode::ReadWrite)),
        Some(io::ErrorKind::StorageFull)
    );
    assert_eq!(kind(process.create_dir_all(Path::new("/e"))), Some(io::ErrorKind::StorageFull));
    assert_eq!(disk.counts().refused_writes, 4);
    file.write_at(b"A", 0).and_then(|()| file.truncate(4)).expect("what is there may change");
    file.write_at(b"Z", 4).expect("there is room again");
    disk.heal();
    file.write_at(b"12345678", 5).expect("as much as one likes");
    assert_eq!(content(&disk), b"AbcdZ12345678");
}

#[test]
fn a_read_only_disk_is_read_and_not_changed() {
    let (disk, process, file) = machine(1, b"abcd");
    disk.set_read_only(true);
    let refused = [
        kind(file.write_at(b"X", 0)),
        kind(file.sync()),
        kind(file.truncate(0)),
        kind(process.open(Path::new(FILE), OpenMode::ReadWrite)),
        kind(process.create_dir_all(Path::new("/e"))),
        kind(process.rename(Path::new(FILE), Path::new("/d/g"))),
        kind(process.remove_file(Path::new(FILE))),
        kind(process.sync_dir(Path::new(DIR))),
    ];
    assert_eq!(refused, [Some(io::ErrorKind::ReadOnlyFilesystem); 8]);
    assert_eq!(disk.counts().refused_writes, 8);
    assert_eq!(log::disk::read_file(&process, Path::new(FILE), 10).expect("readable"), b"abcd");
    disk.heal();
    file.write_at(b"X", 0).expect("healed");
}

#[test]
fn a_failed_sync_drops_what_was_dirty_and_only_one_fails() {
    let (disk, process, file) = machine(1, b"abcd");
    let other = open(&process, "/e");
    append_twice(file.as_ref());
    disk.fail_next_sync(Path::new(DIR));
    other.sync().expect("it lies elsewhere");
    assert!(file.sync().is_err());
    assert_eq!((content(&disk), disk.counts().failed_syncs), (b"abcd".to_vec(), 1));
    file.sync().expect("once");
    disk.crash_power(Torn::Any);
    assert_eq!(content(&disk), b"abcd");
}

#[test]
fn a_failed_write_leaves_any_part_and_only_one_fails() {
    let left = (0..200).map(|seed| {
        let (disk, process, file) = machine(seed, b"abcd");
        disk.fail_next_write(Path::new(DIR));
        open(&process, "/e").write_at(b"x", 0).expect("it lies elsewhere");
        assert_eq!(file.write_at(b"XY", 4).expect_err("planned").raw_os_error(), Some(5));
        let left = content(&disk);
        file.write_at(b"XY", 4).expect("once");
        left
    });
    let expected = [&b"abcd"[..], b"abcdX", b"abcdXY"].map(<[u8]>::to_vec);
    assert_eq!(left.collect::<BTreeSet<_>>(), BTreeSet::from(expected));
}

#[test]
fn an_unreadable_path_fails_reads_and_a_dead_one_everything() {
    let (disk, process, file) = machine(1, b"abcd");
    let mut buffer = [0; 4];
    disk.set_unreadable(Some(Path::new(FILE)));
    assert!(file.read_at(&mut buffer, 0).is_err());
    file.write_at(b"X", 0).expect("writing works");
    process.list(Path::new(DIR)).expect("others are readable");
    disk.set_unreadable(None);
    assert_eq!(file.read_at(&mut buffer, 0).expect("again"), 4);

    disk.set_dead(Some(Path::new(DIR)));
    assert!(file.read_at(&mut buffer, 0).is_err() && file.write_at(b"X", 0).is_err() && file.sync().is_err());
    assert!(process.list(Path::new(DIR)).is_err());
    open(&process, "/e").write_at(b"x", 0).expect("it lies elsewhere");
    assert_eq!((disk.counts().failed_reads, disk.counts().failed_writes), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn a_slow_disk_takes_its_time_and_a_crash_meanwhile_leaves_either() {
    let (disk, ..) = machine(1, b"");
    let begun = tokio::time::Instant::now();
    let pace = async |disk: &SimDisk| {
        let begun = tokio::time::Instant::now();
        for _ in 0..20 {
            disk.blocking().run(|| ()).await;
        }
        begun.elapsed().as_millis()
    };
    assert!((1..=40).contains(&pace(&disk).await), "healthy: at most 2 ms each");
    disk.slow(Some((Duration::from_secs(1), Duration::from_secs(3))));
    assert!((20_000..=60_000).contains(&pace(&disk).await));
    assert_eq!(disk.counts().slow_works, 20);
    assert_eq!(u128::from(disk.counts().work_ms), begun.elapsed().as_millis());
    disk.heal();
    assert!(pace(&disk).await <= 40);

    let mut left = BTreeSet::new();
    for seed in 0..40 {
        let (disk, _process, file) = machine(seed, b"abcd");
        append_twice(file.as_ref());
        disk.slow(Some((Duration::from_secs(1), Duration::from_secs(1))));
        let sync = disk.blocking().run(move || file.sync());
        assert!(tokio::time::timeout(Duration::from_millis(500), sync).await.is_err(), "it takes a second");
        disk.crash_power(Torn::No);
        left.insert(content(&disk));
    }
    assert_eq!(left, BTreeSet::from([b"abcd".to_vec(), b"abcdXYZ".to_vec()]));
}

#[test]
fn a_seed_gives_the_same_damage_again_and_one_fault_changes_no_other() {
    let run = |seed: u64, flips: usize| {
        let (disk, process, file) = machine(seed, b"abcd");
        for _ in 0..flips {
            disk.flip_bit(|path| path == Path::new("/d/g"));
        }
        for at in 0..20 {
            file.write_at(&[at; 10], 4 + u64::from(at) * 10).expect("no fault");
        }
        open(&process, "/d/g").write_at(&[7; 100], 0).expect("no fault");
        for _ in 0..flips {
            disk.flip_bit(|path| path == Path::new("/d/g"));
        }
        disk.crash_power(Torn::Any);
        (content(&disk), disk.counts().lost_bytes, disk.counts().torn_writes)
    };
    assert_eq!(run(1, 0), run(1, 0));
    assert_eq!(run(1, 0).0, run(1, 5).0);
    let left: BTreeSet<Vec<u8>> = (0..20).map(|seed| run(seed, 0).0).collect();
    assert!(left.len() > 10);
}

#[test]
fn a_hundred_thousand_small_appends_and_syncs_are_cheap() {
    let (disk, _process, file) = machine(1, b"");
    for number in 0..100_000 {
        file.write_at(&[1; 100], number * 100).and_then(|()| file.sync()).expect("no fault");
    }
    assert_eq!((content(&disk).len(), disk.counts().syncs), (10_000_000, 100_002));
}
