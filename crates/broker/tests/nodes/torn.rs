//! One file of a log directory cut, flipped, overwritten or gone, whichever it is: the node comes up, or says
//! which file keeps it from that, loses nothing but what was damaged, and costs its neighbours nothing.
//!
//! `KASTLE_TORN=5000 cargo test --release -p kastle-broker --test nodes torn` damages as many files; each
//! trial is told by its number alone, so that `KASTLE_TORN_SEED=N` does it again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use log::disk::{Disk, MemDisk, OpenMode, read_file};
use wire::messages::WireUuid;

use crate::support::content::{Said, Seen, Writer, read_committed};
use crate::support::records::{check_led, create_on, delete_records, leader, led, offset_at};
use crate::support::{Cluster, run};

const BY_HAND: &str = "transaction.partition.verification.enable=false\nreplica.lag.time.max.ms=2000\n\
     offsets.topic.num.partitions=1\nlog.flush.start.offset.checkpoint.interval.ms=1000\n\
     log.flush.offset.checkpoint.interval.ms=1000\nreplica.high.watermark.checkpoint.interval.ms=1000\n";
const CONFIGS: [(&str, &str); 2] = [("internal.segment.bytes", "2500"), ("index.interval.bytes", "200")];
/// Trials where nobody asks for more.
const TRIALS: u64 = 150;
const META: &str = "meta.properties";

/// A topic on node 2, alone or beside node 3, and what its readers have.
struct Topic {
    name: &'static str,
    id: WireUuid,
    committed: BTreeMap<i64, Said>,
    start: i64,
    end: i64,
}

/// Node 1 is the controller; `both` lies on nodes 2 and 3, `alone` on node 2.
async fn written(seed: u64) -> (Cluster, Vec<Topic>) {
    let cluster = Cluster::start_configured(1, 3, BY_HAND).await;
    let client = cluster.client(1).await;
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut topics = Vec::new();
    for (name, brokers) in [("both", vec![2, 3]), ("alone", vec![2])] {
        create_on(&client, name, &brokers, &CONFIGS).await;
        check_led(&client, name, &format!("2 {brokers:?}")).await;
        let (_, id) = leader(&client, name).await;
        let second = cluster.client(2).await;
        let mut writer = Writer::new(&second, name);
        writer.fill(&mut rng, 60, 10).await;
        let committed = writer.committed;
        assert_eq!(delete_records(&second, name, 5, 5_000).await, "low 5");
        let end = offset_at(&second, name, -1).await;
        topics.push(Topic { name, id, committed, start: 5, end });
    }
    // The checkpoints are written by and by.
    tokio::time::sleep(Duration::from_secs(2)).await;
    (cluster, topics)
}

/// What is done to a file.
fn damage(disk: &MemDisk, path: &Path, len: u64, rng: &mut fastrand::Rng) -> String {
    let file = || disk.open(path, OpenMode::ReadWrite).expect("it was just listed");
    match rng.u32(..8) {
        0..3 => {
            let to = rng.u64(..len.max(1));
            file().truncate(to).expect("no fault");
            format!("cut at {to} of {len}")
        }
        3..6 if len > 0 => {
            let (at, bit) = (rng.u64(..len), rng.u32(..8));
            disk.flip(path, at, 1 << bit).expect("it has so many bytes");
            format!("bit {bit} flipped at {at} of {len}")
        }
        6 => {
            let (at, bytes) = (rng.u64(..=len), [rng.u8(..); 16]);
            file().write_at(&bytes, at).expect("no fault");
            format!("written over at {at} of {len}")
        }
        _ => {
            disk.remove_file(path).expect("it was just listed");
            "removed".to_owned()
        }
    }
}

/// The files that a trial may choose from: not the locks, which have nothing in them.
fn files(disk: &MemDisk) -> Vec<(PathBuf, u64)> {
    let mut files = disk.files();
    files.retain(|(path, _)| !path.ends_with(".lock"));
    files
}

async fn trial(seed: u64) {
    let (mut cluster, topics) = written(seed).await;
    let mut rng = fastrand::Rng::with_seed(seed);
    let is_killed = rng.bool();
    match is_killed {
        true => cluster.kill_to_return(2),
        false => cluster.stop(2).await,
    }
    let client = cluster.client(1).await;
    check_led(&client, "both", "3 [3]").await;
    let files = files(cluster.disk(2));
    let (path, len) = files[rng.usize(..files.len())].clone();
    let done = damage(cluster.disk(2), &path, len, &mut rng);
    let what = format!("seed {seed}, killed: {is_killed}: {} {done}", path.display());
    println!("{what}");

    let is_up = match cluster.try_boot(2).await {
        Err(error) => {
            assert!(error.contains(&path.display().to_string()), "{what}: {error}");
            assert!(path.ends_with(META), "{what}: {error}");
            false
        }
        Ok(()) => is_admitted(&cluster, &what, &path).await,
    };
    check_neighbour(&cluster, &topics[0], &what).await;
    if is_up {
        let Some(again) = cluster.try_client(2).await else { panic!("{what}: it does not serve") };
        drop(again);
        check_alone(&cluster, &topics[1], &path, &what).await;
        check_follower(&mut cluster, &topics[0], &path, &what).await;
    }
}

/// Whether node 2 serves. Another identity in `meta.properties` may be refused by the controllers.
async fn is_admitted(cluster: &Cluster, what: &str, path: &Path) -> bool {
    let node = cluster.node(2);
    let up = tokio::time::timeout(Duration::from_secs(60), node.ready()).await;
    match up {
        Ok(Ok(())) => true,
        other => {
            assert!(path.ends_with(META), "{what}: it does not come up: {other:?}");
            false
        }
    }
}

/// Nothing happened to node 3.
async fn check_neighbour(cluster: &Cluster, topic: &Topic, what: &str) {
    let third = cluster.client(3).await;
    let seen = read_committed(&third, topic.id, topic.start).await;
    assert_eq!((seen.damaged, seen.stopped), (0, None), "{what}: at its neighbour");
    assert_eq!(seen.records, topic.wanted(), "{what}: at its neighbour");
}

impl Topic {
    fn wanted(&self) -> BTreeMap<i64, Said> {
        self.committed.range(self.start..).map(|(offset, said)| (*offset, said.clone())).collect()
    }

    fn dir(&self) -> String {
        format!("/data/{}-0", self.name)
    }

    /// Whatever was read is as it was written, and what is missing is missing for a reason.
    fn check(&self, seen: &Seen, path: &Path, what: &str) {
        for (offset, said) in &seen.records {
            // In a transaction that is open again, or was aborted with its marker gone, nothing is told.
            if let Some(written) = self.committed.get(offset) {
                assert_eq!(said, written, "{what}: {} at {offset}", self.name);
            }
        }
        if !path.starts_with(self.dir()) && !path.to_string_lossy().ends_with("log-start-offset-checkpoint") {
            assert_eq!((seen.damaged, seen.stopped), (0, None), "{what}: {}", self.name);
            let from_start: BTreeMap<_, _> =
                seen.records.clone().into_iter().filter(|(at, _)| *at >= self.start).collect();
            assert_eq!(from_start, self.wanted(), "{what}: {}", self.name);
        }
    }
}

/// What only node 2 had.
async fn check_alone(cluster: &Cluster, topic: &Topic, path: &Path, what: &str) {
    let client = cluster.client(2).await;
    let mut seen = Seen::default();
    for _ in 0..100 {
        seen = read_committed(&client, topic.id, topic.start).await;
        let is_passing = |code: &model::ErrorCode| code.is_retriable() && !path.starts_with(topic.dir());
        if !seen.stopped.as_ref().is_some_and(is_passing) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    topic.check(&seen, path, what);
    let is_log = path.extension().is_some_and(|extension| extension == "log");
    if path.starts_with(topic.dir()) && !is_log && !path.ends_with("partition.metadata") {
        if path.extension().is_some_and(|extension| extension == "txnindex") {
            // One that is gone, or ends after a whole entry, looks like one of fewer aborted transactions.
            seen.records.retain(|at, _| topic.committed.contains_key(at));
        }
        assert_eq!(seen.records, topic.wanted(), "{what}: all but its batches is made anew");
    }
}

/// What node 2 has of a log that node 3 has as well, once it leads.
async fn check_follower(cluster: &mut Cluster, topic: &Topic, path: &Path, what: &str) {
    let client = cluster.client(1).await;
    let is_identity = path.ends_with("partition.metadata");
    if path.starts_with(topic.dir()) && is_identity && !is_in_sync(cluster, topic).await {
        // It is not known whose log that is: it is out of service until an operator says.
        return;
    }
    check_led(&client, topic.name, "3 [2, 3]").await;
    cluster.stop(3).await;
    check_led(&client, topic.name, "2 [2]").await;
    let second = cluster.client(2).await;
    let seen = read_committed(&second, topic.id, topic.start).await;
    topic.check(&seen, path, what);
    assert!(
        seen.stopped.is_some() || seen.high_watermark >= topic.end,
        "{what}: it ends at {}",
        seen.high_watermark
    );
}

async fn is_in_sync(cluster: &Cluster, topic: &Topic) -> bool {
    let client = cluster.client(1).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let seen = led(&client, topic.name).await;
    seen == "3 [2, 3]"
}

#[test]
fn whichever_file_is_damaged_the_node_comes_up_and_loses_that_alone() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("KASTLE_TORN_SEED") {
        Some(seed) => run(trial(seed)),
        None => (0..number("KASTLE_TORN").unwrap_or(TRIALS)).for_each(|seed| run(trial(seed))),
    }
}

/// Gathers what is logged.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl io::Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Heard {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

/// Puts nonsense into a file of node 2 and says what its next start has to say about it.
fn check_named(file: &'static str, named: &'static str) {
    let heard = Heard::default();
    let writer = heard.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::WARN)
        .with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    run(async move {
        let (mut cluster, topics) = written(1).await;
        cluster.stop(2).await;
        let client = cluster.client(1).await;
        check_led(&client, "both", "3 [3]").await;
        let path = Path::new("/data").join(file);
        let disk = cluster.disk(2);
        read_file(disk, &path, 1 << 20).expect("it is there");
        let file = disk.open(&path, OpenMode::ReadWrite).expect("it is there");
        file.truncate(0).and_then(|()| file.write_at(b"\xffwhat is this\n", 0)).expect("no fault");
        match cluster.try_boot(2).await {
            Err(error) => assert!(path.ends_with(META) && error.contains(META), "{error}"),
            Ok(()) => {
                cluster.ready(2).await;
                let text = heard.text();
                assert!(text.contains(named), "nothing is said of {}: {text}", path.display());
                check_neighbour(&cluster, &topics[0], named).await;
                check_alone(&cluster, &topics[1], &path, named).await;
            }
        }
    });
}

#[test]
fn a_file_that_is_nonsense_is_named_at_the_next_start() {
    check_named("meta.properties", "meta.properties");
    for checkpoint in
        ["recovery-point-offset-checkpoint", "replication-offset-checkpoint", "log-start-offset-checkpoint"]
    {
        check_named(checkpoint, checkpoint);
    }
    check_named("alone-0/leader-epoch-checkpoint", "/data/alone-0/leader-epoch-checkpoint");
    check_named("both-0/leader-epoch-checkpoint", "/data/both-0/leader-epoch-checkpoint");
    check_named("both-0/partition.metadata", "/data/both-0/partition.metadata");
}
