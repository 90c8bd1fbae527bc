//! The machines of a run and the nodes on them: formatted, booted, killed, paused, restarted.
//!
//! Nothing here decides when: `faults` does. After each step of a node its [`Watcher`]
//! looks at it. A machine outlives its processes, as its disk and its clock do.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use broker::identity::{META_PROPERTIES, MetaProperties};
use broker::{Node, NodeOptions, Picture};
use log::Disk;
use log::disk::write_atomically;
use model::{ClusterId, NodeId, Timestamp, Uuid};
use net::{Clock, Threads};
use tokio::sync::Notify;
use tokio::time::Instant;
use world::disk::{SimDisk, Torn};
use world::network::SimNetwork;
use world::{Process, SimClock, trace};

use crate::shape::Shape;

/// Where every machine keeps its logs.
pub const DATA_DIR: &str = "/data";

/// More than the workload starts.
const CLIENTS_MAX: usize = 8;

/// Looks at a node after each time that anything of it ran; `None` once it is gone.
pub type Watcher = Rc<dyn Fn(NodeId, Option<&Node>)>;

/// All machines.
pub struct Cluster {
    /// What connects them.
    pub network: SimNetwork,
    /// What was drawn for this run.
    pub shape: Shape,
    /// By node id.
    pub machines: BTreeMap<NodeId, Machine>,
    /// When the run began.
    pub begun: Instant,
    watcher: Watcher,
    seed: u64,
    starts: Cell<u64>,
    clock_error_ms: Cell<u64>,
}

/// A machine.
pub struct Machine {
    /// Its node.
    pub id: NodeId,
    /// Its host name.
    pub name: String,
    /// Its disk, which outlives every process.
    pub disk: SimDisk,
    /// Its clocks.
    pub clock: SimClock,
    process: RefCell<Option<Process>>,
    node: Rc<RefCell<Weak<Node>>>,
    /// Told when the present process is to stop; each has its own.
    stop: RefCell<Rc<Notify>>,
    /// Why the last process ended by itself.
    refusal: Rc<RefCell<Option<String>>>,
    powered: Cell<bool>,
    /// How often the machine was switched on.
    boots: Cell<u32>,
    /// How many of its disk's syncs had failed when the last process began.
    failed_before: Cell<u64>,
}

/// How a machine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its node runs.
    Running,
    /// Its node stands still.
    Paused,
    /// Its node ended or was killed.
    Down,
    /// It has no power.
    Off,
}

impl Cluster {
    /// Formatted machines, none of them running.
    pub fn new(seed: u64, shape: Shape, network: SimNetwork, watcher: Watcher) -> Self {
        let cluster = ClusterId::from(Uuid::from_u128(0x6b61_7374_6c65));
        let machines = shape.nodes().map(|id| {
            let name = Shape::host(id);
            let disk = SimDisk::new(seed ^ u64::from(id.get().unsigned_abs()) << 32);
            format(&disk, cluster.clone(), id);
            let machine = Machine {
                id,
                name,
                disk,
                clock: SimClock::starting_at(shape.wall_at_start),
                process: RefCell::default(),
                node: Rc::default(),
                stop: RefCell::default(),
                refusal: Rc::default(),
                powered: Cell::new(true),
                boots: Cell::new(1),
                failed_before: Cell::new(0),
            };
            (id, machine)
        });
        let machines = machines.collect();
        Self {
            network,
            shape,
            machines,
            begun: Instant::now(),
            watcher,
            seed,
            starts: Cell::new(0),
            clock_error_ms: Cell::new(0),
        }
    }

    /// A machine.
    pub fn machine(&self, id: NodeId) -> &Machine {
        &self.machines[&id]
    }

    /// Boots the node of `id`, which is not running, with power back if it had none.
    pub fn boot(&self, id: NodeId) {
        let machine = self.machine(id);
        assert!(machine.standing() != Standing::Running, "node {id} is booted and running");
        trace!("boot {id}");
        if !machine.powered.replace(true) {
            self.network.power_on(&machine.name);
            machine.boots.set(machine.boots.get() + 1);
        }
        self.starts.set(self.starts.get() + 1);
        machine.failed_before.set(machine.disk.counts().failed_syncs);
        let options = NodeOptions {
            config: self.shape.config(id),
            disk: Arc::new(machine.disk.process()),
            network: Arc::new(self.network.host(&machine.name)),
            clock: Arc::new(machine.clock.clone()),
            seed: self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(self.starts.get()),
            boot: Some(format!("boot-{}", machine.boots.get())),
            blocking: machine.disk.blocking(),
            threads: Threads::none(),
        };
        machine.refusal.replace(None);
        let stop = Rc::new(Notify::new());
        machine.stop.replace(stop.clone());
        let (slot, refusal) = (machine.node.clone(), machine.refusal.clone());
        let main = async move {
            if let Err(reason) = life(options, slot, stop).await {
                trace!("node {id} gave up: {reason}");
                refusal.replace(Some(reason));
            }
        };
        let (watcher, slot) = (self.watcher.clone(), machine.node.clone());
        let stepped = move || {
            let node = slot.borrow().upgrade();
            watcher(id, node.as_deref());
        };
        machine.process.replace(Some(Process::start(main, stepped)));
    }

    /// SIGKILL. What was written stays in the page cache.
    pub fn kill(&self, id: NodeId) {
        trace!("kill {id}");
        let machine = self.machine(id);
        self.end(machine);
        machine.disk.crash_process();
        self.network.kill(&machine.name);
    }

    /// The plug is pulled: unsynced writes are lost, and nothing answers until the next boot.
    pub fn cut_power(&self, id: NodeId, torn: Torn) {
        trace!("power off {id}");
        let machine = self.machine(id);
        self.end(machine);
        machine.disk.crash_power(torn);
        machine.powered.set(false);
        self.network.power_off(&machine.name);
    }

    /// SIGSTOP.
    pub fn pause(&self, id: NodeId) {
        trace!("pause {id}");
        let machine = self.machine(id);
        if let Some(process) = &*machine.process.borrow() {
            process.pause();
        }
        self.network.pause(&machine.name);
    }

    /// SIGCONT.
    pub fn resume(&self, id: NodeId) {
        trace!("resume {id}");
        let machine = self.machine(id);
        self.network.resume(&machine.name);
        if let Some(process) = &*machine.process.borrow() {
            process.resume();
        }
    }

    /// SIGTERM, and after `patience` SIGKILL. Answers whether it stopped by itself.
    pub async fn stop(&self, id: NodeId, patience: Duration) -> bool {
        trace!("stop {id}");
        let machine = self.machine(id);
        machine.stop.borrow().notify_one();
        let stopped = async {
            while machine.is_alive() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let stopped = tokio::time::timeout(patience, stopped).await.is_ok();
        self.kill(id);
        stopped
    }

    /// The hosts that clients live on, as the workload names them.
    pub fn clients() -> impl Iterator<Item = String> {
        (1..=CLIENTS_MAX).map(|number| format!("c{number}"))
    }

    /// Sets a machine's clocks right, as a time server does.
    pub fn set_clock_right(&self, id: NodeId) {
        let clock = &self.machine(id).clock;
        clock.steady();
        let passed = i64::try_from(self.begun.elapsed().as_millis()).unwrap_or(i64::MAX);
        let right = Timestamp::new(self.shape.wall_at_start.get() + passed);
        let error = clock.wall().get().abs_diff(right.get());
        self.clock_error_ms.set(self.clock_error_ms.get().max(error));
        clock.set_wall(right);
    }

    /// The most that a clock was wrong, in milliseconds, when it was set right.
    pub fn clock_error_ms(&self) -> u64 {
        self.clock_error_ms.get()
    }

    /// The image of the running node that knows most.
    pub fn newest_metadata(&self) -> Option<Arc<Picture>> {
        let nodes = self.machines.values().filter_map(Machine::node);
        nodes.map(|node| node.metadata()).max_by_key(|picture| picture.end)
    }

    /// What keeps the cluster from being whole: nodes that do not serve, partitions that are not led or
    /// lack replicas. Partitions that may stay as they are, by topic and index, are left out.
    pub fn lacks(&self, may_stay: impl Fn(&str, i32) -> bool) -> Vec<String> {
        let mut lacking = Vec::new();
        for machine in self.machines.values().filter(|machine| !machine.is_serving()) {
            let refusal = machine.refusal().unwrap_or_default();
            lacking.push(format!("node {} does not serve ({:?}) {refusal}", machine.id, machine.standing()));
        }
        let Some(picture) = self.newest_metadata() else { return lacking };
        for topic in picture.image.topics() {
            for (index, partition) in topic.partitions() {
                if may_stay(topic.name.as_str(), index.get()) {
                    continue;
                }
                let name = format!("{}-{index}", topic.name);
                if partition.leader.is_none() {
                    lacking.push(format!("{name} has no leader"));
                } else if partition.isr.len() < partition.replicas.len() {
                    lacking.push(format!("{name} has only {:?} in sync", partition.isr));
                }
            }
        }
        lacking
    }

    /// Whether `id` is in sync in every partition that it is a replica of, as far as anybody knows.
    pub fn is_in_sync_everywhere(&self, id: NodeId) -> bool {
        let Some(picture) = self.newest_metadata() else { return false };
        let mut partitions =
            picture.image.topics().flat_map(|topic| topic.partitions().map(|(_, partition)| partition));
        partitions.all(|partition| !partition.replicas.contains(&id) || partition.isr.contains(&id))
    }

    fn end(&self, machine: &Machine) {
        if let Some(process) = machine.process.take() {
            process.kill();
        }
        machine.node.replace(Weak::new());
        (self.watcher)(machine.id, None);
    }

    /// A node whose process ended by itself is dead to the others as well.
    pub fn bury_the_dead(&self) {
        for machine in self.machines.values() {
            let ended = machine.process.borrow().as_ref().is_some_and(|process| !process.is_alive());
            if ended && machine.powered.get() {
                self.kill(machine.id);
            }
        }
    }
}

impl Machine {
    /// How it stands.
    pub fn standing(&self) -> Standing {
        match &*self.process.borrow() {
            _ if !self.powered.get() => Standing::Off,
            Some(process) if process.is_paused() => Standing::Paused,
            Some(process) if process.is_alive() => Standing::Running,
            _ => Standing::Down,
        }
    }

    /// Its node, while it runs.
    pub fn node(&self) -> Option<Rc<Node>> {
        self.node.borrow().upgrade()
    }

    /// Whether its node serves clients.
    pub fn is_serving(&self) -> bool {
        self.node().is_some_and(|node| node.is_serving())
    }

    /// Whether its node runs and is to end by itself: a sync failed under it.
    pub fn is_dying(&self) -> bool {
        self.is_alive() && self.disk.counts().failed_syncs > self.failed_before.get()
    }

    /// Why its node gave up, if it did.
    pub fn refusal(&self) -> Option<String> {
        self.refusal.borrow().clone()
    }

    fn is_alive(&self) -> bool {
        self.process.borrow().as_ref().is_some_and(Process::is_alive)
    }
}

/// What `kastle start` does, without signals and a terminal.
async fn life(options: NodeOptions, slot: Rc<RefCell<Weak<Node>>>, stop: Rc<Notify>) -> Result<(), String> {
    let node = Rc::new(Node::start(options).await.map_err(|error| error.to_string())?);
    slot.replace(Rc::downgrade(&node));
    let failed = tokio::select! {
        failure = node.failed() => Some(failure.to_string()),
        () = stop.notified() => None,
    };
    match failed {
        Some(failure) => Err(failure),
        None => {
            node.stop().await;
            Ok(())
        }
    }
}

fn format(disk: &SimDisk, cluster: ClusterId, node: NodeId) {
    let disk = disk.process();
    let dir = Path::new(DATA_DIR);
    disk.create_dir_all(dir).expect("an empty disk takes directories");
    disk.sync_dir(Path::new("/")).expect("an empty disk syncs");
    let directory = Uuid::from_u128(1_000 + u128::from(node.get().unsigned_abs()));
    let meta = MetaProperties { cluster, node, directory };
    write_atomically(&disk, &dir.join(META_PROPERTIES), meta.to_text().as_bytes()).expect("there is room");
}
