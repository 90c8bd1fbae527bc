//! A history sorted for the checkers: by partition what was sent, seen and polled.
//!
//! What was seen (a record that was read, an offset that was acknowledged) is kept in *cells*,
//! one for each pair of offset and value. Where records may be lost legally, each sighting
//! also has an *era*: the calm time between two losses in which it wholly lies. Two
//! sightings of one era belong to one log; of others that cannot be said.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use model::{LeaderEpoch, Millis, Offset, TopicName, TopicPartition};

use super::{Anomaly, Class, Excuse};
use crate::history::{Batch, History, Kind, Mode, Moment, Op, OpId, Run, SendOutcome};
use crate::promise::{Promise, Span};

/// A calm time between two losses, counted; `None` for what touches a loss.
pub(super) type Era = Option<u32>;

/// A whole history, sorted.
pub(super) struct Index<'a> {
    pub(super) history: &'a History,
    pub(super) partitions: Vec<Partition<'a>>,
    /// When the final phase began, if it was reached.
    pub(super) final_phase: Option<Moment>,
}

/// One partition.
pub(super) struct Partition<'a> {
    pub(super) name: &'a TopicPartition,
    /// When its records may have been lost legally, in order.
    pub(super) losses: Vec<Span>,
    /// Bits of one of its copies flipped: readers meet checksums that do not match.
    pub(super) is_flipped: bool,
    /// Its topic may be gone.
    pub(super) is_deleted: bool,
    /// In order of invocation.
    pub(super) sends: Vec<Sent<'a>>,
    /// Each value that was sent, with its send and its place in the batch; by value.
    values: Vec<(u64, u32, u32)>,
    /// By offset, then value.
    seen: Vec<Seen>,
    /// By offset, then value.
    pub(super) cells: Vec<Cell>,
    /// Numbers of cells by value, then offset.
    by_value: Vec<u32>,
    /// What polls saw, in order of invocation.
    pub(super) steps: Vec<Step<'a>>,
    /// What leaders said beside records, in order of invocation: [`Kind::List`], [`Kind::Reset`],
    /// [`Kind::Truncated`], [`Kind::Corrupt`].
    pub(super) told: Vec<&'a Op>,
}

/// A send.
#[derive(Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) op: &'a Op,
    pub(super) batch: &'a Batch,
    pub(super) era: Era,
}

/// One sighting of a value at an offset.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    offset: Offset,
    value: u64,
    pub(super) op: OpId,
    pub(super) era: Era,
    /// Of its batch, where it was read and noted.
    pub(super) epoch: Option<LeaderEpoch>,
    /// It was read; otherwise acknowledged.
    pub(super) is_read: bool,
}

/// All sightings of one value at one offset.
#[derive(Clone)]
pub(super) struct Cell {
    pub(super) offset: Offset,
    pub(super) value: u64,
    seen: Range<u32>,
}

/// What one poll saw of the partition, and what it should have begun with.
pub(super) struct Step<'a> {
    pub(super) op: &'a Op,
    pub(super) run: &'a Run,
    pub(super) era: Era,
    /// The next offset; `None` where it is not known.
    pub(super) expected: Option<Offset>,
    /// A group's coordinator moves this consumer.
    pub(super) is_subscribed: bool,
}

impl<'a> Index<'a> {
    pub(super) fn new(history: &'a History, promise: &Promise) -> Self {
        let mut lanes = BTreeMap::new();
        let mut walks = vec![Walk::default(); history.processes()];
        let mut deleted = BTreeSet::new();
        for op in history.ops() {
            Lanes { by_name: &mut lanes, promise }.take(op, &mut walks[op.process.index()]);
            if let Kind::Delete { topic } = &op.kind {
                deleted.insert(topic);
            }
        }
        let mut partitions: Vec<Partition<'a>> = lanes.into_values().collect();
        for partition in &mut partitions {
            partition.is_deleted = deleted.contains::<TopicName>(&partition.name.topic);
            partition.sort();
        }
        Self { history, partitions, final_phase: history.final_phase() }
    }

    /// Whether the operation belongs to the final phase.
    pub(super) fn is_final(&self, op: OpId) -> bool {
        let begun = self.history.op(op).invoked.order;
        self.final_phase.is_some_and(|mark| begun > mark.order)
    }
}

/// Where a process stands.
#[derive(Clone, Default)]
struct Walk<'a> {
    positions: BTreeMap<&'a TopicPartition, Offset>,
    is_subscribed: bool,
}

/// The partitions while they are filled.
struct Lanes<'m, 'a> {
    by_name: &'m mut BTreeMap<&'a TopicPartition, Partition<'a>>,
    promise: &'m Promise,
}

impl<'a> Lanes<'_, 'a> {
    fn take(&mut self, op: &'a Op, walk: &mut Walk<'a>) {
        match &op.kind {
            Kind::Assign(assign) => {
                // Nothing here deletes old records: a log's beginning is offset 0.
                let start =
                    |(name, at): &'a (TopicPartition, Option<Offset>)| (name, at.unwrap_or(Offset::ZERO));
                walk.positions = assign.positions.iter().map(start).collect();
                walk.is_subscribed = assign.mode == Mode::Subscribe;
            }
            Kind::Reset { partition, .. } => {
                walk.positions.insert(partition, Offset::ZERO);
                self.lane(partition).told.push(op);
            }
            Kind::Truncated { partition, end, .. } => {
                walk.positions.insert(partition, *end);
                self.lane(partition).told.push(op);
            }
            Kind::List { partition, .. } | Kind::Corrupt { partition, .. } => {
                self.lane(partition).told.push(op);
            }
            Kind::Send(_)
            | Kind::Poll(_)
            | Kind::Delete { .. }
            | Kind::Admin { .. }
            | Kind::FinalPhase
            | Kind::Fault(_)
            | Kind::Note(_) => {}
        }
        for batch in op.batches() {
            self.lane(&batch.partition).take_send(op, batch);
        }
        for run in op.polls().flat_map(|poll| &poll.runs) {
            self.lane(&run.partition).take_run(op, run, walk);
        }
    }

    fn lane(&mut self, name: &'a TopicPartition) -> &mut Partition<'a> {
        self.by_name.entry(name).or_insert_with(|| Partition {
            name,
            losses: self.promise.losses(name),
            is_flipped: self.promise.flips(name).next().is_some(),
            is_deleted: false,
            sends: Vec::new(),
            values: Vec::new(),
            seen: Vec::new(),
            cells: Vec::new(),
            by_value: Vec::new(),
            steps: Vec::new(),
            told: Vec::new(),
        })
    }
}

impl<'a> Partition<'a> {
    fn take_send(&mut self, op: &'a Op, batch: &'a Batch) {
        let era = self.era(op);
        let send = u32::try_from(self.sends.len()).expect("there are fewer than 2^32 operations");
        self.values.extend(batch.values.iter().zip(0..).map(|(&value, place)| (value, send, place)));
        self.sends.push(Sent { op, batch, era });
        // At acks=1 what was acknowledged is not committed yet, and its offset may be used again.
        if let Some(base) = batch.base().filter(|_| batch.acks_all) {
            let ack = |(&value, place): (&u64, i64)| {
                let offset = Offset::new(base.get().saturating_add(place));
                Seen { offset, value, op: op.id, era, epoch: None, is_read: false }
            };
            self.seen.extend(batch.values.iter().zip(0..).map(ack));
        }
    }

    fn take_run(&mut self, op: &'a Op, run: &'a Run, walk: &mut Walk<'a>) {
        let era = self.era(op);
        self.seen.extend(run.records.iter().map(|read| Seen {
            offset: read.offset,
            value: read.value,
            op: op.id,
            era,
            epoch: read.epoch,
            is_read: true,
        }));
        let expected = walk.positions.get(&run.partition).copied();
        self.steps.push(Step { op, run, era, expected, is_subscribed: walk.is_subscribed });
        let next = run.records.last().map(|read| Offset::new(read.offset.get().saturating_add(1)));
        if let Some(next) = next {
            walk.positions.insert(&run.partition, next);
        }
    }

    fn sort(&mut self) {
        self.values.sort();
        let doubled = self.values.windows(2).find(|pair| pair[0].0 == pair[1].0);
        assert!(doubled.is_none(), "values are unique within {}: {doubled:?}", self.name);
        self.seen = by_offset(std::mem::take(&mut self.seen));
        for group in self.seen.chunk_by_mut(|a, b| a.offset == b.offset) {
            if group.iter().any(|seen| seen.value != group[0].value) {
                group.sort_by_key(|seen| seen.value);
            }
        }
        let mut at = 0;
        for group in self.seen.chunk_by(|a, b| (a.offset, a.value) == (b.offset, b.value)) {
            let end = at + u32::try_from(group.len()).expect("a run reads fewer than 2^32 records");
            self.cells.push(Cell { offset: group[0].offset, value: group[0].value, seen: at..end });
            at = end;
        }
        self.by_value = (0..u32::try_from(self.cells.len()).expect("no more cells than records")).collect();
        let cells = &self.cells;
        self.by_value.sort_by_key(|&cell| (cells[cell as usize].value, cells[cell as usize].offset));
    }

    /// The era of an operation.
    fn era(&self, op: &Op) -> Era {
        let until = op.completed.map(|completed| completed.at);
        self.era_of(op.invoked.at, until)
    }

    fn era_of(&self, from: Millis, until: Option<Millis>) -> Era {
        let mut era = 0;
        for loss in &self.losses {
            let is_over = loss.until.is_some_and(|end| end < from);
            let is_ahead = until.is_some_and(|until| until < loss.from);
            match (is_over, is_ahead) {
                (true, _) => era += 1,
                (false, true) => break,
                (false, false) => return None,
            }
        }
        Some(era)
    }

    /// What excuses a contradiction between what was seen from `from` on and until `until`.
    pub(super) fn excuse_between(&self, from: Millis, until: Option<Millis>) -> Option<Excuse> {
        self.era_of(from, until).is_none().then_some(Excuse::LegalLoss)
    }

    /// What excuses the absence of what was there at `from`.
    pub(super) fn excuse_since(&self, from: Millis) -> Option<Excuse> {
        let is_after = |loss: &Span| loss.until.is_none_or(|until| until >= from);
        self.losses.iter().any(is_after).then_some(Excuse::LegalLoss)
    }

    /// The send of a value, and its place in the batch.
    pub(super) fn send_of(&self, value: u64) -> Option<(&Sent<'a>, usize)> {
        let at = self.values.binary_search_by_key(&value, |known| known.0).ok()?;
        let (_, send, place) = self.values[at];
        Some((&self.sends[send as usize], place as usize))
    }

    /// All sightings of a cell, in order of invocation.
    pub(super) fn seen(&self, cell: &Cell) -> &[Seen] {
        &self.seen[cell.seen.start as usize..cell.seen.end as usize]
    }

    /// The reads of a cell.
    pub(super) fn reads(&self, cell: &Cell) -> impl DoubleEndedIterator<Item = &Seen> {
        self.seen(cell).iter().filter(|seen| seen.is_read)
    }

    /// The cells of one value, by offset.
    pub(super) fn cells_of(&self, value: u64) -> impl Iterator<Item = &Cell> {
        let value_of = |cell: &u32| self.cells[*cell as usize].value;
        let start = self.by_value.partition_point(|cell| value_of(cell) < value);
        let rest = self.by_value[start..].iter().map(|&cell| &self.cells[cell as usize]);
        rest.take_while(move |cell| cell.value == value)
    }

    /// The cells of each value that was seen, by offset.
    pub(super) fn values_seen(&self) -> impl Iterator<Item = Vec<&Cell>> {
        let cell = |at: &u32| &self.cells[*at as usize];
        let groups = self.by_value.chunk_by(move |a, b| cell(a).value == cell(b).value);
        groups.map(move |group| group.iter().map(cell).collect())
    }

    /// The cells of the offsets `from..until`.
    pub(super) fn cells_between(&self, from: Offset, until: Offset) -> &[Cell] {
        let start = self.cells.partition_point(|cell| cell.offset < from);
        let rest = &self.cells[start..];
        &rest[..rest.partition_point(|cell| cell.offset < until)]
    }

    /// A sighting of each, of one era: they cannot both be true. Otherwise any two, and the excuse.
    pub(super) fn contradiction(&self, one: &Cell, other: &Cell) -> (OpId, OpId, Option<Excuse>) {
        let (ones, others) = (self.seen(one), self.seen(other));
        for a in ones.iter().filter(|seen| seen.era.is_some()) {
            if let Some(b) = others.iter().find(|seen| seen.era == a.era) {
                return (a.op, b.op, None);
            }
        }
        (ones[0].op, others[0].op, Some(Excuse::LegalLoss))
    }

    /// The distinct eras of a cell, each with one sighting.
    pub(super) fn eras(&self, cell: &Cell) -> Vec<(Era, OpId)> {
        let mut eras: Vec<(Era, OpId)> = Vec::new();
        for seen in self.seen(cell) {
            if eras.iter().all(|(era, _)| *era != seen.era) {
                eras.push((seen.era, seen.op));
            }
        }
        eras
    }

    /// An anomaly of this partition.
    pub(super) fn anomaly(&self, class: Class, ops: Vec<OpId>, what: String) -> Anomaly {
        let partition = self.name.clone();
        Anomaly { class, partition, offset: None, values: Vec::new(), ops, excuse: None, what }
    }
}

impl Sent<'_> {
    /// Whether no attempt appended anything.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self.batch.outcome, SendOutcome::Refused(_))
    }
}

/// Sorts by offset, and keeps the order within one. Offsets of a log are dense, so each finds its
/// place by counting; where something claims a far offset, comparing has to do.
fn by_offset(mut seen: Vec<Seen>) -> Vec<Seen> {
    let slot = |seen: &Seen| usize::try_from(seen.offset.get()).unwrap_or(usize::MAX);
    let highest = seen.iter().map(slot).max().unwrap_or(0);
    if highest > seen.len() {
        seen.sort_by_key(|seen| seen.offset);
        return seen;
    }
    let mut places = vec![0; highest + 2];
    seen.iter().for_each(|seen| places[slot(seen) + 1] += 1);
    for at in 1..places.len() {
        places[at] += places[at - 1];
    }
    let mut sorted = seen.clone();
    for seen in seen {
        let place = &mut places[slot(&seen)];
        sorted[*place] = seen;
        *place += 1;
    }
    sorted
}
