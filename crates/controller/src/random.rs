//! Random clusters live random lives, and what must always hold holds after each step.
//!
//! The steps are decisions on drawn requests, good and bad alike. Whatever is
//! decided must replay, and then: a leader is in its in-sync set, that set is among
//! the replicas, eligible replicas are outside it, epochs only rise, and what is in
//! sync or leads is a broker that may.

use std::collections::BTreeMap;

use model::{LeaderEpoch, NodeId, Offset, PartitionEpoch, PartitionIndex, TopicId};
use proptest::prelude::*;
use wire::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use wire::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use wire::messages::broker_registration_request::Feature;
use wire::messages::create_partitions_request::CreatePartitionsTopic;
use wire::messages::create_topics_request::CreatableTopic;
use wire::messages::delete_topics_request::DeleteTopicState;
use wire::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use wire::messages::*;

use crate::settings::supported_features;
use crate::testing::{TestCluster, cluster, directory};
use crate::{bootstrap, elect_leaders, expire_one, gone};

const BROKERS: i32 = 5;

/// One event, with numbers that pick whom and what it is about.
#[derive(Clone, Copy, Debug)]
enum Step {
    Register { broker: i32, run: u8, clean: bool },
    Beat { broker: i32, fence: bool, stop: bool, behind: bool },
    Gone { broker: i32 },
    Pass { seconds: u64 },
    Create { name: u8, partitions: i32, replicas: i16 },
    Grow { name: u8, count: i32 },
    Delete { name: u8 },
    Alter { name: u8, partition: i32, set: u8, stale: bool },
    Elect { unclean: bool },
    Balance,
    ElectUnclean,
    MinIsr { name: u8, minimum: u8 },
    AllowUnclean { name: u8, allow: bool },
    Reassign { name: u8, partition: i32, first: i32, count: i32, cancel: bool },
    Unregister { broker: i32 },
    ProducerIds { broker: i32 },
}

fn step() -> impl Strategy<Value = Step> {
    let broker = 0..BROKERS;
    let name = 0..4u8;
    prop_oneof![
        4 => (broker.clone(), 0..3u8, any::<bool>())
            .prop_map(|(broker, run, clean)| Step::Register { broker, run, clean }),
        8 => (broker.clone(), prop::bool::weighted(0.1), prop::bool::weighted(0.2), prop::bool::weighted(0.2))
            .prop_map(|(broker, fence, stop, behind)| Step::Beat { broker, fence, stop, behind }),
        2 => broker.clone().prop_map(|broker| Step::Gone { broker }),
        2 => (0..8u64).prop_map(|seconds| Step::Pass { seconds }),
        4 => (name.clone(), 1..4, 1..5i16)
            .prop_map(|(name, partitions, replicas)| Step::Create { name, partitions, replicas }),
        1 => (name.clone(), 1..6).prop_map(|(name, count)| Step::Grow { name, count }),
        1 => name.clone().prop_map(|name| Step::Delete { name }),
        8 => (name.clone(), 0..4, any::<u8>(), prop::bool::weighted(0.1))
            .prop_map(|(name, partition, set, stale)| Step::Alter { name, partition, set, stale }),
        2 => any::<bool>().prop_map(|unclean| Step::Elect { unclean }),
        1 => Just(Step::Balance),
        1 => Just(Step::ElectUnclean),
        1 => (name.clone(), 1..4u8).prop_map(|(name, minimum)| Step::MinIsr { name, minimum }),
        1 => (name.clone(), any::<bool>()).prop_map(|(name, allow)| Step::AllowUnclean { name, allow }),
        3 => (name, 0..4, broker.clone(), 1..5, prop::bool::weighted(0.3)).prop_map(
            |(name, partition, first, count, cancel)| Step::Reassign { name, partition, first, count, cancel }
        ),
        1 => broker.clone().prop_map(|broker| Step::Unregister { broker }),
        1 => broker.prop_map(|broker| Step::ProducerIds { broker }),
    ]
}

fn name(number: u8) -> TopicName {
    topic(&format!("topic{number}"))
}

fn known_epoch(cluster: &TestCluster, broker: i32) -> i64 {
    cluster.image.broker(NodeId::new(broker)).map_or(-1, |broker| broker.epoch.get())
}

/// The request that a step stands for; `None` where it is none.
fn request(cluster: &TestCluster, step: Step) -> Option<RequestKind> {
    Some(match step {
        Step::Register { broker, run, clean } => registration(cluster, broker, run, clean).into(),
        Step::Beat { broker, fence, stop, behind } => BrokerHeartbeatRequest::default()
            .with_broker_id(BrokerId(broker))
            .with_broker_epoch(known_epoch(cluster, broker))
            .with_current_metadata_offset(if behind { 0 } else { cluster.next_offset.get() - 1 })
            .with_want_fence(fence)
            .with_want_shut_down(stop)
            .into(),
        Step::Create { name: number, partitions, replicas } => {
            let topic = CreatableTopic::default()
                .with_name(name(number))
                .with_num_partitions(partitions)
                .with_replication_factor(replicas);
            CreateTopicsRequest::default().with_topics(vec![topic]).into()
        }
        Step::Grow { name: number, count } => {
            let topic = CreatePartitionsTopic::default()
                .with_name(name(number))
                .with_count(count)
                .with_assignments(None);
            CreatePartitionsRequest::default().with_topics(vec![topic]).into()
        }
        Step::Delete { name: number } => {
            let topic = DeleteTopicState::default().with_name(Some(name(number)));
            DeleteTopicsRequest::default().with_topics(vec![topic]).into()
        }
        Step::Alter { name: number, partition, set, stale } => {
            alteration(cluster, number, partition, set, stale)?.into()
        }
        Step::Elect { unclean } => ElectLeadersRequest::default()
            .with_election_type(i8::from(unclean))
            .with_topic_partitions(None)
            .into(),
        Step::MinIsr { name, minimum } => configure(name, "min.insync.replicas", &minimum.to_string()).into(),
        Step::AllowUnclean { name, allow } => {
            configure(name, "unclean.leader.election.enable", &allow.to_string()).into()
        }
        Step::Reassign { name: number, partition, first, count, cancel } => {
            let target = (0..count).map(|step| BrokerId((first + step) % BROKERS)).collect();
            let partition = ReassignablePartition::default()
                .with_partition_index(partition)
                .with_replicas((!cancel).then_some(target));
            let topic = ReassignableTopic::default().with_name(name(number)).with_partitions(vec![partition]);
            AlterPartitionReassignmentsRequest::default()
                .with_allow_replication_factor_change(true)
                .with_topics(vec![topic])
                .into()
        }
        Step::Unregister { broker } => {
            UnregisterBrokerRequest::default().with_broker_id(BrokerId(broker)).into()
        }
        Step::ProducerIds { broker } => AllocateProducerIdsRequest::default()
            .with_broker_id(BrokerId(broker))
            .with_broker_epoch(known_epoch(cluster, broker))
            .into(),
        Step::Gone { .. } | Step::Pass { .. } | Step::Balance | Step::ElectUnclean => return None,
    })
}

fn registration(cluster: &TestCluster, broker: i32, run: u8, clean: bool) -> BrokerRegistrationRequest {
    let features = supported_features().into_iter().map(|(name, range)| {
        Feature::default()
            .with_name(text(&name))
            .with_min_supported_version(range.min)
            .with_max_supported_version(range.max)
    });
    let incarnation = model::Uuid::from_u128(u128::from(run) << 64 | u128::from(broker.unsigned_abs()) << 8);
    BrokerRegistrationRequest::default()
        .with_broker_id(BrokerId(broker))
        .with_cluster_id(text("cluster"))
        .with_incarnation_id(to_wire_uuid(incarnation))
        .with_log_dirs(vec![to_wire_uuid(directory(broker + 1))])
        .with_rack(None)
        .with_previous_broker_epoch(if clean { known_epoch(cluster, broker) } else { -1 })
        .with_features(features.collect())
}

fn alteration(
    cluster: &TestCluster,
    number: u8,
    partition: i32,
    set: u8,
    stale: bool,
) -> Option<AlterPartitionRequest> {
    let topic = cluster.image.topic(&name(number))?;
    let state = topic.partition(PartitionIndex::new(partition))?;
    let leader = state.leader?;
    let chosen = |at: usize| set & (1 << at) != 0;
    let members = state.replicas.iter().enumerate().filter(|(at, node)| **node == leader || chosen(*at));
    let members = members.map(|(_, node)| {
        let epoch = known_epoch(cluster, node.get());
        BrokerState::default().with_broker_id(BrokerId(node.get())).with_broker_epoch(epoch)
    });
    let data = PartitionData::default()
        .with_partition_index(partition)
        .with_leader_epoch(state.leader_epoch.get())
        .with_partition_epoch(state.partition_epoch.get() - i32::from(stale))
        .with_new_isr_with_epochs(members.collect());
    let topic = TopicData::default().with_topic_id(to_wire_uuid(topic.id)).with_partitions(vec![data]);
    Some(
        AlterPartitionRequest::default()
            .with_broker_id(BrokerId(leader.get()))
            .with_broker_epoch(known_epoch(cluster, leader.get()))
            .with_topics(vec![topic]),
    )
}

fn configure(number: u8, key: &str, value: &str) -> IncrementalAlterConfigsRequest {
    let config = AlterableConfig::default().with_name(text(key)).with_value(Some(text(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(name(number).0)
        .with_configs(vec![config]);
    IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
}

fn take(cluster: &mut TestCluster, step: Step) {
    match step {
        Step::Gone { broker } => {
            let epoch = model::BrokerEpoch::new(known_epoch(cluster, broker));
            let decision = gone(&cluster.view(), NodeId::new(broker), epoch);
            cluster.take(decision);
        }
        Step::Pass { seconds } => {
            cluster.now = cluster.now.after(std::time::Duration::from_secs(seconds));
            loop {
                let decision = expire_one(&cluster.view());
                if decision.records.is_empty() {
                    break;
                }
                cluster.take(decision);
            }
        }
        Step::Balance => {
            let decision = elect_leaders::balance(&cluster.view());
            cluster.take(decision);
        }
        Step::ElectUnclean => {
            let decision = elect_leaders::elect_unclean(&cluster.view());
            cluster.take(decision);
        }
        step => {
            let Some(request) = request(cluster, step) else { return };
            let decision = crate::decide(&cluster.view(), 2, &request).expect("a controller's request");
            cluster.take(decision);
        }
    }
}

type Epochs = BTreeMap<(TopicId, PartitionIndex), (LeaderEpoch, PartitionEpoch, Option<NodeId>)>;

fn epochs(cluster: &TestCluster) -> Epochs {
    let all = cluster.view().partitions().map(|(topic, index, partition)| {
        ((topic.id, index), (partition.leader_epoch, partition.partition_epoch, partition.leader))
    });
    all.collect()
}

/// What holds between any two steps.
fn check(cluster: &TestCluster, before: &Epochs, had_at: Offset) {
    let view = cluster.view();
    assert!(cluster.next_offset >= had_at);
    for (topic, index, partition) in view.partitions() {
        let place = format!("{}-{index}: {partition:?}", topic.name);
        let among = |nodes: &[NodeId]| nodes.iter().all(|node| partition.replicas.contains(node));
        assert!(among(&partition.isr), "a stranger is in sync in {place}");
        assert!(among(&partition.elr), "a stranger is eligible in {place}");
        assert!(
            !partition.elr.iter().any(|node| partition.isr.contains(node)),
            "both in sync and eligible in {place}"
        );
        if let Some(leader) = partition.leader {
            assert!(partition.isr.contains(&leader), "the leader is not in sync in {place}");
            assert!(view.is_active(leader), "the leader may not lead {place}");
            let is_fit = |node: &NodeId| view.is_active(*node);
            assert!(partition.isr.iter().all(is_fit), "one in sync may not be in {place}");
        }
        if let Some((leader_epoch, partition_epoch, leader)) = before.get(&(topic.id, index)) {
            assert!(partition.leader_epoch >= *leader_epoch, "the leader epoch fell in {place}");
            assert!(partition.partition_epoch >= *partition_epoch, "the partition epoch fell in {place}");
            let same_leader = partition.leader == *leader || partition.leader_epoch > *leader_epoch;
            assert!(same_leader, "two leaders in one epoch in {place}");
        }
    }
}

fn live(steps: &[Step], elr: bool) {
    let mut cluster = cluster("");
    if elr {
        cluster.image = metadata::Image::default();
        let begun = bootstrap::decide(&cluster.image, &cluster.settings, &[]);
        cluster.take(begun);
    }
    for &step in steps {
        let (before, had_at) = (epochs(&cluster), cluster.next_offset);
        take(&mut cluster, step);
        check(&cluster, &before, had_at);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_must_hold_holds_after_every_decision(steps in prop::collection::vec(step(), 1..120), elr in any::<bool>()) {
        live(&steps, elr);
    }
}
