//! The invariants over a real cluster: kills and a pause break none, and are counted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use broker::Node;
use judge::coverage::{Coverage, Event};
use judge::invariants::{Invariants, Restart};
use kastle_sim::cluster::Cluster;
use kastle_sim::observe::{LogsOf, Observer};
use kastle_sim::shape::Shape;
use kastle_sim::workload::queue::{Options, Stop, Surroundings, Workload};
use model::{Millis, NodeId};
use net::{Network, VirtualClock};
use tokio::runtime::{Builder, RngSeed};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};
use world::network::SimNetwork;

#[derive(Default)]
struct Judges {
    observers: BTreeMap<NodeId, Observer>,
    invariants: Invariants,
    coverage: Coverage,
}

impl Judges {
    fn look(&mut self, at: Millis, id: NodeId, node: Option<&Node>) {
        let Some(node) = node else {
            if self.observers.remove(&id).is_some() {
                self.invariants.restarted(at, id, Restart::Process);
                self.coverage.restarted(id);
            }
            return;
        };
        let observer = self.observers.entry(id).or_insert_with(|| Observer::new(id, node));
        if let Some(view) = observer.look(node) {
            self.invariants.observe(at, view, &LogsOf(node));
            self.coverage.observe(view);
        }
    }
}

async fn live(seed: u64, judges: Rc<RefCell<Judges>>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (begun, shape) = (Instant::now(), Shape::draw(seed, &mut rng));
    let network = SimNetwork::new(rng.u64(..), shape.links);
    let watching = judges.clone();
    let watcher = Rc::new(move |id: NodeId, node: Option<&Node>| {
        watching.borrow_mut().look(Millis::default().after(begun.elapsed()), id, node);
    });
    let cluster = Cluster::new(rng.u64(..), shape, network.clone(), watcher);
    let running = tokio::task::spawn_local(cluster.network.run());
    cluster.shape.nodes().for_each(|id| cluster.boot(id));
    let surroundings = Surroundings {
        network: Arc::new(move |host| Arc::new(network.host(host)) as Arc<dyn Network>),
        bootstrap: cluster.shape.nodes().map(|id| (Shape::host(id), 9092)).collect(),
        clock: Arc::new(VirtualClock::starting_at(cluster.shape.wall_at_start)),
        history: Arc::default(),
    };
    let workload = Workload::new(Options::draw(&mut rng), surroundings, rng.u64(..));
    let stop = Stop::new();
    let _clients = workload.start(&stop);
    sleep(Duration::from_secs(8)).await;
    for id in [1, 2, 3, 1, 2, 3].map(NodeId::new) {
        cluster.kill(id);
        judges.borrow_mut().look(Millis::default().after(begun.elapsed()), id, None);
        sleep(Duration::from_secs(2)).await;
        cluster.boot(id);
        sleep(Duration::from_secs(6)).await;
    }
    stop.set();
    running.abort();
}

#[test]
fn kills_break_no_invariant_and_are_counted() {
    for seed in 0..2_u64 {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).rng_seed(RngSeed::from_bytes(&bytes)).build();
        let judges: Rc<RefCell<Judges>> = Rc::default();
        LocalSet::new().block_on(&runtime.expect("a runtime"), live(seed, judges.clone()));
        let judges = judges.borrow();
        assert_eq!(judges.invariants.violations(), [], "seed {seed}");
        assert!(judges.invariants.compared() > 100, "seed {seed}: {}", judges.invariants.compared());
        let counts = &judges.coverage;
        assert_eq!(counts.of(Event::Restart), 6, "seed {seed}");
        for event in [Event::RaftElection, Event::PartitionElection, Event::IsrShrink, Event::IsrExpand] {
            assert!(counts.of(event) > 0, "seed {seed} shows no {event}:\n{counts}");
        }
    }
}
