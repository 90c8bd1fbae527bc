//! What is promised under which fault, as data: the words of DESIGN §1 beside the checkers.
//!
//! 1. **Metadata** survives everything but the loss of a majority of the voters' disks: what was
//!    answered is on disk at a majority.
//! 2. **Records at `acks=all`** survive any number of process kills, pauses, partitions and clock
//!    jumps: a page cache outlives its process, and nobody is elected who lacks them.
//! 3. They survive **power loss** on up to `min.insync.replicas - 1` nodes at once: that many
//!    replicas less still leave one that has them. *At once* lasts longer than the darkness: a
//!    node that lost its tail counts until it is in sync again everywhere, for until then the
//!    copy that it lost is not restored. A failed fsync drops what was dirty: the same.
//! 4. With power lost on more, only topics with **`flush.messages=1`** promise: what they
//!    acknowledged was on disk. Lost disks and flipped bits cost them a copy too.
//!    A reader recognises a **flipped bit** by the checksum and gets no further while that copy leads.
//! 5. An **unclean election** loses whatever the elected replica lacks: who allows it, agreed.
//!
//! While records may be lost legally, a partition has a *loss*: a span of time. Before and after
//! it everything holds; across it an offset may come to hold another value, since the log was
//! cut and written again, and for as long as it lasts a leader that was cut off may still show
//! the old log. So no two sightings contradict each other when one of them touches a loss,
//! or one lies between them. The last log, which is read when all is healed, lies behind every
//! loss and is judged in full. Two values in one *leader epoch*, records of nobody, refused
//! values and answers that contradict themselves are never excused, by no loss.

use std::collections::{BTreeMap, BTreeSet};

use model::{Millis, NodeId, TopicName, TopicPartition};

use crate::anomalies::{Anomaly, Class, Excuse, Findings};

/// A time; without an end while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first millisecond.
    pub from: Millis,
    /// Its last.
    pub until: Option<Millis>,
}

/// What befell one node's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Its machine lost power, and the disk what was not synced.
    PowerLost,
    /// A sync failed, and what was dirty is gone.
    SyncFailed,
    /// Bits of its partition logs flipped. What befalls metadata is [`Harm::DiskLost`].
    BitsFlipped,
    /// Everything is gone.
    DiskLost,
}

/// A harm that really happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Harmed {
    /// To whom.
    pub node: NodeId,
    /// What.
    pub harm: Harm,
    /// To which partition alone; `None` for all of the node's.
    pub partition: Option<TopicPartition>,
    /// From when, and until the node was seen in sync again wherever it is a replica.
    pub span: Span,
}

/// The faults of a run by which promises are measured. What is not here (kills, pauses, partitions,
/// clocks, full and slow disks) costs no promise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultsSeen {
    /// The nodes that vote in the metadata quorum.
    pub voters: BTreeSet<NodeId>,
    /// What befell disks, in any order.
    pub harms: Vec<Harmed>,
    /// Partitions whose leader was elected out of sync, until they were whole again.
    pub unclean_elections: Vec<(TopicPartition, Span)>,
}

/// What a topic was promised when it was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicPromise {
    /// `min.insync.replicas`.
    pub min_insync: usize,
    /// `flush.messages=1`.
    pub flushes: bool,
}

/// What a run's faults leave of the promises.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    faults: FaultsSeen,
    topics: BTreeMap<TopicName, TopicPromise>,
    metadata_lost: Option<Millis>,
}

/// What was found, measured by what was promised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The first violations of each class.
    pub violations: Vec<Anomaly>,
    /// How many there were of each class.
    pub violated: BTreeMap<Class, u64>,
    /// What was found and is allowed.
    pub allowed: BTreeMap<(Class, Excuse), u64>,
}

impl Promise {
    /// The promises to topics under these faults. A topic that is not named is promised the least.
    pub fn new(faults: FaultsSeen, topics: BTreeMap<TopicName, TopicPromise>) -> Self {
        let is_lost = |harmed: &&Harmed| {
            harmed.harm == Harm::DiskLost
                && faults.voters.contains(&harmed.node)
                && harmed.partition.is_none()
        };
        let lost: Vec<&Harmed> = faults.harms.iter().filter(is_lost).collect();
        let majority = faults.voters.len() / 2 + 1;
        let metadata_lost = at_once(lost, majority).first().map(|span| span.from);
        Self { faults, topics, metadata_lost }
    }

    /// From when on metadata may be lost: never, unless a majority of the voters lost their disks.
    pub fn metadata_lost(&self) -> Option<Millis> {
        self.metadata_lost
    }

    /// When a partition's records may have been lost legally, in order; spans do not touch each other.
    pub fn losses(&self, partition: &TopicPartition) -> Vec<Span> {
        let topic = self.topics.get(&partition.topic);
        let topic = topic.copied().unwrap_or(TopicPromise { min_insync: 1, flushes: false });
        let costs = |harmed: &&Harmed| {
            let is_here = harmed.partition.as_ref().is_none_or(|one| one == partition);
            is_here && harmed.harm.costs_a_copy(topic.flushes)
        };
        let mut losses = at_once(self.faults.harms.iter().filter(costs).collect(), topic.min_insync.max(1));
        let unclean = self.faults.unclean_elections.iter().filter(|(one, _)| one == partition);
        losses.extend(unclean.map(|(_, span)| *span));
        // Where the damaged copy leads, nobody reads past the damage.
        losses.extend(self.flips(partition).map(|harmed| harmed.span));
        losses.extend(self.metadata_lost.map(|from| Span { from, until: None }));
        merged(losses)
    }

    /// Flipped bits in one of the partition's own logs. Whoever reads there must refuse what it gets.
    pub fn flips<'a>(&'a self, partition: &'a TopicPartition) -> impl Iterator<Item = &'a Harmed> {
        let is_flip = |harmed: &&Harmed| harmed.harm == Harm::BitsFlipped;
        self.faults
            .harms
            .iter()
            .filter(is_flip)
            .filter(move |harmed| harmed.partition.as_ref() == Some(partition))
    }

    /// Whether the partition's records may be lost legally at that time.
    pub fn is_lossy(&self, partition: &TopicPartition, at: Millis) -> bool {
        self.losses(partition).iter().any(|loss| loss.has(at))
    }

    /// Tells what is a violation from what is allowed.
    pub fn judge(&self, findings: &Findings) -> Verdict {
        let mut verdict = Verdict::default();
        for (&(class, excuse), &count) in &findings.counts {
            match excuse.filter(|&excuse| excuses(class, excuse)) {
                Some(excuse) => *verdict.allowed.entry((class, excuse)).or_insert(0) += count,
                None => *verdict.violated.entry(class).or_insert(0) += count,
            }
        }
        let is_violation =
            |anomaly: &&Anomaly| !anomaly.excuse.is_some_and(|excuse| excuses(anomaly.class, excuse));
        verdict.violations = findings.anomalies.iter().filter(is_violation).cloned().collect();
        verdict
    }
}

/// Whether an excuse counts for a class.
pub fn excuses(class: Class, excuse: Excuse) -> bool {
    match excuse {
        Excuse::LegalLoss => loss_excuses(class),
        // Only idempotence promises that what is sent again is not written again.
        Excuse::Retried => class == Class::Duplicate,
        // A member of a group begins where the group's offsets say, which lag behind what it read.
        Excuse::Rebalanced => matches!(class, Class::PollSkip | Class::NonmonotonicPoll),
        // Without its epoch a request may be answered by a leader that was replaced (KIP-320).
        Excuse::Unfenced => class == Class::EndRegress,
        // A new leader learns the watermark from its followers' fetches (KIP-207 hides it elsewhere).
        Excuse::Lagging => class == Class::WatermarkRegress,
    }
}

/// Which classes a legal loss excuses: those that compare two states of a log.
fn loss_excuses(class: Class) -> bool {
    match class {
        // The log was cut, and its offsets were used again.
        Class::InconsistentOffsets
        | Class::LostWrite
        | Class::Unseen
        | Class::PollSkip
        | Class::IntPollSkip
        | Class::NonmonotonicSend
        | Class::ReorderedSend
        | Class::Realtime
        | Class::EndRegress
        | Class::WatermarkRegress => true,
        // What the leader knew of the producer was cut with the log, so it took the batch again.
        Class::Duplicate => true,
        // An epoch writes an offset once, whatever is lost.
        Class::ForkedEpoch => false,
        // What was never appended, or never sent, cannot come to light by a loss.
        Class::AbortedRead | Class::PhantomRead => false,
        // One answer is of one log, and a consumer that moves is told so and notes it.
        Class::IntNonmonotonicPoll | Class::NonmonotonicPoll => false,
        // A log is cut between batches, never within one.
        Class::TornBatch => false,
    }
}

impl Verdict {
    /// Whether every promise was kept.
    pub fn is_clean(&self) -> bool {
        self.violated.is_empty()
    }
}

impl Harm {
    /// Whether a replica may lack what it had acknowledged.
    fn costs_a_copy(self, flushes: bool) -> bool {
        match self {
            // With `flush.messages=1` nothing was acknowledged that was not on disk.
            Self::PowerLost | Self::SyncFailed => !flushes,
            Self::BitsFlipped | Self::DiskLost => true,
        }
    }
}

impl Span {
    /// Whether it lasts at that time.
    pub fn has(&self, at: Millis) -> bool {
        self.from <= at && self.until.is_none_or(|until| at <= until)
    }
}

/// When harms of at least `nodes` nodes lasted at once, and until the last of those that hang
/// together was over: as long as one of them lasts, what the others lost may yet show.
fn at_once(mut harms: Vec<&Harmed>, nodes: usize) -> Vec<Span> {
    harms.sort_by_key(|harmed| harmed.span.from);
    let mut found = Vec::new();
    let mut lasting: Vec<&Harmed> = Vec::new();
    let mut open: Option<Span> = None;
    let mut group_end: Option<Millis> = Some(Millis::default());
    for harmed in harms {
        let from = harmed.span.from;
        if group_end.is_some_and(|end| end < from) {
            found.extend(open.take().map(|loss| Span { until: group_end, ..loss }));
            group_end = Some(from);
        }
        lasting.retain(|other| other.span.has(from));
        lasting.push(harmed);
        group_end = group_end.and_then(|end| harmed.span.until.map(|until| until.max(end)));
        let count = lasting.iter().map(|other| other.node).collect::<BTreeSet<_>>().len();
        if count >= nodes && open.is_none() {
            open = Some(Span { from, until: None });
        }
    }
    found.extend(open.map(|loss| Span { until: group_end, ..loss }));
    found
}

/// The same times, in order, none of which touches another.
fn merged(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_by_key(|span| span.from);
    let mut merged: Vec<Span> = Vec::new();
    for span in spans {
        match merged.last_mut() {
            Some(last) if last.has(span.from) => {
                last.until = last.until.and_then(|end| span.until.map(|until| until.max(end)));
            }
            _ => merged.push(span),
        }
    }
    merged
}

#[cfg(test)]
mod tests;
