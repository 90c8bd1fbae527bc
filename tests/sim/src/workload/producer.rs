//! Producers: batches at `acks=all`, idempotent or not, resent as librdkafka resends them.
//!
//! A producer works in bursts: up to five batches for each of a few partitions, sent without
//! waiting for each other, and what was not taken sent again, in order and with the same
//! sequence numbers, until everything is settled or `delivery.timeout.ms` is over. Without
//! idempotence one batch of a partition is under way at a time, or resending would reorder.
//!
//! What it notes is Jepsen's: acknowledged only on an answer without an error, refused only
//! when no attempt can have appended anything, and otherwise unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use judge::history::{OpId, SendOutcome};
use model::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use net::Clock;
use tokio::time::Instant;
use wire::api::ApiKey;
use wire::batch::{BatchBuilder, NewRecord, Producer as ProducerTag};
use wire::codec::Codec;
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::{
    Bytes, InitProducerIdRequest, ProduceRequest, ProduceResponse, ResponseKind, WireUuid, topic,
};

use crate::workload::board::{Board, Content};
use crate::workload::client::{Client, Failed, Key, PRODUCE_IDS_FROM, Pending, begin, finish};
use crate::workload::queue::Stop;
use crate::workload::record::{Recorder, Sending};

/// `max.in.flight.requests.per.connection`: brokers recognise that many batches sent again (KIP-98).
const IN_FLIGHT_MAX: usize = 5;
/// `delivery.timeout.ms`, drawn between these.
const DELIVERY_TIMEOUT_MS: (u64, u64) = (8_000, 15_000);
const RECORDS_PER_BATCH: u64 = 6;
const PARTITIONS_PER_BURST: usize = 3;
/// The first version that carries zstd (KIP-110).
const ZSTD_FROM: i16 = 7;
/// How long a producer waits for an id before it gives a burst up.
const PRODUCER_ID_ATTEMPTS: u32 = 8;

/// How a producer behaves.
#[derive(Clone, Copy, Debug)]
pub struct ProducerOptions {
    /// `enable.idempotence`.
    pub is_idempotent: bool,
    /// The pause between two bursts is drawn up to twice this.
    pub think: Duration,
}

/// One producer.
pub struct Producer {
    client: Client,
    recorder: Recorder,
    board: Arc<Mutex<Board>>,
    clock: Arc<dyn Clock>,
    options: ProducerOptions,
    delivery_timeout: Duration,
    identity: Option<Identity>,
}

/// What makes a producer's batches recognisable.
struct Identity {
    id: ProducerId,
    epoch: ProducerEpoch,
    next_sequence: BTreeMap<Key, i32>,
}

struct Batch {
    key: Key,
    values: Vec<u64>,
    bytes: Bytes,
    codec: Codec,
    op: OpId,
    state: State,
    /// Why some attempt may have appended it; `None` while surely none has.
    doubt: Option<String>,
    /// With what it was refused last.
    refusal: Option<ErrorCode>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    Settled,
    /// It will not be sent again.
    GivenUp,
}

/// What an answer, or its absence, means for one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Acked {
        base: Option<i64>,
    },
    /// To be sent again; it may have been appended, or surely was not.
    Again {
        is_uncertain: bool,
    },
    /// Its sequence number does not fit: right when a batch before it was not taken.
    Sequence,
    Never {
        is_uncertain: bool,
    },
}

/// What a [`Verdict`] goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cause {
    Answer(ErrorCode),
    NoAnswer(String),
}

/// A request on its way, and the batches in it.
struct Flight {
    answer: Pending,
    batches: Vec<usize>,
}

impl Producer {
    /// A producer that has sent nothing.
    pub fn new(
        mut client: Client,
        recorder: Recorder,
        board: Arc<Mutex<Board>>,
        clock: Arc<dyn Clock>,
        options: ProducerOptions,
    ) -> Self {
        let delivery = client.rng.u64(DELIVERY_TIMEOUT_MS.0..=DELIVERY_TIMEOUT_MS.1);
        let delivery_timeout = Duration::from_millis(delivery);
        Self { client, recorder, board, clock, options, delivery_timeout, identity: None }
    }

    /// Produces until told to stop.
    pub async fn run(mut self, stop: Stop) {
        while !stop.is_set() {
            let most = u64::try_from(self.options.think.as_millis()).unwrap_or(u64::MAX).max(1) * 2;
            tokio::time::sleep(Duration::from_millis(self.client.rng.u64(1..=most))).await;
            self.client.refresh_if_stale().await;
            if self.has_identity().await {
                self.burst().await;
            }
        }
    }

    /// An idempotent producer needs an id first.
    async fn has_identity(&mut self) -> bool {
        let mut attempt = 0;
        while self.options.is_idempotent && self.identity.is_none() {
            if attempt == PRODUCER_ID_ATTEMPTS {
                return false;
            }
            self.identity = self.ask_identity().await;
            if self.identity.is_none() {
                self.client.back_off(attempt).await;
            }
            attempt += 1;
        }
        true
    }

    async fn ask_identity(&mut self) -> Option<Identity> {
        let request = InitProducerIdRequest::default().with_transaction_timeout_ms(60_000);
        let request = request.with_producer_id((-1).into()).with_producer_epoch(-1);
        // An empty name is a wrong one, and not the same as none.
        let request = request.with_transactional_id(None);
        let ResponseKind::InitProducerId(answer) =
            self.client.ask_any(ApiKey::InitProducerId, request).await.ok()?
        else {
            return None;
        };
        if answer.error_code != 0 {
            self.recorder.refused(ErrorCode::from_code(answer.error_code));
        }
        let id = ProducerId::from_wire(answer.producer_id.0).filter(|_| answer.error_code == 0)?;
        let epoch = ProducerEpoch::new(answer.producer_epoch);
        Some(Identity { id, epoch, next_sequence: BTreeMap::new() })
    }

    async fn burst(&mut self) {
        let mut batches = self.draw_batches();
        let deadline = Instant::now() + self.delivery_timeout;
        let mut attempt = 0;
        while batches.iter().any(|batch| batch.state == State::Pending) && Instant::now() < deadline {
            self.give_up_doomed(&mut batches);
            self.client.refresh_if_stale().await;
            let flights = self.send_round(&mut batches).await;
            let took_some = self.land(flights, &mut batches).await;
            let is_done = batches.iter().all(|batch| batch.state != State::Pending);
            if !is_done && !took_some {
                self.client.back_off(attempt).await;
                attempt += 1;
            }
        }
        self.settle_rest(&mut batches);
    }

    /// What is left is refused or unknown; either way the sequence has a hole, and a new id begins at 0.
    fn settle_rest(&mut self, batches: &mut [Batch]) {
        for batch in batches.iter_mut().filter(|batch| batch.state != State::Settled) {
            let outcome = match batch.doubt.take() {
                Some(doubt) => SendOutcome::Unknown(doubt),
                // What no node refused never left here.
                None => SendOutcome::Refused(batch.refusal.unwrap_or(ErrorCode::NetworkException)),
            };
            self.recorder.send_ended(batch.op, outcome);
            self.identity = None;
        }
    }

    fn give_up_doomed(&self, batches: &mut [Batch]) {
        let board = self.board.lock().expect("no holder of this lock panics");
        for batch in batches.iter_mut().filter(|batch| board.is_doomed(&batch.key.0)) {
            if batch.state == State::Pending {
                batch.state = State::GivenUp;
            }
        }
    }

    fn draw_batches(&mut self) -> Vec<Batch> {
        let mut keys = self.board.lock().expect("no holder of this lock panics").partitions();
        let rng = &mut self.client.rng;
        rng.shuffle(&mut keys);
        keys.truncate(if rng.u8(..3) > 0 { 1 } else { rng.usize(1..=PARTITIONS_PER_BURST) });
        let mut batches = Vec::new();
        for key in keys {
            let rng = &mut self.client.rng;
            let count = if rng.u8(..3) > 0 { 1 } else { rng.usize(2..=IN_FLIGHT_MAX) };
            for _ in 0..count {
                batches.push(self.draw_batch(&key));
            }
        }
        batches
    }

    fn draw_batch(&mut self, key: &Key) -> Batch {
        let rng = &mut self.client.rng;
        let count = rng.u64(1..=RECORDS_PER_BATCH);
        // The slow codecs are as good as the fast ones in one batch of many.
        let codec = match rng.u8(..16) {
            0 => Codec::Gzip,
            1 => Codec::Zstd,
            2..=3 => Codec::Snappy,
            4..=5 => Codec::Lz4,
            _ => Codec::None,
        };
        let mut board = self.board.lock().expect("no holder of this lock panics");
        let values: Vec<u64> = (0..count).map(|_| board.next_value()).collect();
        drop(board);
        let tag = self.identity.as_mut().map(|identity| (identity.take(key, count), false));
        let bytes = encode(key, &values, codec, tag, self.clock.wall());
        let sending = self.identity.as_ref().map_or(Sending::OneInFlight, Identity::sending);
        let op = self.recorder.send_began(key, &values, sending);
        let (key, state) = (key.clone(), State::Pending);
        Batch { key, values, bytes, codec, op, state, doubt: None, refusal: None }
    }

    /// Sends what is pending: the first batch of every partition, then the second of every one, and so on.
    async fn send_round(&mut self, batches: &mut [Batch]) -> Vec<Flight> {
        let mut requests: BTreeMap<(usize, i32), Vec<usize>> = BTreeMap::new();
        let mut before: BTreeMap<Key, usize> = BTreeMap::new();
        for (at, batch) in batches.iter().enumerate().filter(|(_, batch)| batch.state == State::Pending) {
            let turn = before.entry(batch.key.clone()).or_insert(0);
            match self.client.leader(&batch.key) {
                _ if *turn > 0 && !self.options.is_idempotent => {}
                Some(leader) => requests.entry((*turn, leader.node)).or_default().push(at),
                None => self.client.distrust(),
            }
            *turn += 1;
        }
        let mut flights = Vec::new();
        // Dialled once: each attempt at a dead node may take all of the connect timeout.
        let mut unreachable = BTreeSet::new();
        for ((_, node), chosen) in requests {
            if unreachable.contains(&node) {
                continue;
            }
            let Ok(link) = self.client.link_to(node).await else {
                unreachable.insert(node);
                continue;
            };
            let needs_zstd = chosen.iter().any(|&at| batches[at].codec == Codec::Zstd);
            let has_ids = chosen.iter().all(|&at| self.client.topic_id(&batches[at].key.0).is_some());
            let at_least = if needs_zstd { ZSTD_FROM } else { 0 };
            let at_most = if has_ids { i16::MAX } else { PRODUCE_IDS_FROM - 1 };
            let Some(version) = link.version(ApiKey::Produce, at_least, at_most) else { continue };
            let request = self.request(batches, &chosen);
            for &at in &chosen {
                self.recorder.send_attempted(batches[at].op);
            }
            let answer = begin(&link, version, request, self.client.request_timeout);
            flights.push(Flight { answer, batches: chosen });
        }
        flights
    }

    fn request(&mut self, batches: &[Batch], chosen: &[usize]) -> ProduceRequest {
        let mut topics: Vec<TopicProduceData> = Vec::new();
        for &at in chosen {
            let batch = &batches[at];
            let records = Some(batch.bytes.clone());
            let data = PartitionProduceData::default().with_index(batch.key.1).with_records(records);
            match topics.iter_mut().find(|known| known.name.0.as_str() == batch.key.0) {
                Some(known) => known.partition_data.push(data),
                None => topics.push(
                    TopicProduceData::default()
                        .with_name(topic(&batch.key.0))
                        .with_topic_id(self.client.topic_id(&batch.key.0).unwrap_or_default())
                        .with_partition_data(vec![data]),
                ),
            }
        }
        let patience = i32::try_from(self.client.request_timeout.as_millis()).unwrap_or(i32::MAX);
        let timeout = self.client.rng.i32(patience / 2..=patience);
        ProduceRequest::default().with_acks(-1).with_timeout_ms(timeout).with_topic_data(topics)
    }

    /// Awaits the answers, in the order of the requests; whether any batch was acknowledged.
    async fn land(&mut self, flights: Vec<Flight>, batches: &mut [Batch]) -> bool {
        let mut took_some = false;
        let mut verdicts = BTreeMap::new();
        for flight in flights {
            let answer = finish(flight.answer).await;
            for at in flight.batches {
                let found = match &answer {
                    Ok(ResponseKind::Produce(response)) => self.read(response, &batches[at].key),
                    Ok(_) => {
                        let cause = Cause::NoAnswer("another request's answer".to_owned());
                        (Verdict::Again { is_uncertain: true }, cause)
                    }
                    Err(failed) => {
                        self.client.distrust();
                        let is_uncertain = !matches!(failed, Failed::NotSent(_));
                        (Verdict::Again { is_uncertain }, Cause::NoAnswer(failed.to_string()))
                    }
                };
                verdicts.insert(at, found);
            }
        }
        // By partition and place, so that a refusal is known before those that follow from it.
        for (at, (verdict, cause)) in verdicts {
            batches[at].remember(verdict, &cause);
            took_some |= self.apply(at, verdict, batches);
        }
        took_some
    }

    fn apply(&mut self, at: usize, verdict: Verdict, batches: &mut [Batch]) -> bool {
        let is_behind = |state| {
            batches[..at].iter().any(|earlier| earlier.key == batches[at].key && earlier.state == state)
        };
        let (waits, is_cut_off) = (is_behind(State::Pending), is_behind(State::GivenUp));
        let batch = &mut batches[at];
        match verdict {
            Verdict::Acked { base } => {
                batch.state = State::Settled;
                self.recorder.send_ended(batch.op, SendOutcome::Acked(base.map(Offset::new)));
                let mut board = self.board.lock().expect("no holder of this lock panics");
                board.acked(&batch.key, base, &batch.values);
                return true;
            }
            Verdict::Sequence if waits => {}
            Verdict::Sequence => {
                if !is_cut_off {
                    self.recorder
                        .noted(&format!("{}-{} refused a sequence number", batch.key.0, batch.key.1));
                }
                batch.state = State::GivenUp;
            }
            // Once cut off, its sequence number will never fit.
            Verdict::Again { .. } if !(is_cut_off && self.options.is_idempotent) => {}
            Verdict::Again { .. } | Verdict::Never { .. } => batch.state = State::GivenUp,
        }
        false
    }

    fn read(&mut self, response: &ProduceResponse, key: &Key) -> (Verdict, Cause) {
        let id = self.client.topic_id(&key.0);
        let is_it =
            |name: &str, answered: WireUuid| name == key.0 || (name.is_empty() && Some(answered) == id);
        let found = response.responses.iter().filter(|one| is_it(one.name.0.as_str(), one.topic_id));
        let Some(answer) = found.flat_map(|one| &one.partition_responses).find(|one| one.index == key.1)
        else {
            let wrong = format!("a produce response says nothing of {}-{}", key.0, key.1);
            self.recorder.noted(&wrong);
            return (Verdict::Again { is_uncertain: true }, Cause::NoAnswer(wrong));
        };
        let code = ErrorCode::from_code(answer.error_code);
        let verdict = judge(code, answer.base_offset);
        if code != ErrorCode::None {
            self.recorder.refused(code);
        }
        if !matches!(verdict, Verdict::Acked { .. }) {
            self.client.distrust();
            let hint = &answer.current_leader;
            self.client.note_leader(key, hint.leader_id.0, hint.leader_epoch);
        }
        (verdict, Cause::Answer(code))
    }
}

impl Batch {
    /// Takes note of what an attempt leaves behind when it was not the last.
    fn remember(&mut self, verdict: Verdict, cause: &Cause) {
        let is_uncertain = matches!(verdict, Verdict::Again { is_uncertain } | Verdict::Never { is_uncertain } if is_uncertain);
        match cause {
            Cause::Answer(code) if is_uncertain => self.doubt = Some(code.to_string()),
            Cause::Answer(code) => self.refusal = Some(*code),
            Cause::NoAnswer(why) if is_uncertain => self.doubt = Some(why.clone()),
            Cause::NoAnswer(_) => {}
        }
    }
}

impl Identity {
    fn sending(&self) -> Sending {
        Sending::Idempotent(self.id, self.epoch)
    }

    /// The tag of the next batch of `count` records.
    fn take(&mut self, key: &Key, count: u64) -> ProducerTag {
        let next = self.next_sequence.entry(key.clone()).or_insert(0);
        let base_sequence = *next;
        *next += i32::try_from(count).expect("a batch of a few records");
        ProducerTag { id: self.id, epoch: self.epoch, base_sequence }
    }
}

/// What a code means for a batch. In doubt it may have been appended: a leader can lose its place,
/// its disk or its replicas after the append.
pub(super) fn judge(code: ErrorCode, base_offset: i64) -> Verdict {
    use ErrorCode as E;
    match code {
        E::None => Verdict::Acked { base: (base_offset >= 0).then_some(base_offset) },
        E::DuplicateSequenceNumber => Verdict::Acked { base: None },
        E::OutOfOrderSequenceNumber | E::UnknownProducerId | E::InvalidProducerEpoch | E::ProducerFenced => {
            Verdict::Sequence
        }
        E::NotEnoughReplicas | E::CorruptMessage | E::ThrottlingQuotaExceeded => {
            Verdict::Again { is_uncertain: false }
        }
        E::MessageTooLarge
        | E::RecordListTooLarge
        | E::InvalidRecord
        | E::InvalidTimestamp
        | E::InvalidRequiredAcks
        | E::InvalidTopicException
        | E::UnsupportedCompressionType
        | E::UnsupportedVersion
        | E::UnsupportedForMessageFormat => Verdict::Never { is_uncertain: false },
        other if other.is_retriable() => Verdict::Again { is_uncertain: true },
        _ => Verdict::Never { is_uncertain: true },
    }
}

/// A batch of these records, of a producer and perhaps in its transaction.
pub(super) fn encode(
    key: &Key,
    values: &[u64],
    codec: Codec,
    tag: Option<(ProducerTag, bool)>,
    timestamp: model::Timestamp,
) -> Bytes {
    let mut builder = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(-1)).codec(codec, None);
    if let Some((tag, is_transactional)) = tag {
        builder = builder.producer(tag, is_transactional);
    }
    for &value in values {
        let content = Content::of(key, value);
        let header = [(b"h".as_slice(), content.header.as_deref())];
        builder.push(&NewRecord {
            timestamp,
            key: content.key.as_deref(),
            value: Some(&content.value),
            headers: if content.header.is_some() { &header } else { &[] },
        });
    }
    let mut bytes = Vec::new();
    builder.finish(&mut bytes).expect("every codec takes any bytes");
    bytes.into()
}

#[cfg(test)]
mod tests {
    use model::ErrorCode;

    use super::{Verdict, judge};

    #[test]
    fn only_codes_that_are_given_before_the_append_are_certain_refusals() {
        let certain = Verdict::Again { is_uncertain: false };
        let uncertain = Verdict::Again { is_uncertain: true };
        let told = |code| judge(code, -1);
        assert_eq!(judge(ErrorCode::None, 7), Verdict::Acked { base: Some(7) });
        assert_eq!(told(ErrorCode::DuplicateSequenceNumber), Verdict::Acked { base: None });
        assert_eq!(told(ErrorCode::NotEnoughReplicas), certain);
        for code in [
            ErrorCode::NotEnoughReplicasAfterAppend,
            ErrorCode::RequestTimedOut,
            ErrorCode::NotLeaderOrFollower,
            ErrorCode::KafkaStorageError,
            ErrorCode::UnknownTopicOrPartition,
        ] {
            assert_eq!(told(code), uncertain, "{code:?}");
        }
        assert_eq!(told(ErrorCode::UnknownServerError), Verdict::Never { is_uncertain: true });
        assert_eq!(told(ErrorCode::MessageTooLarge), Verdict::Never { is_uncertain: false });
        assert_eq!(told(ErrorCode::OutOfOrderSequenceNumber), Verdict::Sequence);
    }
}
