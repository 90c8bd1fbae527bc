//! Encoding any message into a `Vec<u8>`.
//!
//! The library's own enums encode into its buffer type alone, which is slower;
//! so the kinds this cluster sends are matched here, and the rest take the
//! library's way.

use bytes::BytesMut;
use kafka_protocol::protocol::{Encodable, Request};

use crate::api::ApiKey;
use crate::messages::{self, RequestKind, ResponseKind};

macro_rules! kinds {
    ($($name:ident($request:ident))*) => {
        pub(crate) fn encode_request(request: &RequestKind, version: i16, out: &mut Vec<u8>) -> Result<(), String> {
            let written = match request {
                $(RequestKind::$name(body) => body.encode(out, version),)*
                rare => {
                    let mut bytes = BytesMut::new();
                    rare.encode(&mut bytes, version).map(|()| out.extend_from_slice(&bytes))
                }
            };
            written.map_err(|error| format!("{error:#}"))
        }

        pub(crate) fn encode_response(response: &ResponseKind, version: i16, out: &mut Vec<u8>) -> Result<(), String> {
            let written = match response {
                $(ResponseKind::$name(body) => body.encode(out, version),)*
                rare => {
                    let mut bytes = BytesMut::new();
                    rare.encode(&mut bytes, version).map(|()| out.extend_from_slice(&bytes))
                }
            };
            written.map_err(|error| format!("{error:#}"))
        }

        /// The API that a request of that kind belongs to, for the kinds this cluster sends or serves.
        pub fn api_of(request: &RequestKind) -> Option<ApiKey> {
            match request {
                $(RequestKind::$name(_) => ApiKey::try_from(<messages::$request as Request>::KEY).ok(),)*
                _ => None,
            }
        }
    };
}

kinds! {
    Produce(ProduceRequest)
    Fetch(FetchRequest)
    ListOffsets(ListOffsetsRequest)
    Metadata(MetadataRequest)
    OffsetCommit(OffsetCommitRequest)
    OffsetFetch(OffsetFetchRequest)
    FindCoordinator(FindCoordinatorRequest)
    JoinGroup(JoinGroupRequest)
    Heartbeat(HeartbeatRequest)
    LeaveGroup(LeaveGroupRequest)
    SyncGroup(SyncGroupRequest)
    DescribeGroups(DescribeGroupsRequest)
    ListGroups(ListGroupsRequest)
    SaslHandshake(SaslHandshakeRequest)
    ApiVersions(ApiVersionsRequest)
    CreateTopics(CreateTopicsRequest)
    DeleteTopics(DeleteTopicsRequest)
    DeleteRecords(DeleteRecordsRequest)
    InitProducerId(InitProducerIdRequest)
    OffsetForLeaderEpoch(OffsetForLeaderEpochRequest)
    AddPartitionsToTxn(AddPartitionsToTxnRequest)
    AddOffsetsToTxn(AddOffsetsToTxnRequest)
    EndTxn(EndTxnRequest)
    WriteTxnMarkers(WriteTxnMarkersRequest)
    TxnOffsetCommit(TxnOffsetCommitRequest)
    DescribeConfigs(DescribeConfigsRequest)
    AlterConfigs(AlterConfigsRequest)
    SaslAuthenticate(SaslAuthenticateRequest)
    AlterReplicaLogDirs(AlterReplicaLogDirsRequest)
    DescribeLogDirs(DescribeLogDirsRequest)
    CreatePartitions(CreatePartitionsRequest)
    DeleteGroups(DeleteGroupsRequest)
    ElectLeaders(ElectLeadersRequest)
    IncrementalAlterConfigs(IncrementalAlterConfigsRequest)
    AlterPartitionReassignments(AlterPartitionReassignmentsRequest)
    ListPartitionReassignments(ListPartitionReassignmentsRequest)
    OffsetDelete(OffsetDeleteRequest)
    DescribeQuorum(DescribeQuorumRequest)
    AlterPartition(AlterPartitionRequest)
    UpdateFeatures(UpdateFeaturesRequest)
    Envelope(EnvelopeRequest)
    FetchSnapshot(FetchSnapshotRequest)
    DescribeCluster(DescribeClusterRequest)
    DescribeProducers(DescribeProducersRequest)
    BrokerRegistration(BrokerRegistrationRequest)
    BrokerHeartbeat(BrokerHeartbeatRequest)
    UnregisterBroker(UnregisterBrokerRequest)
    DescribeTransactions(DescribeTransactionsRequest)
    ListTransactions(ListTransactionsRequest)
    AllocateProducerIds(AllocateProducerIdsRequest)
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatRequest)
    ConsumerGroupDescribe(ConsumerGroupDescribeRequest)
    ControllerRegistration(ControllerRegistrationRequest)
    AssignReplicasToDirs(AssignReplicasToDirsRequest)
    DescribeTopicPartitions(DescribeTopicPartitionsRequest)
    DescribeAcls(DescribeAclsRequest)
    CreateAcls(CreateAclsRequest)
    DeleteAcls(DeleteAclsRequest)
    ListConfigResources(ListConfigResourcesRequest)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{RequestKind, api_of};
    use crate::api::{Api, SERVED};

    #[test]
    fn every_served_api_has_its_kind() {
        for api in SERVED {
            let Some(body) = sample(api) else { continue };
            assert_eq!(api_of(&body), Some(api.key), "{} cannot be forwarded", api.name);
        }
    }

    /// A request of zeroes is one for most APIs: empty lists, empty strings.
    fn sample(api: &Api) -> Option<RequestKind> {
        (0..64).find_map(|len| RequestKind::decode(api.key, &mut Bytes::from(vec![0; len]), api.max).ok())
    }
}
