//! The rules of [`super`], one function each.

use std::collections::{BTreeMap, BTreeSet};

use model::{Offset, TopicPartition};

use super::{End, Pass, Session, Transaction, TransactionHistory};
use crate::promise::Promise;

/// A history with what the rules look things up by.
struct Case<'a> {
    history: &'a TransactionHistory,
    /// Which transaction sent a value, and as which of its producer's.
    senders: BTreeMap<u64, (&'a Transaction, usize)>,
    /// What the last reader saw, by partition; only of partitions that lost nothing.
    finals: BTreeMap<&'a TopicPartition, BTreeMap<Offset, u64>>,
    /// Every value among them.
    visible: BTreeSet<u64>,
    lossy: BTreeSet<&'a TopicPartition>,
}

pub(super) fn judge(
    history: &TransactionHistory,
    promise: &Promise,
    decisions: &TopicPartition,
    offsets: &TopicPartition,
) -> Vec<String> {
    if !promise.losses(decisions).is_empty() {
        return Vec::new();
    }
    let case = Case::new(history, promise);
    let mut violations = case.aborted_reads();
    violations.extend(case.zombies());
    violations.extend(case.lost_and_torn());
    violations.extend(case.doubled_and_reordered());
    violations.extend(case.passes());
    violations.extend(case.hanging(promise));
    if promise.losses(offsets).is_empty() {
        violations.extend(case.offsets());
    }
    violations
}

impl<'a> Case<'a> {
    fn new(history: &'a TransactionHistory, promise: &Promise) -> Self {
        let mut senders = BTreeMap::new();
        let mut sent: BTreeMap<&str, usize> = BTreeMap::new();
        for transaction in &history.transactions {
            let producer = history.sessions[transaction.session.0].producer.as_str();
            let count = sent.entry(producer).or_default();
            for (_, value) in &transaction.values {
                senders.insert(*value, (transaction, *count));
                *count += 1;
            }
        }
        let partitions = history.transactions.iter().flat_map(|transaction| &transaction.values);
        let partitions: BTreeSet<&TopicPartition> = partitions.map(|(partition, _)| partition).collect();
        let lossy: BTreeSet<_> =
            partitions.into_iter().filter(|partition| !promise.losses(partition).is_empty()).collect();
        let finals = history.finally.passes.iter().map(|id| &history.passes[id.0]);
        let finals: BTreeMap<_, BTreeMap<Offset, u64>> = finals
            .filter(|pass| !lossy.contains(&pass.partition))
            .map(|pass| (&pass.partition, pass.seen.iter().map(|seen| (seen.offset, seen.value)).collect()))
            .collect();
        let visible = finals.values().flat_map(BTreeMap::values).copied().collect();
        Self { history, senders, finals, visible, lossy }
    }

    fn producer(&self, transaction: &Transaction) -> &'a str {
        &self.history.sessions[transaction.session.0].producer
    }

    fn sound_passes(&self) -> impl Iterator<Item = &'a Pass> {
        self.history.passes.iter().filter(|pass| !self.lossy.contains(&pass.partition))
    }

    fn aborted_reads(&self) -> Vec<String> {
        let mut violations = Vec::new();
        for pass in self.sound_passes() {
            for seen in &pass.seen {
                let told = |what: &str| {
                    let (reader, partition) = (&pass.reader, &pass.partition);
                    let (value, offset, at) = (seen.value, seen.offset, seen.at.at().get());
                    format!(
                        "transactions: aborted read on {partition}: {reader} reads {value} at offset {offset} at \
                         {at} ms, {what}"
                    )
                };
                let why = match self.senders.get(&seen.value) {
                    None => Some("which nobody sent in a transaction".to_owned()),
                    Some((sender, _)) if sender.end == End::Aborted => {
                        Some(format!("which {} aborted", self.producer(sender)))
                    }
                    Some((sender, _)) if self.fenced(sender).is_some() => {
                        Some(format!("which {} told to commit when it was fenced", self.producer(sender)))
                    }
                    Some((sender, _)) if sender.commits.is_none_or(|commits| commits > seen.at) => {
                        Some(format!("which {} had not told to commit", self.producer(sender)))
                    }
                    Some(_) => None,
                };
                violations.extend(why.map(|why| told(&why)));
            }
        }
        violations
    }

    /// The session that had fenced a transaction before it was told to commit.
    fn fenced(&self, transaction: &Transaction) -> Option<&'a Session> {
        let (producer, commits) = (self.producer(transaction), transaction.commits?);
        let mut later = self.history.sessions.iter().skip(transaction.session.0 + 1);
        later.find(|session| session.producer == producer && session.began < commits)
    }

    fn zombies(&self) -> Vec<String> {
        let committed = self.history.transactions.iter().filter(|it| it.end == End::Committed);
        let zombies = committed.filter_map(|transaction| {
            let (producer, commits) = (self.producer(transaction), transaction.commits?);
            let later = self.fenced(transaction)?;
            Some(format!(
                "transactions: zombie commit: {producer} commits at {} ms in a session that another had fenced at {} ms",
                commits.at().get(),
                later.began.at().get()
            ))
        });
        zombies.collect()
    }

    fn lost_and_torn(&self) -> Vec<String> {
        let mut violations = Vec::new();
        for transaction in &self.history.transactions {
            let Some(commits) = transaction.commits else { continue };
            let is_read = |(partition, _): &(TopicPartition, u64)| self.finals.contains_key(partition);
            if !transaction.values.iter().all(is_read) {
                continue;
            }
            let missing: Vec<u64> = transaction
                .values
                .iter()
                .map(|(_, value)| *value)
                .filter(|value| !self.visible.contains(value))
                .collect();
            let what = match transaction.end {
                End::Committed if !missing.is_empty() => "lost",
                End::Unknown if !missing.is_empty() && missing.len() < transaction.values.len() => "torn",
                _ => continue,
            };
            violations.push(format!(
                "transactions: {what}: of what {} told to commit at {} ms, {missing:?} of {} records are not there",
                self.producer(transaction),
                commits.at().get(),
                transaction.values.len()
            ));
        }
        violations
    }

    fn doubled_and_reordered(&self) -> Vec<String> {
        let mut violations = Vec::new();
        for (partition, records) in &self.finals {
            let mut places: BTreeMap<u64, Offset> = BTreeMap::new();
            let mut newest: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
            for (offset, value) in records {
                if let Some(first) = places.insert(*value, *offset) {
                    violations.push(format!(
                        "transactions: doubled on {partition}: {value} is at {first} and at {offset}"
                    ));
                }
                let Some((sender, place)) = self.senders.get(value) else { continue };
                let newest = newest.entry(self.producer(sender)).or_insert((*place, *value));
                if newest.0 > *place {
                    let (producer, later) = (self.producer(sender), newest.1);
                    violations.push(format!(
                        "transactions: reordered on {partition}: {producer} sent {value} before {later}, and it \
                         is behind it at {offset}"
                    ));
                }
                *newest = (*newest).max((*place, *value));
            }
        }
        violations
    }

    fn passes(&self) -> Vec<String> {
        let mut violations = Vec::new();
        for pass in self.sound_passes() {
            let Some(records) = self.finals.get(&pass.partition) else { continue };
            let (reader, partition) = (&pass.reader, &pass.partition);
            let seen: BTreeMap<Offset, u64> =
                pass.seen.iter().map(|seen| (seen.offset, seen.value)).collect();
            for (offset, value) in seen.iter().filter(|(offset, value)| records.get(offset) != Some(value)) {
                let now = records.get(offset);
                violations.push(format!(
                    "transactions: differing on {partition}: {reader} read {value} at {offset}, where at the end \
                     is {now:?}"
                ));
            }
            for (offset, value) in records.range(..pass.to).filter(|(offset, _)| !seen.contains_key(offset)) {
                let to = pass.to;
                violations.push(format!(
                    "transactions: skipped on {partition}: {reader} read up to {to} and not {value} at {offset}"
                ));
            }
        }
        violations
    }

    fn hanging(&self, promise: &Promise) -> Vec<String> {
        let hanging = self.history.finally.hanging.iter();
        let hanging = hanging.filter(|(partition, _)| promise.losses(partition).is_empty());
        let told = |(partition, at): &(TopicPartition, Offset)| {
            format!("transactions: hanging on {partition}: nobody can read what is committed past {at}")
        };
        hanging.map(told).collect()
    }

    fn offsets(&self) -> Vec<String> {
        let mut violations = Vec::new();
        if self.history.finally.do_offsets_hang {
            violations.push("transactions: hanging: nobody is told the offsets of the group".to_owned());
        }
        for (partition, told) in &self.history.finally.offsets {
            let theirs = self.history.transactions.iter().filter_map(|transaction| {
                let (at, offset) = transaction.offset.as_ref()?;
                (at == partition).then_some((transaction, *offset))
            });
            let theirs: Vec<(&Transaction, Offset)> = theirs.collect();
            let is_read = |(at, _): &(TopicPartition, u64)| self.finals.contains_key(at);
            if !theirs.iter().all(|(it, _)| it.values.iter().all(is_read)) {
                continue;
            }
            let is_there = |it: &Transaction| it.values.iter().any(|(_, value)| self.visible.contains(value));
            let last = theirs.iter().rev().find(|(transaction, _)| is_there(transaction));
            let expected = last.map(|(_, offset)| *offset);
            if expected != *told {
                violations.push(format!(
                    "transactions: offset of {partition}: the group is at {told:?}, and the last transaction that \
                     committed brought it to {expected:?}"
                ));
            }
        }
        violations
    }
}
