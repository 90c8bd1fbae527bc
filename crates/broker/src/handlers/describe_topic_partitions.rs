//! DescribeTopicPartitions (KIP-966): partitions with their eligible leaders, in pages.

use std::collections::BTreeSet;

use metadata::{Partition, Topic};
use model::{ErrorCode, NodeId, PartitionIndex, TopicName};
use wire::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use wire::messages::{
    BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, to_wire_uuid, topic,
};

use crate::context::Context;
use crate::handlers::view::{self, TOPIC_OPERATIONS};
use crate::publish::Picture;

/// Partitions of one answer, whatever the client would take: `max.request.partition.size.limit`.
const PARTITIONS_MAX: i32 = 2_000;

/// One page: topics by name, from the cursor on.
pub fn handle(
    context: &Context,
    listener: &str,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let picture = context.published.get();
    let (first, first_partition) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.to_string(), cursor.partition_index),
        None => (String::new(), 0),
    };
    let asked: BTreeSet<String> = request.topics.iter().map(|asked| asked.name.to_string()).collect();
    let names: BTreeSet<String> = if asked.is_empty() {
        picture.image.topics().map(|topic| topic.name.as_str().to_owned()).collect()
    } else {
        asked
    };
    let room = request.response_partition_limit.clamp(1, PARTITIONS_MAX);
    let mut page = Page {
        picture: &picture,
        listener,
        room: usize::try_from(room).expect("clamped to at least 1"),
        topics: Vec::new(),
        next: None,
    };
    for name in names.range(first.clone()..) {
        let from = if *name == first { first_partition } else { 0 };
        page.add(name, from);
        if page.next.is_some() {
            break;
        }
    }
    DescribeTopicPartitionsResponse::default().with_topics(page.topics).with_next_cursor(page.next)
}

struct Page<'a> {
    picture: &'a Picture,
    listener: &'a str,
    room: usize,
    topics: Vec<DescribeTopicPartitionsResponseTopic>,
    next: Option<Cursor>,
}

impl Page<'_> {
    fn add(&mut self, name: &str, from: i32) {
        if self.room == 0 {
            self.next = Some(cursor(name, from));
            return;
        }
        let response = DescribeTopicPartitionsResponseTopic::default().with_name(Some(topic(name)));
        let found = match self.picture.image.topic(name) {
            Some(found) => Ok(found),
            None if TopicName::new(name).is_err() => Err(ErrorCode::InvalidTopicException),
            None => Err(ErrorCode::UnknownTopicOrPartition),
        };
        match found {
            Ok(found) => self.add_partitions(found, from, response),
            Err(code) => self.topics.push(response.with_error_code(code.code())),
        }
    }

    fn add_partitions(&mut self, found: &Topic, from: i32, response: DescribeTopicPartitionsResponseTopic) {
        let mut rest = found.partitions().filter(|(index, _)| index.get() >= from);
        let shown: Vec<_> =
            rest.by_ref().take(self.room).map(|(index, partition)| self.describe(index, partition)).collect();
        self.next = rest.next().map(|(index, _)| cursor(found.name.as_str(), index.get()));
        self.room -= shown.len();
        self.topics.push(
            response
                .with_topic_id(to_wire_uuid(found.id))
                .with_is_internal(view::is_internal(found.name.as_str()))
                .with_partitions(shown)
                .with_topic_authorized_operations(TOPIC_OPERATIONS),
        );
    }

    fn describe(
        &self,
        index: PartitionIndex,
        partition: &Partition,
    ) -> DescribeTopicPartitionsResponsePartition {
        let image = &self.picture.image;
        let alive = |node: &NodeId| image.broker(*node).is_some_and(|broker| !broker.fenced);
        let leader = partition.leader.filter(alive);
        let error = if leader.is_some() { ErrorCode::None } else { ErrorCode::LeaderNotAvailable };
        DescribeTopicPartitionsResponsePartition::default()
            .with_error_code(error.code())
            .with_partition_index(index.get())
            .with_leader_id(BrokerId(leader.map_or(-1, NodeId::get)))
            .with_leader_epoch(partition.leader_epoch.get())
            .with_replica_nodes(view::wire_ids(&partition.replicas))
            .with_isr_nodes(view::wire_ids(&partition.isr))
            .with_eligible_leader_replicas(Some(view::wire_ids(&partition.elr)))
            .with_last_known_elr(Some(view::wire_ids(&partition.last_known_elr)))
            .with_offline_replicas(view::wire_ids(&view::offline_replicas(image, partition, self.listener)))
    }
}

fn cursor(name: &str, partition: i32) -> Cursor {
    Cursor::default().with_topic_name(topic(name)).with_partition_index(partition)
}
