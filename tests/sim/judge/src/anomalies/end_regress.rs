//! End regress: after a consumer read up to an offset, a leader told it that the log ends
//! before: by ListOffsets, by `OFFSET_OUT_OF_RANGE`, or by OffsetForLeaderEpoch.
//!
//! Promised to one process that names the leader epochs it knows (KIP-320, KIP-207): a leader
//! that was replaced refuses such a request, and the new one has everything that was read.
//! Between processes nothing is promised: one may still ask the old leader.

use std::collections::BTreeMap;

use model::{LeaderEpoch, Millis, Offset};

use super::index::{Partition, Step};
use super::{Anomaly, Class, Excuse, Findings};
use crate::history::{Kind, Op, OpId, Place, ProcessId};

pub(super) fn find(partition: &Partition<'_>, findings: &mut Findings) {
    let mut ends: BTreeMap<ProcessId, Reading> = BTreeMap::new();
    let mut steps = partition.steps.iter().peekable();
    for op in &partition.told {
        while let Some(step) = steps.next_if(|step| step.op.invoked.order < op.invoked.order) {
            ends.entry(step.op.process).or_default().take(step);
        }
        let Some((told, epoch)) = told(op) else { continue };
        let Some(reading) = ends.get(&op.process) else { continue };
        if let Some(anomaly) = reading.contradicted(partition, op, told, epoch) {
            findings.add(anomaly);
        }
    }
}

/// What an answer says of the log's end.
#[derive(Clone, Copy)]
enum Told {
    /// It is there.
    Ends(Offset),
    /// It is before this position.
    EndsBefore(Offset),
}

fn told(op: &Op) -> Option<(Told, Option<LeaderEpoch>)> {
    match &op.kind {
        Kind::List { place: Place::Latest, offset, epoch, .. } => Some((Told::Ends((*offset)?), *epoch)),
        Kind::Truncated { end, epoch, .. } => Some((Told::Ends(*end), *epoch)),
        // Out of range is also what lies before the log's start.
        Kind::Reset { position, log_start, epoch, .. }
            if log_start.is_none_or(|start| start <= *position) =>
        {
            Some((Told::EndsBefore(*position), *epoch))
        }
        _ => None,
    }
}

/// How far a process has read, and under which epochs.
#[derive(Default)]
struct Reading {
    end: Option<(Offset, OpId, Millis)>,
    /// The highest epoch that it named.
    epoch: Option<LeaderEpoch>,
    /// Some of its reads named no epoch.
    is_unfenced: bool,
}

impl Reading {
    fn take(&mut self, step: &Step<'_>) {
        let Some(last) = step.run.records.last() else { return };
        self.epoch = self.epoch.max(step.run.epoch);
        self.is_unfenced |= step.run.epoch.is_none();
        let end = Offset::new(last.offset.get().saturating_add(1));
        if self.end.is_none_or(|known| known.0 < end) {
            self.end = Some((end, step.op.id, step.op.invoked.at));
        }
    }

    fn contradicted(
        &self,
        partition: &Partition<'_>,
        op: &Op,
        told: Told,
        epoch: Option<LeaderEpoch>,
    ) -> Option<Anomaly> {
        let (end, reader, since) = self.end?;
        let (is_wrong, place, how) = match told {
            Told::Ends(at) => (at < end, at, "at"),
            Told::EndsBefore(position) => (position <= end, position, "before"),
        };
        if !is_wrong {
            return None;
        }
        let is_fenced = !self.is_unfenced && epoch.is_some() && epoch >= self.epoch;
        let unfenced = (!is_fenced).then_some(Excuse::Unfenced);
        let what = format!("the log was read up to {end}, and then a leader said that it ends {how} {place}");
        Some(Anomaly {
            offset: Some(place),
            excuse: partition.excuse_between(since, op.completed.map(|ended| ended.at)).or(unfenced),
            ..partition.anomaly(Class::EndRegress, vec![reader, op.id], what)
        })
    }
}
