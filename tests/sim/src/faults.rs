//! What befalls the machines: faults drawn at random, in episodes with quiet spells between.
//!
//! A run draws which kinds it knows (swarm testing: a run with few kinds goes deeper
//! into each), then strikes with one to three of them at a time, waits, and heals what
//! it struck. Everything that happened is noted in [`FaultLog`], by which the judges
//! know what was promised.

pub mod kind;
mod strike;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use model::{Millis, NodeId};
use tokio::time::{Instant, sleep, sleep_until};
use world::trace;

pub use kind::Kind;

use crate::cluster::{Cluster, Standing};
use crate::watch::Watch;

/// How long a node that is told to stop may take before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// How often is looked who has back what was lost.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What happened, in order.
#[derive(Clone, Debug, Default)]
pub struct FaultLog {
    /// When and what.
    pub events: Vec<(Millis, Event)>,
}

/// Something that a fault did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The kind that did it.
    pub kind: Kind,
    /// To whom, where it was a node.
    pub node: Option<NodeId>,
    /// Whether it began or ended.
    pub begins: bool,
    /// More about it.
    pub detail: String,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = if self.begins { "strikes" } else { "is healed" };
        write!(f, "{} {phase}", self.kind)?;
        if let Some(node) = self.node {
            write!(f, " on node {node}")?;
        }
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

/// The one who strikes.
pub struct Nemesis {
    cluster: Rc<Cluster>,
    rng: fastrand::Rng,
    kinds: Vec<Kind>,
    watch: Rc<RefCell<Watch>>,
    log: Rc<RefCell<FaultLog>>,
    /// Nodes that lost what was not synced, and may not have it back yet.
    deficient: BTreeSet<NodeId>,
    /// Nodes with a sync that will fail.
    failing: BTreeSet<NodeId>,
    /// Bits have flipped somewhere, and stay so.
    flipped: bool,
}

/// What an episode struck, to be healed at its end.
#[derive(Debug)]
struct Wound {
    kind: Kind,
    nodes: Vec<NodeId>,
}

impl Nemesis {
    /// One who knows the kinds that `rng` draws, or those of `only`.
    pub fn new(
        cluster: Rc<Cluster>,
        watch: Rc<RefCell<Watch>>,
        mut rng: fastrand::Rng,
        only: Option<&[Kind]>,
        log: Rc<RefCell<FaultLog>>,
    ) -> Self {
        let kinds = only.map_or_else(|| Kind::draw(&mut rng), <[Kind]>::to_vec);
        Self {
            cluster,
            watch,
            rng,
            kinds,
            log,
            deficient: BTreeSet::new(),
            failing: BTreeSet::new(),
            flipped: false,
        }
    }

    /// Strikes and heals until `end`; leaves everything healed.
    pub async fn run(&mut self, end: Instant) {
        while Instant::now() < end {
            self.spell(300, 5_000, end).await;
            let count = [1, 1, 1, 2, 2, 3][self.rng.usize(..6)];
            let mut wounds = Vec::new();
            for _ in 0..count.min(self.kinds.len()) {
                let kind = self.kinds[self.rng.usize(..self.kinds.len())];
                if wounds.iter().all(|wound: &Wound| wound.kind != kind) {
                    wounds.extend(self.strike(kind).await);
                    self.spell(0, 500, end).await;
                }
            }
            let longest = if self.rng.u8(..4) == 0 { 20_000 } else { 6_000 };
            self.spell(200, longest, end).await;
            for wound in wounds {
                self.heal(wound);
            }
            self.revive().await;
        }
        self.heal_everything().await;
    }

    async fn spell(&mut self, least_ms: u64, most_ms: u64, end: Instant) {
        let length = Duration::from_millis(self.rng.u64(least_ms..=most_ms));
        let until = (Instant::now() + length).min(end);
        while Instant::now() < until {
            sleep_until((Instant::now() + LOOK_EVERY).min(until)).await;
            self.forgive();
        }
    }

    /// Restarts what died by itself: systemd would.
    async fn revive(&mut self) {
        self.cluster.bury_the_dead();
        let nodes: Vec<NodeId> = self.cluster.shape.nodes().collect();
        for node in nodes {
            let machine = self.cluster.machine(node);
            if machine.standing() == Standing::Down {
                machine.disk.heal();
                sleep(Duration::from_millis(self.rng.u64(1..1_000))).await;
                self.cluster.boot(node);
            }
        }
    }

    /// Takes every fault away and boots whatever is down.
    async fn heal_everything(&mut self) {
        trace!("heal everything");
        self.cluster.network.heal_all();
        for machine in self.cluster.machines.values() {
            machine.disk.heal();
            self.cluster.set_clock_right(machine.id);
            match machine.standing() {
                Standing::Running => {}
                Standing::Paused => self.cluster.resume(machine.id),
                Standing::Down | Standing::Off => self.cluster.boot(machine.id),
            }
        }
        self.see_off_the_dying().await;
    }

    /// Boots again who dies of a sync that failed before the disks were healed, and was not told yet.
    async fn see_off_the_dying(&self) {
        let deadline = Instant::now() + STOP_PATIENCE;
        let machines = &self.cluster.machines;
        let dying: Vec<NodeId> = machines.values().filter(|it| it.is_dying()).map(|it| it.id).collect();
        for node in dying {
            while self.cluster.machine(node).is_dying() && Instant::now() < deadline {
                sleep(LOOK_EVERY).await;
            }
            self.cluster.bury_the_dead();
            if self.cluster.machine(node).standing() == Standing::Down {
                self.cluster.boot(node);
            }
        }
    }

    fn note(&self, kind: Kind, node: Option<NodeId>, begins: bool, detail: String) {
        let at = Millis::default().after(self.cluster.begun.elapsed());
        let event = Event { kind, node, begins, detail };
        trace!("{event}");
        self.log.borrow_mut().events.push((at, event));
    }

    fn running(&self) -> Vec<NodeId> {
        let machines = self.cluster.machines.values();
        machines.filter(|machine| machine.standing() == Standing::Running).map(|machine| machine.id).collect()
    }

    /// One of the nodes that run.
    fn one(&mut self) -> Option<NodeId> {
        let running = self.running();
        self.rng.choice(running)
    }

    /// Some of the nodes that run: a majority of all, at random.
    fn majority(&mut self) -> Vec<NodeId> {
        let count = self.cluster.machines.len() / 2 + 1;
        let mut running = self.running();
        self.rng.shuffle(&mut running);
        running.truncate(count);
        running.sort();
        running
    }
}
