//! openraft's own storage suite over this store, and crashes at every step of the disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use log::Disk;
use log::disk::{Crash, MemDisk};
use model::{DirectoryId, LeaderEpoch, NodeId, Offset, Timestamp, Uuid};
use net::pipe::PipeNetwork;
use net::{SystemClock, VirtualClock};
use openraft::StorageError;
use openraft::entry::RaftEntry;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::vote::{RaftVote, leader_id_std};

use super::{Anchor, Store, StoreOptions};
use crate::level::Level;
use crate::machine::{CommittedBatch, LoadedSnapshot, StateMachine};
use crate::options::Blocking;
use crate::raft::machine::Machine;
use crate::raft::runtime;
use crate::raft::types::{Entry, Payload, Proposal, Term, Types, Vote, VoterId, log_id};
use crate::snapshot::Directory;
use crate::transport::{Peers, PeersOptions};

const DIR: &str = "/data/__cluster_metadata-0";

/// Has no state.
struct Nothing;

impl StateMachine for Nothing {
    fn apply(&mut self, _batch: &CommittedBatch) {}

    fn snapshot(&self) -> Box<dyn FnOnce() -> Vec<proto::metadata::MetadataRecord> + Send> {
        Box::new(Vec::new)
    }

    fn restore(&mut self, _snapshot: &LoadedSnapshot) {}
}

fn options(disk: &MemDisk, segment_bytes: u64) -> StoreOptions {
    StoreOptions {
        disk: Arc::new(disk.clone()),
        dir: PathBuf::from(DIR),
        blocking: Blocking::Inline,
        clock: Arc::new(VirtualClock::starting_at(Timestamp::new(1_000))),
        node: NodeId::new(0),
        directory: DirectoryId::from_u128(9),
        segment_bytes,
    }
}

fn open(disk: &MemDisk) -> Store {
    disk.create_dir_all(Path::new(DIR)).expect("memory");
    // Small segments, so that a few entries make several.
    Store::open(options(disk, 300), None, Offset::ZERO).expect("opens")
}

/// Runs `test` where the store's tasks can run.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let local = tokio::task::LocalSet::new();
    runtime.expect("a runtime").block_on(local.run_until(runtime::scope(1, test)));
}

/// Makes stores for the suite.
#[derive(Default)]
struct Builder(AtomicU64);

impl StoreBuilder<Types, Store, Machine, ()> for Builder {
    async fn build(&self) -> Result<((), Store, Machine), StorageError<Types>> {
        let disk = MemDisk::new();
        let store = open(&disk);
        // The suite copies snapshots from one store to another: each has a directory of its own.
        let dir = PathBuf::from(format!("{DIR}/{}", self.0.fetch_add(1, Ordering::Relaxed)));
        disk.create_dir_all(&dir).expect("memory");
        let directory = Directory::open(Arc::new(disk), &dir, Blocking::Inline, true).expect("an empty one");
        let peers = Peers::new(PeersOptions {
            node: NodeId::new(0),
            directory: Uuid::from_u128(9),
            cluster: Uuid::from_u128(8).into(),
            listener: String::new(),
            network: Arc::new(PipeNetwork::new().host("n")),
            clock: Arc::new(SystemClock::new()),
            timeout: std::time::Duration::from_secs(1),
            configured: None,
        });
        let level = Arc::new(Level::default());
        let (machine, _) =
            Machine::new(Box::new(Nothing), store.clone(), Arc::new(directory), Arc::new(peers), level);
        Ok(((), store, machine))
    }
}

#[test]
fn openrafts_own_suite_passes() {
    run(async { Suite::test_all(Builder::default()).await.expect("the suite passes") });
}

fn records(epoch: i32, index: u64, count: usize) -> Entry {
    let values: Vec<Vec<u8>> = (0..count).map(|number| vec![number as u8; 40]).collect();
    let proposal = Proposal { timestamp: Timestamp::new(7), base_offset: None, values: values.into() };
    Entry::new(log_id(LeaderEpoch::new(epoch), index), Payload::Proposed(proposal))
}

fn vote(epoch: i32) -> Vote {
    let leader_id = leader_id_std::LeaderId { term: Term(epoch), voted_for: VoterId(3) };
    Vote::from_leader_id(leader_id, true)
}

/// What a store holds, as text: a vote and entries with their epochs and bytes.
async fn contents(store: &mut Store) -> String {
    let state = store.get_log_state().await.expect("reads");
    let vote = store.read_vote().await.expect("reads");
    let entries = store.try_get_log_entries(..).await.expect("reads");
    let entries: Vec<String> = entries
        .iter()
        .map(|entry| format!("{}#{:08x}", entry.id, entry.batch.as_ref().map_or(0, |batch| batch.len())))
        .collect();
    format!("{vote:?} purged {:?} {}", state.last_purged_log_id.map(|id| id.index()), entries.join(" "))
}

/// One life of a store; stops at the first error, as openraft does. Answers what was promised: the
/// number of steps whose durability was reported.
async fn live(disk: &MemDisk) -> usize {
    let mut promised = 0;
    let Ok(mut store) = Store::open(options(disk, 300), None, Offset::ZERO) else { return promised };
    for number in 0..6 {
        let done = match number {
            0 => store.save_vote(&vote(1)).await.is_ok(),
            1 => store.blocking_append([records(1, 0, 1), records(1, 1, 2)]).await.is_ok(),
            2 => store.blocking_append([records(1, 2, 3), records(1, 3, 3), records(1, 4, 1)]).await.is_ok(),
            3 => store.save_vote(&vote(2)).await.is_ok(),
            4 => store.truncate_after(Some(log_id(LeaderEpoch::new(1), 1))).await.is_ok(),
            _ => store.blocking_append([records(2, 2, 1), records(2, 3, 4)]).await.is_ok(),
        };
        if !done {
            break;
        }
        promised = number + 1;
    }
    promised
}

/// What must be there after `promised` steps, at least: vote epoch and entries.
fn expected(promised: usize) -> (i32, &'static [(i32, u64)]) {
    match promised {
        0 => (0, &[]),
        1 => (1, &[]),
        2 => (1, &[(1, 0), (1, 1)]),
        3 => (1, &[(1, 0), (1, 1), (1, 2), (1, 3), (1, 4)]),
        4 => (2, &[(1, 0), (1, 1), (1, 2), (1, 3), (1, 4)]),
        5 => (2, &[(1, 0), (1, 1)]),
        _ => (2, &[(1, 0), (1, 1), (2, 2), (2, 3)]),
    }
}

/// The entries a store holds, as epoch and index, and the epoch of its vote.
async fn held(store: &mut Store) -> (i32, Vec<(i32, u64)>) {
    let entries = store.try_get_log_entries(..).await.expect("reads");
    let entries =
        entries.iter().map(|entry| (crate::raft::types::epoch_of(&entry.id).get(), entry.id.index()));
    let entries = entries.collect();
    let voted = store.read_vote().await.expect("reads").map_or(0, |vote| vote.leader_id().term.0);
    (voted, entries)
}

/// One life of a store that stops at step `stop`, a crash, and a second look; whether it ever stopped.
async fn crash_at(stop: u64, crash: Crash) -> bool {
    let disk = MemDisk::new();
    for dir in [DIR, "/data", "/"] {
        disk.create_dir_all(Path::new(dir)).and_then(|()| disk.sync_dir(Path::new(dir))).expect("memory");
    }
    disk.stop_after(stop);
    let promised = live(&disk).await;
    disk.crash(crash);
    let mut store = Store::open(options(&disk, 300), None, Offset::ZERO).expect("opens again");
    let found = held(&mut store).await;
    let (voted, entries) = &found;
    let (epoch, expected_entries) = expected(promised);
    assert!(*voted >= epoch, "stop {stop}: vote {voted} after {promised} steps");
    // The step under way may be there, wholly or in part: a truncation cuts from the end.
    let next = expected(promised + 1).1;
    let common = expected_entries.iter().zip(next).take_while(|(one, other)| one == other).count();
    assert!(
        entries.starts_with(&expected_entries[..common]),
        "stop {stop} {crash:?}: {entries:?}, promised {expected_entries:?}"
    );
    assert!(
        next.starts_with(entries) || expected_entries.starts_with(entries),
        "stop {stop} {crash:?}: {entries:?}"
    );
    assert!(entries.windows(2).all(|pair| pair[0].0 <= pair[1].0), "epochs went back: {entries:?}");
    drop(store);
    // Raft takes what was found for durable, and so it must be, synced before the crash or not.
    disk.crash(Crash::Power);
    let mut store = Store::open(options(&disk, 300), None, Offset::ZERO).expect("opens a third time");
    assert_eq!(held(&mut store).await, found, "stop {stop} {crash:?}: the start found what a power cut took");
    promised < 6
}

#[test]
fn power_lost_at_any_step_loses_nothing_that_was_promised() {
    run(async {
        let torn = |keep| Crash::TornPower { keep };
        // Within and after the recovery point's 32 bytes, within and after a batch.
        for crash in [Crash::Power, torn(30), torn(32), torn(150), torn(usize::MAX), Crash::Process] {
            let mut stop = 0;
            while crash_at(stop, crash).await {
                stop += 1;
            }
            assert!(stop > 40, "{crash:?}: the life has more than {stop} steps");
        }
    });
}

#[test]
fn a_failed_sync_ends_all_writing() {
    run(async {
        let disk = MemDisk::new();
        let mut store = open(&disk);
        store.blocking_append([records(1, 0, 1)]).await.expect("the disk works");
        disk.fail_next_sync();
        store.blocking_append([records(1, 1, 1)]).await.expect_err("the sync failed");
        let refused =
            store.blocking_append([records(1, 2, 1)]).await.expect_err("nothing is written any more");
        assert!(refused.to_string().contains("takes no more writes"), "{refused}");
        store.save_vote(&vote(9)).await.expect_err("nor a vote");
    });
}

#[test]
fn a_flipped_bit_in_what_was_synced_is_refused_wherever_it_lies() {
    run(async {
        // In segments that end before it and in the one that is written to.
        for segment_bytes in [300, 1 << 20] {
            let disk = MemDisk::new();
            disk.create_dir_all(Path::new(DIR)).expect("memory");
            let mut store = Store::open(options(&disk, segment_bytes), None, Offset::ZERO).expect("opens");
            for index in 0..6 {
                store.blocking_append([records(1, index, 2)]).await.expect("the disk works");
            }
            drop(store);
            disk.crash(Crash::Process);
            let before = held(&mut reopen(&disk, segment_bytes).expect("nothing is amiss")).await;
            for (path, at) in covered_bytes(&disk) {
                disk.flip(&path, at, 1).expect("there is such a byte");
                let error = reopen(&disk, segment_bytes).err().expect("refused").to_string();
                let name = path.file_name().and_then(|name| name.to_str()).expect("ours");
                assert!(error.contains(&format!("{name} is damaged at byte")), "{error}");
                assert!(error.contains("add it again"), "{error}");
                disk.flip(&path, at, 1).expect("there is such a byte");
            }
            let after = held(&mut reopen(&disk, segment_bytes).expect("repaired")).await;
            assert_eq!(after, before, "a refusal cut something");
        }
    });
}

/// Some bytes of every batch on the disk. Not of its epoch: Kafka's checksum leaves it out.
fn covered_bytes(disk: &MemDisk) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let logs =
        disk.files().into_iter().filter(|(path, _)| path.extension().is_some_and(|kind| kind == "log"));
    for (path, len) in logs {
        let bytes = log::disk::read_file(disk, &path, len).expect("memory");
        let mut start = 0;
        while start < bytes.len() {
            let length = super::total_length(&bytes[start..]).expect("whole batches");
            let places = [0, 7, 8, 11, 16, 17, 20, 21, 40, 60, 61, length / 2, length - 1];
            found.extend(places.map(|place| (path.clone(), (start + place) as u64)));
            start += length;
        }
    }
    assert!(found.len() > 6 * 10, "the log is too short to tell anything");
    found
}

fn reopen(disk: &MemDisk, segment_bytes: u64) -> Result<Store, super::StoreError> {
    Store::open(options(disk, segment_bytes), None, Offset::ZERO)
}

#[test]
fn a_log_that_lost_its_end_is_refused_and_one_without_its_point_is_not() {
    run(async {
        let disk = MemDisk::new();
        let mut store = open(&disk);
        for index in 0..6 {
            store.blocking_append([records(1, index, 2)]).await.expect("the disk works");
        }
        drop(store);
        let last =
            disk.files().into_iter().rfind(|(path, _)| path.extension().is_some_and(|kind| kind == "log"));
        let (last, len) = last.expect("a segment");
        let file = disk.open(&last, log::disk::OpenMode::ReadWrite).expect("it is there");
        file.truncate(0).expect("memory");
        let error = reopen(&disk, 300).err().expect("refused").to_string();
        assert!(error.contains("but was written up to offset 12"), "{error}");
        disk.remove_file(&last).expect("it is there");
        let error = reopen(&disk, 300).err().expect("refused").to_string();
        assert!(error.contains("but was written up to offset 12"), "{error} without the {len} bytes");
        // Formats before this one had no such file; the log is taken as it is.
        disk.remove_file(&Path::new(DIR).join("recovery-point")).expect("it is there");
        assert!(!held(&mut reopen(&disk, 300).expect("nothing says otherwise")).await.1.is_empty());
    });
}

#[test]
fn damage_to_what_was_never_synced_is_a_torn_tail() {
    run(async {
        let disk = MemDisk::new();
        let mut store = open(&disk);
        store.blocking_append([records(1, 0, 1)]).await.expect("the disk works");
        let path = Path::new(DIR).join("00000000000000000000.log");
        let synced = disk.file_len(&path).expect("it is there");
        // Written, but the flusher has no turn before the process dies.
        store.append([records(1, 1, 1)], openraft::storage::IOFlushed::noop()).await.expect("the disk works");
        drop(store);
        disk.crash(Crash::Process);
        assert!(disk.file_len(&path).expect("it is there") > synced, "nothing was left to damage");
        disk.flip(&path, synced + 70, 1).expect("there is such a byte");
        let found = held(&mut reopen(&disk, 300).expect("nobody was promised it")).await;
        assert_eq!(found.1, [(1, 0)]);
    });
}

/// Found with a leader that streamed such entries to a follower: openraft panicked over the hole.
#[test]
fn entries_that_raft_keeps_behind_the_only_snapshot_stay_in_the_log() {
    run(async {
        let disk = MemDisk::new();
        let mut store = open(&disk);
        for index in 0..12 {
            store.blocking_append([records(1, index, 1)]).await.expect("the disk works");
        }
        let end_offset = store.end_of(11).expect("it is there");
        store.note_snapshot(Anchor { end_offset, epoch: LeaderEpoch::new(1), index: 11 }, end_offset);
        for upto in [3, 6, 8] {
            store.purge(log_id(LeaderEpoch::new(1), upto)).await.expect("the disk works");
            let kept: Vec<(i32, u64)> = (upto + 1..12).map(|index| (1, index)).collect();
            assert_eq!(held(&mut store).await.1, kept);
        }
        assert!(store.bounds().0 > Offset::ZERO, "nothing was purged");
    });
}

#[test]
fn a_log_that_a_snapshot_overtook_starts_anew_after_it() {
    run(async {
        let disk = MemDisk::new();
        let mut store = open(&disk);
        store.blocking_append([records(1, 0, 2), records(1, 1, 2)]).await.expect("the disk works");
        drop(store);
        let anchor = Anchor { end_offset: Offset::new(50), epoch: LeaderEpoch::new(3), index: 20 };
        let mut store = Store::open(options(&disk, 300), Some(anchor), Offset::new(50)).expect("opens");
        let next = records(3, 21, 1);
        store.blocking_append([next]).await.expect("the disk works");
        assert_eq!(store.bounds(), (Offset::new(50), Offset::new(51)));
        drop(store);
        let mut store = Store::open(options(&disk, 300), Some(anchor), Offset::new(50)).expect("opens");
        let state = store.get_log_state().await.expect("reads");
        assert_eq!(state.last_purged_log_id, Some(anchor.log_id()));
        assert!(
            contents(&mut store).await.contains("T3.21")
                || state.last_log_id.map(|id| id.index()) == Some(21)
        );
        drop(store);
        let error = Store::open(options(&disk, 300), None, Offset::ZERO).err().expect("refused").to_string();
        assert!(error.contains("no readable snapshot"), "{error}");
    });
}
