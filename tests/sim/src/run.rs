//! One seed: a cluster is drawn, used, harmed, healed and judged.
//!
//! ```text
//!  boot -> first seconds without faults -> faults and workload -> heal -> converge -> final reading -> judge
//! ```
//!
//! Nothing of the machine it runs on gets in: time is tokio's and paused, all draws
//! follow from the seed, one thread does everything. So the same seed gives the same
//! trace, line by line.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use judge::coverage::Coverage;
use model::{Mutant, NodeId};
use net::{Network, VirtualClock};
use tokio::runtime::{Builder, RngSeed};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep, timeout};
use world::network::SimNetwork;
use world::trace::{self, Trace};
use world::{disk, network};

use crate::cluster::Cluster;
use crate::faults::{FaultLog, Kind, Nemesis};
use crate::panics;
use crate::shape::Shape;
use crate::story::Story;
use crate::watch::{Verdict, Watch};
use crate::workload::queue::{Options, Stop, Surroundings, Workload};

/// The first seconds of a run are free of faults.
const CALM: Duration = Duration::from_secs(5);
/// How long a healthy cluster may take until every node serves, from power on.
const BOOT_MAX: Duration = Duration::from_secs(60);
/// How long it may take until it is whole again once every fault is healed.
const CONVERGE_MAX: Duration = Duration::from_secs(120);
/// How long clients may take to end what they are doing.
const CLIENTS_END_MAX: Duration = Duration::from_secs(60);
/// How long everything acknowledged may take to be read.
const READ_MAX: Duration = Duration::from_secs(120);
/// Nothing of a run lasts longer than all its bounds together.
const RUN_MAX: Duration = Duration::from_secs(3_600);

/// How a seed is run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// How long faults strike.
    pub length: Duration,
    /// The kinds that strike; drawn from the seed when not given.
    pub faults: Option<Vec<Kind>>,
    /// Whether the trace keeps its lines.
    pub keep_trace: bool,
    /// The bug that is planted.
    pub mutant: Option<Mutant>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { length: Duration::from_secs(60), faults: None, keep_trace: false, mutant: None }
    }
}

/// What came of a seed.
#[derive(Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What must not be, in the order in which it was found.
    pub violations: Vec<String>,
    /// What happened, counted.
    pub coverage: Coverage,
    /// What the machines went through.
    pub effects: Effects,
    /// What happened, line by line.
    pub trace: Trace,
    /// For people, where something failed.
    pub story: Option<Story>,
}

/// What the machines went through, counted where it happened.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    /// Of the network.
    pub network: network::Counts,
    /// Of each disk.
    pub disks: Vec<disk::Counts>,
    /// The most that a clock was wrong, in milliseconds, when it was set right.
    pub clock_error_ms: u64,
}

impl Outcome {
    /// Whether anything was violated.
    pub fn failed(&self) -> bool {
        !self.violations.is_empty()
    }
}

/// Runs a seed on this thread.
pub fn run(seed: u64, options: &RunOptions) -> Outcome {
    Mutant::plant(options.mutant);
    panics::collect();
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).rng_seed(RngSeed::from_bytes(&bytes)).build();
    let runtime = runtime.expect("a runtime without IO needs nothing of the system");
    let outcome = LocalSet::new().block_on(&runtime, async {
        trace::start(options.keep_trace);
        let running = Run::new(seed, options);
        // A run that does not end is as bad as one that ends badly.
        match timeout(RUN_MAX, running.drive()).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome {
                seed,
                violations: vec![format!("the run did not end within {} s", RUN_MAX.as_secs())],
                coverage: Coverage::default(),
                effects: Effects::default(),
                trace: trace::finish(),
                story: None,
            },
        }
    });
    Mutant::plant(None);
    outcome
}

/// A run under way.
struct Run {
    seed: u64,
    length: Duration,
    begun: Instant,
    cluster: Rc<Cluster>,
    watch: Rc<RefCell<Watch>>,
    nemesis: Nemesis,
    faults: Rc<RefCell<FaultLog>>,
    workload: Workload,
}

impl Run {
    fn new(seed: u64, options: &RunOptions) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let begun = Instant::now();
        let shape = Shape::draw(seed, &mut rng);
        let network = SimNetwork::new(rng.u64(..), shape.links);
        let watch = Rc::new(RefCell::new(Watch::new(begun, &shape)));
        let watcher = {
            let watch = watch.clone();
            Rc::new(move |id: NodeId, node: Option<&broker::Node>| watch.borrow_mut().look(id, node))
        };
        let cluster = Rc::new(Cluster::new(rng.u64(..), shape, network.clone(), watcher));
        let faults = Rc::new(RefCell::new(FaultLog::default()));
        let nemesis = Nemesis::new(
            cluster.clone(),
            watch.clone(),
            rng.fork(),
            options.faults.as_deref(),
            faults.clone(),
        );
        let surroundings = Surroundings {
            network: Arc::new(move |host| Arc::new(network.host(host)) as Arc<dyn Network>),
            bootstrap: cluster.shape.nodes().map(|id| (Shape::host(id), 9092)).collect(),
            clock: Arc::new(VirtualClock::starting_at(cluster.shape.wall_at_start)),
            history: watch.borrow().history(),
        };
        let workload = Workload::new(Options::draw(&mut rng), surroundings, rng.u64(..));
        Self { seed, length: options.length, begun, cluster, watch, nemesis, faults, workload }
    }

    async fn drive(mut self) -> Outcome {
        let network = tokio::task::spawn_local(self.cluster.network.run());
        for id in self.cluster.shape.nodes() {
            self.cluster.boot(id);
        }
        if self.becomes_whole(BOOT_MAX, "a new cluster").await {
            self.harm().await;
        }
        network.abort();
        self.judge()
    }

    /// Everything between the boot and the verdict.
    async fn harm(&mut self) {
        let stop = Stop::new();
        let clients = self.workload.start(&stop);
        sleep(CALM).await;
        self.nemesis.run(Instant::now() + self.length).await;
        self.watch.borrow_mut().healed();
        let whole = self.becomes_whole(CONVERGE_MAX, "a healed cluster").await;
        stop.set();
        for client in clients {
            match timeout(CLIENTS_END_MAX, client).await {
                Ok(Ok(())) => {}
                Ok(Err(failed)) => self.watch.borrow_mut().violated(format!("a client failed: {failed}")),
                Err(_) => self.watch.borrow_mut().violated("a client does not end".to_owned()),
            }
        }
        if whole {
            let reading = self.workload.final_phase(READ_MAX).await;
            self.watch.borrow_mut().read(&reading);
            self.becomes_whole(CONVERGE_MAX, "a cluster at rest").await;
        }
        self.watch.borrow_mut().settle(&self.cluster);
    }

    /// Waits until every node serves and every partition is led with all its replicas in sync.
    async fn becomes_whole(&self, within: Duration, what: &str) -> bool {
        let deadline = Instant::now() + within;
        loop {
            let lacking = {
                let watch = self.watch.borrow();
                self.cluster.lacks(|topic, partition| watch.is_flipped(topic, partition))
            };
            if lacking.is_empty() {
                return true;
            }
            if Instant::now() >= deadline {
                let seconds = within.as_secs();
                let lacking = lacking.join("; ");
                let violation = format!("{what} is not whole within {seconds} s: {lacking}");
                self.watch.borrow_mut().violated(violation);
                return false;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn judge(self) -> Outcome {
        let trace = trace::finish();
        let mut watch = self.watch.borrow_mut();
        for panic in panics::collected() {
            watch.violated(format!("panicked: {panic}"));
        }
        let verdict = watch.verdict(&self.faults.borrow());
        let story = (!verdict.violations.is_empty()).then(|| {
            Story::tell(self.seed, self.begun, &self.cluster, &self.faults.borrow(), &watch, &verdict)
        });
        let effects = Effects {
            network: self.cluster.network.counts(),
            disks: self.cluster.machines.values().map(|machine| machine.disk.counts()).collect(),
            clock_error_ms: self.cluster.clock_error_ms(),
        };
        let Verdict { violations, coverage } = verdict;
        Outcome { seed: self.seed, violations, coverage, effects, trace, story }
    }
}
