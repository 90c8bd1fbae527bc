//! What clients did and saw: the operations of Jepsen's Kafka workload, in order of invocation.
//!
//! Whoever plays a client invokes an operation before its first byte leaves and ends it after
//! its last answer came. An operation that never ended may have taken effect at any time
//! after its invocation. Values are unique within a partition, and a topic's name is never
//! used again after its deletion; both are the workload's promise to the judge.
//!
//! Groups and transactions join without changing what is here. A member of a group notes
//! each assignment it is given as an [`Assign`] whose mode is [`Mode::Subscribe`]. A transaction
//! becomes a [`Kind`] that holds [`Batch`]es and [`Poll`]s in their order and one outcome for all
//! of them; it is then read by [`Op::batches`] and [`Op::polls`], by which alone the judges
//! reach what an operation sent and saw.

use std::fmt;

use model::{ErrorCode, LeaderEpoch, Millis, Offset, TopicName, TopicPartition};

/// An operation's place in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpId(u32);

/// One client, or one that acts on the cluster. It does one thing after the other, except that
/// a producer may have several sends under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProcessId(u32);

/// When something was noted. Many things happen within one virtual millisecond; the order in
/// which they were noted tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time.
    pub at: Millis,
    /// Counts all that was noted before.
    pub order: u32,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// Which one.
    pub id: OpId,
    /// Whose.
    pub process: ProcessId,
    /// When it began.
    pub invoked: Moment,
    /// When it ended; `None` while it may still take effect.
    pub completed: Option<Moment>,
    /// What it is.
    pub kind: Kind,
}

/// What an operation is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A batch is produced.
    Send(Batch),
    /// Records are asked for.
    Poll(Poll),
    /// A consumer is told, or tells itself, what to read and from where.
    Assign(Assign),
    /// A leader answered where some place of the log is.
    List {
        /// The partition.
        partition: TopicPartition,
        /// Which place.
        place: Place,
        /// The leader epoch that the client named, as in [`Run::epoch`].
        epoch: Option<LeaderEpoch>,
        /// The answer; `None` before there is one.
        offset: Option<Offset>,
    },
    /// `OFFSET_OUT_OF_RANGE`: the consumer begins again at the log's beginning.
    Reset {
        /// The partition.
        partition: TopicPartition,
        /// What was asked for.
        position: Offset,
        /// Where the leader said that its log begins.
        log_start: Option<Offset>,
        /// The leader's high watermark.
        high_watermark: Option<Offset>,
        /// The leader epoch that the client named, as in [`Run::epoch`].
        epoch: Option<LeaderEpoch>,
    },
    /// A leader said that what the consumer read ends earlier in its log (KIP-320).
    Truncated {
        /// The partition.
        partition: TopicPartition,
        /// The consumer's position.
        position: Offset,
        /// Where the leader's log of that epoch ends, and the consumer goes on.
        end: Offset,
        /// The leader epoch that the client named, as in [`Run::epoch`].
        epoch: Option<LeaderEpoch>,
    },
    /// What was read cannot be what anyone sent: a wrong checksum, a gap, changed bytes.
    Corrupt {
        /// The partition.
        partition: TopicPartition,
        /// The consumer's position.
        position: Offset,
        /// What was wrong.
        reason: String,
    },
    /// From here on a topic may be gone, with all its records.
    Delete {
        /// The topic.
        topic: TopicName,
    },
    /// Another change of the cluster.
    Admin {
        /// Which.
        what: String,
        /// How it ended, in words; empty before.
        outcome: String,
    },
    /// Faults are healed and all other clients have ended: from here on the log is read from its
    /// beginning until everything known is seen.
    FinalPhase,
    /// Something was done to the cluster. Told in stories, never judged.
    Fault(String),
    /// Something worth telling.
    Note(String),
}

/// One record batch to one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The partition.
    pub partition: TopicPartition,
    /// The records' values, in the order in which they lie in the batch.
    pub values: Vec<u64>,
    /// What the producer promises and is promised.
    pub producer: Producer,
    /// `acks=all`; what was sent otherwise may be lost.
    pub acks_all: bool,
    /// How often it was put on a connection.
    pub attempts: u32,
    /// How it ended.
    pub outcome: SendOutcome,
}

/// How a producer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Producer {
    /// With `enable.idempotence`, under one producer id and epoch, which is numbered here.
    Idempotent(Session),
    /// Without, one batch of a partition under way at a time.
    OneInFlight,
    /// Without, several: what is sent again may be overtaken.
    ManyInFlight,
}

/// One producer id in one epoch. Numbers are unique within a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session(pub u32);

/// How a send ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// Not yet.
    Pending,
    /// Acknowledged. The base offset is missing when the broker only said that it knows the batch.
    Acked(Option<Offset>),
    /// No attempt appended anything, for certain.
    Refused(ErrorCode),
    /// It may have been appended, or may yet be.
    Unknown(String),
}

/// What one poll saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Poll {
    /// Each answered partition.
    pub runs: Vec<Run>,
}

/// What one poll saw of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The partition.
    pub partition: TopicPartition,
    /// The offset that was asked for.
    pub from: Offset,
    /// What the leader said its high watermark is.
    pub high_watermark: Option<Offset>,
    /// The leader epoch that the client named in its request, where it knew one and the request's
    /// version has a place for it. A leader that was replaced refuses such a request (KIP-320).
    pub epoch: Option<LeaderEpoch>,
    /// The records, in the order in which they came.
    pub records: Vec<Read>,
}

/// One record that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Where.
    pub offset: Offset,
    /// What.
    pub value: u64,
    /// The leader epoch in its batch's header, where the client noted it.
    pub epoch: Option<LeaderEpoch>,
}

/// What a consumer reads from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assign {
    /// The partitions, each with the position to go on from; `None` is the log's beginning.
    pub positions: Vec<(TopicPartition, Option<Offset>)>,
    /// Who chose them.
    pub mode: Mode,
}

/// Who chooses a consumer's partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The consumer itself: nobody but it moves its position.
    Assign,
    /// A group's coordinator: after a rebalance polls may skip or go back.
    Subscribe,
}

/// A place of a log that a leader can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The first offset.
    Earliest,
    /// The offset after the last one that consumers may read.
    Latest,
    /// The first record at that time or later.
    Time,
}

/// Everything that clients did and saw in one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    ops: Vec<Op>,
    processes: Vec<String>,
    noted: u32,
}

impl History {
    /// The process of that name; a new one when the name is new.
    pub fn process(&mut self, name: &str) -> ProcessId {
        let known = self.processes.iter().position(|process| process == name);
        let index = known.unwrap_or_else(|| {
            self.processes.push(name.to_owned());
            self.processes.len() - 1
        });
        ProcessId(u32::try_from(index).expect("a run has a few clients"))
    }

    /// Begins an operation.
    pub fn invoke(&mut self, process: ProcessId, at: Millis, kind: Kind) -> OpId {
        let id = OpId(u32::try_from(self.ops.len()).expect("a run has fewer than 2^32 operations"));
        let invoked = self.moment(at);
        self.ops.push(Op { id, process, invoked, completed: None, kind });
        id
    }

    /// Notes what takes no time.
    pub fn note(&mut self, process: ProcessId, at: Millis, kind: Kind) -> OpId {
        let id = self.invoke(process, at, kind);
        self.ops[id.index()].completed = Some(self.ops[id.index()].invoked);
        id
    }

    /// A send is put on a connection, once more.
    pub fn attempted(&mut self, id: OpId) {
        match &mut self.ops[id.index()].kind {
            Kind::Send(batch) => batch.attempts += 1,
            other => panic!("{other:?} is no send, so it has no attempts"),
        }
    }

    /// A send ended. One of unknown outcome is left open, for it may yet take effect.
    pub fn end_send(&mut self, id: OpId, at: Millis, ended: SendOutcome) {
        let is_open = matches!(ended, SendOutcome::Pending | SendOutcome::Unknown(_));
        match &mut self.ops[id.index()].kind {
            Kind::Send(batch) => batch.outcome = ended,
            other => panic!("{other:?} is no send, so it cannot end as one"),
        }
        if !is_open {
            self.complete(id, at);
        }
    }

    /// A poll was answered, or failed and saw nothing.
    pub fn end_poll(&mut self, id: OpId, at: Millis, seen: Vec<Run>) {
        match &mut self.ops[id.index()].kind {
            Kind::Poll(poll) => poll.runs = seen,
            other => panic!("{other:?} is no poll, so it cannot end as one"),
        }
        self.complete(id, at);
    }

    /// A leader said where a place is; not called when it did not.
    pub fn end_list(&mut self, id: OpId, at: Millis, answer: Offset) {
        match &mut self.ops[id.index()].kind {
            Kind::List { offset, .. } => *offset = Some(answer),
            other => panic!("{other:?} is no listing, so it cannot end as one"),
        }
        self.complete(id, at);
    }

    /// A change of the cluster ended.
    pub fn end_admin(&mut self, id: OpId, at: Millis, ended: &str) {
        match &mut self.ops[id.index()].kind {
            Kind::Admin { outcome, .. } => ended.clone_into(outcome),
            other => panic!("{other:?} is no change, so it cannot end as one"),
        }
        self.complete(id, at);
    }

    /// All operations, in order of invocation.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// One operation.
    pub fn op(&self, id: OpId) -> &Op {
        &self.ops[id.index()]
    }

    /// A process's name.
    pub fn name(&self, process: ProcessId) -> &str {
        &self.processes[process.0 as usize]
    }

    /// How many processes there are; their ids count from 0.
    pub fn processes(&self) -> usize {
        self.processes.len()
    }

    /// When the final phase began, if it was reached.
    pub fn final_phase(&self) -> Option<Moment> {
        let marks = self.ops.iter().filter(|op| matches!(op.kind, Kind::FinalPhase));
        marks.map(|op| op.invoked).next()
    }

    /// Changes one operation: tests spoil good histories by it.
    #[cfg(test)]
    pub(crate) fn op_mut(&mut self, id: OpId) -> &mut Op {
        &mut self.ops[id.index()]
    }

    fn complete(&mut self, id: OpId, at: Millis) {
        let completed = self.moment(at);
        let op = &mut self.ops[id.index()];
        assert!(op.completed.is_none(), "operation {id} ended twice");
        assert!(op.invoked.at <= at, "operation {id} ended before it began");
        op.completed = Some(completed);
    }

    fn moment(&mut self, at: Millis) -> Moment {
        let order = self.noted;
        self.noted = order.checked_add(1).expect("a run notes fewer than 2^32 moments");
        Moment { at, order }
    }
}

impl Op {
    /// What it sent, in order.
    pub fn batches(&self) -> impl Iterator<Item = &Batch> {
        let batch = if let Kind::Send(batch) = &self.kind { Some(batch) } else { None };
        batch.into_iter()
    }

    /// What it read, in order.
    pub fn polls(&self) -> impl Iterator<Item = &Poll> {
        let poll = if let Kind::Poll(poll) = &self.kind { Some(poll) } else { None };
        poll.into_iter()
    }

    /// Whether it ended before the other began.
    pub fn is_before(&self, other: &Self) -> bool {
        self.completed.is_some_and(|completed| completed.order < other.invoked.order)
    }
}

impl OpId {
    /// Its place among [`History::ops`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl ProcessId {
    /// Its place among the processes of a history.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Batch {
    /// A batch at `acks=all` that was not sent yet.
    pub fn new(partition: TopicPartition, values: Vec<u64>, producer: Producer) -> Self {
        Self { partition, values, producer, acks_all: true, attempts: 0, outcome: SendOutcome::Pending }
    }

    /// Whether the cluster promised to keep it.
    pub fn is_promised(&self) -> bool {
        self.acks_all && matches!(self.outcome, SendOutcome::Acked(_))
    }

    /// Its base offset, where it was acknowledged with one.
    pub fn base(&self) -> Option<Offset> {
        match self.outcome {
            SendOutcome::Acked(base) => base,
            SendOutcome::Pending | SendOutcome::Refused(_) | SendOutcome::Unknown(_) => None,
        }
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use model::{Millis, Offset, PartitionIndex, TopicName, TopicPartition};

    use super::{Batch, History, Kind, Poll, Producer, SendOutcome, Session};

    fn partition() -> TopicPartition {
        TopicPartition { topic: TopicName::new("t").unwrap(), partition: PartitionIndex::new(0) }
    }

    fn send(history: &mut History, at: u64) -> super::OpId {
        let process = history.process("c1");
        let batch = Batch::new(partition(), vec![1], Producer::Idempotent(Session(0)));
        history.invoke(process, Millis::new(at), Kind::Send(batch))
    }

    #[test]
    fn what_ended_within_the_same_millisecond_is_still_before_what_began_after_it() {
        let mut history = History::default();
        let first = send(&mut history, 5);
        history.end_send(first, Millis::new(5), SendOutcome::Acked(Some(Offset::ZERO)));
        let second = send(&mut history, 5);
        assert!(history.op(first).is_before(history.op(second)));
        assert!(!history.op(second).is_before(history.op(first)));
    }

    #[test]
    fn a_send_of_unknown_outcome_stays_open_and_is_before_nothing() {
        let mut history = History::default();
        let first = send(&mut history, 5);
        history.end_send(first, Millis::new(9), SendOutcome::Unknown("timed out".to_owned()));
        let second = send(&mut history, 20);
        assert!(!history.op(first).is_before(history.op(second)));
    }

    #[test]
    fn processes_keep_their_numbers_and_the_final_phase_is_found() {
        let mut history = History::default();
        let (one, two) = (history.process("c1"), history.process("c2"));
        assert_eq!((history.process("c1"), history.name(two)), (one, "c2"));
        assert_eq!(history.final_phase(), None);
        history.invoke(one, Millis::new(1), Kind::Poll(Poll::default()));
        let mark = history.note(two, Millis::new(7), Kind::FinalPhase);
        assert_eq!(history.final_phase(), Some(history.op(mark).invoked));
    }
}
