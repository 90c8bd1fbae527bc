//! The eyes of a run: looks at every node after each of its steps, and passes what it sees on
//! to the judges and into the trace.

use std::collections::BTreeMap;
use std::sync::Arc;

use broker::Node;
use judge::coverage::{Coverage, Event};
use judge::invariants::{Invariants, Restart};
use judge::promise::{FaultsSeen, Harm, Harmed, Promise, Span};
use judge::view::{Key, NodeView};
use model::{Millis, NodeId, Offset, TopicName, TopicPartition};
use tokio::time::Instant;
use world::trace;

use crate::cluster::Cluster;
use crate::faults::FaultLog;
use crate::observe::{LogsOf, Observer};
use crate::shape::Shape;
use crate::verdict;
use crate::workload::queue::FinalReading;
use crate::workload::record::{SharedHistory, offsets_partition};

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
    /// What befell disks.
    seen: FaultsSeen,
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
    pub fn new(begun: Instant, shape: &Shape) -> Self {
        Self {
            begun,
            observers: BTreeMap::new(),
            invariants: Invariants::new(),
            coverage: Coverage::default(),
            history: Arc::default(),
            heard: 0,
            keys: BTreeMap::new(),
            seen: FaultsSeen { voters: shape.voters().collect(), ..FaultsSeen::default() },
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

    /// A node's disk lost something, of one partition or of all; `restored` tells when it has all of it back.
    pub fn harmed(&mut self, node: NodeId, harm: Harm, partition: Option<TopicPartition>) {
        let span = Span { from: self.now(), until: None };
        self.seen.harms.push(Harmed { node, harm, partition, span });
        if harm == Harm::BitsFlipped {
            self.invariants.set_damaged(node, true);
        }
        self.measure();
    }

    /// A node is in sync again wherever it is a replica. Flipped bits stay flipped.
    pub fn restored(&mut self, node: NodeId) {
        let now = self.now();
        let open = |harmed: &&mut Harmed| {
            harmed.node == node && harmed.span.until.is_none() && harmed.harm != Harm::BitsFlipped
        };
        self.seen.harms.iter_mut().filter(open).for_each(|harmed| harmed.span.until = Some(now));
        self.measure();
    }

    /// Tells the invariants which partitions may lose records now.
    fn measure(&mut self) {
        let now = self.now();
        let promise = {
            let history = self.history.lock().expect("no holder of this lock panics");
            Promise::new(self.seen.clone(), verdict::promises(history.plans()))
        };
        for (name, key) in &self.keys {
            let Some((topic, _)) = name.rsplit_once('-') else { continue };
            let Ok(topic) = TopicName::new(topic) else { continue };
            let lossy = promise.is_lossy(&TopicPartition { topic, partition: key.1 }, now);
            self.invariants.set_lossy(*key, lossy);
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

    /// Whether a bit flipped in a log of this partition, on any node. Nobody reads on behind it, and no
    /// follower copies it: as in Kafka, such a replica waits for its operator.
    pub fn is_flipped(&self, topic: &str, partition: i32) -> bool {
        let flipped = self.seen.harms.iter().filter(|harmed| harmed.harm == Harm::BitsFlipped);
        let mut logs = flipped.filter_map(|harmed| harmed.partition.as_ref());
        logs.any(|log| log.topic.as_str() == topic && log.partition.get() == partition)
    }

    /// What was read at the end. What was acknowledged and is not there is for the clients' history to judge;
    /// but every log has to be read to its end, unless a bit of it flipped.
    pub fn read(&mut self, reading: &FinalReading) {
        for ((topic, index), (end, position)) in &reading.unread {
            if !self.is_flipped(topic, *index) {
                self.violated(format!("{topic}-{index} is read to {position:?} and not to its end {end:?}"));
            }
        }
        let offsets = offsets_partition();
        let is_stuck = self.is_flipped(offsets.topic.as_str(), offsets.partition.get());
        for ((topic, index), at) in reading.behind.iter().filter(|_| !is_stuck) {
            self.violated(format!(
                "the group cannot be brought to the end of {topic}-{index}, it is at {at:?}"
            ));
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
        {
            let history = self.history.lock().expect("no holder of this lock panics");
            violations.extend(verdict::of_clients(&history, self.seen.clone(), faults));
            verdict::cover(&history, faults, &mut self.coverage);
        }
        self.coverage.count_many(Event::RecordCompacted, self.invariants.compacted());
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
