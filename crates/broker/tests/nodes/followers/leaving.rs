//! Brokers and replicas that leave: in order, or because they fell behind. What the others notice of it.

use std::time::Duration;

use net::{ConnectOptions, Connection};
use tokio::time::Instant;
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::{MetadataRequest, ResponseKind, topic};

use crate::support::records::{batch, check_led, create_on, produce};
use crate::support::{Client, Cluster, run};

/// Whom the metadata still names as leader of a partition, or as in sync, of these topics.
async fn still_named(client: &Client, names: &[String], node: i32) -> Vec<String> {
    let asked = names.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic(name))));
    let request = MetadataRequest::default().with_topics(Some(asked.collect()));
    let ResponseKind::Metadata(response) = client.ask(12, request).await else { panic!("no metadata") };
    let named = response.topics.iter().filter(|topic| {
        let partition = &topic.partitions[0];
        partition.leader_id.0 == node || partition.isr_nodes.iter().any(|it| it.0 == node)
    });
    named.map(|topic| topic.name.as_ref().map_or_else(String::new, |name| name.to_string())).collect()
}

/// How long a record takes to all replicas in sync.
async fn latency(client: &Client, name: &str) -> Duration {
    let begun = Instant::now();
    let written = produce(client, name, -1, batch(&["v"], None)).await;
    assert!(written.is_ok(), "{name}: {written:?}");
    begun.elapsed()
}

#[test]
fn a_broker_that_stops_leads_nothing_any_more_before_it_closes_its_port() {
    run(async {
        let mut cluster = Cluster::start(3).await;
        let client = cluster.client(1).await;
        let names: Vec<String> = (0..8).map(|number| format!("t{number}")).collect();
        for name in &names {
            create_on(&client, name, &[2, 3, 1], &[]).await;
            check_led(&client, name, "2 [1, 2, 3]").await;
        }
        assert_eq!(still_named(&client, &names, 2).await, names);
        let network = cluster.network.clone();
        let watch = async {
            let host = network.host("watcher");
            let options = ConnectOptions::default();
            while Connection::connect(&host, "n2", 9092, &options).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            still_named(&client, &names, 2).await
        };
        let (left, ()) = tokio::join!(watch, cluster.stop(2));
        assert_eq!(left, Vec::<String>::new(), "nobody was left to find a closed port");
        let written = produce(&cluster.client(3).await, "t0", -1, batch(&["v"], None)).await;
        assert_eq!(written, Ok(0), "the others go on");
        cluster.stop_all().await;
    });
}

/// Node 3 does as `hurt` says; a partition of its own waits for it until it is out of the in-sync set, `within`
/// as long, and one that it has no part in never does.
async fn check_leaves(hurt: impl FnOnce(&Cluster), within: Duration) {
    let cluster = Cluster::start_with(1, 4).await;
    let client = cluster.client(1).await;
    create_on(&client, "with", &[2, 3, 4], &[]).await;
    create_on(&client, "without", &[2, 4], &[]).await;
    check_led(&client, "with", "2 [2, 3, 4]").await;
    check_led(&client, "without", "2 [2, 4]").await;
    let second = cluster.client(2).await;
    // A connection of its own: answers come in the order of the requests.
    let other = cluster.client(2).await;
    for _ in 0..20 {
        let quick = latency(&second, "with").await.max(latency(&second, "without").await);
        assert!(quick < Duration::from_millis(50), "{quick:?} while all is well");
    }
    let begun = Instant::now();
    hurt(&cluster);
    let waits = async {
        while produce(&second, "with", -1, batch(&["v"], None)).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it stays in the in-sync set");
        }
        begun.elapsed()
    };
    let goes_on = async {
        let mut slowest = Duration::ZERO;
        while begun.elapsed() < within {
            slowest = slowest.max(latency(&other, "without").await);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        slowest
    };
    let (waited, slowest) = tokio::join!(waits, goes_on);
    assert!(waited < within, "it held the others up for {waited:?}");
    assert!(slowest < Duration::from_millis(50), "a partition beside it took {slowest:?}");
    check_led(&client, "with", "2 [2, 4]").await;
    for _ in 0..20 {
        let quick = latency(&second, "with").await;
        assert!(quick < Duration::from_millis(50), "{quick:?} once it is out");
    }
}

#[test]
fn a_paused_follower_leaves_the_in_sync_set_with_its_session_and_others_go_on() {
    run(check_leaves(|cluster| cluster.network.cut("n3"), Duration::from_secs(11)));
}

#[test]
fn a_follower_that_lives_but_does_not_keep_up_leaves_after_the_lag_that_is_allowed() {
    run(check_leaves(|cluster| cluster.network.sever("n2", "n3"), Duration::from_secs(50)));
}
