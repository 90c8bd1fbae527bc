//! What transactional producers did and what readers of committed records saw, and what must never be.
//!
//! - **aborted read**: a record is read whose transaction was aborted, or not yet told to commit.
//! - **zombie commit**: a transaction commits that a later session of its producer had fenced.
//! - **lost, torn**: at the end records of a committed transaction are missing; of one whose end is not known
//!   some are there and some are not.
//! - **doubled, reordered**: a record is at two offsets; a producer's records are not in its order.
//! - **skipped, differing**: who read from the log's beginning did not see what the last reader saw there.
//! - **hanging**: when all is over a transaction stays open, and nobody reads past it.
//! - **offset**: where a transaction brought its group is not where the last one that committed did.
//!
//! The decisions are records of `__transaction_state`: a legal loss there excuses everything, one in another
//! partition what touches it.

use std::collections::BTreeMap;

use model::{Millis, Offset, TopicPartition};

use crate::groups::Moment;
use crate::promise::Promise;

mod rules;

/// One answered InitProducerId.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId(usize);

/// A transaction's place in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransactionId(usize);

/// One reading of a partition from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassId(usize);

/// How a transaction ended, as far as its producer was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// It was not, or the answer was lost: if it was told to commit, it may have.
    #[default]
    Unknown,
    /// The coordinator took the commit.
    Committed,
    /// The coordinator took an abort, or refused the commit for certain.
    Aborted,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Session {
    producer: String,
    began: Moment,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Transaction {
    session: SessionId,
    values: Vec<(TopicPartition, u64)>,
    offset: Option<(TopicPartition, Offset)>,
    /// When it was first told to commit.
    commits: Option<Moment>,
    end: End,
}

/// A record that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    offset: Offset,
    value: u64,
    at: Moment,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pass {
    reader: String,
    partition: TopicPartition,
    seen: Vec<Seen>,
    /// Everything below was read.
    to: Offset,
}

/// What there was at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Final {
    passes: Vec<PassId>,
    /// Where the transactions brought their group, by the partition that they committed for.
    offsets: BTreeMap<TopicPartition, Option<Offset>>,
    /// Nobody can read past these places.
    hanging: Vec<(TopicPartition, Offset)>,
    /// Nobody was told the offsets.
    do_offsets_hang: bool,
}

/// Everything that transactional producers and their readers noted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransactionHistory {
    noted: u64,
    sessions: Vec<Session>,
    transactions: Vec<Transaction>,
    passes: Vec<Pass>,
    finally: Final,
}

impl TransactionHistory {
    fn moment(&mut self, at: Millis) -> Moment {
        self.noted += 1;
        Moment::new(self.noted, at)
    }

    /// A producer got its id and epoch: from now on those before it are fenced.
    pub fn session_began(&mut self, at: Millis, producer: &str) -> SessionId {
        let began = self.moment(at);
        self.sessions.push(Session { producer: producer.to_owned(), began });
        SessionId(self.sessions.len() - 1)
    }

    /// A transaction begins.
    pub fn began(&mut self, session: SessionId) -> TransactionId {
        let (values, offset, commits, end) = (Vec::new(), None, None, End::Unknown);
        self.transactions.push(Transaction { session, values, offset, commits, end });
        TransactionId(self.transactions.len() - 1)
    }

    /// It is about to send these, each of which no other record of the history has.
    pub fn sends(&mut self, id: TransactionId, partition: &TopicPartition, values: &[u64]) {
        let values = values.iter().map(|value| (partition.clone(), *value));
        self.transactions[id.0].values.extend(values);
    }

    /// It brings its group to this offset.
    pub fn sends_offset(&mut self, id: TransactionId, partition: TopicPartition, offset: Offset) {
        self.transactions[id.0].offset = Some((partition, offset));
    }

    /// It is about to be told to commit: all of it was acknowledged.
    pub fn commit_began(&mut self, at: Millis, id: TransactionId) {
        let now = self.moment(at);
        self.transactions[id.0].commits.get_or_insert(now);
    }

    /// Its end was answered.
    pub fn ended(&mut self, id: TransactionId, end: End) {
        self.transactions[id.0].end = end;
    }

    /// A reader of committed records begins at the log's beginning.
    pub fn pass(&mut self, reader: &str, partition: TopicPartition) -> PassId {
        let (reader, seen, to) = (reader.to_owned(), Vec::new(), Offset::ZERO);
        self.passes.push(Pass { reader, partition, seen, to });
        PassId(self.passes.len() - 1)
    }

    /// It saw these, and is at `to`.
    pub fn saw(&mut self, at: Millis, id: PassId, records: &[(Offset, u64)], to: Offset) {
        let at = self.moment(at);
        let seen = records.iter().map(|&(offset, value)| Seen { offset, value, at });
        let pass = &mut self.passes[id.0];
        pass.seen.extend(seen);
        pass.to = to;
    }

    /// A pass that was made when all was over, to the log's end.
    pub fn finally_read(&mut self, id: PassId) {
        self.finally.passes.push(id);
    }

    /// Where the group is when all is over.
    pub fn finally_at(&mut self, partition: TopicPartition, offset: Option<Offset>) {
        self.finally.offsets.insert(partition, offset);
    }

    /// When all is over, committed records cannot be read past `at`.
    pub fn hangs(&mut self, partition: TopicPartition, at: Offset) {
        self.finally.hanging.push((partition, at));
    }

    /// When all is over, no coordinator tells where the group is.
    pub fn offsets_hang(&mut self) {
        self.finally.do_offsets_hang = true;
    }

    /// How many transactions were committed, and how many aborted, as their producers were told.
    pub fn counts(&self) -> (u64, u64) {
        let of = |end| self.transactions.iter().filter(|transaction| transaction.end == end).count() as u64;
        (of(End::Committed), of(End::Aborted))
    }

    /// What must not be; `decisions` is the partition of `__transaction_state` and `offsets` that of
    /// `__consumer_offsets`.
    pub fn judge(
        &self,
        promise: &Promise,
        decisions: &TopicPartition,
        offsets: &TopicPartition,
    ) -> Vec<String> {
        rules::judge(self, promise, decisions, offsets)
    }
}

#[cfg(test)]
mod tests;
