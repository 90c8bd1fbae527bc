//! What clients must never see: Jepsen's anomaly classes, and ours beside them.
//!
//! ```text
//! History ──> Index ──> one checker a class ──> Findings ──> Promise::judge ──> Verdict
//! Promise ──────┘  (when records may be lost)                    (what is allowed)
//! ```
//!
//! A checker tells what it found and what might excuse it; whether the excuse counts for its
//! class is the promise's to say. Each is a function over an index that is built once.

mod aborted_read;
mod duplicate;
mod end_regress;
mod forked_epoch;
mod highest;
mod inconsistent_offsets;
mod index;
mod int_nonmonotonic_poll;
mod int_poll_skip;
mod lost_write;
mod nonmonotonic_poll;
mod nonmonotonic_send;
mod phantom_read;
mod poll_skip;
mod realtime;
mod reordered_send;
#[cfg(test)]
pub(crate) mod script;
mod story;
#[cfg(test)]
mod tests;
mod torn_batch;
mod unseen;
mod watermark_regress;

use std::collections::BTreeMap;
use std::fmt;

use model::{Offset, TopicPartition};

use crate::history::{History, OpId};
use crate::promise::Promise;
use index::{Index, Partition};
pub use story::explain;

/// Anomalies that are kept of one class and excuse: the first ones tell the story.
const KEPT_MAX: u64 = 20;

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// One offset was seen with more than one value, across sends and polls.
    InconsistentOffsets,
    /// One offset was read with more than one value of one leader epoch.
    ForkedEpoch,
    /// One value was seen at more than one offset.
    Duplicate,
    /// A value that the cluster had promised to keep is not there, though the log goes on behind it.
    LostWrite,
    /// A value that the cluster had promised to keep was not read by the end of the final phase.
    Unseen,
    /// A value was read whose send had failed for certain (G1a).
    AbortedRead,
    /// What was read was never sent, not to this partition, or not yet.
    PhantomRead,
    /// A poll skipped values between it and the poll before.
    PollSkip,
    /// A poll went back behind the poll before.
    NonmonotonicPoll,
    /// Values were skipped inside one poll.
    IntPollSkip,
    /// One poll went back inside itself.
    IntNonmonotonicPoll,
    /// A process's later send was acknowledged at an earlier offset.
    NonmonotonicSend,
    /// Sends of one idempotent producer lie in the log in another order than that of their invocation.
    ReorderedSend,
    /// The records of one batch do not lie beside each other.
    TornBatch,
    /// A send that began after another was acknowledged got an earlier offset.
    Realtime,
    /// A leader said that the log ends before what was read of it.
    EndRegress,
    /// A leader's high watermark was below what had been read.
    WatermarkRegress,
}

/// What might make an anomaly legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Excuse {
    /// Between the first and the last of the evidence records may have been lost legally.
    LegalLoss,
    /// The producer is not idempotent and sent the batch as often as it was seen, or more often.
    Retried,
    /// A group's coordinator moved the consumer.
    Rebalanced,
    /// The client did not name the leader epoch it knew, so that a replaced leader may have answered.
    Unfenced,
    /// A new leader learns the high watermark only from its followers' fetches.
    Lagging,
}

/// One thing that clients should not have seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anomaly {
    /// Its class.
    pub class: Class,
    /// Where.
    pub partition: TopicPartition,
    /// The offset it is about, if it is about one.
    pub offset: Option<Offset>,
    /// The values it is about.
    pub values: Vec<u64>,
    /// The operations that together contradict each other.
    pub ops: Vec<OpId>,
    /// What might make it legal.
    pub excuse: Option<Excuse>,
    /// What was wrong, in words.
    pub what: String,
}

/// Everything that was found in one history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The first of each class and excuse.
    pub anomalies: Vec<Anomaly>,
    /// How many there were of each.
    pub counts: BTreeMap<(Class, Option<Excuse>), u64>,
}

/// Looks for every class of anomaly.
pub fn find(history: &History, promise: &Promise) -> Findings {
    let index = Index::new(history, promise);
    let mut findings = Findings::default();
    for partition in &index.partitions {
        find_in(&index, partition, &mut findings);
    }
    findings
}

fn find_in(index: &Index<'_>, partition: &Partition<'_>, findings: &mut Findings) {
    inconsistent_offsets::find(partition, findings);
    forked_epoch::find(partition, findings);
    duplicate::find(partition, findings);
    lost_write::find(index, partition, findings);
    unseen::find(index, partition, findings);
    aborted_read::find(partition, findings);
    phantom_read::find(index, partition, findings);
    poll_skip::find(partition, findings);
    nonmonotonic_poll::find(partition, findings);
    int_poll_skip::find(partition, findings);
    int_nonmonotonic_poll::find(partition, findings);
    nonmonotonic_send::find(partition, findings);
    reordered_send::find(partition, findings);
    torn_batch::find(partition, findings);
    realtime::find(partition, findings);
    end_regress::find(partition, findings);
    watermark_regress::find(partition, findings);
}

impl Findings {
    fn add(&mut self, anomaly: Anomaly) {
        let count = self.counts.entry((anomaly.class, anomaly.excuse)).or_insert(0);
        *count += 1;
        if *count <= KEPT_MAX {
            self.anomalies.push(anomaly);
        }
    }
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::InconsistentOffsets,
        Self::ForkedEpoch,
        Self::Duplicate,
        Self::LostWrite,
        Self::Unseen,
        Self::AbortedRead,
        Self::PhantomRead,
        Self::PollSkip,
        Self::NonmonotonicPoll,
        Self::IntPollSkip,
        Self::IntNonmonotonicPoll,
        Self::NonmonotonicSend,
        Self::ReorderedSend,
        Self::TornBatch,
        Self::Realtime,
        Self::EndRegress,
        Self::WatermarkRegress,
    ];

    /// Its name: Jepsen's where Jepsen has one.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InconsistentOffsets => "inconsistent-offsets",
            Self::ForkedEpoch => "forked-epoch",
            Self::Duplicate => "duplicate",
            Self::LostWrite => "lost-write",
            Self::Unseen => "unseen",
            Self::AbortedRead => "aborted-read",
            Self::PhantomRead => "phantom-read",
            Self::PollSkip => "poll-skip",
            Self::NonmonotonicPoll => "nonmonotonic-poll",
            Self::IntPollSkip => "int-poll-skip",
            Self::IntNonmonotonicPoll => "int-nonmonotonic-poll",
            Self::NonmonotonicSend => "nonmonotonic-send",
            Self::ReorderedSend => "reordered-send",
            Self::TornBatch => "torn-batch",
            Self::Realtime => "realtime",
            Self::EndRegress => "end-regress",
            Self::WatermarkRegress => "watermark-regress",
        }
    }
}

impl Excuse {
    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LegalLoss => "records may be lost legally",
            Self::Retried => "sent again",
            Self::Rebalanced => "rebalanced",
            Self::Unfenced => "leader epoch not named",
            Self::Lagging => "watermark of a new leader",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Excuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}: {}", self.class, self.partition, self.what)?;
        if let Some(excuse) = self.excuse {
            write!(f, " ({excuse})")?;
        }
        Ok(())
    }
}
