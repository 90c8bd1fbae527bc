//! What the members of a consumer group did and were told, and what they must never see.
//!
//! - **stale offsets**: an answer tells an offset that was replaced before it was asked for. What a group
//!   committed is a register: an acknowledged commit stays until a later one. A coordinator that was replaced
//!   and has yet to hear of it answers from what it knows, as in Kafka: so an answer is held against what the
//!   same node took, and against everything once all is at rest.
//! - **zombie commit**: a commit of an earlier generation is taken after a later one was handed out.
//! - **two owners**: one generation gives a partition to two members.
//! - **skipped**: what the group is past of nobody in it ever read.
//!
//! All of it rests on the records of `__consumer_offsets`, so a legal loss there excuses what touches it,
//! and the last one also what touches a loss in the partition that was read.

use std::collections::BTreeMap;

use model::{Millis, NodeId, Offset, TopicPartition};

use crate::promise::{Promise, Span};

/// When something was noted; later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    order: u64,
    at: Millis,
}

impl Moment {
    /// The `order`th thing that was noted.
    pub(crate) const fn new(order: u64, at: Millis) -> Self {
        Self { order, at }
    }

    /// The time.
    pub const fn at(self) -> Millis {
        self.at
    }
}

/// A commit's place in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitId(usize);

/// How a commit ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// It may have taken effect, or may yet.
    #[default]
    Unknown,
    /// The coordinator took it.
    Acked,
    /// The coordinator did not, for certain.
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Commit {
    generation: i32,
    partition: TopicPartition,
    offset: Offset,
    invoked: Moment,
    completed: Option<Moment>,
    outcome: Outcome,
    node: Option<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Fetched {
    partition: TopicPartition,
    offset: Option<Offset>,
    invoked: Moment,
    completed: Moment,
    node: Option<NodeId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Assigned {
    member: String,
    generation: i32,
    partitions: Vec<TopicPartition>,
    at: Moment,
}

/// Everything that the members of one group noted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupHistory {
    noted: u64,
    commits: Vec<Commit>,
    fetched: Vec<Fetched>,
    assigned: Vec<Assigned>,
    /// What was read, by partition: from, to.
    read: BTreeMap<TopicPartition, Vec<(i64, i64)>>,
    /// Where the group is at the end.
    finally: BTreeMap<TopicPartition, Offset>,
}

impl GroupHistory {
    /// Now, after all that was noted.
    pub fn moment(&mut self, at: Millis) -> Moment {
        self.noted += 1;
        Moment { order: self.noted, at }
    }

    /// A member was given partitions.
    pub fn assigned(&mut self, at: Millis, member: &str, generation: i32, partitions: Vec<TopicPartition>) {
        let at = self.moment(at);
        self.assigned.push(Assigned { member: member.to_owned(), generation, partitions, at });
    }

    /// A member read the records in `from..to`.
    pub fn read(&mut self, partition: TopicPartition, from: Offset, to: Offset) {
        self.read.entry(partition).or_default().push((from.get(), to.get()));
    }

    /// A member of that generation commits.
    pub fn commit_began(
        &mut self,
        at: Millis,
        generation: i32,
        partition: TopicPartition,
        offset: Offset,
    ) -> CommitId {
        let invoked = self.moment(at);
        let (completed, outcome) = (None, Outcome::Unknown);
        self.commits.push(Commit { generation, partition, offset, invoked, completed, outcome, node: None });
        CommitId(self.commits.len() - 1)
    }

    /// It was answered by `node`, or will never be.
    pub fn commit_ended(&mut self, at: Millis, id: CommitId, outcome: Outcome, node: Option<NodeId>) {
        let completed = self.moment(at);
        let commit = &mut self.commits[id.0];
        (commit.outcome, commit.node) = (outcome, node);
        // One of unknown outcome may take effect at any later time.
        commit.completed = (outcome != Outcome::Unknown).then_some(completed);
    }

    /// A coordinator told where the group is; asked at `invoked`. `node` is who, or nobody in particular
    /// when the cluster is at rest and must agree.
    pub fn fetched(
        &mut self,
        invoked: Moment,
        at: Millis,
        partition: TopicPartition,
        offset: Option<Offset>,
        node: Option<NodeId>,
    ) {
        let completed = self.moment(at);
        self.fetched.push(Fetched { partition, offset, invoked, completed, node });
    }

    /// Where the group is once all is over.
    pub fn ended_at(&mut self, partition: TopicPartition, offset: Offset) {
        self.finally.insert(partition, offset);
    }

    /// How many commits were acknowledged, and how often a member got an assignment.
    pub fn counts(&self) -> (u64, u64) {
        let acked = self.commits.iter().filter(|commit| commit.outcome == Outcome::Acked).count();
        (acked as u64, self.assigned.len() as u64)
    }

    /// What must not be; `offsets` is the partition of `__consumer_offsets` that holds the group.
    pub fn judge(&self, promise: &Promise, offsets: &TopicPartition) -> Vec<String> {
        let losses = promise.losses(offsets);
        let mut violations = self.stale(&losses);
        violations.extend(self.zombies(&losses));
        violations.extend(self.two_owners(&losses));
        violations.extend(self.skipped(promise, &losses));
        violations
    }

    fn stale(&self, losses: &[Span]) -> Vec<String> {
        let mut violations = Vec::new();
        for fetched in &self.fetched {
            let here = || self.commits.iter().filter(|commit| commit.partition == fetched.partition);
            let is_before = |commit: &Commit, moment: Moment| {
                commit.outcome == Outcome::Acked
                    && commit.completed.is_some_and(|ended| ended < moment)
                    && (fetched.node.is_none() || commit.node == fetched.node)
            };
            // The commits after whose end another began that ended before the question: replaced.
            let replaced_by = |begun: Option<Moment>| {
                let later = here().filter(|other| is_before(other, fetched.invoked));
                later
                    .filter(|other| begun.is_none_or(|ended| ended < other.invoked))
                    .max_by_key(|it| it.invoked)
            };
            let witness = match fetched.offset {
                None => replaced_by(None),
                Some(offset) => {
                    let mut candidates = here().filter(|commit| {
                        commit.offset == offset
                            && commit.outcome != Outcome::Refused
                            && commit.invoked < fetched.completed
                    });
                    let stands = candidates.any(|commit| match commit.completed {
                        Some(ended) => replaced_by(Some(ended)).is_none(),
                        None => true,
                    });
                    if stands { None } else { replaced_by(None) }
                }
            };
            let Some(witness) = witness else { continue };
            if touches(losses, witness.invoked.at, fetched.completed.at) {
                continue;
            }
            violations.push(format!(
                "group: stale offsets on {}: {:?} is told at {} ms, {} was committed at {} ms",
                fetched.partition,
                fetched.offset.map(Offset::get),
                fetched.completed.at.get(),
                witness.offset,
                witness.invoked.at.get()
            ));
        }
        violations
    }

    fn zombies(&self, losses: &[Span]) -> Vec<String> {
        let taken = self.commits.iter().filter(|commit| commit.outcome == Outcome::Acked);
        let fenced = taken.filter_map(|commit| {
            let later = self.assigned.iter().find(|assigned| {
                assigned.generation > commit.generation
                    && assigned.at < commit.invoked
                    && !touches(losses, assigned.at.at, commit.invoked.at)
            })?;
            Some(format!(
                "group: zombie commit on {}: {} of generation {} is taken at {} ms, {} had generation {} at {} ms",
                commit.partition,
                commit.offset,
                commit.generation,
                commit.invoked.at.get(),
                later.member,
                later.generation,
                later.at.at.get()
            ))
        });
        fenced.collect()
    }

    fn two_owners(&self, losses: &[Span]) -> Vec<String> {
        let mut owners: BTreeMap<(i32, &TopicPartition), &Assigned> = BTreeMap::new();
        let mut violations = Vec::new();
        for assigned in &self.assigned {
            for partition in &assigned.partitions {
                let first = *owners.entry((assigned.generation, partition)).or_insert(assigned);
                if first.member != assigned.member && !touches(losses, first.at.at, assigned.at.at) {
                    violations.push(format!(
                        "group: two owners of {partition} in generation {}: {} and {}",
                        assigned.generation, first.member, assigned.member
                    ));
                }
            }
        }
        violations
    }

    fn skipped(&self, promise: &Promise, losses: &[Span]) -> Vec<String> {
        let mut violations = Vec::new();
        for (partition, end) in &self.finally {
            if !losses.is_empty() || !promise.losses(partition).is_empty() {
                continue;
            }
            let mut read = self.read.get(partition).cloned().unwrap_or_default();
            read.sort_unstable();
            let mut reached = 0;
            for (from, to) in read {
                if from > reached {
                    break;
                }
                reached = reached.max(to);
            }
            if reached < end.get() {
                violations.push(format!(
                    "group: skipped on {partition}: the group is at {end}, and nobody read offset {reached}"
                ));
            }
        }
        violations
    }
}

/// Whether something may have been lost legally between the two.
fn touches(losses: &[Span], from: Millis, to: Millis) -> bool {
    losses.iter().any(|loss| loss.from <= to && loss.until.is_none_or(|until| until >= from))
}

#[cfg(test)]
mod tests;
