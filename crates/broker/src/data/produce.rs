//! Produce: batches are appended in the order of the requests, then waited for.
//!
//! Each partition of a request stands alone: it is appended or refused, and its
//! answer says which. With `acks=all` an answer waits until every in-sync replica has
//! the batch; where `flush.messages` asks for it, until it is synced here as well.

mod recompress;
mod reply;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use log::producers::Origin;
use log::{AppendError, ClientBatch};
use metadata::{Image, Topic};
use model::{ErrorCode, LeaderEpoch, METADATA_TOPIC, Offset, PartitionIndex};
use replica::AckState;
use tokio::time::Instant;
use wire::batch::{BatchHeader, sole};
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::{ProduceRequest, from_wire_uuid};

use crate::data::durability;
use crate::data::partition::{self, Partition, Refused, Unwritten};
use crate::data::plane::Plane;
use crate::data::produce::reply::{Done, PartitionReply, Replies, TopicReply};
use crate::data::rooms::Shortage;
use crate::data::verify::{self, Admission};
use crate::data::waiters::{Awaits, Waiter};
use crate::dispatch::RequestContext;
use crate::handlers::view::is_internal;
use crate::server::{Answer, Reply};

/// From this version on topics have ids instead of names.
const TOPIC_IDS_FROM: i16 = 13;

/// Whom a produce request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Acks {
    Nobody,
    Leader,
    All,
}

impl Acks {
    fn from_wire(acks: i16) -> Option<Self> {
        match acks {
            0 => Some(Self::Nobody),
            1 => Some(Self::Leader),
            -1 => Some(Self::All),
            _ => None,
        }
    }
}

/// Why a batch is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{}", .0.name())]
    Code(ErrorCode),
    #[error(transparent)]
    Partition(#[from] Refused),
    #[error(transparent)]
    Replicas(#[from] replica::WriteRefused),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Full(#[from] Shortage),
}

impl From<Unwritten> for Refusal {
    fn from(unwritten: Unwritten) -> Self {
        match unwritten {
            Unwritten::Partition(refused) => Self::Partition(refused),
            Unwritten::Replicas(refused) => Self::Replicas(refused),
            Unwritten::Append(error) => Self::Append(error),
        }
    }
}

impl Refusal {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Code(code) => *code,
            Self::Partition(refused) => refused.code(),
            Self::Replicas(refused) => refused.code(),
            Self::Append(error) => error.code(),
            // Clients ask for the metadata and try again, for as long as they were told to.
            Self::Full(_) => ErrorCode::KafkaStorageError,
        }
    }
}

/// A batch that was appended, or was there already.
pub(super) struct Written {
    pub(super) partition: Arc<Partition>,
    pub(super) epoch: LeaderEpoch,
    /// The offset after its last record.
    pub(super) end: Offset,
    pub(super) needs_sync: bool,
}

/// Answers a request: appends at once, waits in the second stage.
pub async fn handle(plane: &Arc<Plane>, asker: &RequestContext, request: ProduceRequest) -> Answer {
    let Some(acks) = Acks::from_wire(request.acks) else {
        return refuse(asker, request, Acks::Leader, ErrorCode::InvalidRequiredAcks);
    };
    if request.transactional_id.is_none() && is_transactional(&request) {
        return refuse(asker, request, acks, ErrorCode::TransactionalIdAuthorizationFailed);
    }
    let picture = plane.options.published.get();
    plane.catch_up(&picture).await;
    let timeout = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or(0));
    let parts = transactional(&picture.image, asker.version, &request);
    let id = request.transactional_id.as_ref().map_or("", |id| id.as_str());
    let admission = match verify::admit(plane, &picture.image, asker.version, id, parts, timeout).await {
        Ok(admission) => admission,
        Err(code) => return refuse(asker, request, acks, code),
    };
    let appending = Appending { plane, image: &picture.image, version: asker.version, acks, admission };
    let mut replies = Replies::new(asker.version, asker.listener.clone());
    for topic in request.topic_data {
        replies.topics.push(appending.topic(topic));
    }
    if acks == Acks::Nobody {
        // The client hears of an error by its connection's end, as from Kafka.
        let failed = replies.partitions().any(|reply| reply.code() != ErrorCode::None);
        let reply = if failed { Reply::Close("a batch with acks=0 was refused") } else { Reply::Silent };
        return Answer::Now(reply);
    }
    replies.settle(acks == Acks::All);
    if replies.partitions().all(|reply| reply.waits_for.is_none()) {
        return Answer::Now(replies.finish(plane));
    }
    let (plane, deadline) = (plane.clone(), Instant::now() + timeout);
    Answer::Later(Box::pin(async move {
        for reply in replies.partitions_mut() {
            if let Some(written) = reply.waits_for.take()
                && let Err(code) = wait(&plane, &written, acks == Acks::All, deadline).await
            {
                reply.fail(code);
            }
        }
        replies.finish(&plane)
    }))
}

/// Whether a partition's batch claims to be a part of a transaction.
fn is_transactional(request: &ProduceRequest) -> bool {
    let mut partitions = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    partitions.any(|data| transactional_header(data).is_some())
}

fn transactional_header(data: &PartitionProduceData) -> Option<BatchHeader> {
    let header = BatchHeader::parse_unchecked(data.records.as_deref()?).ok()?;
    header.is_transactional().then_some(header)
}

/// The batches of a request that claim to be parts of transactions.
fn transactional(image: &Image, version: i16, request: &ProduceRequest) -> Vec<verify::Batch> {
    let mut found = Vec::new();
    for data in &request.topic_data {
        for partition in &data.partition_data {
            if let Some(header) = transactional_header(partition)
                && let Ok(topic) = find_topic(image, version, data)
            {
                found.push(verify::Batch { key: (topic.id, PartitionIndex::new(partition.index)), header });
            }
        }
    }
    found
}

/// Refuses a request as a whole.
fn refuse(asker: &RequestContext, request: ProduceRequest, acks: Acks, code: ErrorCode) -> Answer {
    if acks == Acks::Nobody {
        return Answer::Now(Reply::Close("a request with acks=0 was refused"));
    }
    match wire::errors::respond(&request.into(), asker.version, code, None) {
        Some(response) => Answer::Now(Reply::message(response)),
        None => Answer::Now(Reply::Close("the request has no answer")),
    }
}

/// What the batches of one request have in common.
struct Appending<'a> {
    plane: &'a Plane,
    image: &'a Image,
    version: i16,
    acks: Acks,
    admission: Admission,
}

impl Appending<'_> {
    fn topic(&self, data: TopicProduceData) -> TopicReply {
        let found = find_topic(self.image, self.version, &data);
        let partitions = data.partition_data.into_iter().map(|partition| {
            let index = partition.index;
            let outcome = match found {
                Ok(topic) => self.append(topic, partition),
                Err(code) => Err(Refusal::Code(code)),
            };
            let reply = PartitionReply::new(index, outcome);
            match found {
                Ok(topic) if reply.code() == ErrorCode::NotLeaderOrFollower => {
                    reply.with_leader(Plane::current_leader(self.image, topic.id, index))
                }
                _ => reply,
            }
        });
        let partitions = partitions.collect();
        TopicReply { name: data.name, id: data.topic_id, partitions }
    }

    fn append(&self, topic: &Topic, data: PartitionProduceData) -> Result<Done, Refusal> {
        let partition = self.plane.find(self.image, topic.id, data.index).map_err(Refusal::Code)?;
        let mut records = data.records.unwrap_or_default();
        records.truncate(sole(&records).map_err(AppendError::from)?.len());
        let header = BatchHeader::parse_unchecked(&records).map_err(AppendError::from)?;
        let verification = self.admission.of(partition.key).map_err(Refusal::Code)?;
        let origin = Origin::Client(verification);
        let (done, outcome) = self.append_to(&partition, records, &header, origin).inspect_err(|refusal| {
            let is_told = matches!(refusal, Refusal::Full(_));
            if refusal.code() == ErrorCode::KafkaStorageError && !is_told {
                tracing::error!(partition = %partition.name, error = %refusal, "a batch could not be written");
                partition.waiters.wake();
            }
        })?;
        self.plane.carry_out(&partition, outcome);
        Ok(done)
    }

    /// Checks the batch, and appends it under the partition's lock.
    fn append_to(
        &self,
        partition: &Arc<Partition>,
        records: Bytes,
        header: &BatchHeader,
        origin: Origin,
    ) -> Result<(Done, partition::Outcome), Refusal> {
        let clock = &self.plane.options.clock;
        let (now, wall) = (clock.now(), clock.wall());
        let needs_all = self.acks == Acks::All;
        let (settings, dir) = partition.look().admit(needs_all)?;
        self.plane.rooms.admit(dir)?;
        let rules = settings.rules(wall);
        let records = match settings.codec() {
            Some((codec, level)) if header.codec() != Some(codec) => {
                recompress::recompress(&records, &rules, codec, level)?.into()
            }
            _ => records,
        };
        // Not under the lock, where others would wait for it.
        let batch = ClientBatch::check(origin, &records, &rules.batch).map_err(AppendError::from)?;
        let mut state = partition.lock();
        let written = state
            .append_with(now, None, needs_all, |log, epoch| log.append_valid(&batch, epoch, wall, &rules));
        match &written {
            Ok(_) => self.plane.rooms.spend(dir, records.len()),
            Err(Unwritten::Append(error)) if error.is_full() => self.plane.rooms.note_full(dir),
            Err(_) => {}
        }
        let (appended, epoch, outcome) = written?;
        let log_start = state.log.as_ref().map_or(Offset::ZERO, log::Log::start);
        let needs_sync = state.is_sync_due();
        drop(state);
        let partition = partition.clone();
        let written = Written { partition, epoch, end: appended.last.next(), needs_sync };
        let done =
            Done { base: appended.first, log_append_time: appended.log_append_time, log_start, written };
        Ok((done, partition::Outcome { has_grown: !appended.is_duplicate, ..outcome }))
    }
}

fn find_topic<'a>(image: &'a Image, version: i16, data: &TopicProduceData) -> Result<&'a Topic, ErrorCode> {
    if version >= TOPIC_IDS_FROM {
        let found = image.topic_by_id(from_wire_uuid(data.topic_id)).ok_or(ErrorCode::UnknownTopicId)?;
        // Their coordinators alone write them: they would not know of what others wrote.
        return if is_internal(found.name.as_str()) {
            Err(ErrorCode::InvalidTopicException)
        } else {
            Ok(found)
        };
    }
    if data.name.as_str() == METADATA_TOPIC || is_internal(&data.name) {
        return Err(ErrorCode::InvalidTopicException);
    }
    image.topic(data.name.as_str()).ok_or(ErrorCode::UnknownTopicOrPartition)
}

/// How a batch stands, `None` while it has to be waited for.
pub(super) fn settled(written: &Written, needs_all: bool) -> Option<Result<(), ErrorCode>> {
    if !written.needs_sync && !needs_all {
        return Some(Ok(()));
    }
    let mut state = written.partition.look();
    if written.needs_sync && state.log.as_ref().is_some_and(|log| log.recovery_point() < written.end) {
        return None;
    }
    if !needs_all {
        return Some(Ok(()));
    }
    match state.lead() {
        Err(refused) => Some(Err(refused.code())),
        Ok((log, leader)) => {
            // Led anew by this node, the batch may still be the same; cut in between, it is not.
            let is_kept = leader.leader_epoch() == written.epoch
                || log
                    .epoch_end(written.epoch)
                    .is_some_and(|(epoch, end)| epoch == written.epoch && end >= written.end);
            if !is_kept {
                return Some(Err(ErrorCode::NotLeaderOrFollower));
            }
            match leader.ack_state(written.end) {
                AckState::Waiting => None,
                AckState::Done => Some(Ok(())),
                AckState::TooFewReplicas => Some(Err(ErrorCode::NotEnoughReplicasAfterAppend)),
            }
        }
    }
}

/// Waits until a batch is as durable as its producer asks.
pub(super) async fn wait(
    plane: &Plane,
    written: &Written,
    needs_all: bool,
    deadline: Instant,
) -> Result<(), ErrorCode> {
    if written.needs_sync {
        durability::sync_to(plane, &written.partition, written.end).await.map_err(|error| error.code())?;
    }
    loop {
        let waiter = Waiter::new();
        written.partition.waiters.register(&waiter, Awaits::Commits);
        if let Some(outcome) = settled(written, needs_all) {
            return outcome;
        }
        if tokio::time::timeout_at(deadline, waiter.progress()).await.is_err() {
            return Err(ErrorCode::RequestTimedOut);
        }
    }
}
