//! Quorums of one and three in one process: a toy state machine, disks in memory, a network of pipes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
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
