//! AssignReplicasToDirs (KIP-858): a broker says in which of its directories replicas lie.

use metadata::{Image, Partition};
use model::{DirectoryId, ErrorCode, NodeId, PartitionIndex};
use proto::metadata::MetadataRecord;
use wire::messages::assign_replicas_to_dirs_response::{DirectoryData, PartitionData, TopicData};
use wire::messages::{AssignReplicasToDirsRequest, AssignReplicasToDirsResponse, WireUuid, from_wire_uuid};

use crate::decision::Decision;
use crate::fence::{Fate, TopicRules, move_partitions};
use crate::heartbeat::{StaleBroker, speaker};
use crate::partition_change::PartitionChange;
use crate::view::{Place, View};

/// Why one assignment is not noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssignError {
    /// No such topic.
    #[error("the topic is unknown")]
    UnknownTopic,
    /// No such partition.
    #[error("the partition is unknown")]
    UnknownPartition,
    /// The broker holds no replica of it.
    #[error("the broker holds no replica of the partition")]
    NotReplica,
}

impl AssignError {
    /// What the broker is told.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::UnknownTopic => ErrorCode::UnknownTopicId,
            Self::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
            Self::NotReplica => ErrorCode::NotLeaderOrFollower,
        }
    }
}

/// Notes where replicas lie. Those in a directory that is not online are lost to their partitions.
pub fn decide(
    view: &View<'_>,
    request: &AssignReplicasToDirsRequest,
) -> Result<Decision<AssignReplicasToDirsResponse>, StaleBroker> {
    let broker = speaker(view, *request.broker_id, request.broker_epoch)?;
    let mut records = Vec::new();
    let mut offline: Vec<Place> = Vec::new();
    let mut directories = Vec::with_capacity(request.directories.len());
    for asked in &request.directories {
        let directory = from_wire_uuid(asked.id);
        let is_online = broker.log_dirs.contains(&directory);
        let mut topics = Vec::with_capacity(asked.topics.len());
        for topic in &asked.topics {
            let answers = topic.partitions.iter().map(|partition| {
                let place = place(topic.topic_id, partition.partition_index);
                let found = find(view.image, place, broker.id);
                if let Ok(found) = found {
                    records.extend(assign(view, place, found, broker.id, directory));
                    offline.extend((!is_online).then_some(place));
                }
                let code = found.err().map_or(ErrorCode::None, AssignError::code);
                PartitionData::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(code.code())
            });
            let answers = answers.collect();
            topics.push(TopicData::default().with_topic_id(topic.topic_id).with_partitions(answers));
        }
        directories.push(DirectoryData::default().with_id(asked.id).with_topics(topics));
    }
    move_partitions(view, Fate::Leaves(broker.id), offline, &mut records);
    Ok(Decision::new(records, AssignReplicasToDirsResponse::default().with_directories(directories)))
}

/// The answer to a broker that must register again.
pub fn refuse(error: &StaleBroker) -> AssignReplicasToDirsResponse {
    AssignReplicasToDirsResponse::default().with_error_code(error.code().code())
}

fn place(topic: WireUuid, index: i32) -> Place {
    (from_wire_uuid(topic), PartitionIndex::new(index))
}

fn find(image: &Image, (topic, index): Place, node: NodeId) -> Result<&Partition, AssignError> {
    let topic = image.topic_by_id(topic).ok_or(AssignError::UnknownTopic)?;
    let partition = topic.partition(index).ok_or(AssignError::UnknownPartition)?;
    if partition.replicas.contains(&node) { Ok(partition) } else { Err(AssignError::NotReplica) }
}

/// The record that notes it; `None` when it is known.
fn assign(
    view: &View<'_>,
    place: Place,
    partition: &Partition,
    node: NodeId,
    directory: DirectoryId,
) -> Option<MetadataRecord> {
    let topic = view.image.topic_by_id(place.0)?;
    let mut change = PartitionChange::new(partition, TopicRules::of(view, topic).for_partition(partition));
    change.directories.insert(node, directory);
    let record = change.build(place, |node| view.is_active(node), |node| view.default_dir(node));
    record.map(MetadataRecord::from)
}

#[cfg(test)]
mod tests {
    use wire::messages::assign_replicas_to_dirs_request::{DirectoryData, PartitionData, TopicData};
    use wire::messages::{AssignReplicasToDirsRequest, BrokerId, to_wire_uuid};

    use super::decide;
    use crate::testing::{assert_lines, cluster, directory, topic_id};

    /// Broker 1 says that `place` lies in `dir`.
    #[track_caller]
    fn check(place: &str, dir: i32, outcome: &str) {
        let mut cluster = cluster(
            "
            broker 1 dirs=1,8
            broker 2
            t-0 replicas=1,2 isr=1,2 leader=1
            t-1 replicas=2 isr=2 leader=2
            ",
        );
        let (topic, index) = place.rsplit_once('-').expect("topic-partition");
        let partition = PartitionData::default().with_partition_index(index.parse().expect("an index"));
        let topic = TopicData::default()
            .with_topic_id(to_wire_uuid(topic_id(topic)))
            .with_partitions(vec![partition]);
        let directory =
            DirectoryData::default().with_id(to_wire_uuid(directory(dir))).with_topics(vec![topic]);
        let request = AssignReplicasToDirsRequest::default()
            .with_broker_id(BrokerId(1))
            .with_broker_epoch(101)
            .with_directories(vec![directory]);
        let decision = decide(&cluster.view(), &request).expect("the registered run");
        let (records, response) = cluster.take(decision);
        let code = response.directories[0].topics[0].partitions[0].error_code;
        assert_lines(&format!("{records}\n-> {}", model::ErrorCode::from_code(code)), outcome);
    }

    #[test]
    fn a_replicas_directory_is_noted_when_it_is_new() {
        check("t-0", 8, "t-0 directories\n -> NONE");
        check("t-0", 1, "-> NONE");
    }

    #[test]
    fn a_replica_in_a_directory_that_is_not_online_is_lost() {
        check("t-0", 9, "t-0 directories\n t-0 leader=2 isr=2\n -> NONE");
    }

    #[test]
    fn what_the_broker_does_not_hold_is_refused() {
        check("t-1", 8, "-> NOT_LEADER_OR_FOLLOWER");
        check("t-7", 8, "-> UNKNOWN_TOPIC_OR_PARTITION");
        check("u-0", 8, "-> UNKNOWN_TOPIC_ID");
    }
}
