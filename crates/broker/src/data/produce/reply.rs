//! What each partition of a produce request is told.

use std::collections::BTreeSet;
use std::sync::Arc;

use log::AppendError;
use metadata::Image;
use model::{ErrorCode, NodeId, Offset, Timestamp};
use wire::batch::{RecordError, ValidationError};
use wire::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use wire::messages::{BrokerId, ProduceResponse, StrBytes, TopicName, WireUuid, text};

use crate::data::hints;
use crate::data::partition::Key;
use crate::data::plane::{CurrentLeader, Plane};
use crate::data::produce::{Refusal, Written, settled};
use crate::server::{ListenerSpec, Reply};

/// From this version on an answer explains itself.
const MESSAGES_FROM: i16 = 8;
/// From this version on it tells where the leader is (KIP-951).
const LEADERS_FROM: i16 = 10;
/// From this version on it tells where the log begins.
const LOG_START_FROM: i16 = 5;

/// An append's result.
pub(super) struct Done {
    pub(super) base: Offset,
    pub(super) log_append_time: Option<Timestamp>,
    pub(super) log_start: Offset,
    pub(super) written: Written,
}

/// The answer of one partition.
pub(super) struct PartitionReply {
    /// What must happen before it is true.
    pub(super) waits_for: Option<Written>,
    response: PartitionProduceResponse,
    /// Where it was appended: it may turn out later that somebody else leads by now.
    key: Option<Key>,
    leader: Option<CurrentLeader>,
}

/// The answers of one topic.
pub(super) struct TopicReply {
    pub(super) name: TopicName,
    pub(super) id: WireUuid,
    pub(super) partitions: Vec<PartitionReply>,
}

/// The answers of one request.
pub(super) struct Replies {
    pub(super) topics: Vec<TopicReply>,
    version: i16,
    listener: Arc<ListenerSpec>,
}

impl PartitionReply {
    pub(super) fn new(index: i32, outcome: Result<Done, Refusal>) -> Self {
        let response = PartitionProduceResponse::default().with_index(index);
        match outcome {
            Ok(done) => Self {
                key: Some(done.written.partition.key),
                waits_for: Some(done.written),
                response: response
                    .with_base_offset(done.base.get())
                    .with_log_append_time_ms(done.log_append_time.map_or(-1, Timestamp::get))
                    .with_log_start_offset(done.log_start.get()),
                leader: None,
            },
            Err(refusal) => {
                let message = match &refusal {
                    Refusal::Code(_) => None,
                    other => Some(text(&other.to_string())),
                };
                let response = refused(response, refusal.code())
                    .with_error_message(message.clone())
                    .with_record_errors(record_errors(&refusal, message));
                Self { key: None, waits_for: None, response, leader: None }
            }
        }
    }

    pub(super) fn with_leader(self, leader: Option<CurrentLeader>) -> Self {
        Self { leader, ..self }
    }

    pub(super) fn code(&self) -> ErrorCode {
        ErrorCode::from_code(self.response.error_code)
    }

    /// What was appended did not become true.
    pub(super) fn fail(&mut self, code: ErrorCode) {
        self.response = refused(std::mem::take(&mut self.response), code);
    }

    /// Says who leads now, if that came out while the batch was waited for.
    fn name_leader(&mut self, image: &Image) {
        if self.leader.is_none() && self.code() == ErrorCode::NotLeaderOrFollower {
            self.leader =
                self.key.and_then(|(topic, index)| Plane::current_leader(image, topic, index.get()));
        }
    }

    fn finish(self, version: i16) -> PartitionProduceResponse {
        let mut response = self.response;
        if version < MESSAGES_FROM {
            response = response.with_error_message(None).with_record_errors(Vec::new());
        }
        if version < LOG_START_FROM {
            response = response.with_log_start_offset(-1);
        }
        match self.leader.filter(|_| version >= LEADERS_FROM) {
            None => response,
            Some(leader) => response.with_current_leader(
                LeaderIdAndEpoch::default()
                    .with_leader_id(BrokerId(leader.node.get()))
                    .with_leader_epoch(leader.epoch.get()),
            ),
        }
    }
}

fn refused(response: PartitionProduceResponse, code: ErrorCode) -> PartitionProduceResponse {
    response
        .with_error_code(code.code())
        .with_base_offset(-1)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(-1)
}

fn record_errors(refusal: &Refusal, message: Option<StrBytes>) -> Vec<BatchIndexAndErrorMessage> {
    let Refusal::Append(AppendError::Invalid(invalid)) = refusal else { return Vec::new() };
    let indexes = match invalid {
        ValidationError::Records { indexes, .. } => indexes.as_slice(),
        ValidationError::Record(RecordError::OffsetDelta { index, .. }) => std::slice::from_ref(index),
        _ => &[],
    };
    let named = indexes.iter().map(|&index| {
        BatchIndexAndErrorMessage::default()
            .with_batch_index(index)
            .with_batch_index_error_message(message.clone())
    });
    named.collect()
}

impl Replies {
    pub(super) fn new(version: i16, listener: Arc<ListenerSpec>) -> Self {
        Self { topics: Vec::new(), version, listener }
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = &PartitionReply> {
        self.topics.iter().flat_map(|topic| &topic.partitions)
    }

    pub(super) fn partitions_mut(&mut self) -> impl Iterator<Item = &mut PartitionReply> {
        self.topics.iter_mut().flat_map(|topic| &mut topic.partitions)
    }

    /// Decides what need not be waited for.
    pub(super) fn settle(&mut self, needs_all: bool) {
        for reply in self.partitions_mut() {
            let outcome = reply.waits_for.as_ref().and_then(|written| settled(written, needs_all));
            if let Some(outcome) = outcome {
                reply.waits_for = None;
                if let Err(code) = outcome {
                    reply.fail(code);
                }
            }
        }
    }

    /// The response.
    pub(super) fn finish(mut self, plane: &Plane) -> Reply {
        let version = self.version;
        let picture = plane.options.published.get();
        self.partitions_mut().for_each(|reply| reply.name_leader(&picture.image));
        let leaders: BTreeSet<NodeId> = match version {
            LEADERS_FROM.. => self.partitions().filter_map(|reply| reply.leader).map(|it| it.node).collect(),
            _ => BTreeSet::new(),
        };
        let endpoints = hints::endpoints(&picture.image, &self.listener.name, &leaders).map(|endpoint| {
            NodeEndpoint::default()
                .with_node_id(BrokerId(endpoint.node.get()))
                .with_host(text(endpoint.host))
                .with_port(i32::from(endpoint.port))
                .with_rack(endpoint.rack.map(text))
        });
        let response = ProduceResponse::default().with_node_endpoints(endpoints.collect());
        let topics = self.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.into_iter().map(|reply| reply.finish(version));
            TopicProduceResponse::default()
                .with_name(topic.name)
                .with_topic_id(topic.id)
                .with_partition_responses(partitions.collect())
        });
        Reply::message(response.with_responses(topics.collect()))
    }
}
