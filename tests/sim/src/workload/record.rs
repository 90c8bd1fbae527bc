//! What clients note: the only door between them and the history that the judge reads.
//!
//! A [`Recorder`] is one client's pen: what clients say in the words of the wire (a name and
//! a number, -1 for none) becomes the judge's words here, and nowhere else. The [`Ledger`]
//! holds the history and, beside it, what the run itself asks for while it grows: who was
//! promised what, and which acknowledgements came. It judges nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use judge::groups::GroupHistory;
use judge::history::{
    Assign, Batch, History, Kind, Mode, OpId, Place, Poll, ProcessId, Producer, Run, SendOutcome, Session,
};
use judge::transactions::TransactionHistory;
use model::{
    ErrorCode, LeaderEpoch, Millis, Offset, PartitionIndex, ProducerEpoch, ProducerId, Timestamp, TopicName,
    TopicPartition,
};
use net::Clock;

use crate::workload::client::Key;
use crate::workload::queue::TopicPlan;

/// Everything noted in one run, shared by all clients.
pub type SharedHistory = Arc<Mutex<Ledger>>;

/// The outcome of an administrator's operation that was done; all others are told otherwise.
pub const DONE: &str = "done";

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

/// How a producer sends, with what its session is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// With `enable.idempotence`.
    Idempotent(ProducerId, ProducerEpoch),
    /// Without, one batch of a partition under way at a time.
    OneInFlight,
    /// Without, several.
    ManyInFlight,
}

/// The history, and what is asked of it before it is complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// What clients did and saw.
    pub history: History,
    /// What the members of the group did and were told.
    pub group: GroupHistory,
    /// What transactional producers and their readers did and were told.
    pub transactions: TransactionHistory,
    acked: Vec<(Key, i64)>,
    plans: BTreeMap<String, TopicPlan>,
    refused: BTreeMap<ErrorCode, u64>,
    sessions: BTreeMap<(ProducerId, ProducerEpoch), Session>,
}

impl Ledger {
    /// What was acknowledged since there were `from` acknowledgements: the partition, and the offset of
    /// the batch's last record. Acknowledgements that did not tell an offset are left out.
    pub fn acked_since(&self, from: usize) -> impl Iterator<Item = (&Key, i64)> {
        self.acked.iter().skip(from).map(|(key, last)| (key, *last))
    }

    /// How many acknowledgements told an offset so far.
    pub fn acked(&self) -> usize {
        self.acked.len()
    }

    /// What each topic that was created promises.
    pub fn plans(&self) -> &BTreeMap<String, TopicPlan> {
        &self.plans
    }

    /// The errors that clients were answered with, and how often.
    pub fn refused(&self) -> &BTreeMap<ErrorCode, u64> {
        &self.refused
    }

    fn session(&mut self, id: ProducerId, epoch: ProducerEpoch) -> Session {
        let next = Session(u32::try_from(self.sessions.len()).expect("a run has a few sessions"));
        *self.sessions.entry((id, epoch)).or_insert(next)
    }

    /// Notes an acknowledgement for those who look for new ones.
    fn hear_acked(&mut self, op: OpId) {
        for batch in self.history.op(op).batches() {
            if let Some(base) = batch.base() {
                let TopicPartition { topic, partition } = &batch.partition;
                let last = base.get().saturating_add(batch.values.len() as i64 - 1);
                self.acked.push(((topic.to_string(), partition.get()), last));
            }
        }
    }
}

/// Where the groups live: the topic of groups has one partition here.
pub fn offsets_partition() -> TopicPartition {
    first_partition("__consumer_offsets")
}

/// Where transactions are decided: that topic has one partition too.
pub fn decisions_partition() -> TopicPartition {
    first_partition("__transaction_state")
}

fn first_partition(topic: &str) -> TopicPartition {
    let topic = TopicName::new(topic).expect("Kafka's own names are legal");
    TopicPartition { topic, partition: PartitionIndex::new(0) }
}

/// A partition in the judge's words.
pub fn partition(key: &Key) -> TopicPartition {
    let topic = TopicName::new(&key.0).expect("the workload's names follow Kafka's rules");
    TopicPartition { topic, partition: PartitionIndex::new(key.1) }
}

/// One client's pen.
#[derive(Clone)]
pub struct Recorder {
    process: ProcessId,
    clock: Arc<dyn Clock>,
    ledger: SharedHistory,
}

impl Recorder {
    /// For the client of that name.
    pub fn new(process: &str, clock: Arc<dyn Clock>, ledger: SharedHistory) -> Self {
        let process = ledger.lock().expect("no holder of this lock panics").history.process(process);
        Self { process, clock, ledger }
    }

    /// The wall's time.
    pub fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("no holder of this lock panics")
    }

    fn invoke(&self, kind: Kind) -> OpId {
        self.ledger().history.invoke(self.process, self.clock.now(), kind)
    }

    fn note(&self, kind: Kind) {
        self.ledger().history.note(self.process, self.clock.now(), kind);
    }

    /// A batch is to be sent, at `acks=all`.
    pub fn send_began(&self, key: &Key, values: &[u64], sending: Sending) -> OpId {
        let producer = match sending {
            Sending::Idempotent(id, epoch) => Producer::Idempotent(self.ledger().session(id, epoch)),
            Sending::OneInFlight => Producer::OneInFlight,
            Sending::ManyInFlight => Producer::ManyInFlight,
        };
        self.invoke(Kind::Send(Batch::new(partition(key), values.to_vec(), producer)))
    }

    /// It is put on a connection, once more.
    pub fn send_attempted(&self, op: OpId) {
        self.ledger().history.attempted(op);
    }

    /// It is settled.
    pub fn send_ended(&self, op: OpId, outcome: SendOutcome) {
        let mut ledger = self.ledger();
        ledger.history.end_send(op, self.clock.now(), outcome);
        ledger.hear_acked(op);
    }

    /// A new assignment; `None` is the log's beginning.
    pub fn assigned(&self, positions: &[(Key, Option<i64>)]) {
        let place = |(key, at): &(Key, Option<i64>)| (partition(key), at.map(Offset::new));
        let positions = positions.iter().map(place).collect();
        self.note(Kind::Assign(Assign { positions, mode: Mode::Assign }));
    }

    /// A group's coordinator gave these, with the position to go on from.
    pub fn subscribed(&self, positions: &[(Key, Option<i64>)]) {
        let place = |(key, at): &(Key, Option<i64>)| (partition(key), at.map(Offset::new));
        let positions = positions.iter().map(place).collect();
        self.note(Kind::Assign(Assign { positions, mode: Mode::Subscribe }));
    }

    /// Notes something of the group, at the time that is given.
    pub fn group<R>(&self, note: impl FnOnce(&mut GroupHistory, Millis) -> R) -> R {
        let now = self.clock.now();
        note(&mut self.ledger().group, now)
    }

    /// Notes something of a transaction, at the time that is given.
    pub fn transactions<R>(&self, note: impl FnOnce(&mut TransactionHistory, Millis) -> R) -> R {
        let now = self.clock.now();
        note(&mut self.ledger().transactions, now)
    }

    /// Fetches are sent.
    pub fn poll_began(&self) -> OpId {
        self.invoke(Kind::Poll(Poll::default()))
    }

    /// They were answered.
    pub fn poll_ended(&self, op: OpId, seen: Vec<Run>) {
        self.ledger().history.end_poll(op, self.clock.now(), seen);
    }

    /// `OFFSET_OUT_OF_RANGE`, and a reset to the beginning. Of both offsets -1 is what was not told.
    pub fn reset(&self, key: &Key, at: i64, log_start: i64, high_watermark: i64, epoch: Option<LeaderEpoch>) {
        self.note(Kind::Reset {
            partition: partition(key),
            position: Offset::new(at),
            log_start: Offset::from_wire(log_start),
            high_watermark: Offset::from_wire(high_watermark),
            epoch,
        });
    }

    /// A leader's log ends before what was read of it.
    pub fn truncated(&self, key: &Key, at: i64, end: i64, epoch: Option<LeaderEpoch>) {
        let (position, end) = (Offset::new(at), Offset::new(end));
        self.note(Kind::Truncated { partition: partition(key), position, end, epoch });
    }

    /// A leader is asked which offset a place of its log has.
    pub fn list_began(&self, key: &Key, place: Place, epoch: Option<LeaderEpoch>) -> OpId {
        self.invoke(Kind::List { partition: partition(key), place, epoch, offset: None })
    }

    /// It said so; -1 says that there is no such place, which is no answer.
    pub fn list_ended(&self, op: OpId, offset: i64) {
        if let Some(offset) = Offset::from_wire(offset) {
            self.ledger().history.end_list(op, self.clock.now(), offset);
        }
    }

    /// What was read is not what anyone wrote there.
    pub fn corrupt(&self, key: &Key, at: i64, reason: &str) {
        let (position, reason) = (Offset::new(at), reason.to_owned());
        self.note(Kind::Corrupt { partition: partition(key), position, reason });
    }

    /// A topic exists with these promises.
    pub fn topic(&self, name: &str, plan: &TopicPlan) {
        self.ledger().plans.insert(name.to_owned(), plan.clone());
    }

    /// It will be deleted.
    pub fn doomed(&self, name: &str) {
        let topic = TopicName::new(name).expect("the workload's names follow Kafka's rules");
        self.note(Kind::Delete { topic });
    }

    /// An administrator's operation.
    pub fn admin_began(&self, told: &str) -> OpId {
        self.invoke(Kind::Admin { what: told.to_owned(), outcome: String::new() })
    }

    /// Its end.
    pub fn admin_ended(&self, op: OpId, outcome: AdminOutcome) {
        let told = match outcome {
            AdminOutcome::Done => DONE.to_owned(),
            AdminOutcome::Refused(code) => format!("refused: {code}"),
            AdminOutcome::NotSent => "not sent".to_owned(),
            AdminOutcome::Unknown => "unknown".to_owned(),
        };
        self.ledger().history.end_admin(op, self.clock.now(), &told);
    }

    /// A node answered with an error.
    pub fn refused(&self, code: ErrorCode) {
        *self.ledger().refused.entry(code).or_insert(0) += 1;
    }

    /// A node answered, perhaps with an error.
    pub fn refused_unless_ok(&self, code: ErrorCode) {
        if code != ErrorCode::None {
            self.refused(code);
        }
    }

    /// All other clients have ended and every fault is healed.
    pub fn final_phase(&self) {
        self.note(Kind::FinalPhase);
    }

    /// Something worth knowing when a run failed.
    pub fn noted(&self, what: &str) {
        self.note(Kind::Note(what.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use judge::history::{OpId, Producer, SendOutcome};
    use model::{Offset, ProducerEpoch, ProducerId, Timestamp};
    use net::VirtualClock;

    use super::{Recorder, Sending, SharedHistory};

    fn recorder(ledger: &SharedHistory) -> Recorder {
        let clock = Arc::new(VirtualClock::starting_at(Timestamp::new(0)));
        Recorder::new("c1", clock, ledger.clone())
    }

    #[tokio::test(start_paused = true)]
    async fn acknowledgements_are_told_from_a_place_on_with_the_offset_of_their_last_record() {
        let ledger = SharedHistory::default();
        let recorder = recorder(&ledger);
        let key = ("t".to_owned(), 3);
        let ops = [1, 2, 3, 4].map(|count| {
            let values: Vec<u64> = (0..count).collect();
            recorder.send_began(&key, &values, Sending::OneInFlight)
        });
        let acked = |base: Option<i64>| SendOutcome::Acked(base.map(Offset::new));
        recorder.send_ended(ops[0], acked(Some(10)));
        let from = ledger.lock().expect("nobody panicked").acked();
        recorder.send_ended(ops[1], SendOutcome::Unknown("no answer".to_owned()));
        recorder.send_ended(ops[2], acked(Some(20)));
        recorder.send_ended(ops[3], acked(None));
        let ledger = ledger.lock().expect("nobody panicked");
        let told = |from| ledger.acked_since(from).map(|(key, last)| (key.1, last)).collect::<Vec<_>>();
        assert_eq!(told(0), [(3, 10), (3, 22)]);
        assert_eq!(told(from), [(3, 22)]);
        assert_eq!(ledger.acked(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_one_producer_id_in_one_epoch() {
        let ledger = SharedHistory::default();
        let recorder = recorder(&ledger);
        let send = |value, id, epoch| {
            let sending = Sending::Idempotent(ProducerId::new(id), ProducerEpoch::new(epoch));
            recorder.send_began(&("t".to_owned(), 0), &[value], sending)
        };
        let ops = [send(1, 7, 0), send(2, 7, 1), send(3, 8, 0), send(4, 7, 0)];
        let ledger = ledger.lock().expect("nobody panicked");
        let session = |op: OpId| ledger.history.op(op).batches().map(|batch| batch.producer).next();
        let [one, two, three, again] = ops.map(session);
        assert!(matches!(one, Some(Producer::Idempotent(_))));
        assert_eq!(one, again);
        assert!(one != two && one != three && two != three);
    }
}
