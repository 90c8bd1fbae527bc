//! What a running node tells of itself, and that it tells only what changed.

use std::time::Duration;

use crate::support::{Client, Cluster, run};
use kastle_broker::{Inspection, News, Part};
use model::{LeaderEpoch, NodeId, Offset, Timestamp};
use wire::batch::{BatchBuilder, NewRecord};
use wire::messages::create_topics_request::CreatableTopic;
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::{CreateTopicsRequest, DeleteTopicsRequest, ProduceRequest, ResponseKind, topic};

async fn create(client: &Client, replicas: i16) {
    let asked = CreatableTopic::default()
        .with_name(topic("t"))
        .with_num_partitions(1)
        .with_replication_factor(replicas);
    let request = CreateTopicsRequest::default().with_topics(vec![asked]).with_timeout_ms(10_000);
    match client.ask(6, request).await {
        ResponseKind::CreateTopics(response) => assert_eq!(response.topics[0].error_code, 0),
        other => panic!("{other:?}"),
    }
}

async fn produce(client: &Client) -> i16 {
    let mut builder = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(0));
    let timestamp = Timestamp::new(1_700_000_000_000);
    builder.push(&NewRecord { timestamp, value: Some(b"one"), ..NewRecord::default() });
    let mut bytes = Vec::new();
    builder.finish(&mut bytes).expect("no codec");
    let data = PartitionProduceData::default().with_index(0).with_records(Some(bytes.into()));
    let data = TopicProduceData::default().with_name(topic("t")).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(5_000).with_topic_data(vec![data]);
    match client.ask(12, request).await {
        ResponseKind::Produce(response) => response.responses[0].partition_responses[0].error_code,
        other => panic!("{other:?}"),
    }
}

fn look(cluster: &Cluster, known: &mut [Inspection]) {
    for inspection in known {
        cluster.node(inspection.node.get()).inspect_into(inspection);
    }
}

/// The node that leads the one partition, once all three have a part in it.
async fn leader(cluster: &Cluster, known: &mut [Inspection]) -> NodeId {
    for _ in 0..400 {
        look(cluster, known);
        let parts = || known.iter().flat_map(|seen| seen.partitions.first());
        let leads =
            |seen: &&Inspection| seen.partitions.first().is_some_and(|seen| seen.part == Part::Leader);
        if parts().filter(|seen| seen.part != Part::Offline).count() == 3
            && let Some(found) = known.iter().find(leads)
        {
            return found.node;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("nobody leads");
}

#[test]
fn a_node_tells_what_it_holds_and_what_is_new() {
    run(async {
        let cluster = Cluster::start(3).await;
        let client = cluster.client(1).await;
        let mut known: Vec<Inspection> = (1..=3).map(|id| cluster.node(id).inspect()).collect();
        assert!(known.iter().all(|seen| seen.partitions.is_empty() && seen.broker.epoch.is_some()));
        create(&client, 3).await;
        let leads = leader(&cluster, &mut known).await;
        assert_eq!(produce(&cluster.client(leads.get()).await).await, 0);
        tokio::time::sleep(Duration::from_secs(2)).await;

        look(&cluster, &mut known);
        for seen in &known {
            let (partition, log) = (&seen.partitions[0], seen.partitions[0].log.expect("it is open"));
            assert_eq!((log.start, log.end), (Offset::ZERO, Offset::new(1)), "node {}", seen.node);
            assert_eq!(partition.high_watermark, Offset::new(1), "node {}", seen.node);
            let expected = if seen.node == leads { Part::Leader } else { Part::Follower(leads) };
            assert_eq!(partition.part, expected);
            assert_eq!(seen.news.partitions, [0]);
            let raft = seen.quorum.log.expect("all vote");
            assert!(raft.vote.is_some_and(|vote| vote.elected) && raft.end >= seen.metadata.end);
        }
        let digests: Vec<u128> = known.iter().map(|seen| seen.metadata.image.digest()).collect();
        assert_eq!(digests, [digests[0]; 3]);

        look(&cluster, &mut known);
        assert!(known.iter().all(|seen| seen.news == News::default()), "nothing happened in between");
        cluster.stop_all().await;
    });
}

#[test]
fn logs_read_for_a_look_are_the_same_bytes_everywhere() {
    run(async {
        let cluster = Cluster::start(3).await;
        let client = cluster.client(1).await;
        let mut known: Vec<Inspection> = (1..=3).map(|id| cluster.node(id).inspect()).collect();
        create(&client, 3).await;
        let leads = leader(&cluster, &mut known).await;
        assert_eq!(produce(&cluster.client(leads.get()).await).await, 0);
        tokio::time::sleep(Duration::from_secs(2)).await;
        look(&cluster, &mut known);
        let key = known[0].partitions[0].key;
        let committed = known.iter().map(|seen| seen.quorum.status.high_watermark).min().expect("three");
        let (zero, one, max) = (Offset::ZERO, Offset::new(1), 1 << 20);
        let bytes: Vec<_> = (1..=3)
            .map(|id| {
                let node = cluster.node(id);
                let records = node.read_log(key, zero, one, max).expect("readable");
                (records, node.read_metadata_log(zero, committed, max).expect("readable"))
            })
            .collect();
        assert!(!bytes[0].0.is_empty() && !bytes[0].1.is_empty());
        assert!(bytes.iter().all(|copy| *copy == bytes[0]));
        assert!(cluster.node(1).read_log(key, Offset::new(9), Offset::new(10), max).is_err());

        let request =
            DeleteTopicsRequest::default().with_topic_names(vec![topic("t")]).with_timeout_ms(5_000);
        client.ask(5, request).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        look(&cluster, &mut known);
        assert!(known.iter().all(|seen| seen.partitions.is_empty() && seen.news.hosted));
        assert!(cluster.node(1).read_log(key, zero, one, max).is_err());
        cluster.stop_all().await;
    });
}
