//! The workload against whole nodes over pipes and disks in memory: without faults everything
//! is acknowledged and seen, and with a node killed and restarted nothing that was is lost.
//!
//! The simulated machines are not used: what is shown here is the workload, not the world.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker::identity::{META_PROPERTIES, MetaProperties};
use broker::{Node, NodeOptions};
use config::{NodeConfig, Properties};
use judge::history::{Batch, History, Kind, OpId, Poll, Producer, Read, SendOutcome, Session};
use judge::promise::FaultsSeen;
use kastle_sim::faults::FaultLog;
use kastle_sim::verdict::{all_lossy, of_clients};
use kastle_sim::workload::queue::{FinalReading, Options, Stop, Surroundings, TopicPlan, Workload};
use kastle_sim::workload::record::{DONE, Ledger};
use log::Disk;
use log::disk::{Crash, MemDisk, write_atomically};
use model::{ErrorCode, NodeId, Offset, Timestamp, TopicPartition, Uuid};
use net::pipe::PipeNetwork;
use net::{Blocking, Clock, Network, Threads, VirtualClock};
use tokio::runtime::RngSeed;
use tokio::task::LocalSet;
use world::Process;

const CLUSTER: Uuid = Uuid::from_u128(0x4b41_5354_4c45);
const NODES: i32 = 3;

/// Three nodes, each controller and broker and a process of its own.
struct Cluster {
    network: PipeNetwork,
    disks: BTreeMap<i32, MemDisk>,
    processes: BTreeMap<i32, Process>,
    clock: Arc<dyn Clock>,
    starts: u64,
}

impl Cluster {
    fn start() -> Self {
        let network = PipeNetwork::new();
        let disks = (1..=NODES).map(|id| (id, formatted(id))).collect();
        let clock = Arc::new(VirtualClock::starting_at(Timestamp::new(1_700_000_000_000)));
        let mut cluster = Self { network, disks, processes: BTreeMap::new(), clock, starts: 0 };
        for id in 1..=NODES {
            cluster.network.host(&format!("n{id}"));
        }
        for id in 1..=NODES {
            cluster.boot(id);
        }
        cluster
    }

    fn boot(&mut self, id: i32) {
        self.starts += 1;
        let options = NodeOptions {
            config: node_config(id),
            disk: Arc::new(self.disks[&id].clone()),
            network: Arc::new(self.network.host(&format!("n{id}"))),
            clock: self.clock.clone(),
            seed: self.starts,
            boot: Some("boot".to_owned()),
            blocking: Blocking::Inline,
            threads: Threads::none(),
        };
        let main = async move {
            let node = Node::start(options).await.unwrap_or_else(|error| panic!("node {id}: {error}"));
            let failed = node.failed().await;
            panic!("node {id}: {failed}");
        };
        self.processes.insert(id, Process::start(main, || {}));
    }

    fn kill(&mut self, id: i32) {
        self.network.kill(&format!("n{id}"));
        self.processes.remove(&id).expect("it runs").kill();
        self.disks[&id].crash(Crash::Process);
    }
}

fn formatted(id: i32) -> MemDisk {
    let disk = MemDisk::new();
    let dir = Path::new("/data");
    disk.create_dir_all(dir).expect("an empty disk takes directories");
    let directory = Uuid::from_u128(1_000 + u128::from(id.unsigned_abs()));
    let meta = MetaProperties { cluster: CLUSTER.into(), node: NodeId::new(id), directory };
    write_atomically(&disk, &dir.join(META_PROPERTIES), meta.to_text().as_bytes()).expect("there is room");
    disk
}

fn node_config(id: i32) -> NodeConfig {
    let voters: Vec<String> = (1..=NODES).map(|id| format!("{id}@n{id}:9093")).collect();
    let text = format!(
        "process.roles=broker,controller\nnode.id={id}\nlog.dirs=/data\n\
         listeners=PLAINTEXT://n{id}:9092,CONTROLLER://n{id}:9093\n\
         controller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
         controller.quorum.voters={}\nauto.create.topics.enable=false\n",
        voters.join(",")
    );
    let properties = Properties::parse("test.properties", text.as_bytes()).expect("well-formed");
    NodeConfig::from_properties(&properties).unwrap_or_else(|error| panic!("{error}"))
}

/// What a run left.
struct Ran {
    ledger: Ledger,
    reading: FinalReading,
}

/// Runs the workload on a cluster for 20 virtual seconds; node `killed` is cut off after 6, dies
/// after 7 and is back after 12.
fn check(seed: u64, options: Options, killed: Option<i32>) -> Ran {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .try_init();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).rng_seed(RngSeed::from_bytes(&seed.to_be_bytes()));
    let runtime = builder.build().expect("a runtime");
    let history = Arc::new(Mutex::new(Ledger::default()));
    let noted = history.clone();
    let run = async move {
        let mut cluster = Cluster::start();
        let network = cluster.network.clone();
        let surroundings = Surroundings {
            network: Arc::new(move |host| -> Arc<dyn Network> { Arc::new(network.host(host)) }),
            bootstrap: (1..=NODES).map(|id| (format!("n{id}"), 9092)).collect(),
            clock: cluster.clock.clone(),
            history: noted,
        };
        let workload = Workload::new(options, surroundings, seed);
        let stop = Stop::new();
        let faults = async {
            tokio::time::sleep(Duration::from_secs(6)).await;
            // Its cable first: what is under way then has no answer, and has to be sent again.
            killed.iter().for_each(|id| cluster.network.cut(&format!("n{id}")));
            tokio::time::sleep(Duration::from_secs(1)).await;
            killed.into_iter().for_each(|id| cluster.kill(id));
            tokio::time::sleep(Duration::from_secs(5)).await;
            if let Some(id) = killed {
                cluster.network.heal(&format!("n{id}"));
                cluster.boot(id);
            }
            tokio::time::sleep(Duration::from_secs(8)).await;
            stop.set();
        };
        tokio::join!(workload.run(&stop), faults);
        workload.final_phase(Duration::from_secs(60)).await
    };
    let in_time = async { tokio::time::timeout(Duration::from_secs(600), run).await };
    let reading = LocalSet::new().block_on(&runtime, in_time).expect("the run ends");
    assert!(reading.is_complete(), "{reading:?}");
    drop(runtime);
    let ledger = history.lock().expect("nobody panicked").clone();
    assert_eq!(violations(&ledger, FaultsSeen::default()), [""; 0]);
    Ran { ledger, reading }
}

impl Ran {
    fn count(&self, which: impl Fn(&Kind) -> bool) -> usize {
        self.ledger.history.ops().iter().filter(|op| which(&op.kind)).count()
    }

    fn sent(&self) -> usize {
        self.count(|kind| matches!(kind, Kind::Send(_)))
    }

    fn acked(&self) -> usize {
        self.count(|kind| matches!(kind, Kind::Send(batch) if matches!(batch.outcome, SendOutcome::Acked(_))))
    }

    fn attempts(&self) -> u32 {
        self.ledger.history.ops().iter().flat_map(|op| op.batches()).map(|batch| batch.attempts).sum()
    }

    fn sessions(&self) -> BTreeSet<Session> {
        let batches = self.ledger.history.ops().iter().flat_map(|op| op.batches());
        let session = |batch: &Batch| match batch.producer {
            Producer::Idempotent(session) => Some(session),
            Producer::OneInFlight | Producer::ManyInFlight => None,
        };
        batches.filter_map(session).collect()
    }

    /// Nobody saw anything that a healthy log does not show.
    fn expect_sound(&self) {
        for op in self.ledger.history.ops() {
            let is_wrong = matches!(
                op.kind,
                Kind::Corrupt { .. } | Kind::Truncated { .. } | Kind::Reset { .. } | Kind::Note(_)
            );
            assert!(!is_wrong, "{}: {op:?}", self.ledger.history.name(op.process));
        }
    }
}

/// What the judges say of it.
fn violations(ledger: &Ledger, seen: FaultsSeen) -> Vec<String> {
    of_clients(ledger, seen, &FaultLog::default())
}

fn quiet() -> Options {
    Options {
        idempotent_producers: 2,
        plain_producers: 1,
        members: 0,
        movers: 0,
        consumers: 2,
        topics: vec![TopicPlan::usual(), TopicPlan { partitions: 1, flushes: true, ..TopicPlan::usual() }],
        producer_think: Duration::from_millis(300),
        admin_think: None,
    }
}

#[test]
fn without_faults_everything_is_acknowledged_and_seen() {
    for seed in 1..=3 {
        let ran = check(seed, quiet(), None);
        ran.expect_sound();
        let sent = ran.sent();
        assert_eq!(ran.acked(), sent, "every batch is acknowledged");
        assert!(sent > 100, "{sent} batches are too few to mean anything");
        assert_eq!(ran.reading.partitions, 3);
        assert_eq!(ran.sessions().len(), 2, "each idempotent producer sends under one id");
        let polled = ran.count(|kind| matches!(kind, Kind::Poll(poll) if !poll.runs.is_empty()));
        assert!(polled > 50, "{polled} polls are too few to mean anything");
    }
}

#[test]
fn a_node_that_is_killed_and_restarted_takes_nothing_with_it() {
    let (mut attempts, mut sent) = (0, 0);
    for seed in 1..=3 {
        let ran = check(seed, quiet(), Some(seed.try_into().expect("few seeds")));
        ran.expect_sound();
        let begun = ran.sent();
        assert!(ran.acked() * 10 > begun * 8, "{} of {begun} acknowledged", ran.acked());
        attempts += ran.attempts() as usize;
        sent += begun;
    }
    assert!(attempts > sent, "the kills made nobody send again");
}

#[test]
fn an_administrator_in_the_middle_of_it_all_loses_nothing() {
    for seed in 1..=3 {
        let options = Options { admin_think: Some(Duration::from_millis(300)), ..quiet() };
        let ran = check(seed, options, None);
        let done = ran.count(|kind| matches!(kind, Kind::Admin { outcome, .. } if outcome == DONE));
        let ended = ran.count(|kind| matches!(kind, Kind::Admin { outcome, .. } if !outcome.is_empty()));
        assert!(ended > 40 && done * 2 > ended, "{done} of {ended} operations done");
        assert!(ran.reading.partitions > 3, "no topic came or grew");
        let corrupt = ran.count(|kind| matches!(kind, Kind::Corrupt { .. } | Kind::Truncated { .. }));
        assert_eq!(corrupt, 0);
    }
}

#[test]
fn the_same_seed_makes_the_same_history() {
    let told = |seed| format!("{:?}", check(seed, quiet(), Some(1)).ledger);
    let (first, again) = (told(7), told(7));
    assert!(first == again, "a run and its replay differ");
    assert_ne!(first, told(8));
}

/// The same history, but for what `spoil` changes in each operation.
fn doctored(ledger: &Ledger, spoil: impl Fn(OpId, &mut Kind)) -> Ledger {
    let (history, mut copy) = (&ledger.history, History::default());
    let mut moments = Vec::new();
    for op in history.ops() {
        let ended = op.completed.filter(|ended| *ended != op.invoked);
        moments.extend([Some(op.invoked), ended].into_iter().flatten().map(|moment| (moment, op)));
    }
    moments.sort_by_key(|(moment, _)| moment.order);
    for (moment, op) in moments {
        if moment == op.invoked {
            let (mut kind, process) = (op.kind.clone(), copy.process(history.name(op.process)));
            spoil(op.id, &mut kind);
            let is_at_once = op.completed == Some(op.invoked);
            let id = if is_at_once {
                copy.note(process, moment.at, kind)
            } else {
                copy.invoke(process, moment.at, kind)
            };
            assert_eq!(id, op.id);
            continue;
        }
        match copy.op(op.id).kind.clone() {
            Kind::Send(batch) => copy.end_send(op.id, moment.at, batch.outcome),
            Kind::Poll(poll) => copy.end_poll(op.id, moment.at, poll.runs),
            Kind::List { offset: Some(offset), .. } => copy.end_list(op.id, moment.at, offset),
            Kind::Admin { outcome, .. } => copy.end_admin(op.id, moment.at, &outcome),
            other => panic!("{other:?} takes no time"),
        }
    }
    let mut ledger = ledger.clone();
    ledger.history = copy;
    ledger
}

/// Changes the records of every poll of the partition.
fn respoil(partition: &TopicPartition, kind: &mut Kind, change: impl Fn(&mut Vec<Read>)) {
    let Kind::Poll(Poll { runs }) = kind else { return };
    runs.iter_mut().filter(|run| run.partition == *partition).for_each(|run| change(&mut run.records));
}

/// An acknowledged send to `partition`, neither its first nor its last: which, its first value, its base.
fn some_acked(history: &History, partition: &TopicPartition) -> (OpId, u64, Offset) {
    let sends = history.ops().iter().flat_map(|op| op.batches().map(move |batch| (op.id, batch)));
    let mut acked: Vec<_> = sends
        .filter(|(_, batch)| batch.partition == *partition)
        .filter_map(|(id, batch)| Some((id, batch.values[0], batch.base()?)))
        .collect();
    acked.sort_by_key(|&(_, _, base)| base);
    assert!(acked.len() > 10, "{} acknowledged sends are too few", acked.len());
    acked[acked.len() / 2]
}

#[test]
fn a_history_that_was_tampered_with_is_found_out() {
    let ledger = check(4, quiet(), None).ledger;
    let told = |ledger: &Ledger| -> Vec<_> {
        let ops = ledger.history.ops().iter();
        ops.map(|op| (op.invoked, op.completed, op.kind.clone())).collect()
    };
    let copy = doctored(&ledger, |_, _| {});
    assert!(told(&copy) == told(&ledger), "the copy is exact where nothing is changed");
    assert_eq!(violations(&copy, FaultsSeen::default()), [""; 0]);
    let first = |op: &judge::history::Op| op.batches().next().map(|batch| batch.partition.clone());
    let partition = ledger.history.ops().iter().find_map(first).expect("something was sent");
    let (send, value, base) = some_acked(&ledger.history, &partition);
    let expect = |class: &str, is_excused: Option<bool>, spoiled: Ledger| {
        let told = violations(&spoiled, FaultsSeen::default());
        let is_named = told.iter().any(|one| one.starts_with(&format!("clients: {class} on {partition}")));
        assert!(is_named, "no {class}: {told:#?}");
        assert!(told.iter().all(|one| one.lines().next().is_some_and(|line| line.len() < 400)), "{told:#?}");
        let told = violations(&spoiled, all_lossy([&partition]));
        assert!(is_excused.is_none_or(|excused| excused == told.is_empty()), "{class}: {told:#?}");
    };
    let unread = |_, kind: &mut Kind| {
        respoil(&partition, kind, |records| records.retain(|read| read.value != value));
    };
    expect("lost-write", Some(true), doctored(&ledger, unread));
    let cut_short = |_, kind: &mut Kind| {
        respoil(&partition, kind, |records| records.retain(|read| read.offset < base));
    };
    expect("unseen", Some(true), doctored(&ledger, cut_short));
    let moved = |op, kind: &mut Kind| {
        if let (Kind::Send(batch), true) = (kind, op == send) {
            batch.outcome = SendOutcome::Acked(Some(base.plus(1)));
        }
    };
    // One attempt has also written its values twice now: only idempotent producers may be excused.
    expect("inconsistent-offsets", None, doctored(&ledger, moved));
    let refused = |op, kind: &mut Kind| {
        if let (Kind::Send(batch), true) = (kind, op == send) {
            batch.outcome = SendOutcome::Refused(ErrorCode::NotEnoughReplicas);
        }
    };
    expect("aborted-read", Some(false), doctored(&ledger, refused));
    let stray = |_, kind: &mut Kind| {
        respoil(&partition, kind, |records| {
            records.iter_mut().filter(|read| read.value == value).for_each(|read| read.value = 1 << 40);
        });
    };
    expect("phantom-read", Some(false), doctored(&ledger, stray));
}
