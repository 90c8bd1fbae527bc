//! An anomaly for people: what was wrong, and the operations that bear on it.

use std::fmt::Write as _;

use model::{Millis, Offset, TopicPartition};

use super::Anomaly;
use crate::history::{Batch, History, Kind, Op, Place, Producer, Run, SendOutcome};

/// Operations that are told of.
const OPS_MAX: usize = 60;
/// Records around the offset in question that are told of.
const NEAR: i64 = 2;

/// The story of an anomaly: every operation on its values and offset, and what else happened to
/// the partition between the first and the last of the evidence, which is marked.
pub fn explain(history: &History, anomaly: &Anomaly) -> String {
    let span = span(history, anomaly);
    let mut told: Vec<(&Op, String)> = Vec::new();
    for op in history.ops() {
        let is_evidence = anomaly.ops.contains(&op.id);
        let is_within = span.0 <= op.invoked.at && op.invoked.at <= span.1;
        told.extend(tell(op, anomaly, is_evidence, is_within).map(|line| (op, line)));
    }
    let mut story = format!("{anomaly}\n");
    let omitted = told.len().saturating_sub(OPS_MAX);
    // Evidence is always told; of the rest the first.
    let is_evidence = |op: &Op| anomaly.ops.contains(&op.id);
    let mut room = OPS_MAX.saturating_sub(anomaly.ops.len());
    told.retain(|(op, _)| {
        let is_kept = is_evidence(op) || room > 0;
        room -= usize::from(is_kept && !is_evidence(op));
        is_kept
    });
    told.sort_by_key(|(op, _)| op.invoked.at);
    for (op, line) in told {
        let mark = if is_evidence(op) { '>' } else { ' ' };
        let end = op.completed.map_or("...".to_owned(), |ended| ended.at.get().to_string());
        let (begin, name) = (op.invoked.at.get(), history.name(op.process));
        writeln!(story, "{mark} {begin:>7}..{end:<7} ms {:>6} {name:<8} {line}", op.id.to_string())
            .expect("a string takes everything");
    }
    if omitted > 0 {
        writeln!(story, "  and {omitted} more operations").expect("a string takes everything");
    }
    story
}

/// From the first to the last of the evidence.
fn span(history: &History, anomaly: &Anomaly) -> (Millis, Millis) {
    let ops = || anomaly.ops.iter().map(|&op| history.op(op));
    let first = ops().map(|op| op.invoked.at).min().unwrap_or_default();
    let last = ops().map(|op| op.completed.map_or(op.invoked.at, |ended| ended.at)).max();
    (first, last.unwrap_or_default())
}

/// What an operation has to do with an anomaly.
fn tell(op: &Op, anomaly: &Anomaly, is_evidence: bool, is_within: bool) -> Option<String> {
    let is_here = |partition: &TopicPartition| *partition == anomaly.partition;
    let batches = op.batches().filter(|batch| is_here(&batch.partition));
    let sent =
        batches.filter(|batch| is_evidence || batch.values.iter().any(|one| anomaly.values.contains(one)));
    let runs = op.polls().flat_map(|poll| &poll.runs).filter(|run| is_here(&run.partition));
    let seen = runs.filter(|run| is_evidence || touches(run, anomaly));
    let mut parts: Vec<String> = sent.map(tell_send).chain(seen.map(|run| tell_run(run, anomaly))).collect();
    parts.extend(tell_event(op, anomaly).filter(|_| is_evidence || is_within));
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn touches(run: &Run, anomaly: &Anomaly) -> bool {
    let is_it =
        |offset: Offset, value: u64| anomaly.offset == Some(offset) || anomaly.values.contains(&value);
    run.records.iter().any(|read| is_it(read.offset, read.value))
}

fn tell_send(batch: &Batch) -> String {
    let outcome = match &batch.outcome {
        SendOutcome::Pending => "never answered".to_owned(),
        SendOutcome::Acked(Some(base)) => format!("acknowledged at {base}"),
        SendOutcome::Acked(None) => "acknowledged, without an offset".to_owned(),
        SendOutcome::Refused(code) => format!("refused: {code:?}"),
        SendOutcome::Unknown(why) => format!("unknown: {why}"),
    };
    let producer = match batch.producer {
        Producer::Idempotent(session) => format!("idempotent {}", session.0),
        Producer::OneInFlight => "one in flight".to_owned(),
        Producer::ManyInFlight => "many in flight".to_owned(),
    };
    let Batch { partition, values, attempts, .. } = batch;
    format!("sends {values:?} to {partition} ({producer}, {attempts} attempts): {outcome}")
}

fn tell_run(run: &Run, anomaly: &Anomaly) -> String {
    let is_near = |offset: Offset| {
        anomaly.offset.is_none_or(|about| offset.get().abs_diff(about.get()) <= NEAR.unsigned_abs())
    };
    let is_told = |offset, value| is_near(offset) || anomaly.values.contains(&value);
    let near = run.records.iter().filter(|read| is_told(read.offset, read.value));
    let near: Vec<String> = near.take(20).map(|read| format!("{}:{}", read.offset, read.value)).collect();
    let watermark = run.high_watermark.map_or(String::new(), |at| format!(", watermark {at}"));
    let all = match (run.records.first(), run.records.last()) {
        (Some(first), Some(last)) => format!("offsets {} to {}", first.offset, last.offset),
        _ => "nothing".to_owned(),
    };
    let near = if near.is_empty() { String::new() } else { format!(", with {}", near.join(" ")) };
    format!("polls {} from {}{watermark}: {all}{near}", run.partition, run.from)
}

/// What is neither a send nor a poll, and bears on the partition.
fn tell_event(op: &Op, anomaly: &Anomaly) -> Option<String> {
    let is_here = |partition: &TopicPartition| *partition == anomaly.partition;
    let maybe = |offset: &Option<Offset>| offset.map_or("?".to_owned(), |offset| offset.to_string());
    match &op.kind {
        Kind::Send(_) | Kind::Poll(_) => None,
        Kind::Assign(assign) => {
            let (_, at) = assign.positions.iter().find(|(partition, _)| is_here(partition))?;
            let at = at.map_or("its beginning".to_owned(), |at| at.to_string());
            Some(format!("reads {} from {at} ({:?})", anomaly.partition, assign.mode))
        }
        Kind::List { partition, place, offset, .. } if is_here(partition) => {
            let place = match place {
                Place::Earliest => "begins",
                Place::Latest => "ends",
                Place::Time => "has some time",
            };
            Some(format!("is told that {partition} {place} at {}", maybe(offset)))
        }
        Kind::Reset { partition, position, log_start, high_watermark, .. } if is_here(partition) => {
            let (start, watermark) = (maybe(log_start), maybe(high_watermark));
            Some(format!("is out of range at {position} of {partition}: from {start}, watermark {watermark}"))
        }
        Kind::Truncated { partition, position, end, .. } if is_here(partition) => {
            Some(format!("is told that what it read of {partition} up to {position} ends at {end}"))
        }
        Kind::Corrupt { partition, position, reason } if is_here(partition) => {
            Some(format!("cannot read {partition} at {position}: {reason}"))
        }
        Kind::Delete { topic } if *topic == anomaly.partition.topic => Some(format!("deletes {topic}")),
        Kind::Admin { what, outcome } => Some(format!("changes the cluster: {what}: {outcome}")),
        Kind::FinalPhase => Some("the final phase begins".to_owned()),
        Kind::Fault(what) => Some(format!("fault: {what}")),
        Kind::Note(what) => Some(what.clone()),
        Kind::List { .. }
        | Kind::Reset { .. }
        | Kind::Truncated { .. }
        | Kind::Corrupt { .. }
        | Kind::Delete { .. } => None,
    }
}
