//! Quorums of one and three in one process, for tests: a toy state machine, disks in memory, a network
//! of pipes, and a listener that answers voters and observers.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut, Bytes};
use log::Disk;
use log::disk::{Crash, MemDisk, OpenMode};
use model::{LeaderEpoch, NodeId, Offset, Uuid};
use net::pipe::PipeNetwork;
use net::{Network, SystemClock};
use proto::metadata::{MetadataRecord, ProducerIdsRecord};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wire::api::quorum as keys;
use wire::header::RequestHeader;
use wire::messages::{
    ApiKey, BrokerId, FetchRequest, FetchResponse, FetchSnapshotRequest, FetchSnapshotResponse, RequestKind,
    ResponseKind, fetch_response, fetch_snapshot_response,
};

use crate::machine::{CommittedBatch, LoadedSnapshot, StateMachine};
use crate::options::{Blocking, QuorumOptions, Tuning, VoterSource};
use crate::quorum::{OpenError, Quorum, ReadFrom, ReadOutcome};
use crate::snapshot::SnapshotId;
use crate::voters::Voters;

/// Remembers every record that it saw: what must be equal on all nodes.
#[derive(Clone, Default)]
pub(crate) struct Toy(Arc<Mutex<Vec<MetadataRecord>>>);

impl Toy {
    pub(crate) fn ids(&self) -> Vec<i64> {
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

pub(crate) fn record(number: i64) -> MetadataRecord {
    MetadataRecord::ProducerIds(ProducerIdsRecord { broker_id: 1, broker_epoch: 1, next_producer_id: number })
}

pub(crate) fn number(record: &MetadataRecord) -> i64 {
    match record {
        MetadataRecord::ProducerIds(ids) => ids.next_producer_id,
        other => panic!("the toy never writes {other:?}"),
    }
}

/// One node of a test: its disk outlives its process.
pub(crate) struct Node {
    pub(crate) id: i32,
    pub(crate) voters: Voters,
    pub(crate) disk: MemDisk,
    pub(crate) network: PipeNetwork,
    pub(crate) tuning: Tuning,
    pub(crate) starts: u64,
}

/// What runs while the node is up.
pub(crate) struct Running {
    pub(crate) quorum: Quorum,
    pub(crate) toy: Toy,
    pub(crate) serving: tokio::task::JoinHandle<()>,
}

impl Node {
    pub(crate) fn new(id: i32, voters: &str, network: &PipeNetwork) -> Self {
        let voters = Voters::parse_static(voters, "CONTROLLER").expect("written by the test");
        let (disk, network, tuning) = (MemDisk::new(), network.clone(), Tuning::default());
        Self { id, voters, disk, network, tuning, starts: 0 }
    }

    pub(crate) fn options(&self) -> QuorumOptions {
        QuorumOptions {
            node: NodeId::new(self.id),
            directory: Uuid::from_u128(1000 + self.id as u128),
            cluster: Uuid::from_u128(77).into(),
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

    pub(crate) async fn start(&mut self) -> Running {
        self.try_start().await.expect("opens")
    }

    pub(crate) async fn try_start(&mut self) -> Result<Running, OpenError> {
        self.starts += 1;
        let toy = Toy::default();
        let quorum = Quorum::open(self.options(), toy.clone()).await?;
        let host = self.network.host(&format!("n{}", self.id));
        let serving = tokio::task::spawn_local(serve(host, quorum.clone()));
        Ok(Running { quorum, toy, serving })
    }

    /// The process dies, and with it what its disk had not synced.
    pub(crate) async fn kill(&self, running: Running) {
        self.end(running).await;
        self.disk.crash(Crash::Power);
    }

    /// The process dies; its disk is the caller's.
    pub(crate) async fn end(&self, running: Running) {
        self.network.kill(&format!("n{}", self.id));
        running.serving.abort();
        running.quorum.shutdown().await;
    }
}

/// A controller listener that knows what voters and observers ask.
pub(crate) async fn serve(network: impl Network + 'static, quorum: Quorum) {
    let mut listener = network.bind("0.0.0.0:9093").await.expect("the port is free");
    while let Ok(stream) = listener.accept().await {
        let quorum = quorum.clone();
        tokio::task::spawn_local(async move {
            let Ok((mut read, mut write)) = stream.split() else { return };
            while let Ok(length) = read.read_u32().await {
                let mut frame = vec![0; length as usize];
                if read.read_exact(&mut frame).await.is_err() {
                    return;
                }
                let Some(response) = answer(&quorum, Bytes::from(frame)).await else { return };
                if write.write_all(&response).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// The whole frame that answers `frame`; `None` closes the connection.
async fn answer(quorum: &Quorum, mut frame: Bytes) -> Option<Vec<u8>> {
    let header = RequestHeader::decode(&mut frame).ok()?;
    let id = header.correlation_id;
    let mut out = Vec::new();
    if keys::is_private(header.api_key) {
        let body = quorum.handle_rpc(header.api_key, frame).await.ok()?;
        out.put_u32(body.len() as u32 + 4);
        out.put_i32(id);
        out.put_slice(&body);
        return Some(out);
    }
    let response = match wire::request::decode(&header, frame).ok()? {
        RequestKind::Fetch(request) => fetch(quorum, &request).await,
        RequestKind::FetchSnapshot(request) => fetch_snapshot(quorum, &request),
        _ => return None,
    };
    let api = ApiKey::try_from(header.api_key).ok()?;
    wire::response::encode(id, api, header.api_version, &response, &mut out).ok()?;
    Some(out)
}

async fn fetch(quorum: &Quorum, request: &FetchRequest) -> ResponseKind {
    let asked = &request.topics[0].partitions[0];
    let from = ReadFrom {
        offset: Offset::new(asked.fetch_offset),
        last_fetched_epoch: LeaderEpoch::from_wire(asked.last_fetched_epoch),
        current_leader_epoch: LeaderEpoch::from_wire(asked.current_leader_epoch),
        bytes_max: 1_000,
        replica: Some((NodeId::new(request.replica_state.replica_id.0), Uuid::from_u128(9))),
    };
    let mut read = quorum.read(&from);
    if matches!(&read, Ok(read) if read.outcome == ReadOutcome::Batches(Bytes::new())) {
        let mut status = quorum.status();
        let more = status.wait_for(|status| status.high_watermark > from.offset);
        let _ = tokio::time::timeout(Duration::from_millis(300), more).await;
        read = quorum.read(&from);
    }
    let mut data = fetch_response::PartitionData::default();
    match read {
        Err(error) => {
            data.error_code = error.code().code();
            let status = quorum.status().borrow().clone();
            data.current_leader.leader_id = BrokerId(status.leader.map_or(-1, NodeId::get));
            data.current_leader.leader_epoch = status.epoch.get();
        }
        Ok(read) => {
            data.high_watermark = read.high_watermark.get();
            match read.outcome {
                ReadOutcome::Batches(bytes) => data.records = Some(bytes),
                ReadOutcome::Diverging { epoch, end_offset } => {
                    data.diverging_epoch.epoch = epoch.get();
                    data.diverging_epoch.end_offset = end_offset.get();
                }
                ReadOutcome::Snapshot(id) => {
                    data.snapshot_id.end_offset = id.end_offset.get();
                    data.snapshot_id.epoch = id.epoch.get();
                }
            }
        }
    }
    let topic = fetch_response::FetchableTopicResponse::default().with_partitions(vec![data]);
    ResponseKind::Fetch(FetchResponse::default().with_responses(vec![topic]))
}

fn fetch_snapshot(quorum: &Quorum, request: &FetchSnapshotRequest) -> ResponseKind {
    let asked = &request.topics[0].partitions[0];
    let id = SnapshotId {
        end_offset: Offset::new(asked.snapshot_id.end_offset),
        epoch: LeaderEpoch::new(asked.snapshot_id.epoch),
    };
    let mut data = fetch_snapshot_response::PartitionSnapshot::default();
    match quorum.read_snapshot(id, asked.position, 700, None) {
        Err(error) => data.error_code = error.code().code(),
        Ok(piece) => {
            data.size = piece.size as i64;
            data.position = asked.position;
            data.unaligned_records = piece.bytes;
        }
    }
    let topic = fetch_snapshot_response::TopicSnapshot::default().with_partitions(vec![data]);
    ResponseKind::FetchSnapshot(FetchSnapshotResponse::default().with_topics(vec![topic]))
}

pub(crate) async fn until_ready(quorum: &Quorum) -> LeaderEpoch {
    let mut status = quorum.status();
    let ready = status.wait_for(|status| status.is_leader_ready);
    let ready = tokio::time::timeout(Duration::from_secs(20), ready).await;
    ready.expect("leads within 20 s").expect("runs").epoch
}

/// Runs a test on virtual time.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let local = tokio::task::LocalSet::new();
    runtime.expect("a runtime").block_on(local.run_until(test));
}

pub(crate) const THREE: &str = "1@n1:9093,2@n2:9093,3@n3:9093";

/// Three nodes, some of them up.
pub(crate) struct Trio {
    pub(crate) nodes: Vec<Node>,
    pub(crate) running: Vec<Option<Running>>,
}

impl Trio {
    pub(crate) async fn start(tuning: Tuning) -> Self {
        let network = PipeNetwork::new();
        let node = |id| Node { tuning: tuning.clone(), ..Node::new(id, THREE, &network) };
        let nodes = (1..=3).map(node).collect();
        let mut trio = Self { nodes, running: vec![None, None, None] };
        for at in 0..3 {
            trio.revive(at).await;
        }
        trio
    }

    /// Three nodes that are down, with copies of `disks`.
    pub(crate) fn on(disks: &[MemDisk], tuning: Tuning) -> Self {
        let network = PipeNetwork::new();
        let node = |(id, disk)| Node {
            disk: copy_of(disk),
            tuning: tuning.clone(),
            ..Node::new(id, THREE, &network)
        };
        Self { nodes: (1..).zip(disks).map(node).collect(), running: vec![None, None, None] }
    }

    pub(crate) async fn revive(&mut self, at: usize) {
        let running = self.nodes[at].start().await;
        self.running[at] = Some(running);
    }

    pub(crate) async fn kill(&mut self, at: usize) {
        let running = self.running[at].take().expect("it is up");
        self.nodes[at].kill(running).await;
    }

    pub(crate) fn up(&self) -> impl Iterator<Item = &Running> {
        self.running.iter().flatten()
    }

    /// The node that leads, ready, by its place.
    pub(crate) async fn leader(&self) -> (usize, LeaderEpoch) {
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

    pub(crate) async fn append(&self, number: i64) -> Offset {
        let (at, epoch) = self.leader().await;
        let quorum = &self.running[at].as_ref().expect("it leads").quorum;
        quorum.append(epoch, None, vec![record(number)]).await.expect("a majority is up")
    }

    /// Waits until every node that is up has applied `offset`.
    pub(crate) async fn settle(&self, offset: Offset) {
        for running in self.up() {
            let mut status = running.quorum.status();
            let there = status.wait_for(|status| status.high_watermark > offset);
            let there = tokio::time::timeout(Duration::from_secs(30), there).await;
            there.expect("catches up within 30 s").expect("runs");
        }
    }

    pub(crate) fn check_equal(&self, expected: &[i64]) {
        for running in self.up() {
            assert_eq!(running.toy.ids(), expected, "node {}", running.quorum.node());
        }
    }
}

/// Snapshots and segments so small that a few appends make several.
pub(crate) fn small() -> Tuning {
    Tuning {
        bytes_between_snapshots: 2_000,
        segment_bytes: 1_000,
        batches_behind_snapshot: 3,
        ..Tuning::default()
    }
}

/// Another disk with the same files, all of them durable.
pub(crate) fn copy_of(disk: &MemDisk) -> MemDisk {
    let copy = MemDisk::new();
    for (path, len) in disk.files() {
        let bytes = log::disk::read_file(disk, &path, len).expect("memory");
        let dir = path.parent().expect("an absolute path");
        copy.create_dir_all(dir).expect("memory");
        let file = copy.open(&path, OpenMode::ReadWrite).expect("memory");
        file.write_at(&bytes, 0).and_then(|()| file.sync()).expect("memory");
        dir.ancestors().try_for_each(|dir| copy.sync_dir(dir)).expect("memory");
    }
    copy
}

pub(crate) fn checkpoints(node: &Node) -> Vec<String> {
    let files = node.disk.list(Path::new("/data/__cluster_metadata-0")).expect("memory");
    files.into_iter().map(|entry| entry.name).filter(|name| name.ends_with(".checkpoint")).collect()
}
