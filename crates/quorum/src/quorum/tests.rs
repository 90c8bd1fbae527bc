//! Quorums of one and three in one process: a toy state machine, disks in memory, a network of pipes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use log::Disk;
use log::disk::{Crash, MemDisk};
use model::{LeaderEpoch, NodeId, Offset, Uuid};
use net::pipe::PipeNetwork;
use net::{Network, SystemClock};
use proto::metadata::{MetadataRecord, ProducerIdsRecord};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Quorum;
use crate::machine::{CommittedBatch, LoadedSnapshot, StateMachine};
use crate::options::{Blocking, QuorumOptions, Tuning, VoterSource};
use crate::voters::Voters;

/// Remembers every record that it saw: what must be equal on all nodes.
#[derive(Clone, Default)]
struct Toy(Arc<Mutex<Vec<MetadataRecord>>>);

impl Toy {
    fn ids(&self) -> Vec<i64> {
        self.0.lock().expect("no panic").iter().map(number).collect()
    }
}

impl StateMachine for Toy {
    fn apply(&mut self, batch: &CommittedBatch) {
        self.0.lock().expect("no panic").extend(batch.records.iter().cloned());
    }

    fn snapshot(&self) -> Box<dyn FnOnce() -> Vec<MetadataRecord> + Send> {
        let records = self.0.lock().expect("no panic").clone();
        Box::new(move || records)
    }

    fn restore(&mut self, snapshot: &LoadedSnapshot) {
        self.0.lock().expect("no panic").clone_from(&snapshot.records);
    }
}

fn record(number: i64) -> MetadataRecord {
    MetadataRecord::ProducerIds(ProducerIdsRecord { broker_id: 1, broker_epoch: 1, next_producer_id: number })
}

fn number(record: &MetadataRecord) -> i64 {
    match record {
        MetadataRecord::ProducerIds(ids) => ids.next_producer_id,
        other => panic!("the toy never writes {other:?}"),
    }
}

/// One node of a test: its disk outlives its process.
struct Node {
    id: i32,
    voters: Voters,
    disk: MemDisk,
    network: PipeNetwork,
    tuning: Tuning,
    starts: u64,
}

/// What runs while the node is up.
struct Running {
    quorum: Quorum,
    toy: Toy,
    serving: tokio::task::JoinHandle<()>,
}

impl Node {
    fn new(id: i32, voters: &str, network: &PipeNetwork) -> Self {
        let voters = Voters::parse_static(voters, "CONTROLLER").expect("written by the test");
        let (disk, network, tuning) = (MemDisk::new(), network.clone(), Tuning::default());
        Self { id, voters, disk, network, tuning, starts: 0 }
    }

    fn options(&self) -> QuorumOptions {
        QuorumOptions {
            node: NodeId::new(self.id),
            directory: Uuid::from_u128(1000 + self.id as u128),
            cluster: Uuid::from_u128(77),
            log_dir: PathBuf::from("/data"),
            voters: VoterSource::Static(self.voters.clone()),
            listener: "CONTROLLER".to_owned(),
            disk: Arc::new(self.disk.clone()),
            network: Arc::new(self.network.host(&format!("n{}", self.id))),
            clock: Arc::new(SystemClock::new()),
            seed: self.id as u64 * 1000 + self.starts,
            blocking: Blocking::Inline,
            tuning: self.tuning.clone(),
        }
    }

    async fn start(&mut self) -> Running {
        self.starts += 1;
        let toy = Toy::default();
        let quorum = Quorum::open(self.options(), toy.clone()).await.expect("opens");
        let host = self.network.host(&format!("n{}", self.id));
        let serving = tokio::task::spawn_local(serve(host, quorum.clone()));
        Running { quorum, toy, serving }
    }

    /// The process dies, and with it what its disk had not synced.
    async fn kill(&self, running: Running) {
        self.network.kill(&format!("n{}", self.id));
        running.serving.abort();
        running.quorum.shutdown().await;
        self.disk.crash(Crash::Power);
    }
}

/// A controller listener that knows the quorum's requests only.
async fn serve(network: impl Network + 'static, quorum: Quorum) {
    let mut listener = network.bind("0.0.0.0:9093").await.expect("the port is free");
    while let Ok(stream) = listener.accept().await {
        let quorum = quorum.clone();
        tokio::task::spawn_local(async move {
            let (mut read, mut write) = stream.split();
            while let Ok(length) = read.read_u32().await {
                let mut frame = vec![0; length as usize];
                if read.read_exact(&mut frame).await.is_err() {
                    return;
                }
                let mut frame = Bytes::from(frame);
                let (key, _version, id) = (frame.get_i16(), frame.get_i16(), frame.get_i32());
                let client = frame.get_i16() as usize;
                frame.advance(client);
                let Ok(body) = quorum.handle_rpc(key, frame).await else { return };
                let mut response = BytesMut::new();
                response.put_u32(body.len() as u32 + 4);
                response.put_i32(id);
                response.put_slice(&body);
                if write.write_all(&response).await.is_err() {
                    return;
                }
            }
        });
    }
}

async fn until_ready(quorum: &Quorum) -> LeaderEpoch {
    let mut status = quorum.status();
    let ready = status.wait_for(|status| status.is_leader_ready);
    let ready = tokio::time::timeout(Duration::from_secs(20), ready).await;
    ready.expect("leads within 20 s").expect("runs").epoch
}

/// Runs a test on virtual time.
fn run(test: impl Future<Output = ()>) {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let local = tokio::task::LocalSet::new();
    runtime.expect("a runtime").block_on(local.run_until(test));
}

#[test]
fn one_node_appends_applies_and_finds_it_all_after_a_crash() {
    run(async {
        let network = PipeNetwork::new();
        let mut node = Node::new(1, "1@n1:9093", &network);
        let running = node.start().await;
        let epoch = until_ready(&running.quorum).await;
        for number in 0..10 {
            let offset = running.quorum.append(epoch, vec![record(number), record(number + 100)]).await;
            // Two voter records and one leader change stand before.
            assert_eq!(offset, Ok(Offset::new(4 + 2 * number)));
        }
        let seen = running.toy.ids();
        assert_eq!(seen.len(), 20);
        node.kill(running).await;
        let running = node.start().await;
        let epoch = until_ready(&running.quorum).await;
        assert_eq!((running.toy.ids(), epoch.get()), (seen, 2));
    });
}

#[test]
fn a_wrong_epoch_is_told_who_leads() {
    run(async {
        let network = PipeNetwork::new();
        let mut node = Node::new(1, "1@n1:9093", &network);
        let running = node.start().await;
        let epoch = until_ready(&running.quorum).await;
        let answer = running.quorum.append(epoch.next(), vec![record(1)]).await;
        let leader = Some(NodeId::new(1));
        assert_eq!(answer, Err(super::AppendError::NotLeader { leader, epoch }));
    });
}

const THREE: &str = "1@n1:9093,2@n2:9093,3@n3:9093";

/// Three nodes, some of them up.
struct Trio {
    nodes: Vec<Node>,
    running: Vec<Option<Running>>,
}

impl Trio {
    async fn start(tuning: Tuning) -> Self {
        let network = PipeNetwork::new();
        let node = |id| Node { tuning: tuning.clone(), ..Node::new(id, THREE, &network) };
        let nodes = (1..=3).map(node).collect();
        let mut trio = Self { nodes, running: vec![None, None, None] };
        for at in 0..3 {
            trio.revive(at).await;
        }
        trio
    }

    async fn revive(&mut self, at: usize) {
        let running = self.nodes[at].start().await;
        self.running[at] = Some(running);
    }

    async fn kill(&mut self, at: usize) {
        let running = self.running[at].take().expect("it is up");
        self.nodes[at].kill(running).await;
    }

    fn up(&self) -> impl Iterator<Item = &Running> {
        self.running.iter().flatten()
    }

    /// The node that leads, ready, by its place.
    async fn leader(&self) -> (usize, LeaderEpoch) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while tokio::time::Instant::now() < deadline {
            for (at, running) in self.running.iter().enumerate() {
                let status = running.as_ref().map(|running| running.quorum.status().borrow().clone());
                if let Some(status) = status.filter(|status| status.is_leader_ready) {
                    return (at, status.epoch);
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let seen: Vec<_> = self.up().map(|running| running.quorum.status().borrow().clone()).collect();
        panic!("nobody leads: {seen:#?}");
    }

    async fn append(&self, number: i64) -> Offset {
        let (at, epoch) = self.leader().await;
        let quorum = &self.running[at].as_ref().expect("it leads").quorum;
        quorum.append(epoch, vec![record(number)]).await.expect("a majority is up")
    }

    /// Waits until every node that is up has applied `offset`.
    async fn settle(&self, offset: Offset) {
        for running in self.up() {
            let mut status = running.quorum.status();
            let there = status.wait_for(|status| status.high_watermark > offset);
            let there = tokio::time::timeout(Duration::from_secs(30), there).await;
            there.expect("catches up within 30 s").expect("runs");
        }
    }

    fn check_equal(&self, expected: &[i64]) {
        for running in self.up() {
            assert_eq!(running.toy.ids(), expected, "node {}", running.quorum.node());
        }
    }
}

#[test]
fn three_nodes_agree_while_each_dies_in_turn() {
    run(async {
        let mut trio = Trio::start(Tuning::default()).await;
        let mut written = Vec::new();
        for round in 0..6 {
            let (leader, _) = trio.leader().await;
            let victim = if round % 2 == 0 { leader } else { (leader + 1) % 3 };
            for number in 0..5 {
                trio.append(round * 100 + number).await;
                written.push(round * 100 + number);
            }
            trio.kill(victim).await;
            trio.append(round * 100 + 50).await;
            written.push(round * 100 + 50);
            trio.revive(victim).await;
        }
        let last = trio.append(1000).await;
        written.push(1000);
        trio.settle(last).await;
        trio.check_equal(&written);
    });
}

#[test]
fn a_killed_leader_is_replaced_within_half_a_second() {
    run(async {
        let mut trio = Trio::start(Tuning::default()).await;
        for _ in 0..5 {
            let last = trio.append(1).await;
            trio.settle(last).await;
            let (leader, epoch) = trio.leader().await;
            let killed = tokio::time::Instant::now();
            trio.kill(leader).await;
            let (next, next_epoch) = trio.leader().await;
            let took = killed.elapsed();
            assert!(next != leader && next_epoch > epoch && took < Duration::from_millis(500), "{took:?}");
            trio.revive(leader).await;
        }
    });
}

/// Snapshots and segments so small that a few appends make several.
fn small() -> Tuning {
    Tuning {
        bytes_between_snapshots: 2_000,
        segment_bytes: 1_000,
        batches_behind_snapshot: 3,
        ..Tuning::default()
    }
}

fn checkpoints(node: &Node) -> Vec<String> {
    let files = node.disk.list(Path::new("/data/__cluster_metadata-0")).expect("memory");
    files.into_iter().map(|entry| entry.name).filter(|name| name.ends_with(".checkpoint")).collect()
}

#[test]
fn one_that_was_away_for_long_gets_a_snapshot_and_the_tail() {
    run(async {
        let mut trio = Trio::start(small()).await;
        trio.append(0).await;
        let (leader, _) = trio.leader().await;
        let away = (leader + 1) % 3;
        trio.kill(away).await;
        for number in 1..100 {
            trio.append(number).await;
        }
        trio.revive(away).await;
        let last = trio.append(100).await;
        trio.settle(last).await;
        let written: Vec<i64> = (0..=100).collect();
        trio.check_equal(&written);
        for node in &trio.nodes {
            assert!((1..=2).contains(&checkpoints(node).len()), "{:?}", checkpoints(node));
        }
        // The log behind the older snapshot is gone; all of them start again from snapshot and tail.
        for at in 0..3 {
            assert!(trio.running[at].as_ref().expect("up").quorum.status().borrow().log_start > Offset::ZERO);
            trio.kill(at).await;
        }
        for at in 0..3 {
            trio.revive(at).await;
        }
        let last = trio.append(101).await;
        trio.settle(last).await;
        trio.check_equal(&(0..=101).collect::<Vec<i64>>());
    });
}

#[test]
fn a_damaged_snapshot_falls_back_to_the_one_before_and_without_any_the_error_says_what_to_do() {
    run(async {
        let network = PipeNetwork::new();
        let mut node = Node { tuning: small(), ..Node::new(1, "1@n1:9093", &network) };
        let running = node.start().await;
        let epoch = until_ready(&running.quorum).await;
        for number in 0..100 {
            running.quorum.append(epoch, vec![record(number)]).await.expect("appends");
        }
        node.kill(running).await;
        let dir = Path::new("/data/__cluster_metadata-0");
        let names = checkpoints(&node);
        assert_eq!(names.len(), 2);
        node.disk.flip(&dir.join(&names[1]), 150, 4).expect("there is such a byte");
        let running = node.start().await;
        until_ready(&running.quorum).await;
        assert_eq!(running.toy.ids(), (0..100).collect::<Vec<i64>>());
        node.kill(running).await;
        for name in checkpoints(&node) {
            node.disk.remove_file(&dir.join(name)).expect("it is there");
        }
        let error = Quorum::open(node.options(), Toy::default()).await.err().expect("refused").to_string();
        assert!(error.contains("no readable snapshot") && error.contains("restore the missing"), "{error}");
    });
}

#[test]
fn a_leader_that_resigns_hands_over_without_an_election_timeout() {
    run(async {
        let trio = Trio::start(Tuning::default()).await;
        let last = trio.append(1).await;
        trio.settle(last).await;
        let (leader, epoch) = trio.leader().await;
        let asked = tokio::time::Instant::now();
        trio.running[leader].as_ref().expect("up").quorum.resign().await;
        let (next, next_epoch) = trio.leader().await;
        assert!(next != leader && next_epoch > epoch);
        assert!(asked.elapsed() < Duration::from_millis(300), "{:?}", asked.elapsed());
    });
}

#[test]
fn without_a_majority_an_append_ends_at_its_deadline() {
    run(async {
        let mut trio = Trio::start(Tuning::default()).await;
        trio.append(1).await;
        let (leader, epoch) = trio.leader().await;
        trio.kill((leader + 1) % 3).await;
        trio.kill((leader + 2) % 3).await;
        let quorum = &trio.running[leader].as_ref().expect("up").quorum;
        let asked = tokio::time::Instant::now();
        let answer = quorum.append(epoch, vec![record(2)]).await;
        assert!(matches!(answer, Err(super::AppendError::TimedOut { .. })), "{answer:?}");
        assert!(asked.elapsed() < Duration::from_secs(11));
    });
}

#[test]
fn observers_read_what_is_committed_and_are_described() {
    run(async {
        let trio = Trio::start(Tuning::default()).await;
        let last = trio.append(1).await;
        trio.settle(last).await;
        let (leader, epoch) = trio.leader().await;
        let quorum = &trio.running[leader].as_ref().expect("up").quorum;
        let from = |offset, fetched: Option<i32>| super::ReadFrom {
            offset: Offset::new(offset),
            last_fetched_epoch: fetched.map(LeaderEpoch::new),
            current_leader_epoch: None,
            bytes_max: 1 << 20,
            replica: Some((NodeId::new(9), Uuid::from_u128(9))),
        };
        let read = quorum.read(&from(0, None)).expect("this node leads");
        let super::ReadOutcome::Batches(bytes) = read.outcome else { panic!("{read:?}") };
        let batches =
            wire::batch::Batches::new(&bytes).map(|batch| batch.expect("well formed").header.next_offset());
        assert_eq!(batches.last(), Some(read.high_watermark));
        let diverging = quorum.read(&from(2, Some(epoch.get() + 7))).expect("this node leads").outcome;
        assert!(matches!(diverging, super::ReadOutcome::Diverging { .. }), "{diverging:?}");
        let end = quorum.read(&from(last.get() + 1, Some(epoch.get()))).expect("this node leads").outcome;
        assert_eq!(end, super::ReadOutcome::Batches(Bytes::new()));
        let described = quorum.describe().await.expect("this node leads");
        assert_eq!(
            described.voters.iter().map(|voter| voter.log_end).collect::<Vec<_>>(),
            vec![Some(last.next()); 3]
        );
        assert_eq!((described.observers.len(), described.observers[0].log_end), (1, Some(last.next())));
        let other = &trio.running[(leader + 1) % 3].as_ref().expect("up").quorum;
        let refused = other.read(&from(0, None)).expect_err("it follows");
        assert_eq!(refused.code(), model::ErrorCode::NotLeaderOrFollower);
    });
}
