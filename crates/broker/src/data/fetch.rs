//! Fetch: long polls of consumers and followers.
//!
//! A request is looked at once; when it has too little to give it waits for progress
//! of any of its partitions and is looked at again, until its time is over. Every
//! request says all it wants (no sessions): an idle partition costs one look.

mod encode;
mod plan;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::{ErrorCode, NodeId};
use tokio::time::Instant;
use wire::messages::FetchRequest;

use crate::data::fetch::encode::{Head, PartitionOut, TopicOut, encode};
use crate::data::fetch::plan::{Plan, Want};
use crate::data::hints;
use crate::data::partition::{ReadAt, ReadOut, Refused};
use crate::data::plane::Plane;
use crate::data::waiters::Waiter;
use crate::dispatch::RequestContext;
use crate::server::{Answer, Chunk, Reply};

/// Longest wait, whatever the client asks for.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// A file range up to this size is read and sent with what stands around it: one system call less.
const COPY_BYTES_MAX: usize = 16 << 10;

/// Answers a request: at once if there is enough, else in the second stage.
pub async fn handle(plane: &Arc<Plane>, asker: &RequestContext, request: FetchRequest) -> Answer {
    let picture = plane.options.published.get();
    plane.catch_up(&picture).await;
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX);
    let session = request.session_id;
    let plan = Plan::new(plane.clone(), &picture.image, asker, request);
    if session != 0 {
        // We open none, so it is another node's, or from before a restart.
        return Answer::Now(plan.refuse(ErrorCode::FetchSessionIdNotFound));
    }
    let looked = plan.look(true);
    if looked.is_enough || wait.is_zero() || plan.wants.is_empty() {
        return Answer::Now(plan.reply(looked));
    }
    let deadline = Instant::now() + wait;
    Answer::Later(Box::pin(async move { poll(plan, deadline).await }))
}

async fn poll(plan: Plan, deadline: Instant) -> Reply {
    loop {
        // A new waiter each time: what is left of the last one's registrations is dead then.
        let waiter = Waiter::new();
        for partition in plan.wants.iter().filter_map(|want| want.partition.as_ref().ok()) {
            partition.waiters.register(&waiter);
        }
        let looked = plan.look(false);
        if looked.is_enough {
            return plan.reply(looked);
        }
        // Open files are not held while nothing happens.
        drop(looked);
        if tokio::time::timeout_at(deadline, waiter.progress()).await.is_err() {
            return plan.reply(plan.look(false));
        }
    }
}

/// What a look found.
struct Looked {
    partitions: Vec<PartitionOut>,
    /// There is reason to answer now.
    is_enough: bool,
}

impl Plan {
    /// Looks at every partition. A follower's position counts at the `first` look.
    fn look(&self, first: bool) -> Looked {
        let mut looked = Looked { partitions: Vec::with_capacity(self.wants.len()), is_enough: false };
        let mut bytes = 0;
        for want in &self.wants {
            let left = self.bytes_max.saturating_sub(bytes);
            let out = self.look_at(want, left, bytes == 0, first);
            bytes += out.records.as_ref().map_or(0, Chunk::len);
            // A follower shall hear at once that its leader's log starts later now (DeleteRecords).
            let start_moved = want.at.log_start.is_some() && out.log_start > want.at.log_start;
            looked.is_enough |= out.error != ErrorCode::None || out.diverging.is_some() || start_moved;
            looked.partitions.push(out);
        }
        looked.is_enough |= bytes >= self.bytes_min;
        looked
    }

    fn look_at(&self, want: &Want, left: usize, is_empty: bool, first: bool) -> PartitionOut {
        let partition = match &want.partition {
            Ok(partition) => partition,
            Err(code) => return self.refused(want, *code),
        };
        let at = ReadAt { bytes_max: want.at.bytes_max.min(left), at_least_one: is_empty, ..want.at };
        let now = self.plane.options.clock.now();
        let read = match self.reader {
            None => partition.lock().read_committed(now, &at),
            Some(reader) => {
                let read = partition.lock().read_as_follower(now, reader, &at, first);
                read.map(|(out, outcome)| {
                    self.plane.carry_out(partition, outcome);
                    out
                })
            }
        };
        match read {
            Ok(out) => self.found(want, out),
            Err(refused) => {
                if !matches!(refused, Refused::NotLeader | Refused::FencedEpoch | Refused::UnknownEpoch)
                    && refused.code() == ErrorCode::KafkaStorageError
                {
                    tracing::warn!(partition = %partition.name, error = %refused, "a read failed");
                }
                self.refused(want, refused.code())
            }
        }
    }

    fn found(&self, want: &Want, out: ReadOut) -> PartitionOut {
        let records = match out.records {
            None => None,
            Some(slice) if slice.len <= COPY_BYTES_MAX => match slice.read() {
                Ok(bytes) => Some(Chunk::Bytes(bytes.into())),
                Err(error) => {
                    tracing::warn!(topic = self.topics[want.topic].name.as_str(), %error, "a read failed");
                    return self.refused(want, ErrorCode::KafkaStorageError);
                }
            },
            Some(slice) => Some(Chunk::File { file: slice.file, offset: slice.position, len: slice.len }),
        };
        PartitionOut {
            high_watermark: Some(out.high_watermark),
            log_start: Some(out.log_start),
            diverging: out.diverging,
            records,
            ..PartitionOut::failed(want.index, ErrorCode::None)
        }
    }

    fn refused(&self, want: &Want, code: ErrorCode) -> PartitionOut {
        let out = PartitionOut::failed(want.index, code);
        if !matches!(code, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch) {
            return out;
        }
        let picture = self.plane.options.published.get();
        let topic = wire::messages::from_wire_uuid(self.topics[want.topic].resolved);
        PartitionOut { leader: Plane::current_leader(&picture.image, topic, want.index), ..out }
    }

    /// The response.
    fn reply(&self, looked: Looked) -> Reply {
        let mut leaders = BTreeSet::<NodeId>::new();
        let mut partitions = looked.partitions.into_iter();
        let mut topics = Vec::with_capacity(self.topics.len());
        for topic in &self.topics {
            let partitions: Vec<PartitionOut> = partitions.by_ref().take(topic.count).collect();
            leaders.extend(partitions.iter().filter_map(|out| out.leader).map(|leader| leader.node));
            topics.push(TopicOut { name: topic.name.clone(), id: topic.id, partitions });
        }
        let picture = self.plane.options.published.get();
        let endpoints = hints::endpoints(&picture.image, &self.listener.name, &leaders);
        Reply::Body(encode(&self.head(ErrorCode::None), topics, endpoints))
    }

    fn refuse(&self, code: ErrorCode) -> Reply {
        Reply::Body(encode(&self.head(code), Vec::new(), std::iter::empty()))
    }

    fn head(&self, error: ErrorCode) -> Head {
        Head { version: self.version, error, session: 0, read_committed: self.read_committed }
    }
}
