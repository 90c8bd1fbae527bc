//! Compacted logs over restarts: killed anywhere in a pass, a node comes back with what its readers had.

use std::collections::BTreeMap;
use std::time::Duration;

use log::disk::{MemDisk, read_file};
use model::Offset;
use wire::messages::WireUuid;

use super::{OFTEN, log_bytes, shrinks_to};
use crate::support::content::{Said, Writer, last_of, read_committed};
use crate::support::records::{check_led, configure, create_on, leader, offset_at, produce};
use crate::support::{Cluster, copied, run};

/// Nobody coordinates transactions, and a node that was killed is soon forgotten.
const BY_HAND: &str = "transaction.partition.verification.enable=false\nlog.cleaner.backoff.ms=200\n\
     broker.session.timeout.ms=1000\nbroker.heartbeat.interval.ms=200\n";
const SEGMENTS: (&str, &str) = ("internal.segment.bytes", "1500");
const DIRTY: (&str, &str) = ("min.cleanable.dirty.ratio", "0.01");
const NEVER: &str = "100000000000000";
/// As many kills are spread over a pass, for each of so many logs.
const KILLS: u64 = 20;
const SEEDS: u64 = 4;

/// A log that is to be compacted and may not be yet, on the disk of node 2, which was stopped in order.
struct Prepared {
    cluster: Cluster,
    disk: MemDisk,
    id: WireUuid,
    written: BTreeMap<i64, Said>,
    end: i64,
}

async fn prepared(seed: u64) -> Prepared {
    let mut cluster = Cluster::start_configured(1, 2, BY_HAND).await;
    let client = cluster.client(1).await;
    let configs = [("cleanup.policy", "compact"), SEGMENTS, DIRTY, ("min.compaction.lag.ms", NEVER)];
    create_on(&client, "t", &[2], &configs).await;
    check_led(&client, "t", "2 [2]").await;
    let (_, id) = leader(&client, "t").await;
    let second = cluster.client(2).await;
    let mut writer = Writer::new(&second, "t");
    writer.fill(&mut fastrand::Rng::with_seed(seed), 120, 6).await;
    let (written, end) = (writer.committed, offset_at(&second, "t", -1).await);
    cluster.stop(2).await;
    configure(&client, 2, "t", "min.compaction.lag.ms", "0").await;
    let disk = cluster.disk(2).clone();
    Prepared { cluster, disk, id, written, end }
}

impl Prepared {
    /// Starts node 2 on what was prepared, and kills it after so many changes of its disk. How many changes
    /// it made, and how large the log was then.
    async fn run_and_kill(&mut self, changes: u64) -> (u64, u64) {
        self.cluster.insert(2, copied(&self.disk));
        let before = self.cluster.disk(2).operations();
        self.cluster.disk(2).stop_after(changes);
        if self.cluster.try_boot(2).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        let made = self.cluster.disk(2).operations() - before;
        self.cluster.kill_to_return(2);
        (made, log_bytes(&self.cluster, 2, "t"))
    }

    /// What readers find once the node is there again.
    async fn check(&mut self, what: &str) {
        self.cluster.boot(2).await;
        self.cluster.ready(2).await;
        let client = self.cluster.client(1).await;
        check_led(&client, "t", "2 [2]").await;
        let second = self.cluster.client(2).await;
        let seen = read_committed(&second, self.id, 0).await;
        assert_eq!((seen.damaged, seen.stopped, seen.high_watermark), (0, None, self.end), "{what}");
        for (offset, said) in &seen.records {
            assert_eq!(self.written.get(offset), Some(said), "{what}: at {offset}");
        }
        assert_eq!(last_of(&seen.records), last_of(&self.written), "{what}");
        shrinks_to(&self.cluster, 2, "t", 3_500).await;
        let again = read_committed(&second, self.id, 0).await;
        assert_eq!(last_of(&again.records), last_of(&self.written), "{what}, compacted");
        drop(second);
        self.cluster.kill_to_return(2);
    }
}

/// Whether a segment waits to take the place of others.
fn is_under_way(disk: &MemDisk) -> bool {
    let waits = |path: &std::path::Path| path.extension().is_some_and(|it| it == "cleaned" || it == "swap");
    disk.files().iter().any(|(path, _)| waits(path))
}

/// Kills spread over a pass; how many of them met it under way.
async fn kill_throughout(seed: u64) -> u64 {
    let mut prepared = prepared(seed).await;
    let whole = log_bytes(&prepared.cluster, 2, "t");
    assert!(whole > 8_000, "{whole} bytes");
    let (made, left) = prepared.run_and_kill(u64::MAX / 2).await;
    assert!(left < 3_500, "it was compacted to {left} bytes");
    prepared.check("killed after the pass").await;
    let mut halfway = 0;
    for kill in 0..KILLS {
        // Each seed takes others.
        let changes = made * (kill * SEEDS + seed + 1) / (KILLS * SEEDS + 1);
        prepared.run_and_kill(changes).await;
        halfway += u64::from(is_under_way(prepared.cluster.disk(2)));
        prepared.check(&format!("seed {seed}, killed after {changes} of {made} changes")).await;
    }
    halfway
}

#[test]
fn a_kill_anywhere_in_a_pass_leaves_every_reader_what_it_had() {
    let halfway = std::cell::Cell::new(0);
    for seed in 0..SEEDS {
        run(async { halfway.set(halfway.get() + kill_throughout(seed).await) });
    }
    let (halfway, kills) = (halfway.get(), KILLS * SEEDS);
    assert!(halfway * 10 > kills, "{halfway} of {kills} kills met a pass under way");
}

#[test]
fn what_was_cleaned_is_not_cleaned_again_after_a_restart() {
    run(async {
        let mut prepared = prepared(2).await;
        prepared.run_and_kill(u64::MAX / 2).await;
        let checkpoint = |cluster: &Cluster| {
            let path = std::path::Path::new("/data/cleaner-offset-checkpoint");
            String::from_utf8(read_file(cluster.disk(2), path, 1_000).expect("written")).expect("text")
        };
        let said = checkpoint(&prepared.cluster);
        assert!(said.starts_with("0\n1\nt 0 "), "{said}");
        prepared.cluster.boot(2).await;
        prepared.cluster.ready(2).await;
        let names =
            |cluster: &Cluster| cluster.disk(2).files().into_iter().map(|(path, _)| path).collect::<Vec<_>>();
        let before = names(&prepared.cluster);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(checkpoint(&prepared.cluster), said);
        let is_segment = |path: &&std::path::PathBuf| path.starts_with("/data/t-0");
        let (after, before) = (names(&prepared.cluster), before);
        assert_eq!(
            after.iter().filter(is_segment).collect::<Vec<_>>(),
            before.iter().filter(is_segment).collect::<Vec<_>>()
        );
    });
}

#[test]
fn a_tombstone_stays_for_its_time_over_restarts_and_then_goes() {
    run(async {
        let mut cluster = Cluster::start_configured(1, 2, OFTEN).await;
        let client = cluster.client(1).await;
        let configs = [("cleanup.policy", "compact"), SEGMENTS, DIRTY, ("delete.retention.ms", "20000")];
        create_on(&client, "t", &[2], &configs).await;
        check_led(&client, "t", "2 [2]").await;
        let (_, id) = leader(&client, "t").await;
        let second = cluster.client(2).await;
        let mut writer = Writer::new(&second, "t");
        writer.put(None, "gone", Some("for now")).await;
        let tombstone = writer.put(None, "gone", None).await;
        for number in 0..150 {
            writer.put(None, &format!("k{}", number % 4), Some("some value")).await;
        }
        let mut last = writer.last();
        shrinks_to(&cluster, 2, "t", 3_000).await;
        for is_killed in [true, false] {
            let second = cluster.client(2).await;
            let seen = read_committed(&second, id, 0).await;
            assert_eq!(seen.records.get(&tombstone), Some(&("gone".to_owned(), None)));
            assert_eq!(last_of(&seen.records), last);
            match is_killed {
                true => cluster.kill_to_return(2),
                false => cluster.stop(2).await,
            }
            cluster.boot(2).await;
            cluster.ready(2).await;
            check_led(&client, "t", "2 [2]").await;
        }
        tokio::time::sleep(Duration::from_secs(30)).await;
        let second = cluster.client(2).await;
        let mut writer = Writer::new(&second, "t");
        for number in 0..100 {
            writer.put(None, &format!("k{}", number % 4), Some("another")).await;
        }
        last.extend(writer.last());
        for _ in 0..100 {
            let seen = read_committed(&second, id, 0).await;
            assert_eq!(last_of(&seen.records), last);
            if !seen.records.contains_key(&tombstone) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("the tombstone never goes");
    });
}

#[test]
fn a_topic_that_is_compacted_and_deleted_from_keeps_its_young_records_over_a_restart() {
    run(async {
        let both = "log.cleaner.backoff.ms=200\nlog.retention.check.interval.ms=1000\n";
        let mut cluster = Cluster::start_configured(1, 2, both).await;
        let client = cluster.client(1).await;
        let configs = [("cleanup.policy", "compact,delete"), SEGMENTS, DIRTY, ("retention.ms", "60000")];
        create_on(&client, "t", &[2], &configs).await;
        check_led(&client, "t", "2 [2]").await;
        let (_, id) = leader(&client, "t").await;
        let second = cluster.client(2).await;
        let mut writer = Writer::new(&second, "t");
        for number in 0..60 {
            writer.put(None, &format!("old{}", number % 30), Some("of no use any more")).await;
        }
        tokio::time::sleep(Duration::from_secs(40)).await;
        writer.timestamp += 40_000;
        for number in 0..60 {
            writer.put(None, &format!("young{}", number % 30), Some("wanted for a while")).await;
        }
        let end = offset_at(&second, "t", -1).await;
        let young: BTreeMap<_, _> =
            writer.last().into_iter().filter(|(key, _)| key.starts_with("young")).collect();
        drop(second);
        tokio::time::sleep(Duration::from_secs(25)).await;
        for _ in 0..2 {
            let second = cluster.client(2).await;
            let start = offset_at(&second, "t", -2).await;
            assert!(start > 0, "what is old is gone");
            let seen = last_of(&read_committed(&second, id, start).await.records);
            let kept: BTreeMap<_, _> = seen.into_iter().filter(|(key, _)| key.starts_with("young")).collect();
            assert_eq!(kept, young);
            drop(second);
            cluster.kill_to_return(2);
            cluster.boot(2).await;
            cluster.ready(2).await;
            check_led(&client, "t", "2 [2]").await;
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
        cluster.kill_to_return(2);
        cluster.boot(2).await;
        cluster.ready(2).await;
        check_led(&client, "t", "2 [2]").await;
        let second = cluster.client(2).await;
        assert_eq!((offset_at(&second, "t", -2).await, offset_at(&second, "t", -1).await), (end, end));
        let next = produce(&second, "t", -1, super::keyed("k", Some("v"))).await;
        assert_eq!(next.map(Offset::new), Ok(Offset::new(end)));
    });
}
