//! Groups through whole nodes: what a member is told, and what outlives its coordinator.

use std::time::Duration;

use crate::support::groups::{Group, find};
use crate::support::records::{batch, create, leader, produce};
use crate::support::{Client, Cluster, run};
use model::ErrorCode;
use proto::rebalances::{Rebalances, TAG};
use wire::messages::delete_topics_request::DeleteTopicState;
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::offset_commit_response::OffsetCommitResponsePartition;
use wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::messages::{
    Bytes, DeleteGroupsRequest, DeleteTopicsRequest, DescribeGroupsRequest, GroupId, HeartbeatRequest,
    ListGroupsRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest, ResponseKind, text, topic,
};

/// Few partitions, and nobody waits for more members.
const FEW: &str = "offsets.topic.num.partitions=4\ngroup.initial.rebalance.delay.ms=0\n";
const FEW_ON_ONE: &str = "offsets.topic.num.partitions=4\noffsets.topic.replication.factor=1\ngroup.initial.rebalance.delay.ms=0\n";

async fn started(size: i32, extra: &'static str) -> (Cluster, Client) {
    let cluster = Cluster::start_configured(size, size, extra).await;
    let client = cluster.client(1).await;
    create(&client, "t", 3, size.min(3) as i16, &[]).await;
    leader(&client, "t").await;
    (cluster, client)
}

#[test]
fn a_member_joins_is_heard_commits_and_reads_back_what_it_committed() {
    run(async {
        let (cluster, _client) = started(1, FEW_ON_ONE).await;
        let mut group = Group::new("g");
        group.join(&cluster).await;
        assert_eq!(group.generation, 1);
        assert_eq!(group.heartbeat(&cluster).await, ErrorCode::None);
        assert_eq!(group.commit(&cluster, "t", &[(0, 5), (2, 7)]).await, "t-0 NONE t-2 NONE");
        assert_eq!(group.offsets(&cluster, "t", &[0, 1, 2]).await, "5 -1 7");
        group.generation = 9;
        assert_eq!(group.heartbeat(&cluster).await, ErrorCode::IllegalGeneration);
        assert_eq!(group.commit(&cluster, "t", &[(0, 6)]).await, "t-0 ILLEGAL_GENERATION");
        group.generation = 1;
        assert_eq!(group.leave(&cluster).await, ErrorCode::None);
        assert_eq!(group.heartbeat(&cluster).await, ErrorCode::UnknownMemberId);
        assert_eq!(group.offsets(&cluster, "t", &[0, 1, 2]).await, "5 -1 7");
        cluster.stop_all().await;
    });
}

#[test]
fn why_a_group_rebalanced_is_told_to_whoever_asks_for_it() {
    run(async {
        let (cluster, client) = started(1, FEW_ON_ONE).await;
        let (mut one, mut two) = (Group::new("g"), Group::new("h"));
        one.join(&cluster).await;
        two.join(&cluster).await;
        assert_eq!(two.leave(&cluster).await, ErrorCode::None);
        let groups = ["g", "h"].map(|id| GroupId(text(id))).to_vec();
        let request = DescribeGroupsRequest::default().with_groups(groups);
        let ResponseKind::DescribeGroups(silent) = client.ask(6, request.clone()).await else {
            panic!("none")
        };
        assert!(silent.groups.iter().all(|group| group.unknown_tagged_fields.is_empty()));
        let asking = request.with_unknown_tagged_field(TAG, Bytes::new());
        // Before version 5 there are no tagged fields.
        client.ask(4, asking.clone()).await;
        let ResponseKind::DescribeGroups(told) = client.ask(6, asking).await else { panic!("none") };
        for group in &told.groups {
            let told = Rebalances::from_bytes(&group.unknown_tagged_fields[&TAG]).expect("it is whole");
            let told: Vec<&str> = told.rebalances.iter().map(|told| told.reason.as_str()).collect();
            let expected: &[&str] = match group.group_id.as_str() {
                "g" => &["a member joined"],
                _ => &["a member joined", "a member left"],
            };
            assert_eq!(told, expected);
        }
        cluster.stop_all().await;
    });
}

#[test]
fn what_does_not_exist_is_refused_beside_what_does() {
    run(async {
        let (cluster, _client) = started(1, FEW_ON_ONE).await;
        let group = Group::new("g");
        assert_eq!(
            group.commit(&cluster, "t", &[(7, 1), (0, 1)]).await,
            "t-7 UNKNOWN_TOPIC_OR_PARTITION t-0 NONE"
        );
        assert_eq!(group.commit(&cluster, "u", &[(0, 1)]).await, "u-0 UNKNOWN_TOPIC_OR_PARTITION");
        assert_eq!(
            group.delete_offsets(&cluster, "t", &[0, 9]).await,
            "t-9 UNKNOWN_TOPIC_OR_PARTITION t-0 NONE"
        );
        assert_eq!(group.offsets(&cluster, "t", &[0]).await, "-1");
        cluster.stop_all().await;
    });
}

#[test]
fn a_groups_coordinator_dies_and_the_group_goes_on_at_another() {
    run(async {
        let (mut cluster, _client) = started(3, FEW).await;
        let mut group = Group::new("g");
        group.join(&cluster).await;
        assert_eq!(group.commit(&cluster, "t", &[(0, 41), (1, 42)]).await, "t-0 NONE t-1 NONE");
        let first = group.coordinator(&cluster).await;
        cluster.kill(first);
        group.at = first % 3 + 1;
        assert_eq!(group.offsets(&cluster, "t", &[0, 1]).await, "41 42");
        assert_ne!(group.coordinator(&cluster).await, first);
        assert_eq!(
            group.heartbeat(&cluster).await,
            ErrorCode::None,
            "the member and its generation are kept"
        );
        assert_eq!(group.commit(&cluster, "t", &[(0, 43)]).await, "t-0 NONE");
        assert_eq!(group.offsets(&cluster, "t", &[0, 1]).await, "43 42");
    });
}

#[test]
fn groups_are_loaded_after_all_nodes_were_down() {
    run(async {
        let (mut cluster, client) = started(1, FEW_ON_ONE).await;
        let mut groups: Vec<Group> = (0..20).map(|number| Group::new(&format!("group-{number}"))).collect();
        for (number, group) in (0..).zip(&mut groups) {
            group.join(&cluster).await;
            assert_eq!(group.commit(&cluster, "t", &[(0, number)]).await, "t-0 NONE");
            assert_eq!(group.commit(&cluster, "t", &[(0, 100 + number)]).await, "t-0 NONE");
        }
        drop(client);
        cluster.stop(1).await;
        cluster.boot(1).await;
        cluster.ready(1).await;
        for (number, group) in (0..).zip(&groups) {
            assert_eq!(group.offsets(&cluster, "t", &[0]).await, (100 + number).to_string());
            assert_eq!(group.heartbeat(&cluster).await, ErrorCode::None);
        }
        cluster.stop_all().await;
    });
}

#[test]
fn a_member_that_waits_is_sent_on_when_its_coordinator_stops() {
    run(async {
        let extra = "offsets.topic.num.partitions=1\ngroup.initial.rebalance.delay.ms=30000\n";
        let (mut cluster, _client) = started(3, extra).await;
        let group = Group::new("g");
        let coordinator = group.coordinator(&cluster).await;
        let client = cluster.client(coordinator).await;
        // Version 3 needs no id first, and waits for more members.
        let joining = client.try_ask(3, group.join_request(""));
        let (joined, ()) = tokio::join!(joining, async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            cluster.stop(coordinator).await;
        });
        match joined {
            Some(ResponseKind::JoinGroup(response)) => {
                assert_eq!(ErrorCode::from_code(response.error_code), ErrorCode::NotCoordinator);
            }
            other => panic!("{other:?}"),
        }
        cluster.stop_all().await;
    });
}

#[test]
fn nobody_coordinates_until_there_are_as_many_brokers_as_replicas() {
    run(async {
        let cluster = Cluster::start_configured(1, 2, FEW).await;
        let client = cluster.client(1).await;
        for version in 0..=6 {
            assert_eq!(
                find(&client, version, 0, "g").await,
                Err(ErrorCode::CoordinatorNotAvailable),
                "{version}"
            );
        }
        assert_eq!(find(&client, 4, 1, "tx").await, Err(ErrorCode::CoordinatorNotAvailable));
        assert_eq!(find(&client, 6, 2, "s").await, Err(ErrorCode::InvalidRequest));
        cluster.stop_all().await;
    });
}

#[test]
fn every_version_finds_the_same_coordinator_and_others_say_that_they_are_none() {
    run(async {
        let (cluster, client) = started(3, FEW).await;
        let group = Group::new("g");
        let coordinator = group.coordinator(&cluster).await;
        for version in 0..=6 {
            assert_eq!(find(&client, version, 0, "g").await, Ok(coordinator), "{version}");
        }
        assert!(find(&client, 4, 1, "a-transaction").await.is_ok(), "its topic is created too");
        let other = cluster.client(coordinator % 3 + 1).await;
        let request = HeartbeatRequest::default().with_group_id(GroupId(text("g"))).with_member_id(text("m"));
        match other.ask(4, request).await {
            ResponseKind::Heartbeat(response) => {
                assert_eq!(ErrorCode::from_code(response.error_code), ErrorCode::NotCoordinator);
            }
            other => panic!("{other:?}"),
        }
        cluster.stop_all().await;
    });
}

#[test]
fn internal_topics_are_marked_and_closed_to_producers() {
    run(async {
        let (cluster, client) = started(1, FEW_ON_ONE).await;
        Group::new("g").coordinator(&cluster).await;
        let asked = MetadataRequestTopic::default().with_name(Some(topic("__consumer_offsets")));
        let request = MetadataRequest::default().with_topics(Some(vec![asked]));
        let ResponseKind::Metadata(response) = client.ask(12, request).await else { panic!("no metadata") };
        assert!(response.topics[0].is_internal);
        assert_eq!(response.topics[0].partitions.len(), 4);
        let written = produce(&client, "__consumer_offsets", -1, batch(&["mine"], None)).await;
        assert_eq!(written, Err(ErrorCode::InvalidTopicException));
        cluster.stop_all().await;
    });
}

#[test]
fn a_commit_that_too_few_replicas_have_is_not_acknowledged_nor_seen() {
    run(async {
        let extra =
            "offsets.topic.num.partitions=6\noffsets.topic.replication.factor=2\nmin.insync.replicas=2\n";
        let mut cluster = Cluster::start_configured(1, 3, extra).await;
        let client = cluster.client(1).await;
        create(&client, "t", 1, 3, &[]).await;
        leader(&client, "t").await;
        // One whose coordinator's only follower is not the only voter.
        let (group, follower) = {
            let mut found = None;
            for number in 0..20 {
                let id = format!("g{number}");
                let group = Group::new(&id);
                let coordinator = group.coordinator(&cluster).await;
                let replicas = replicas_of(&client, coordinator::partition_of(&id, 6)).await;
                found = replicas
                    .into_iter()
                    .find(|node| *node != coordinator && *node != 1)
                    .map(|it| (group, it));
                if found.is_some() {
                    break;
                }
            }
            found.expect("some partition has such replicas")
        };
        assert_eq!(group.commit(&cluster, "t", &[(0, 1)]).await, "t-0 NONE");
        cluster.stop(follower).await;
        assert_eq!(group.commit_once(&cluster, "t", &[(0, 2)]).await, "t-0 COORDINATOR_NOT_AVAILABLE");
        assert_eq!(group.offsets(&cluster, "t", &[0]).await, "1");
        cluster.boot(follower).await;
        cluster.ready(follower).await;
        assert_eq!(group.offsets(&cluster, "t", &[0]).await, "1");
        assert_eq!(group.commit(&cluster, "t", &[(0, 4)]).await, "t-0 NONE");
        assert_eq!(group.offsets(&cluster, "t", &[0]).await, "4");
        cluster.stop_all().await;
    });
}

/// The replicas of a partition of `__consumer_offsets`.
async fn replicas_of(client: &Client, partition: i32) -> Vec<i32> {
    let asked = MetadataRequestTopic::default().with_name(Some(topic("__consumer_offsets")));
    let request = MetadataRequest::default().with_topics(Some(vec![asked]));
    let ResponseKind::Metadata(response) = client.ask(12, request).await else { panic!("no metadata") };
    let mut partitions = response.topics[0].partitions.iter();
    let found = partitions.find(|it| it.partition_index == partition).expect("it is there");
    found.replica_nodes.iter().map(|node| node.0).collect()
}

#[test]
fn a_deleted_topics_offsets_are_forgotten() {
    run(async {
        let (cluster, client) = started(1, FEW_ON_ONE).await;
        create(&client, "gone", 1, 1, &[]).await;
        leader(&client, "gone").await;
        let group = Group::new("g");
        assert_eq!(group.commit(&cluster, "gone", &[(0, 5)]).await, "gone-0 NONE");
        assert_eq!(group.commit(&cluster, "t", &[(0, 6)]).await, "t-0 NONE");
        let deleted = DeleteTopicState::default().with_name(Some(topic("gone")));
        let request = DeleteTopicsRequest::default().with_topics(vec![deleted]).with_timeout_ms(5_000);
        client.ask(6, request).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(group.offsets(&cluster, "gone", &[0]).await, "-1");
        assert_eq!(group.offsets(&cluster, "t", &[0]).await, "6");
        cluster.stop_all().await;
    });
}

#[test]
fn groups_of_several_partitions_are_listed_described_fetched_and_deleted_together() {
    run(async {
        let (cluster, client) = started(1, FEW_ON_ONE).await;
        let names = ["a", "b", "c", "d", "e"];
        for (offset, name) in (0..).zip(names) {
            assert_eq!(Group::new(name).commit(&cluster, "t", &[(0, offset)]).await, "t-0 NONE");
        }
        let ResponseKind::ListGroups(response) = client.ask(5, ListGroupsRequest::default()).await else {
            panic!("no list")
        };
        let mut listed: Vec<&str> = response.groups.iter().map(|group| group.group_id.as_str()).collect();
        listed.sort_unstable();
        assert_eq!(listed, names);
        let ids = || names.map(|name| GroupId(text(name))).to_vec();
        let request = DescribeGroupsRequest::default().with_groups(ids());
        let request = request.with_include_authorized_operations(true);
        let ResponseKind::DescribeGroups(response) = client.ask(5, request).await else {
            panic!("no groups")
        };
        assert_eq!(response.groups.len(), 5);
        assert!(response.groups.iter().all(|group| group.group_state.as_str() == "Empty"));
        assert!(response.groups.iter().all(|group| group.authorized_operations == 0b1101_0100_1000));
        let asked = ids().into_iter().map(|id| OffsetFetchRequestGroup::default().with_group_id(id));
        let request = OffsetFetchRequest::default().with_groups(asked.collect());
        let all = request.groups.iter().map(|group| group.clone().with_topics(None)).collect();
        let ResponseKind::OffsetFetch(response) = client.ask(8, request.with_groups(all)).await else {
            panic!("no offsets")
        };
        let mut sum = 0;
        for group in &response.groups {
            sum += group.topics[0].partitions[0].committed_offset;
        }
        assert_eq!((response.groups.len(), sum), (5, 1 + 2 + 3 + 4));
        let request = DeleteGroupsRequest::default().with_groups_names(ids());
        let ResponseKind::DeleteGroups(response) = client.ask(2, request).await else { panic!("no results") };
        assert!(response.results.iter().all(|result| result.error_code == 0), "{response:?}");
        assert_eq!(response.results.len(), 5);
        let ResponseKind::ListGroups(response) = client.ask(5, ListGroupsRequest::default()).await else {
            panic!("no list")
        };
        assert!(response.groups.is_empty(), "{response:?}");
        let nothing = client.ask(5, DescribeGroupsRequest::default()).await;
        assert!(matches!(nothing, ResponseKind::DescribeGroups(response) if response.groups.is_empty()));
        cluster.stop_all().await;
    });
}

/// `INDEX OFFSET CODE` of each topic and partition that is told of one group, topics by their order.
fn told(response: ResponseKind) -> String {
    let ResponseKind::OffsetFetch(response) = response else { panic!("no offsets") };
    let group = &response.groups[0];
    assert_eq!(group.error_code, 0);
    let parts = group.topics.iter().flat_map(|topic| topic.partitions.iter().map(|it| (topic.topic_id, it)));
    let parts = parts.map(|(id, it)| {
        let code = ErrorCode::from_code(it.error_code).name();
        format!("{} {} {} {code}", id.as_u128() == 99, it.partition_index, it.committed_offset)
    });
    parts.collect::<Vec<_>>().join(", ")
}

#[test]
fn offsets_are_committed_and_fetched_by_topic_ids() {
    run(async {
        let (cluster, client) = started(1, FEW_ON_ONE).await;
        let group = Group::new("g");
        assert_eq!(group.commit(&cluster, "t", &[(1, 4)]).await, "t-1 NONE");
        let (_, id) = leader(&client, "t").await;
        let stranger = wire::messages::WireUuid::from_u128(99);
        let partition = |index: i32, offset: i64| {
            OffsetCommitRequestPartition::default().with_partition_index(index).with_committed_offset(offset)
        };
        let topic = |id, partitions| {
            OffsetCommitRequestTopic::default().with_topic_id(id).with_partitions(partitions)
        };
        let topics =
            vec![topic(stranger, vec![partition(0, 1)]), topic(id, vec![partition(0, 5), partition(9, 5)])];
        let request = OffsetCommitRequest::default().with_group_id(GroupId(text("g"))).with_topics(topics);
        let ResponseKind::OffsetCommit(response) = client.ask(10, request).await else { panic!("no answer") };
        let mut codes: Vec<(bool, i32, &str)> = Vec::new();
        for topic in &response.topics {
            assert!(topic.topic_id == id || topic.topic_id == stranger, "{response:?}");
            let one = |it: &OffsetCommitResponsePartition| {
                (topic.topic_id == id, it.partition_index, ErrorCode::from_code(it.error_code).name())
            };
            codes.extend(topic.partitions.iter().map(one));
        }
        codes.sort_unstable();
        let expected =
            [(false, 0, "UNKNOWN_TOPIC_ID"), (true, 0, "NONE"), (true, 9, "UNKNOWN_TOPIC_OR_PARTITION")];
        assert_eq!(codes, expected);
        assert_eq!(group.offsets(&cluster, "t", &[0, 1]).await, "5 4");
        let asked = |id, indexes: &[i32]| {
            OffsetFetchRequestTopics::default().with_topic_id(id).with_partition_indexes(indexes.to_vec())
        };
        let fetch = |topics| {
            let group = OffsetFetchRequestGroup::default().with_group_id(GroupId(text("g")));
            OffsetFetchRequest::default().with_groups(vec![group.with_topics(topics)])
        };
        let some = fetch(Some(vec![asked(stranger, &[3]), asked(id, &[0, 2])]));
        let expected = "false 0 5 NONE, false 2 -1 NONE, true 3 -1 UNKNOWN_TOPIC_ID";
        assert_eq!(told(client.ask(10, some).await), expected);
        assert_eq!(told(client.ask(10, fetch(None)).await), "false 0 5 NONE, false 1 4 NONE");
        cluster.stop_all().await;
    });
}
