//! What clients note: the only door between them and the history that the judge reads.

use std::sync::{Arc, Mutex};

use model::{ErrorCode, Millis, Timestamp};
use net::Clock;

use crate::workload::client::Key;
use crate::workload::queue::TopicPlan;

/// The history, shared by all clients.
pub type SharedHistory = Arc<Mutex<History>>;

/// An operation that began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpId(usize);

/// How a send ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// Acknowledged, at this offset if it was told.
    Acked {
        /// Of the first record.
        base: Option<i64>,
    },
    /// Nothing was appended, for certain.
    Refused,
    /// Either.
    Unknown,
}

/// How an administrator's operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminOutcome {
    /// Done.
    Done,
    /// Not done.
    Refused(ErrorCode),
    /// It never left the client.
    NotSent,
    /// Either.
    Unknown,
}

/// What one poll saw of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The partition.
    pub key: Key,
    /// The offset that was asked for.
    pub from: i64,
    /// What the leader said its high watermark is.
    pub high_watermark: i64,
    /// Offsets and values.
    pub records: Vec<(i64, u64)>,
}

/// What happened, in order.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// When, who, what.
    pub events: Vec<(Millis, String, Event)>,
}

impl History {
    /// What was acknowledged by the events from number `from` on: the partition, and the offset of the
    /// batch's last record. Acknowledgements that did not tell an offset are left out.
    pub fn acked_since(&self, from: usize) -> impl Iterator<Item = (&Key, i64)> {
        self.events.iter().skip(from).filter_map(|(_, _, event)| {
            let Event::SendEnded(op, SendOutcome::Acked { base: Some(base) }) = event else { return None };
            let (key, values) = self.send(*op)?;
            Some((key, base + i64::try_from(values.len()).ok()? - 1))
        })
    }

    /// Where the send that `op` names went, and its values.
    pub fn send(&self, op: OpId) -> Option<(&Key, &[u64])> {
        match self.events.get(op.0) {
            Some((_, _, Event::SendBegan { key, values, .. })) => Some((key, values)),
            _ => None,
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A batch is to be sent.
    SendBegan { key: Key, values: Vec<u64>, is_idempotent: bool },
    /// It is put on a connection, once more.
    SendAttempted(OpId),
    /// It is settled.
    SendEnded(OpId, SendOutcome),
    /// A consumer has a new assignment; `None` is the log's beginning.
    Assigned(Vec<(Key, Option<i64>)>),
    /// Fetches are sent.
    PollBegan,
    /// They were answered.
    PollEnded(OpId, Vec<Seen>),
    /// `OFFSET_OUT_OF_RANGE`, and a reset to the beginning.
    Reset { key: Key, at: i64, log_start: i64, high_watermark: i64 },
    /// A leader's log ends before what was read of it.
    Truncated { key: Key, at: i64, end: i64 },
    /// A leader said which offset a time has.
    Listed { key: Key, timestamp: i64, offset: i64 },
    /// What was read is not what anyone wrote there.
    Corrupt { key: Key, at: i64, reason: String },
    /// A topic exists with these promises.
    Topic { name: String, plan: TopicPlan },
    /// It will be deleted.
    Doomed(String),
    /// An administrator's operation.
    AdminBegan(String),
    /// Its end.
    AdminEnded(OpId, AdminOutcome),
    /// Something worth knowing when a run failed.
    Noted(String),
}

/// One client's pen.
#[derive(Clone)]
pub struct Recorder {
    process: String,
    clock: Arc<dyn Clock>,
    history: SharedHistory,
}

impl Recorder {
    /// For the client of that name.
    pub fn new(process: &str, clock: Arc<dyn Clock>, history: SharedHistory) -> Self {
        Self { process: process.to_owned(), clock, history }
    }

    /// The wall's time.
    pub fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    fn push(&self, event: Event) -> OpId {
        let mut history = self.history.lock().expect("no holder of this lock panics");
        history.events.push((self.clock.now(), self.process.clone(), event));
        OpId(history.events.len() - 1)
    }

    /// A batch is to be sent.
    pub fn send_began(&self, key: &Key, values: &[u64], is_idempotent: bool) -> OpId {
        self.push(Event::SendBegan { key: key.clone(), values: values.to_vec(), is_idempotent })
    }

    /// It is put on a connection, once more.
    pub fn send_attempted(&self, op: OpId) {
        self.push(Event::SendAttempted(op));
    }

    /// It is settled.
    pub fn send_ended(&self, op: OpId, outcome: SendOutcome) {
        self.push(Event::SendEnded(op, outcome));
    }

    /// A new assignment.
    pub fn assigned(&self, positions: &[(Key, Option<i64>)]) {
        self.push(Event::Assigned(positions.to_vec()));
    }

    /// Fetches are sent.
    pub fn poll_began(&self) -> OpId {
        self.push(Event::PollBegan)
    }

    /// They were answered.
    pub fn poll_ended(&self, op: OpId, seen: Vec<Seen>) {
        self.push(Event::PollEnded(op, seen));
    }

    /// `OFFSET_OUT_OF_RANGE`, and a reset to the beginning.
    pub fn reset(&self, key: &Key, at: i64, log_start: i64, high_watermark: i64) {
        self.push(Event::Reset { key: key.clone(), at, log_start, high_watermark });
    }

    /// A leader's log ends before what was read of it.
    pub fn truncated(&self, key: &Key, at: i64, end: i64) {
        self.push(Event::Truncated { key: key.clone(), at, end });
    }

    /// A leader said which offset a time has.
    pub fn listed(&self, key: &Key, timestamp: i64, offset: i64) {
        self.push(Event::Listed { key: key.clone(), timestamp, offset });
    }

    /// What was read is not what anyone wrote there.
    pub fn corrupt(&self, key: &Key, at: i64, reason: &str) {
        self.push(Event::Corrupt { key: key.clone(), at, reason: reason.to_owned() });
    }

    /// A topic exists with these promises.
    pub fn topic(&self, name: &str, plan: &TopicPlan) {
        self.push(Event::Topic { name: name.to_owned(), plan: plan.clone() });
    }

    /// It will be deleted.
    pub fn doomed(&self, name: &str) {
        self.push(Event::Doomed(name.to_owned()));
    }

    /// An administrator's operation.
    pub fn admin_began(&self, told: &str) -> OpId {
        self.push(Event::AdminBegan(told.to_owned()))
    }

    /// Its end.
    pub fn admin_ended(&self, op: OpId, outcome: AdminOutcome) {
        self.push(Event::AdminEnded(op, outcome));
    }

    /// Something worth knowing when a run failed.
    pub fn noted(&self, what: &str) {
        self.push(Event::Noted(what.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::Timestamp;
    use net::VirtualClock;

    use super::{Recorder, SendOutcome, SharedHistory};

    #[tokio::test(start_paused = true)]
    async fn acknowledgements_are_told_from_a_place_on_with_the_offset_of_their_last_record() {
        let history = SharedHistory::default();
        let clock = Arc::new(VirtualClock::starting_at(Timestamp::new(0)));
        let recorder = Recorder::new("c1", clock, history.clone());
        let key = ("t".to_owned(), 3);
        let ops: Vec<_> = [1, 2, 3, 4].map(|count| recorder.send_began(&key, &vec![9; count], true)).into();
        recorder.send_ended(ops[0], SendOutcome::Acked { base: Some(10) });
        let from = history.lock().expect("nobody panicked").events.len();
        recorder.send_ended(ops[1], SendOutcome::Unknown);
        recorder.send_ended(ops[2], SendOutcome::Acked { base: Some(20) });
        recorder.send_ended(ops[3], SendOutcome::Acked { base: None });
        let history = history.lock().expect("nobody panicked");
        let told = |from| history.acked_since(from).map(|(key, last)| (key.1, last)).collect::<Vec<_>>();
        assert_eq!(told(0), [(3, 10), (3, 22)]);
        assert_eq!(told(from), [(3, 22)]);
    }
}
