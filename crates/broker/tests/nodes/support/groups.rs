//! What the tests do with groups: a member that finds its coordinator and asks it until it serves.

use std::time::Duration;

use model::ErrorCode;
use wire::messages::join_group_request::JoinGroupRequestProtocol;
use wire::messages::leave_group_request::MemberIdentity;
use wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use wire::messages::offset_fetch_request::OffsetFetchRequestTopic;
use wire::messages::sync_group_request::SyncGroupRequestAssignment;
use wire::messages::{
    Bytes, FindCoordinatorRequest, GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, RequestKind, ResponseKind, StrBytes,
    SyncGroupRequest, text, topic,
};

use super::{Client, Cluster};

/// So often a coordinator is looked for that moves or loads.
const TRIES: usize = 200;

/// One member of a group, or an administrator as long as it did not join.
pub struct Group {
    id: GroupId,
    pub member: StrBytes,
    pub generation: i32,
    /// The node that is asked for the coordinator.
    pub at: i32,
}

/// The coordinator of `key`.
pub async fn find(client: &Client, version: i16, kind: i8, key: &str) -> Result<i32, ErrorCode> {
    let request = FindCoordinatorRequest::default().with_key_type(if version == 0 { 0 } else { kind });
    let request = match version {
        4.. => request.with_coordinator_keys(vec![text(key)]),
        _ => request.with_key(text(key)),
    };
    let ResponseKind::FindCoordinator(response) = client.ask(version, request).await else {
        panic!("no coordinator")
    };
    let (code, node) = match response.coordinators.first() {
        Some(found) => (found.error_code, found.node_id),
        None => (response.error_code, response.node_id),
    };
    match ErrorCode::from_code(code) {
        ErrorCode::None => Ok(node.0),
        code => Err(code),
    }
}

fn is_passing(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::CoordinatorLoadInProgress | ErrorCode::CoordinatorNotAvailable | ErrorCode::NotCoordinator
    )
}

impl Group {
    pub fn new(id: &str) -> Self {
        Self { id: GroupId(text(id)), member: StrBytes::default(), generation: -1, at: 1 }
    }

    /// The node that coordinates it, as soon as there is one.
    pub async fn coordinator(&self, cluster: &Cluster) -> i32 {
        for _ in 0..TRIES {
            let client = cluster.client(self.at).await;
            match find(&client, 4, 0, &self.id).await {
                Ok(node) => return node,
                Err(code) => assert!(is_passing(code), "{code}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("nobody coordinates {}", self.id.as_str());
    }

    /// Asks the coordinator until `code` of its answer is none that passes.
    async fn ask(
        &self,
        cluster: &Cluster,
        version: i16,
        request: impl Into<RequestKind>,
        code: impl Fn(&ResponseKind) -> i16,
    ) -> ResponseKind {
        let request = request.into();
        for _ in 0..TRIES {
            let node = self.coordinator(cluster).await;
            if let Some(client) = cluster.try_client(node).await
                && let Some(answer) = client.try_ask(version, request.clone()).await
                && !is_passing(ErrorCode::from_code(code(&answer)))
            {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the coordinator of {} does not serve", self.id.as_str());
    }

    pub fn join_request(&self, member: &str) -> JoinGroupRequest {
        let protocol =
            JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(Bytes::new());
        JoinGroupRequest::default()
            .with_group_id(self.id.clone())
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(60_000)
            .with_member_id(text(member))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol])
    }

    /// Joins as its only member, and divides.
    pub async fn join(&mut self, cluster: &Cluster) {
        let code = |answer: &ResponseKind| match answer {
            ResponseKind::JoinGroup(response) => response.error_code,
            other => panic!("{other:?}"),
        };
        for _ in 0..2 {
            let request = self.join_request(&self.member);
            let ResponseKind::JoinGroup(response) = self.ask(cluster, 9, request, code).await else {
                panic!("no join")
            };
            self.member = response.member_id;
            self.generation = response.generation_id;
            if response.error_code == 0 {
                break;
            }
            assert_eq!(ErrorCode::from_code(response.error_code), ErrorCode::MemberIdRequired);
        }
        let assignment = SyncGroupRequestAssignment::default()
            .with_member_id(self.member.clone())
            .with_assignment(Bytes::from_static(b"all"));
        let request = SyncGroupRequest::default()
            .with_group_id(self.id.clone())
            .with_generation_id(self.generation)
            .with_member_id(self.member.clone())
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")))
            .with_assignments(vec![assignment]);
        let code = |answer: &ResponseKind| match answer {
            ResponseKind::SyncGroup(response) => response.error_code,
            other => panic!("{other:?}"),
        };
        let ResponseKind::SyncGroup(response) = self.ask(cluster, 5, request, code).await else {
            panic!("no sync")
        };
        assert_eq!((response.error_code, response.assignment.as_ref()), (0, &b"all"[..]));
    }

    pub async fn heartbeat(&self, cluster: &Cluster) -> ErrorCode {
        let request = HeartbeatRequest::default()
            .with_group_id(self.id.clone())
            .with_generation_id(self.generation)
            .with_member_id(self.member.clone());
        let code = |answer: &ResponseKind| match answer {
            ResponseKind::Heartbeat(response) => response.error_code,
            other => panic!("{other:?}"),
        };
        ErrorCode::from_code(code(&self.ask(cluster, 4, request, code).await))
    }

    pub async fn leave(&self, cluster: &Cluster) -> ErrorCode {
        let member = MemberIdentity::default().with_member_id(self.member.clone());
        let request = LeaveGroupRequest::default().with_group_id(self.id.clone()).with_members(vec![member]);
        let code = |answer: &ResponseKind| match answer {
            ResponseKind::LeaveGroup(response) => response.error_code,
            other => panic!("{other:?}"),
        };
        ErrorCode::from_code(code(&self.ask(cluster, 5, request, code).await))
    }

    fn commit_request(&self, name: &str, offsets: &[(i32, i64)]) -> OffsetCommitRequest {
        let partition = |&(index, offset): &(i32, i64)| {
            OffsetCommitRequestPartition::default().with_partition_index(index).with_committed_offset(offset)
        };
        let committed = OffsetCommitRequestTopic::default()
            .with_name(topic(name))
            .with_partitions(offsets.iter().map(partition).collect());
        OffsetCommitRequest::default()
            .with_group_id(self.id.clone())
            .with_generation_id_or_member_epoch(self.generation)
            .with_member_id(self.member.clone())
            .with_topics(vec![committed])
    }

    /// `TOPIC-PARTITION CODE` for each.
    pub async fn commit(&self, cluster: &Cluster, name: &str, offsets: &[(i32, i64)]) -> String {
        let code = |answer: &ResponseKind| match answer {
            ResponseKind::OffsetCommit(response) => {
                let mut codes = response.topics.iter().flat_map(|topic| &topic.partitions);
                codes.find(|it| is_passing(ErrorCode::from_code(it.error_code))).map_or(0, |it| it.error_code)
            }
            other => panic!("{other:?}"),
        };
        committed(self.ask(cluster, 9, self.commit_request(name, offsets), code).await)
    }

    /// The same without a second try.
    pub async fn commit_once(&self, cluster: &Cluster, name: &str, offsets: &[(i32, i64)]) -> String {
        committed(self.ask(cluster, 9, self.commit_request(name, offsets), |_| 0).await)
    }

    /// Committed offsets, in order.
    pub async fn offsets(&self, cluster: &Cluster, name: &str, partitions: &[i32]) -> String {
        let asked = OffsetFetchRequestTopic::default()
            .with_name(topic(name))
            .with_partition_indexes(partitions.to_vec());
        let request =
            OffsetFetchRequest::default().with_group_id(self.id.clone()).with_topics(Some(vec![asked]));
        let code = |answer: &ResponseKind| match answer {
            ResponseKind::OffsetFetch(response) => response.error_code,
            other => panic!("{other:?}"),
        };
        match self.ask(cluster, 7, request.with_require_stable(true), code).await {
            ResponseKind::OffsetFetch(response) => {
                let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
                let offsets: Vec<String> = partitions.map(|it| it.committed_offset.to_string()).collect();
                offsets.join(" ")
            }
            other => panic!("{other:?}"),
        }
    }

    /// `TOPIC-PARTITION CODE` for each.
    pub async fn delete_offsets(&self, cluster: &Cluster, name: &str, partitions: &[i32]) -> String {
        let partition = |&index: &i32| OffsetDeleteRequestPartition::default().with_partition_index(index);
        let asked = OffsetDeleteRequestTopic::default()
            .with_name(topic(name))
            .with_partitions(partitions.iter().map(partition).collect());
        let request = OffsetDeleteRequest::default().with_group_id(self.id.clone()).with_topics(vec![asked]);
        let code = |answer: &ResponseKind| match answer {
            ResponseKind::OffsetDelete(response) => response.error_code,
            other => panic!("{other:?}"),
        };
        let ResponseKind::OffsetDelete(response) = self.ask(cluster, 0, request, code).await else {
            panic!("no answer")
        };
        let told = response.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|it| one(&topic.name, it.partition_index, it.error_code))
        });
        told.collect::<Vec<_>>().join(" ")
    }
}

fn committed(answer: ResponseKind) -> String {
    let ResponseKind::OffsetCommit(response) = answer else { panic!("no answer") };
    let told = response.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|it| one(&topic.name, it.partition_index, it.error_code))
    });
    told.collect::<Vec<_>>().join(" ")
}

fn one(name: &str, index: i32, code: i16) -> String {
    format!("{name}-{index} {}", ErrorCode::from_code(code).name())
}
