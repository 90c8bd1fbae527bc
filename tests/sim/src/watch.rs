//! The eyes of a run: looks at every node after each of its steps, and passes what it sees on
//! to the judges and into the trace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use broker::Node;
use judge::coverage::Coverage;
use judge::invariants::{Invariants, Restart};
use judge::view::{Key, NodeView};
use model::{Millis, NodeId, Offset};
use tokio::time::Instant;
use world::trace;

use crate::cluster::Cluster;
use crate::faults::FaultLog;
use crate::observe::{LogsOf, Observer};
use crate::shape::Shape;
use crate::workload::queue::{FinalReading, TopicPlan};
use crate::workload::record::SharedHistory;

/// Steps that a node may take without time going on: more is a circle that it cannot leave.
const STEPS_AT_ONCE_MAX: u32 = 100_000;

/// What is seen of a run.
pub struct Watch {
    begun: Instant,
    observers: BTreeMap<NodeId, Observer>,
    invariants: Invariants,
    coverage: Coverage,
    history: SharedHistory,
    /// How much of the history was looked at.
    heard: usize,
    /// Partitions by the names that clients use, as long as they exist.
    keys: BTreeMap<String, Key>,
    /// Partitions whose records may be lost legally.
    lossy: BTreeSet<String>,
    /// Nodes with flipped bits.
    damaged: BTreeSet<NodeId>,
    violations: Vec<String>,
    /// What every node held when the first rule was broken.
    picture: Vec<NodeView>,
    steps: (Instant, u32),
}

/// What the judges say.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What was broken, the first first.
    pub violations: Vec<String>,
    /// What happened, counted.
    pub coverage: Coverage,
}

impl Watch {
    /// Of a run that begins.
    pub fn new(begun: Instant, _shape: &Shape) -> Self {
        Self {
            begun,
            observers: BTreeMap::new(),
            invariants: Invariants::new(),
            coverage: Coverage::default(),
            history: Arc::default(),
            heard: 0,
            keys: BTreeMap::new(),
            lossy: BTreeSet::new(),
            damaged: BTreeSet::new(),
            violations: Vec::new(),
            picture: Vec::new(),
            steps: (begun, 0),
        }
    }

    /// The history that the clients write.
    pub fn history(&self) -> SharedHistory {
        self.history.clone()
    }

    /// A node took a step; `None` when its process has no node, not yet or not any more.
    pub fn look(&mut self, id: NodeId, node: Option<&Node>) {
        self.count_steps(id);
        let at = self.now();
        let Some(node) = node else {
            if self.observers.remove(&id).is_some() {
                self.invariants.restarted(at, id, Restart::Process);
                self.coverage.restarted(id);
            }
            return;
        };
        let observer = self.observers.entry(id).or_insert_with(|| Observer::new(id, node));
        if let Some(view) = observer.look(node) {
            trace_view(view);
            for key in &view.news.assignments {
                if let Some(assignment) = view.metadata.assignments.get(key) {
                    self.keys.insert(assignment.name.clone(), *key);
                }
            }
            self.invariants.observe(at, view, &LogsOf(node));
            self.coverage.observe(view);
        }
        self.hear();
        self.note_broken();
    }

    /// Takes note of what clients were told since the last call.
    fn hear(&mut self) {
        let at = self.now();
        let history = self.history.clone();
        let history = history.lock().expect("no holder of this lock panics");
        for ((topic, index), last) in history.acked_since(self.heard) {
            if let Some(key) = self.keys.get(&format!("{topic}-{index}")) {
                self.invariants.acked(at, *key, Offset::new(last));
            }
        }
        self.heard = history.acked();
    }

    /// Keeps what every node held when the first rule was broken.
    fn note_broken(&mut self) {
        if self.picture.is_empty() && !self.invariants.violations().is_empty() {
            self.picture = self.observers.values().map(|observer| observer.view().clone()).collect();
        }
    }

    /// Nodes that lost what was not synced, and may not have it back yet: where they are as many as
    /// `min.insync.replicas`, what was acknowledged may be gone.
    pub fn lost_unsynced(&mut self, deficient: &BTreeSet<NodeId>) {
        let plans = self.plans();
        let views = self.observers.values().map(Observer::view);
        let Some(view) = views.max_by_key(|view| view.metadata.end) else { return };
        for (key, assignment) in &view.metadata.assignments {
            let topic = assignment.name.rsplit_once('-').map_or("", |(topic, _)| topic);
            let Some(plan) = plans.get(topic) else { continue };
            let lost = assignment.replicas.iter().filter(|replica| deficient.contains(replica)).count();
            if !plan.flushes && lost >= usize::try_from(plan.min_insync).unwrap_or(0) {
                self.invariants.set_lossy(*key, true);
                self.lossy.insert(assignment.name.clone());
            }
        }
    }

    /// Bits of this node's files flipped.
    pub fn damaged(&mut self, node: NodeId) {
        self.invariants.set_damaged(node, true);
        self.damaged.insert(node);
    }

    /// What the topics promise.
    fn plans(&self) -> BTreeMap<String, TopicPlan> {
        let history = self.history.lock().expect("no holder of this lock panics");
        history.plans().clone()
    }

    /// Something that no judge but the harness itself sees.
    pub fn violated(&mut self, what: String) {
        trace!("violated: {what}");
        if self.picture.is_empty() {
            self.picture = self.observers.values().map(|observer| observer.view().clone()).collect();
        }
        self.violations.push(what);
    }

    /// All faults are healed.
    pub fn healed(&mut self) {}

    /// What was read at the end.
    pub fn read(&mut self, reading: &FinalReading) {
        if !reading.is_complete() {
            self.violated(format!("final reading: {reading:?}"));
        }
    }

    /// The cluster is at rest: now all images must be equal.
    pub fn settle(&mut self, cluster: &Cluster) {
        let at = self.now();
        for (id, observer) in &mut self.observers {
            if let Some(node) = cluster.machine(*id).node() {
                let view = observer.look_closely(&node);
                self.invariants.observe(at, view, &LogsOf(&node));
            }
        }
        self.note_broken();
    }

    /// Ends it.
    pub fn verdict(&mut self, faults: &FaultLog) -> Verdict {
        let mut violations: Vec<String> =
            self.invariants.violations().iter().map(ToString::to_string).collect();
        violations.append(&mut self.violations);
        for (_, event) in faults.events.iter().filter(|(_, event)| event.begins) {
            self.coverage.fault_bit(event.kind);
        }
        Verdict { violations, coverage: std::mem::take(&mut self.coverage) }
    }

    /// What every node held when the first rule was broken.
    pub fn picture(&self) -> &[NodeView] {
        &self.picture
    }

    fn now(&self) -> Millis {
        Millis::default().after(self.begun.elapsed())
    }

    /// A process that runs on and on without time passing would never end.
    fn count_steps(&mut self, id: NodeId) {
        let now = Instant::now();
        if self.steps.0 != now {
            self.steps = (now, 0);
        }
        self.steps.1 += 1;
        assert!(
            self.steps.1 < STEPS_AT_ONCE_MAX,
            "node {id} took {STEPS_AT_ONCE_MAX} steps at {} ms",
            self.now().get()
        );
    }
}

fn trace_view(view: &NodeView) {
    let id = view.node;
    if view.news.metadata {
        trace!("node {id} metadata {} {:?}", view.metadata.end, view.metadata.digest);
    }
    for key in &view.news.assignments {
        trace!("node {id} assignment {:?}", view.metadata.assignments.get(key));
    }
    if view.news.quorum {
        trace!("node {id} quorum {:?}", view.quorum);
    }
    for key in &view.news.partitions {
        trace!("node {id} partition {:?}", view.partitions.get(key));
    }
}
