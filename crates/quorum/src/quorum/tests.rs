//! Quorums of one and three in one process: a toy state machine, disks in memory, a network of pipes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use log::disk::MemDisk;
use model::{LeaderEpoch, NodeId, Offset, Timestamp, Uuid};
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
        self.disk.crash(log::disk::Crash::default());
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
        let _ = Timestamp::new(0);
    });
}
