//! The requests of a transactional producer, each tried until it is taken, refused or too late.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{ErrorCode, Offset, ProducerEpoch, ProducerId};
use tokio::time::Instant;
use wire::api::ApiKey;
use wire::codec::Codec;
use wire::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use wire::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, Bytes, EndTxnRequest, GroupId, InitProducerIdRequest,
    ProduceRequest, ProducerId as WireProducerId, RequestKind, ResponseKind, TransactionalId,
    TxnOffsetCommitRequest, text, topic,
};

use super::{GROUP, Mover, Next, Session, Tried, next};
use crate::workload::client::{Client, Key, PRODUCE_IDS_FROM, begin, finish};
use crate::workload::coordinator::{Coordinated, Coordinator};
use crate::workload::group::asks::{OFFSETS_IDS_FROM, fetch_request, told};
use crate::workload::producer::{Verdict, encode, judge};
use crate::workload::record::Recorder;

/// From these versions on a client speaks as KIP-890 has it.
const VERIFIED_END_FROM: i16 = 5;
const VERIFIED_PRODUCE_FROM: i16 = 12;
const VERIFIED_OFFSETS_FROM: i16 = 5;
/// The first version with transactions.
const PRODUCE_FROM: i16 = 3;
/// Above it coordinators are asked by brokers.
const ADD_PARTITIONS_TO: i16 = 3;
/// The first OffsetFetch that waits for open transactions.
const FETCH_STABLE_FROM: i16 = 7;

/// The versions that a session speaks, of those from `least` on.
fn versions(session: &Session, least: i16, verified_from: i16) -> (i16, i16) {
    if session.is_verified { (verified_from, i16::MAX) } else { (least, verified_from - 1) }
}

impl Mover {
    fn transactional_id(&self) -> TransactionalId {
        TransactionalId(text(&self.name))
    }

    /// Heeds an answer; what it means.
    fn heed(&mut self, of: Coordinated, answer: Option<ErrorCode>) -> Next {
        self.recorder.refused_unless_ok(answer.unwrap_or(ErrorCode::None));
        let next = next(answer);
        if next == (Next::Again { doubt: true }) {
            match of {
                Coordinated::Transaction => self.coordinator.forget(),
                Coordinated::Group => self.group.forget(),
            }
        }
        next
    }

    pub(super) async fn ask_for_id(&mut self, timeout_ms: i32) -> Option<(ProducerId, ProducerEpoch)> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(self.transactional_id()))
            .with_transaction_timeout_ms(timeout_ms)
            .with_producer_id(WireProducerId(-1))
            .with_producer_epoch(-1);
        let spoken = (ApiKey::InitProducerId, 0, i16::MAX);
        let asked =
            self.coordinator.ask(&mut self.client, &self.recorder, spoken, None, |_| request.into()).await;
        let Some(ResponseKind::InitProducerId(answer)) = asked else { return None };
        let code = ErrorCode::from_code(answer.error_code);
        if self.heed(Coordinated::Transaction, Some(code)) != Next::Done {
            return None;
        }
        let id = ProducerId::from_wire(answer.producer_id.0)?;
        Some((id, ProducerEpoch::new(answer.producer_epoch)))
    }

    pub(super) async fn persist_adding(&mut self, session: &Session, keys: &[Key]) -> Tried {
        let partitions = keys.iter().map(|(_, index)| *index).collect();
        let added =
            AddPartitionsToTxnTopic::default().with_name(topic(super::TOPIC)).with_partitions(partitions);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.transactional_id())
            .with_v3_and_below_producer_id(WireProducerId(session.id.get()))
            .with_v3_and_below_producer_epoch(session.epoch.get())
            .with_v3_and_below_topics(vec![added]);
        let spoken = (ApiKey::AddPartitionsToTxn, 0, ADD_PARTITIONS_TO);
        let told = |answer: ResponseKind| {
            let ResponseKind::AddPartitionsToTxn(answer) = answer else { return None };
            let topics = answer.results_by_topic_v3_and_below.iter();
            let codes = topics.flat_map(|topic| &topic.results_by_partition);
            let codes: Vec<i16> = codes.map(|it| it.partition_error_code).collect();
            // Of the partitions beside one that was refused nothing is said but that they were not tried.
            let wrong = codes.iter().copied().filter(|code| *code != 0);
            let attempted = |code: &i16| ErrorCode::from_code(*code) != ErrorCode::OperationNotAttempted;
            let code = wrong.clone().find(attempted).or(wrong.clone().next()).unwrap_or(0);
            Some(ErrorCode::from_code(code))
        };
        self.persist(Coordinated::Transaction, spoken, request.into(), told).await
    }

    pub(super) async fn persist_adding_group(&mut self, session: &Session) -> Tried {
        let request = AddOffsetsToTxnRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_producer_id(WireProducerId(session.id.get()))
            .with_producer_epoch(session.epoch.get())
            .with_group_id(GroupId(text(GROUP)));
        let spoken = (ApiKey::AddOffsetsToTxn, 0, i16::MAX);
        let told = |answer: ResponseKind| {
            let ResponseKind::AddOffsetsToTxn(answer) = answer else { return None };
            Some(ErrorCode::from_code(answer.error_code))
        };
        self.persist(Coordinated::Transaction, spoken, request.into(), told).await
    }

    pub(super) async fn persist_offset(&mut self, session: &Session, offset: i64) -> Tried {
        let committed = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(self.place.1)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text("")));
        let committed = TxnOffsetCommitRequestTopic::default()
            .with_name(topic(&self.place.0))
            .with_partitions(vec![committed]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_group_id(GroupId(text(GROUP)))
            .with_producer_id(WireProducerId(session.id.get()))
            .with_producer_epoch(session.epoch.get())
            .with_topics(vec![committed]);
        let (least, most) = versions(session, 0, VERIFIED_OFFSETS_FROM);
        let told = |answer: ResponseKind| {
            let ResponseKind::TxnOffsetCommit(answer) = answer else { return None };
            let one = answer.topics.first().and_then(|topic| topic.partitions.first());
            one.map(|one| ErrorCode::from_code(one.error_code))
        };
        self.persist(Coordinated::Group, (ApiKey::TxnOffsetCommit, least, most), request.into(), told).await
    }

    /// Asks until it is told what cannot change, or too late; `told` takes the code out of an answer.
    async fn persist(
        &mut self,
        of: Coordinated,
        spoken: (ApiKey, i16, i16),
        request: RequestKind,
        told: impl Fn(ResponseKind) -> Option<ErrorCode>,
    ) -> Tried {
        let mut trial = Trial::new();
        while trial.goes_on() {
            let coordinator = match of {
                Coordinated::Transaction => &mut self.coordinator,
                Coordinated::Group => &mut self.group,
            };
            let request = |_| request.clone();
            let asked = coordinator.ask(&mut self.client, &self.recorder, spoken, None, request).await;
            let next = self.heed(of, asked.and_then(&told));
            trial.take(next, &mut self.client).await;
        }
        trial.tried()
    }

    pub(super) async fn persist_end(&mut self, session: &mut Session, commit: bool) -> Tried {
        let mut trial = Trial::new();
        while trial.goes_on() {
            let answer = self.ask_to_end(session, commit).await;
            let next = self.heed(Coordinated::Transaction, answer);
            trial.take(next, &mut self.client).await;
        }
        trial.tried()
    }

    /// Asks once; with the end a session gets its next epoch.
    pub(super) async fn ask_to_end(&mut self, session: &mut Session, commit: bool) -> Option<ErrorCode> {
        let request = EndTxnRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_producer_id(WireProducerId(session.id.get()))
            .with_producer_epoch(session.epoch.get())
            .with_committed(commit);
        let (least, most) = versions(session, 0, VERIFIED_END_FROM);
        let spoken = (ApiKey::EndTxn, least, most);
        let asked =
            self.coordinator.ask(&mut self.client, &self.recorder, spoken, None, |_| request.into()).await;
        let Some(ResponseKind::EndTxn(answer)) = asked else { return None };
        let code = ErrorCode::from_code(answer.error_code);
        if code == ErrorCode::None
            && session.is_verified
            && let Some(id) = ProducerId::from_wire(answer.producer_id.0)
        {
            session.follow(id, ProducerEpoch::new(answer.producer_epoch));
        }
        Some(code)
    }

    /// Writes one batch; whether it was acknowledged within `patience`, or at the first attempt.
    pub(super) async fn produce(
        &mut self,
        session: &mut Session,
        key: &Key,
        values: &[u64],
        patience: Duration,
    ) -> bool {
        let tag = session.take(key, values.len());
        let bytes = encode(key, values, Codec::None, Some((tag, true)), self.clock.wall());
        let deadline = Instant::now() + patience;
        let mut attempt = 0;
        loop {
            match self.produce_once(session, key, bytes.clone()).await {
                Some(Verdict::Acked { .. }) => return true,
                Some(Verdict::Sequence | Verdict::Never { .. }) => return false,
                Some(Verdict::Again { .. }) | None => {}
            }
            if Instant::now() >= deadline {
                return false;
            }
            self.client.distrust();
            self.client.back_off(attempt).await;
            attempt += 1;
            self.client.refresh_if_stale().await;
        }
    }

    async fn produce_once(&mut self, session: &Session, key: &Key, bytes: Bytes) -> Option<Verdict> {
        let leader = self.client.leader(key)?;
        let link = self.client.link_to(leader.node).await.ok()?;
        let id = self.client.topic_id(&key.0);
        let (least, most) = versions(session, PRODUCE_FROM, VERIFIED_PRODUCE_FROM);
        let most = if id.is_some() { most } else { most.min(PRODUCE_IDS_FROM - 1) };
        let version = link.version(ApiKey::Produce, least, most)?;
        let data = PartitionProduceData::default().with_index(key.1).with_records(Some(bytes));
        let data = TopicProduceData::default()
            .with_name(topic(&key.0))
            .with_topic_id(id.unwrap_or_default())
            .with_partition_data(vec![data]);
        let timeout_ms = i32::try_from(self.client.request_timeout.as_millis()).unwrap_or(i32::MAX);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(self.transactional_id()))
            .with_acks(-1)
            .with_timeout_ms(timeout_ms)
            .with_topic_data(vec![data]);
        let answer = finish(begin(&link, version, request, self.client.request_timeout)).await;
        let Ok(ResponseKind::Produce(answer)) = answer else { return None };
        let told = answer.responses.first().and_then(|topic| topic.partition_responses.first())?;
        let code = ErrorCode::from_code(told.error_code);
        self.recorder.refused_unless_ok(code);
        Some(judge(code, told.base_offset))
    }
}

/// The offsets of the movers' group, once no transaction is open that may change them.
pub(super) async fn fetch_offsets(
    group: &mut Coordinator,
    client: &mut Client,
    recorder: &Recorder,
    partitions: i32,
) -> Option<BTreeMap<Key, Option<Offset>>> {
    let by_topic = BTreeMap::from([(super::TOPIC, (0..partitions).collect())]);
    let spoken = (ApiKey::OffsetFetch, FETCH_STABLE_FROM, OFFSETS_IDS_FROM - 1);
    let request = |version| fetch_request(GROUP, &by_topic, version, true).into();
    let asked = group.ask(client, recorder, spoken, None, request).await;
    let Some(ResponseKind::OffsetFetch(answer)) = asked else { return None };
    let (code, found) = told(&answer);
    recorder.refused_unless_ok(code);
    let is_whole = code == ErrorCode::None && found.iter().all(|(_, code, _)| *code == ErrorCode::None);
    is_whole.then(|| found.into_iter().map(|(key, _, at)| (key, Offset::from_wire(at))).collect())
}

/// A step that is tried for a while.
struct Trial {
    deadline: Instant,
    attempt: u32,
    doubt: bool,
    outcome: Option<Tried>,
}

impl Trial {
    fn new() -> Self {
        Self { deadline: Instant::now() + super::PATIENCE, attempt: 0, doubt: false, outcome: None }
    }

    fn goes_on(&self) -> bool {
        self.outcome.is_none()
    }

    /// Takes an answer, and waits when there is to be another attempt.
    async fn take(&mut self, next: Next, client: &mut Client) {
        match next {
            Next::Done => self.outcome = Some(Tried::Done),
            Next::Never => self.outcome = Some(Tried::Failed { doubt: self.doubt }),
            Next::Again { doubt } => {
                self.doubt |= doubt;
                if Instant::now() >= self.deadline {
                    self.outcome = Some(Tried::Failed { doubt: self.doubt });
                    return;
                }
                client.refresh_if_stale().await;
                client.back_off(self.attempt).await;
                self.attempt += 1;
            }
        }
    }

    fn tried(&self) -> Tried {
        self.outcome.unwrap_or(Tried::Failed { doubt: self.doubt })
    }
}
