//! What the judges say of the clients' history, in words, and what it adds to the coverage.
//!
//! ```text
//! Ledger ──> anomalies::find ──> Promise::judge ──> a story for each violation
//!              FaultsSeen, topics' plans ──┘
//! ```
//!
//! Which faults cost which promise is decided in [`judge::promise`] and which of them
//! happened is told by the one who watches the machines: nothing is decided here.

use std::collections::{BTreeMap, BTreeSet};

use judge::anomalies::{self, Anomaly, Class, explain};
use judge::coverage::{Coverage, Event};
use judge::history::{History, Kind, Op, SendOutcome};
use judge::promise::{FaultsSeen, Promise, Span, TopicPromise};
use model::{Millis, NodeId, TopicName, TopicPartition};

use crate::faults::{self, FaultLog};
use crate::workload::queue::TopicPlan;
use crate::workload::record::{Ledger, decisions_partition, offsets_partition};

/// Violations of one class that are told with all that bears on them: the first ones tell the rest.
const TOLD_MAX: usize = 2;

/// What clients saw and must not see, `seen` being what befell the machines; nothing when all is well.
/// A violation's first line says what it is, the others tell its story.
pub fn of_clients(ledger: &Ledger, seen: FaultsSeen, faults: &FaultLog) -> Vec<String> {
    let promise = Promise::new(seen, promises(ledger.plans()));
    let mut violations = ledger.group.judge(&promise, &offsets_partition());
    violations.extend(ledger.transactions.judge(&promise, &decisions_partition(), &offsets_partition()));
    let judged = promise.judge(&anomalies::find(&ledger.history, &promise));
    if judged.is_clean() {
        return violations;
    }
    let history = with_faults(&ledger.history, faults);
    let first = |class: Class| judged.violations.iter().filter(move |anomaly| anomaly.class == class);
    let told = |class: Class| first(class).take(TOLD_MAX).map(|anomaly| tell(&history, anomaly));
    let rest = |(&class, &count): (&Class, &u64)| {
        let told_of = first(class).take(TOLD_MAX).count() as u64;
        (count > told_of).then(|| format!("clients: {class}: {} more", count - told_of))
    };
    violations.extend(judged.violated.keys().flat_map(|&class| told(class)));
    violations.extend(judged.violated.iter().filter_map(rest));
    violations
}

/// Faults by which the records of exactly these partitions may be lost, at any time.
pub fn all_lossy<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> FaultsSeen {
    let always = Span { from: Millis::default(), until: None };
    let unclean_elections = partitions.into_iter().map(|partition| (partition.clone(), always)).collect();
    FaultsSeen { unclean_elections, ..FaultsSeen::default() }
}

/// Counts what clients did: what succeeded, what was refused, and how much of it under faults.
pub fn cover(ledger: &Ledger, faults: &FaultLog, coverage: &mut Coverage) {
    let spans = in_force(faults);
    for op in ledger.history.ops() {
        let Some(is_ok) = is_ok(op) else { continue };
        let at = op.invoked.at;
        coverage.operation(is_ok, spans.iter().any(|span| span.has(at)));
        if matches!(op.kind, Kind::Send(_)) && is_ok {
            coverage.count(Event::AckedSend);
        }
        if op.polls().flat_map(|poll| &poll.runs).any(|run| !run.records.is_empty()) {
            coverage.count(Event::Poll);
        }
    }
    let (commits, assignments) = ledger.group.counts();
    (0..commits).for_each(|_| coverage.count(Event::OffsetCommitted));
    (0..assignments).for_each(|_| coverage.count(Event::GroupAssigned));
    let (committed, aborted) = ledger.transactions.counts();
    (0..committed).for_each(|_| coverage.count(Event::TransactionCommitted));
    (0..aborted).for_each(|_| coverage.count(Event::TransactionAborted));
    for (code, &count) in ledger.refused() {
        (0..count).for_each(|_| coverage.refused(code));
    }
}

/// What the topics were promised when they were created.
pub fn promises(plans: &BTreeMap<String, TopicPlan>) -> BTreeMap<TopicName, TopicPromise> {
    let promise = |(name, plan): (&String, &TopicPlan)| {
        let name = TopicName::new(name).expect("the workload's names follow Kafka's rules");
        let min_insync = usize::try_from(plan.min_insync).expect("a topic has one replica or more");
        (name, TopicPromise { min_insync, flushes: plan.flushes })
    };
    plans.iter().map(promise).collect()
}

fn tell(history: &History, anomaly: &Anomaly) -> String {
    format!("clients: {}", explain(history, anomaly).trim_end())
}

/// The history with the faults in it, for stories.
fn with_faults(history: &History, faults: &FaultLog) -> History {
    let mut history = history.clone();
    let nemesis = history.process("nemesis");
    for (at, event) in &faults.events {
        history.note(nemesis, *at, Kind::Fault(event.to_string()));
    }
    history
}

/// Whether a client got what it wanted; `None` for what is not counted. An administrator may be refused
/// by a healthy cluster too.
fn is_ok(op: &Op) -> Option<bool> {
    match &op.kind {
        Kind::Send(batch) => Some(matches!(batch.outcome, SendOutcome::Acked(_))),
        Kind::Poll(poll) => Some(!poll.runs.is_empty()),
        _ => None,
    }
}

/// When at least one fault was in force.
fn in_force(faults: &FaultLog) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut struck: BTreeSet<(faults::Kind, Option<NodeId>)> = BTreeSet::new();
    for (at, event) in &faults.events {
        let was_calm = struck.is_empty();
        let what = (event.kind, event.node);
        let is_calm = if event.begins {
            struck.insert(what);
            false
        } else {
            struck.remove(&what);
            struck.is_empty()
        };
        match (was_calm, is_calm) {
            (true, false) => spans.push(Span { from: *at, until: None }),
            (false, true) => spans.last_mut().expect("it began").until = Some(*at),
            _ => {}
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use judge::coverage::{Coverage, Event};
    use judge::history::SendOutcome;
    use judge::promise::Span;
    use model::{ErrorCode, Millis, NodeId, Offset, Timestamp};
    use net::VirtualClock;

    use super::{cover, in_force};
    use crate::faults::{Event as FaultEvent, FaultLog, Kind};
    use crate::workload::record::{Recorder, Sending, SharedHistory};

    /// Faults as (ms, kind, node, whether it begins).
    fn faults(told: &[(u64, Kind, i32, bool)]) -> FaultLog {
        let event = |&(at, kind, node, begins): &(u64, Kind, i32, bool)| {
            let node = Some(NodeId::new(node));
            (Millis::new(at), FaultEvent { kind, node, begins, detail: String::new() })
        };
        FaultLog { events: told.iter().map(event).collect() }
    }

    #[test]
    fn faults_that_overlap_are_in_force_as_one() {
        let log = faults(&[
            (10, Kind::Pause, 1, true),
            (20, Kind::KillOne, 2, true),
            (30, Kind::Pause, 1, false),
            (40, Kind::KillOne, 2, false),
            (70, Kind::Pause, 3, true),
        ]);
        let (first, last) = (Millis::new(10), Millis::new(70));
        let until = Some(Millis::new(40));
        assert_eq!(in_force(&log), [Span { from: first, until }, Span { from: last, until: None }]);
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_began_under_a_fault_is_counted_as_tried_under_one() {
        let ledger = SharedHistory::default();
        let clock = Arc::new(VirtualClock::starting_at(Timestamp::new(0)));
        let recorder = Recorder::new("c1", clock, ledger.clone());
        // At 0, 10, 20, 30 and 40 ms, the faults lasting from 10 to 30.
        for value in 0..5 {
            let op = recorder.send_began(&("t".to_owned(), 0), &[value], Sending::OneInFlight);
            if value == 2 {
                recorder.refused(ErrorCode::NotEnoughReplicas);
                recorder.send_ended(op, SendOutcome::Refused(ErrorCode::NotEnoughReplicas));
            } else {
                recorder.send_ended(op, SendOutcome::Acked(Some(Offset::ZERO)));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let log = faults(&[(10, Kind::Pause, 1, true), (30, Kind::Pause, 1, false)]);
        let mut coverage = Coverage::default();
        cover(&ledger.lock().expect("nobody panicked"), &log, &mut coverage);
        assert_eq!((coverage.of(Event::AckedSend), coverage.of(Event::Poll)), (4, 0));
        assert_eq!(coverage.percent_ok_under_faults(), Some(66), "two of three");
        assert!(coverage.to_string().contains("refused NOT_ENOUGH_REPLICAS"), "{coverage}");
    }
}
