//! An error in the shape of any API's response.
//!
//! Some responses have one error code at their head, some one an item, some
//! both; a node that cannot serve a request must still answer each item of it,
//! or the client waits for items that never come. `tests/bounds.rs` asks every
//! served version for one.

mod groups;
mod transactions;

use model::ErrorCode;

use crate::messages::*;

/// The response that answers every part of `request`, as of `version`, with `error`. `None` for requests
/// that this cluster does not serve. `message`, where the API has room for one, tells what no code can.
pub fn respond(
    request: &RequestKind,
    version: i16,
    error: ErrorCode,
    message: Option<&str>,
) -> Option<ResponseKind> {
    let answer = Answer { code: error.code(), message: message.map(text) };
    Some(match request {
        RequestKind::Produce(request) => answer.produce(request).into(),
        RequestKind::Fetch(request) => answer.fetch(request, version).into(),
        RequestKind::ListOffsets(request) => answer.list_offsets(request).into(),
        RequestKind::Metadata(request) => answer.metadata(request, version).into(),
        RequestKind::FindCoordinator(request) => answer.find_coordinator(request, version).into(),
        RequestKind::CreateTopics(request) => answer.create_topics(request).into(),
        RequestKind::DeleteTopics(request) => answer.delete_topics(request, version).into(),
        RequestKind::DeleteRecords(request) => answer.delete_records(request).into(),
        RequestKind::OffsetForLeaderEpoch(request) => answer.offset_for_leader_epoch(request).into(),
        RequestKind::DescribeConfigs(request) => answer.describe_configs(request).into(),
        RequestKind::AlterConfigs(request) => answer.alter_configs(request).into(),
        RequestKind::IncrementalAlterConfigs(request) => answer.incremental_alter_configs(request).into(),
        RequestKind::CreatePartitions(request) => answer.create_partitions(request).into(),
        RequestKind::ElectLeaders(request) => answer.elect_leaders(request, version).into(),
        RequestKind::AlterPartitionReassignments(request) => answer.reassign(request).into(),
        RequestKind::AlterReplicaLogDirs(request) => answer.alter_replica_log_dirs(request).into(),
        RequestKind::DescribeTopicPartitions(request) => answer.describe_topic_partitions(request).into(),
        RequestKind::WriteTxnMarkers(request) => answer.write_txn_markers(request).into(),
        RequestKind::DescribeProducers(request) => answer.describe_producers(request).into(),
        RequestKind::CreateAcls(request) => answer.create_acls(request).into(),
        RequestKind::DeleteAcls(request) => answer.delete_acls(request).into(),
        other => {
            return groups::respond(other, version, answer.code)
                .or_else(|| transactions::respond(other, version, answer.code))
                .or_else(|| answer.at_the_head(other));
        }
    })
}

struct Answer {
    code: i16,
    message: Option<StrBytes>,
}

impl Answer {
    /// The responses whose one code stands at their head.
    fn at_the_head(&self, request: &RequestKind) -> Option<ResponseKind> {
        let code = self.code;
        let message = self.message.clone();
        Some(match request {
            RequestKind::ApiVersions(_) => ApiVersionsResponse::default().with_error_code(code).into(),
            RequestKind::SaslHandshake(_) => SaslHandshakeResponse::default().with_error_code(code).into(),
            RequestKind::SaslAuthenticate(_) => {
                SaslAuthenticateResponse::default().with_error_code(code).with_error_message(message).into()
            }
            RequestKind::ListPartitionReassignments(_) => ListPartitionReassignmentsResponse::default()
                .with_error_code(code)
                .with_error_message(message)
                .into(),
            RequestKind::DescribeAcls(_) => {
                DescribeAclsResponse::default().with_error_code(code).with_error_message(message).into()
            }
            RequestKind::ListConfigResources(_) => {
                ListConfigResourcesResponse::default().with_error_code(code).into()
            }
            RequestKind::DescribeLogDirs(_) => {
                DescribeLogDirsResponse::default().with_error_code(code).into()
            }
            RequestKind::DescribeQuorum(_) => {
                DescribeQuorumResponse::default().with_error_code(code).with_error_message(message).into()
            }
            RequestKind::AlterPartition(_) => AlterPartitionResponse::default().with_error_code(code).into(),
            RequestKind::UpdateFeatures(_) => {
                UpdateFeaturesResponse::default().with_error_code(code).with_error_message(message).into()
            }
            RequestKind::Envelope(_) => EnvelopeResponse::default().with_error_code(code).into(),
            RequestKind::FetchSnapshot(_) => FetchSnapshotResponse::default().with_error_code(code).into(),
            RequestKind::DescribeCluster(_) => {
                DescribeClusterResponse::default().with_error_code(code).with_error_message(message).into()
            }
            RequestKind::BrokerRegistration(_) => {
                BrokerRegistrationResponse::default().with_error_code(code).into()
            }
            RequestKind::BrokerHeartbeat(_) => {
                BrokerHeartbeatResponse::default().with_error_code(code).into()
            }
            RequestKind::UnregisterBroker(_) => {
                UnregisterBrokerResponse::default().with_error_code(code).with_error_message(message).into()
            }
            RequestKind::AllocateProducerIds(_) => {
                AllocateProducerIdsResponse::default().with_error_code(code).into()
            }
            RequestKind::ControllerRegistration(_) => ControllerRegistrationResponse::default()
                .with_error_code(code)
                .with_error_message(message)
                .into(),
            RequestKind::AssignReplicasToDirs(_) => {
                AssignReplicasToDirsResponse::default().with_error_code(code).into()
            }
            _ => return None,
        })
    }

    fn create_acls(&self, request: &CreateAclsRequest) -> CreateAclsResponse {
        use create_acls_response::AclCreationResult;
        let refused =
            AclCreationResult::default().with_error_code(self.code).with_error_message(self.message.clone());
        CreateAclsResponse::default().with_results(vec![refused; request.creations.len()])
    }

    fn delete_acls(&self, request: &DeleteAclsRequest) -> DeleteAclsResponse {
        use delete_acls_response::DeleteAclsFilterResult;
        let refused = DeleteAclsFilterResult::default()
            .with_error_code(self.code)
            .with_error_message(self.message.clone());
        DeleteAclsResponse::default().with_filter_results(vec![refused; request.filters.len()])
    }

    fn write_txn_markers(&self, request: &WriteTxnMarkersRequest) -> WriteTxnMarkersResponse {
        use write_txn_markers_response::*;
        let partition = |&index: &i32| {
            WritableTxnMarkerPartitionResult::default().with_partition_index(index).with_error_code(self.code)
        };
        let markers = request.markers.iter().map(|marker| {
            let topics = marker.topics.iter().map(|topic| {
                WritableTxnMarkerTopicResult::default()
                    .with_name(topic.name.clone())
                    .with_partitions(topic.partition_indexes.iter().map(partition).collect())
            });
            WritableTxnMarkerResult::default()
                .with_producer_id(marker.producer_id)
                .with_topics(topics.collect())
        });
        WriteTxnMarkersResponse::default().with_markers(markers.collect())
    }

    fn describe_producers(&self, request: &DescribeProducersRequest) -> DescribeProducersResponse {
        use describe_producers_response::*;
        let partition = |&index: &i32| {
            PartitionResponse::default()
                .with_partition_index(index)
                .with_error_code(self.code)
                .with_error_message(self.message.clone())
        };
        let topics = request.topics.iter().map(|topic| {
            TopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(topic.partition_indexes.iter().map(partition).collect())
        });
        DescribeProducersResponse::default().with_topics(topics.collect())
    }

    fn produce(&self, request: &ProduceRequest) -> ProduceResponse {
        use produce_response::{PartitionProduceResponse, TopicProduceResponse};
        let partition = |index| {
            PartitionProduceResponse::default()
                .with_index(index)
                .with_error_code(self.code)
                .with_base_offset(-1)
                .with_error_message(self.message.clone())
        };
        let topics = request.topic_data.iter().map(|topic| {
            let partitions = topic.partition_data.iter().map(|data| partition(data.index)).collect();
            TopicProduceResponse::default()
                .with_name(topic.name.clone())
                .with_topic_id(topic.topic_id)
                .with_partition_responses(partitions)
        });
        ProduceResponse::default().with_responses(topics.collect())
    }

    /// From version 7 the head has a code and no partition needs one.
    fn fetch(&self, request: &FetchRequest, version: i16) -> FetchResponse {
        use fetch_response::{FetchableTopicResponse, PartitionData};
        if version >= 7 {
            return FetchResponse::default().with_error_code(self.code);
        }
        let partition = |index| {
            PartitionData::default()
                .with_partition_index(index)
                .with_error_code(self.code)
                .with_high_watermark(-1)
                .with_records(Some(Bytes::new()))
        };
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|data| partition(data.partition)).collect();
            FetchableTopicResponse::default().with_topic(topic.topic.clone()).with_partitions(partitions)
        });
        FetchResponse::default().with_responses(topics.collect())
    }

    fn list_offsets(&self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        use list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
        let partition = |index| {
            ListOffsetsPartitionResponse::default()
                .with_partition_index(index)
                .with_error_code(self.code)
                .with_offset(-1)
                .with_timestamp(-1)
        };
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|data| partition(data.partition_index)).collect();
            ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions)
        });
        ListOffsetsResponse::default().with_topics(topics.collect())
    }

    fn metadata(&self, request: &MetadataRequest, version: i16) -> MetadataResponse {
        let topics = request.topics.iter().flatten().map(|topic| {
            metadata_response::MetadataResponseTopic::default()
                .with_error_code(self.code)
                // Before version 12 a topic must have a name.
                .with_name(topic.name.clone().or((version < 12).then(TopicName::default)))
                .with_topic_id(topic.topic_id)
        });
        let head = if version >= 13 { self.code } else { 0 };
        MetadataResponse::default().with_error_code(head).with_topics(topics.collect())
    }

    /// From version 4 several keys are asked for at once.
    fn find_coordinator(&self, request: &FindCoordinatorRequest, version: i16) -> FindCoordinatorResponse {
        let nobody = BrokerId(-1);
        if version < 4 {
            let message = self.message.clone().filter(|_| version >= 1);
            return FindCoordinatorResponse::default()
                .with_error_code(self.code)
                .with_error_message(message)
                .with_node_id(nobody)
                .with_port(-1);
        }
        let coordinators = request.coordinator_keys.iter().map(|key| {
            find_coordinator_response::Coordinator::default()
                .with_key(key.clone())
                .with_error_code(self.code)
                .with_error_message(self.message.clone())
                .with_node_id(nobody)
                .with_port(-1)
        });
        FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
    }

    fn create_topics(&self, request: &CreateTopicsRequest) -> CreateTopicsResponse {
        let topics = request.topics.iter().map(|topic| {
            create_topics_response::CreatableTopicResult::default()
                .with_name(topic.name.clone())
                .with_error_code(self.code)
                .with_error_message(self.message.clone())
        });
        CreateTopicsResponse::default().with_topics(topics.collect())
    }

    /// Version 6 names topics by id as well.
    fn delete_topics(&self, request: &DeleteTopicsRequest, version: i16) -> DeleteTopicsResponse {
        use delete_topics_response::DeletableTopicResult;
        let result = |name: Option<TopicName>, id: WireUuid| {
            DeletableTopicResult::default()
                .with_name(name)
                .with_topic_id(id)
                .with_error_code(self.code)
                .with_error_message(self.message.clone())
        };
        let results = if version >= 6 {
            request.topics.iter().map(|topic| result(topic.name.clone(), topic.topic_id)).collect()
        } else {
            request.topic_names.iter().map(|name| result(Some(name.clone()), WireUuid::nil())).collect()
        };
        DeleteTopicsResponse::default().with_responses(results)
    }

    fn delete_records(&self, request: &DeleteRecordsRequest) -> DeleteRecordsResponse {
        use delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
        let partition = |index| {
            DeleteRecordsPartitionResult::default()
                .with_partition_index(index)
                .with_low_watermark(-1)
                .with_error_code(self.code)
        };
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|data| partition(data.partition_index)).collect();
            DeleteRecordsTopicResult::default().with_name(topic.name.clone()).with_partitions(partitions)
        });
        DeleteRecordsResponse::default().with_topics(topics.collect())
    }

    fn offset_for_leader_epoch(&self, request: &OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
        use offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
        let partition = |index| EpochEndOffset::default().with_partition(index).with_error_code(self.code);
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|data| partition(data.partition)).collect();
            OffsetForLeaderTopicResult::default().with_topic(topic.topic.clone()).with_partitions(partitions)
        });
        OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
    }

    fn describe_configs(&self, request: &DescribeConfigsRequest) -> DescribeConfigsResponse {
        let results = request.resources.iter().map(|resource| {
            describe_configs_response::DescribeConfigsResult::default()
                .with_error_code(self.code)
                .with_error_message(self.message.clone())
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
        });
        DescribeConfigsResponse::default().with_results(results.collect())
    }

    fn alter_configs(&self, request: &AlterConfigsRequest) -> AlterConfigsResponse {
        let responses = request.resources.iter().map(|resource| {
            alter_configs_response::AlterConfigsResourceResponse::default()
                .with_error_code(self.code)
                .with_error_message(self.message.clone())
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
        });
        AlterConfigsResponse::default().with_responses(responses.collect())
    }

    fn incremental_alter_configs(
        &self,
        request: &IncrementalAlterConfigsRequest,
    ) -> IncrementalAlterConfigsResponse {
        let responses = request.resources.iter().map(|resource| {
            incremental_alter_configs_response::AlterConfigsResourceResponse::default()
                .with_error_code(self.code)
                .with_error_message(self.message.clone())
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
        });
        IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
    }

    fn create_partitions(&self, request: &CreatePartitionsRequest) -> CreatePartitionsResponse {
        let results = request.topics.iter().map(|topic| {
            create_partitions_response::CreatePartitionsTopicResult::default()
                .with_name(topic.name.clone())
                .with_error_code(self.code)
                .with_error_message(self.message.clone())
        });
        CreatePartitionsResponse::default().with_results(results.collect())
    }

    /// The code stands beside each named partition and, from version 1, at the head too.
    fn elect_leaders(&self, request: &ElectLeadersRequest, version: i16) -> ElectLeadersResponse {
        use elect_leaders_response::{PartitionResult, ReplicaElectionResult};
        let partition = |&index: &i32| {
            PartitionResult::default()
                .with_partition_id(index)
                .with_error_code(self.code)
                .with_error_message(self.message.clone())
        };
        let results = request.topic_partitions.iter().flatten().map(|topic| {
            ReplicaElectionResult::default()
                .with_topic(topic.topic.clone())
                .with_partition_result(topic.partitions.iter().map(partition).collect())
        });
        ElectLeadersResponse::default()
            .with_error_code(if version >= 1 { self.code } else { 0 })
            .with_replica_election_results(results.collect())
    }

    /// The code stands at the head and beside each named partition.
    fn reassign(&self, request: &AlterPartitionReassignmentsRequest) -> AlterPartitionReassignmentsResponse {
        use alter_partition_reassignments_response::{
            ReassignablePartitionResponse, ReassignableTopicResponse,
        };
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                ReassignablePartitionResponse::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(self.code)
                    .with_error_message(self.message.clone())
            });
            ReassignableTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        });
        AlterPartitionReassignmentsResponse::default()
            .with_error_code(self.code)
            .with_error_message(self.message.clone())
            .with_responses(topics.collect())
    }

    fn alter_replica_log_dirs(&self, request: &AlterReplicaLogDirsRequest) -> AlterReplicaLogDirsResponse {
        use alter_replica_log_dirs_response::{
            AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
        };
        let topics = request.dirs.iter().flat_map(|dir| &dir.topics).map(|topic| {
            let partition = |partition: &i32| {
                AlterReplicaLogDirPartitionResult::default()
                    .with_partition_index(*partition)
                    .with_error_code(self.code)
            };
            AlterReplicaLogDirTopicResult::default()
                .with_topic_name(topic.name.clone())
                .with_partitions(topic.partitions.iter().map(partition).collect())
        });
        AlterReplicaLogDirsResponse::default().with_results(topics.collect())
    }

    fn describe_topic_partitions(
        &self,
        request: &DescribeTopicPartitionsRequest,
    ) -> DescribeTopicPartitionsResponse {
        let topics = request.topics.iter().map(|topic| {
            describe_topic_partitions_response::DescribeTopicPartitionsResponseTopic::default()
                .with_error_code(self.code)
                .with_name(Some(topic.name.clone()))
        });
        DescribeTopicPartitionsResponse::default().with_topics(topics.collect())
    }
}
