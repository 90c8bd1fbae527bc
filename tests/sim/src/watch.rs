//! The eyes of a run: looks at every node after each of its steps, and passes what it sees on
//! to the judges and into the trace.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker::Node;
use judge::view::NodeView;
use model::{Millis, NodeId};
use tokio::time::Instant;
use world::trace;

use crate::cluster::Cluster;
use crate::faults::FaultLog;
use crate::observe::Observer;
use crate::shape::Shape;
use crate::workload::queue::FinalReading;
use crate::workload::record::SharedHistory;

/// Steps that a node may take without time going on: more is a circle that it cannot leave.
const STEPS_AT_ONCE_MAX: u32 = 100_000;

/// What is seen of a run.
pub struct Watch {
    begun: Instant,
    observers: BTreeMap<NodeId, Observer>,
    history: SharedHistory,
    violations: Vec<String>,
    /// What every node held when the first rule was broken.
    picture: Vec<NodeView>,
    steps: (Instant, u32),
}

#[derive(Debug, Default, Clone)]
pub struct Coverage;
impl Coverage { pub fn merge(&mut self, _: &Self) {} }
impl std::fmt::Display for Coverage { fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { Ok(()) } }

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
            history: Arc::default(),
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
        let Some(node) = node else {
            self.observers.remove(&id);
            return;
        };
        let observer = self.observers.entry(id).or_insert_with(|| Observer::new(id, node));
        if let Some(view) = observer.look(node) {
            trace_view(view);
        }
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

    /// The cluster is at rest.
    pub fn settle(&mut self, _cluster: &Cluster) {}

    /// Ends it.
    pub fn verdict(&mut self, _faults: &FaultLog) -> Verdict {
        Verdict { violations: std::mem::take(&mut self.violations), coverage: Coverage }
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
    if view.news.quorum {
        trace!("node {id} quorum {:?}", view.quorum);
    }
    for key in &view.news.partitions {
        trace!("node {id} partition {:?}", view.partitions.get(key));
    }
}
