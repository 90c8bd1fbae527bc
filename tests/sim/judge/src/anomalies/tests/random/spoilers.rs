//! One thing spoilt in a good history, each with the classes of which one must be found.
//!
//! A spoiler returns `None` when the history has nothing that it could spoil.

use std::collections::BTreeMap;

use fastrand::Rng;
use model::{ErrorCode, Offset, TopicPartition};

use crate::anomalies::Class;
use crate::history::{Batch, History, Kind, Op, OpId, Producer, Read, Run, SendOutcome};

type Spoil = fn(&mut History, &mut Rng) -> Option<()>;

/// Name, spoiler, and what is to be found.
pub(super) const SPOILERS: [(&str, Spoil, &[Class]); 16] = [
    ("a value of nobody", garbage, &[Class::PhantomRead]),
    ("another value", another_value, &[Class::InconsistentOffsets]),
    ("two values of an epoch", another_value_of_two_reads, &[Class::ForkedEpoch]),
    ("a value vanishes", vanish, &[Class::LostWrite]),
    ("a value comes again", again, &[Class::Duplicate]),
    ("a gap within a poll", gap, &[Class::IntPollSkip]),
    ("two records change places", swap_in_poll, &[Class::IntNonmonotonicPoll]),
    ("a refused value is read", refuse, &[Class::AbortedRead]),
    ("an acknowledged offset is wrong", shift_ack, &[Class::Duplicate, Class::InconsistentOffsets]),
    ("a poll is lost", lose_poll, &[Class::PollSkip]),
    ("a poll goes back", go_back, &[Class::NonmonotonicPoll]),
    ("a log ends too early", end_early, &[Class::EndRegress]),
    ("sends change places", swap_sends, &[Class::Realtime, Class::NonmonotonicSend]),
    ("sends of a session change places", swap_session, &[Class::ReorderedSend]),
    ("the tail is gone", cut_tail, &[Class::Unseen]),
    ("a stranger within a batch", tear, &[Class::TornBatch]),
];

/// A record of a poll.
#[derive(Clone)]
struct Spot {
    op: OpId,
    run: usize,
    record: usize,
    partition: TopicPartition,
    read: Read,
}

fn spots(history: &History) -> Vec<Spot> {
    let mut spots = Vec::new();
    for op in history.ops() {
        for (run, seen) in op.polls().flat_map(|poll| &poll.runs).enumerate() {
            spots.extend(seen.records.iter().enumerate().map(|(record, &read)| Spot {
                op: op.id,
                run,
                record,
                partition: seen.partition.clone(),
                read,
            }));
        }
    }
    spots
}

/// How often each offset was read.
fn readers(spots: &[Spot]) -> BTreeMap<(TopicPartition, Offset), usize> {
    let mut readers = BTreeMap::new();
    for spot in spots {
        *readers.entry((spot.partition.clone(), spot.read.offset)).or_insert(0) += 1;
    }
    readers
}

/// A random record that several polls read.
fn read_twice(history: &History, rng: &mut Rng) -> Option<Spot> {
    let spots = spots(history);
    let readers = readers(&spots);
    let is_twice = |spot: &Spot| readers[&(spot.partition.clone(), spot.read.offset)] > 1;
    rng.choice(spots.into_iter().filter(is_twice).collect::<Vec<_>>())
}

fn run_mut(history: &mut History, op: OpId, run: usize) -> &mut Run {
    match &mut history.op_mut(op).kind {
        Kind::Poll(poll) => &mut poll.runs[run],
        other => panic!("{other:?} is no poll"),
    }
}

fn batch_mut(history: &mut History, op: OpId) -> &mut Batch {
    match &mut history.op_mut(op).kind {
        Kind::Send(batch) => batch,
        other => panic!("{other:?} is no send"),
    }
}

fn sends(history: &History) -> impl Iterator<Item = (&Op, &Batch)> {
    history.ops().iter().flat_map(|op| op.batches().map(move |batch| (op, batch)))
}

fn is_final(history: &History, op: OpId) -> bool {
    history.final_phase().is_some_and(|mark| history.op(op).invoked.order > mark.order)
}

fn set_value(history: &mut History, spot: &Spot, value: u64) {
    run_mut(history, spot.op, spot.run).records[spot.record].value = value;
}

/// Changes every record that was read of the partition.
fn each_read(history: &mut History, partition: &TopicPartition, mut change: impl FnMut(&mut Read)) {
    for spot in spots(history).iter().filter(|spot| spot.partition == *partition) {
        change(&mut run_mut(history, spot.op, spot.run).records[spot.record]);
    }
}

/// Takes records away from the polls that `which` chooses.
fn drop_reads(history: &mut History, which: impl Fn(&Spot) -> bool) {
    for spot in spots(history).iter().rev().filter(|spot| which(spot)) {
        run_mut(history, spot.op, spot.run).records.remove(spot.record);
    }
}

fn garbage(history: &mut History, rng: &mut Rng) -> Option<()> {
    let spot = rng.choice(spots(history))?;
    set_value(history, &spot, 1 << 40);
    Some(())
}

fn another_value(history: &mut History, rng: &mut Rng) -> Option<()> {
    let spot = read_twice(history, rng)?;
    let others = spots(history).into_iter().filter(|other| other.partition == spot.partition);
    let other = rng.choice(others.filter(|other| other.read.value != spot.read.value).collect::<Vec<_>>())?;
    set_value(history, &spot, other.read.value);
    Some(())
}

fn another_value_of_two_reads(history: &mut History, rng: &mut Rng) -> Option<()> {
    another_value(history, rng)
}

fn vanish(history: &mut History, rng: &mut Rng) -> Option<()> {
    let last = |partition: &TopicPartition, spots: &[Spot]| {
        let here = spots.iter().filter(|spot| spot.partition == *partition);
        here.map(|spot| spot.read.offset).max()
    };
    let spots = spots(history);
    let acked = sends(history).filter(|(_, batch)| batch.base() < last(&batch.partition, &spots));
    let acked = acked.filter(|(_, batch)| batch.base().is_some() && batch.values.len() == 1);
    let (_, batch) = rng.choice(acked.collect::<Vec<_>>())?;
    let value = batch.values[0];
    drop_reads(history, |spot| spot.read.value == value);
    Some(())
}

fn again(history: &mut History, rng: &mut Rng) -> Option<()> {
    let idempotent = |spot: &Spot| {
        sends(history).any(|(_, batch)| {
            batch.values.contains(&spot.read.value) && matches!(batch.producer, Producer::Idempotent(_))
        })
    };
    let spots = spots(history);
    let last = rng.choice(spots.iter().filter(|spot| is_final(history, spot.op)).collect::<Vec<_>>())?;
    let here = spots.iter().filter(|spot| spot.partition == last.partition);
    let end = here.clone().map(|spot| spot.read.offset).max()?;
    let last = here.clone().rfind(|spot| spot.read.offset == end)?;
    let value = here.clone().find(|spot| spot.read.offset < end && idempotent(spot))?.read.value;
    let read = Read { offset: end.plus(1), value, epoch: None };
    run_mut(history, last.op, last.run).records.push(read);
    Some(())
}

fn gap(history: &mut History, rng: &mut Rng) -> Option<()> {
    let whole = spots(history);
    let readers = readers(&whole);
    let inner = whole.iter().filter(|spot| {
        let run = history.op(spot.op).polls().next().map(|poll| &poll.runs[spot.run]);
        let is_inner = run.is_some_and(|run| spot.record > 0 && spot.record + 1 < run.records.len());
        is_inner && readers[&(spot.partition.clone(), spot.read.offset)] > 1
    });
    let spot = rng.choice(inner.cloned().collect::<Vec<_>>())?;
    run_mut(history, spot.op, spot.run).records.remove(spot.record);
    Some(())
}

fn swap_in_poll(history: &mut History, rng: &mut Rng) -> Option<()> {
    let spot = rng.choice(spots(history).into_iter().filter(|spot| spot.record > 0).collect::<Vec<_>>())?;
    run_mut(history, spot.op, spot.run).records.swap(spot.record - 1, spot.record);
    Some(())
}

fn refuse(history: &mut History, rng: &mut Rng) -> Option<()> {
    let spot = rng.choice(spots(history))?;
    let (op, _) = sends(history).find(|(_, batch)| batch.values.contains(&spot.read.value))?;
    let id = op.id;
    batch_mut(history, id).outcome = SendOutcome::Refused(ErrorCode::NotEnoughReplicas);
    Some(())
}

fn shift_ack(history: &mut History, rng: &mut Rng) -> Option<()> {
    let acked = sends(history)
        .filter(|(_, batch)| batch.base().is_some() && matches!(batch.producer, Producer::Idempotent(_)));
    let id = rng.choice(acked.map(|(op, _)| op.id).collect::<Vec<_>>())?;
    let batch = batch_mut(history, id);
    let base = batch.base()?;
    batch.outcome = SendOutcome::Acked(Some(base.plus(1)));
    Some(())
}

/// Two polls of one consumer, one right after the other, both with records of one partition.
fn neighbours(history: &History, rng: &mut Rng) -> Option<(Spot, Spot)> {
    let mut last: BTreeMap<(usize, TopicPartition), Spot> = BTreeMap::new();
    let mut found = Vec::new();
    let mut at = 0;
    let spots = spots(history);
    for op in history.ops() {
        if let Kind::Assign(_) = op.kind {
            last.retain(|(process, _), _| *process != op.process.index());
        }
        while at < spots.len() && spots[at].op == op.id {
            let key = (op.process.index(), spots[at].partition.clone());
            match last.insert(key, spots[at].clone()) {
                Some(before) if before.op != op.id && !is_final(history, op.id) => {
                    found.push((before, spots[at].clone()));
                }
                _ => {}
            }
            at += 1;
        }
    }
    rng.choice(found)
}

fn lose_poll(history: &mut History, rng: &mut Rng) -> Option<()> {
    let (before, _) = neighbours(history, rng)?;
    run_mut(history, before.op, before.run).records.clear();
    Some(())
}

fn go_back(history: &mut History, rng: &mut Rng) -> Option<()> {
    let (before, after) = neighbours(history, rng)?;
    run_mut(history, after.op, after.run).records.insert(0, before.read);
    Some(())
}

fn end_early(history: &mut History, rng: &mut Rng) -> Option<()> {
    let mut found = Vec::new();
    let spots = spots(history);
    for op in history.ops() {
        let Kind::List { partition, .. } = &op.kind else { continue };
        let own = spots.iter().filter(|spot| {
            spot.partition == *partition && history.op(spot.op).process == op.process && spot.op < op.id
        });
        found.extend(own.map(|spot| spot.read.offset).max().map(|last| (op.id, last)));
    }
    let (id, last) = rng.choice(found)?;
    if let Kind::List { offset, .. } = &mut history.op_mut(id).kind {
        *offset = Some(last);
    }
    Some(())
}

/// Two sends of one record each that `which` chooses, in order of invocation.
fn pair(
    history: &History,
    rng: &mut Rng,
    which: impl Fn((&Op, &Batch), (&Op, &Batch)) -> bool,
) -> Option<(OpId, OpId)> {
    let single = sends(history)
        .filter(|(_, batch)| batch.values.len() == 1 && batch.base().is_some() && batch.attempts == 1);
    let single: Vec<_> = single.collect();
    let pairs = single.iter().enumerate().flat_map(|(at, &one)| {
        let rest = single[at + 1..].iter().take(40).copied();
        rest.map(move |two| (one, two)).filter(|(one, two)| one.1.partition == two.1.partition)
    });
    let found = pairs.filter(|&(one, two)| which(one, two)).map(|(one, two)| (one.0.id, two.0.id));
    rng.choice(found.collect::<Vec<_>>())
}

/// Each takes the other's place in the log, and everybody agrees.
fn swap(history: &mut History, one: OpId, two: OpId) {
    let (first, second) = (batch_mut(history, one).clone(), batch_mut(history, two).clone());
    batch_mut(history, one).outcome = second.outcome.clone();
    batch_mut(history, two).outcome = first.outcome.clone();
    each_read(history, &first.partition, |read| {
        if read.value == first.values[0] {
            read.value = second.values[0];
        } else if read.value == second.values[0] {
            read.value = first.values[0];
        }
    });
}

fn swap_sends(history: &mut History, rng: &mut Rng) -> Option<()> {
    let (one, two) = pair(history, rng, |one, two| one.0.is_before(two.0))?;
    swap(history, one, two);
    Some(())
}

fn swap_session(history: &mut History, rng: &mut Rng) -> Option<()> {
    let of_session = |one: (&Op, &Batch), two: (&Op, &Batch)| {
        one.1.producer == two.1.producer && matches!(one.1.producer, Producer::Idempotent(_))
    };
    let (one, two) = pair(history, rng, of_session)?;
    swap(history, one, two);
    Some(())
}

fn cut_tail(history: &mut History, rng: &mut Rng) -> Option<()> {
    let spots = spots(history);
    let partition = rng.choice(&spots)?.partition.clone();
    let end = spots.iter().filter(|spot| spot.partition == partition).map(|spot| spot.read.offset).max()?;
    let value = spots.iter().find(|spot| spot.partition == partition && spot.read.offset == end)?.read.value;
    // A copy of it might lie elsewhere.
    let is_sole = |batch: &Batch| batch.base().is_some() && batch.attempts == 1;
    sends(history).find(|(_, batch)| batch.values.contains(&value) && is_sole(batch))?;
    drop_reads(history, |spot| spot.partition == partition && spot.read.offset == end);
    Some(())
}

fn tear(history: &mut History, rng: &mut Rng) -> Option<()> {
    let unknown = sends(history).filter(|(_, batch)| {
        batch.values.len() > 1 && batch.base().is_none() && matches!(batch.producer, Producer::Idempotent(_))
    });
    let spots = spots(history);
    let whole: Vec<(TopicPartition, u64, Offset)> = unknown
        .filter_map(|(_, batch)| {
            let last = *batch.values.last()?;
            let spot = spots.iter().find(|spot| spot.read.value == last)?;
            Some((batch.partition.clone(), last, spot.read.offset))
        })
        .collect();
    let (partition, last, offset) = rng.choice(whole)?;
    let here = spots.iter().filter(|spot| spot.partition == partition);
    let stranger = here.clone().find(|spot| spot.read.offset == offset.plus(1))?.read.value;
    each_read(history, &partition, |read| {
        if read.value == last {
            read.value = stranger;
        } else if read.value == stranger {
            read.value = last;
        }
    });
    Some(())
}
