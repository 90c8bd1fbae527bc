//! Records through whole nodes: written, copied, read back, and not lost with a node.

use std::time::Duration;

use crate::support::records::{
    batch, check_led, create, create_beside_1, fetch, leader, next_leader, offset_at, produce,
};
use crate::support::{Cluster, run};
use model::ErrorCode;
use wire::messages::{Bytes, InitProducerIdRequest, ResponseKind};

#[test]
fn one_node_takes_records_and_gives_them_back_after_a_restart() {
    run(async {
        let mut cluster = Cluster::start(1).await;
        let client = cluster.client(1).await;
        create(&client, "t", 1, 1, &[]).await;
        let (_, id) = leader(&client, "t").await;
        assert_eq!(produce(&client, "t", -1, batch(&["a", "b"], None)).await, Ok(0));
        assert_eq!(produce(&client, "t", 1, batch(&["c"], None)).await, Ok(2));
        assert_eq!(fetch(&client, id, 0, 0).await, "@0 a b @2 c hw=3");
        assert_eq!(fetch(&client, id, 1, 0).await, "@0 a b @2 c hw=3");
        assert_eq!(fetch(&client, id, 3, 100).await, "hw=3");
        assert_eq!(fetch(&client, id, 4, 100).await, "OFFSET_OUT_OF_RANGEhw=-1");
        cluster.stop(1).await;
        cluster.boot(1).await;
        cluster.ready(1).await;
        let client = cluster.client(1).await;
        assert_eq!(fetch(&client, id, 0, 0).await, "@0 a b @2 c hw=3");
        assert_eq!(produce(&client, "t", -1, batch(&["d"], None)).await, Ok(3));
        assert_eq!((offset_at(&client, "t", -2).await, offset_at(&client, "t", -1).await), (0, 4));
        assert_eq!(offset_at(&client, "t", 1).await, 0);
        assert_eq!(offset_at(&client, "t", i64::MAX).await, -1);
        cluster.stop_all().await;
    });
}

#[test]
fn requests_that_come_together_are_answered_each_in_its_turn() {
    run(async {
        let cluster = Cluster::start(1).await;
        let client = cluster.client(1).await;
        create(&client, "t", 1, 1, &[]).await;
        create(&client, "synced", 1, 1, &[("flush.messages", "1")]).await;
        let (_, id) = leader(&client, "t").await;
        leader(&client, "synced").await;
        let large = "x".repeat(40_000);
        let each = (0..60).map(|number| {
            // Some wait for a sync, some are too long to leave with others, some are refused.
            let (name, value) = match number % 4 {
                0 => ("synced", "a"),
                1 => ("t", large.as_str()),
                2 => ("missing", "a"),
                _ => ("t", "a"),
            };
            let acks = if number % 3 == 0 { -1 } else { 1 };
            produce(&client, name, acks, batch(&[value], None))
        });
        let answers = futures_util::future::join_all(each).await;
        for (number, answer) in (0..).zip(answers) {
            let expected = match number % 4 {
                0 => Ok(number / 4),
                1 => Ok(number / 4 * 2),
                2 => Err(ErrorCode::UnknownTopicOrPartition),
                _ => Ok(number / 4 * 2 + 1),
            };
            assert_eq!(answer, expected, "answer {number}");
        }
        let reads = (0..10).map(|at| fetch(&client, id, at * 2 + 1, 0));
        for read in futures_util::future::join_all(reads).await {
            assert!(read.starts_with('@') && read.ends_with("hw=30"), "{} bytes", read.len());
        }
        cluster.stop_all().await;
    });
}

#[test]
fn refusals_say_what_is_wrong() {
    run(async {
        let cluster = Cluster::start(1).await;
        let client = cluster.client(1).await;
        create(&client, "t", 1, 1, &[("max.message.bytes", "200")]).await;
        leader(&client, "t").await;
        assert_eq!(produce(&client, "t", 2, batch(&["a"], None)).await, Err(ErrorCode::InvalidRequiredAcks));
        let missing = produce(&client, "missing", 1, batch(&["a"], None)).await;
        assert_eq!(missing, Err(ErrorCode::UnknownTopicOrPartition));
        let metadata = produce(&client, "__cluster_metadata", 1, batch(&["a"], None)).await;
        assert_eq!(metadata, Err(ErrorCode::InvalidTopicException));
        let large = "x".repeat(300);
        assert_eq!(produce(&client, "t", 1, batch(&[&large], None)).await, Err(ErrorCode::MessageTooLarge));
        let mut torn = batch(&["a"], None).to_vec();
        let last = torn.len() - 1;
        torn[last] ^= 1;
        assert_eq!(produce(&client, "t", 1, torn.into()).await, Err(ErrorCode::CorruptMessage));
        assert_eq!(produce(&client, "t", 1, Bytes::new()).await, Err(ErrorCode::InvalidRecord));
        let mut placed = batch(&["a"], None).to_vec();
        placed[..8].copy_from_slice(&7_i64.to_be_bytes());
        assert_eq!(produce(&client, "t", 1, placed.into()).await, Err(ErrorCode::InvalidRecord));
        cluster.stop_all().await;
    });
}

#[test]
fn an_idempotent_producers_batch_is_taken_once() {
    run(async {
        let cluster = Cluster::start(1).await;
        let client = cluster.client(1).await;
        create(&client, "t", 1, 1, &[]).await;
        let (_, topic_id) = leader(&client, "t").await;
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let ResponseKind::InitProducerId(response) = client.ask(4, request).await else { panic!("no id") };
        assert_eq!(response.error_code, 0);
        let id = response.producer_id.0;
        assert_eq!(produce(&client, "t", -1, batch(&["a", "b"], Some((id, 0)))).await, Ok(0));
        assert_eq!(produce(&client, "t", -1, batch(&["a", "b"], Some((id, 0)))).await, Ok(0));
        let gap = produce(&client, "t", -1, batch(&["d"], Some((id, 3)))).await;
        assert_eq!(gap, Err(ErrorCode::OutOfOrderSequenceNumber));
        assert_eq!(produce(&client, "t", -1, batch(&["c"], Some((id, 2)))).await, Ok(2));
        assert_eq!(fetch(&client, topic_id, 0, 0).await, "@0 a b @2 c hw=3");
        cluster.stop_all().await;
    });
}

#[test]
fn a_long_poll_ends_when_a_record_comes() {
    run(async {
        let cluster = Cluster::start(1).await;
        let (client, other) = (cluster.client(1).await, cluster.client(1).await);
        create(&client, "t", 1, 1, &[("flush.messages", "1")]).await;
        let (_, id) = leader(&client, "t").await;
        let begun = tokio::time::Instant::now();
        let late = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            produce(&other, "t", -1, batch(&["late"], None)).await
        };
        let (got, written) = tokio::join!(fetch(&client, id, 0, 10_000), late);
        assert_eq!((got.as_str(), written), ("@0 late hw=1", Ok(0)));
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        cluster.stop_all().await;
    });
}

#[test]
fn what_was_acknowledged_by_all_outlives_its_leader() {
    run(async {
        let mut cluster = Cluster::start(3).await;
        let client = cluster.client(1).await;
        create(&client, "t", 1, 3, &[("min.insync.replicas", "2")]).await;
        let (first, id) = leader(&client, "t").await;
        let to_first = cluster.client(first).await;
        for (offset, value) in (0..).zip(["a", "b", "c"]) {
            assert_eq!(produce(&to_first, "t", -1, batch(&[value], None)).await, Ok(offset));
        }
        let other = first % 3 + 1;
        let refused = produce(&cluster.client(other).await, "t", -1, batch(&["x"], None)).await;
        assert_eq!(refused, Err(ErrorCode::NotLeaderOrFollower));
        cluster.kill(first);
        let survivor = cluster.client(other).await;
        let second = next_leader(&survivor, "t", first).await;
        let to_second = cluster.client(second).await;
        assert_eq!(produce(&to_second, "t", -1, batch(&["d"], None)).await, Ok(3));
        assert_eq!(fetch(&to_second, id, 0, 0).await, "@0 a @1 b @2 c @3 d hw=4");
        cluster.stop_all().await;
    });
}

#[test]
fn after_an_unclean_election_the_partition_serves_and_its_in_sync_set_grows_again() {
    run(async {
        let mut cluster = Cluster::start_with(1, 4).await;
        let client = cluster.client(1).await;
        create_beside_1(&client, "t", &[("unclean.leader.election.enable", "true")]).await;
        check_led(&client, "t", "2 [2, 3, 4]").await;
        cluster.stop(2).await;
        cluster.stop(3).await;
        check_led(&client, "t", "4 [4]").await;
        assert_eq!(produce(&cluster.client(4).await, "t", -1, batch(&["lost"], None)).await, Ok(0));
        cluster.kill(4);
        check_led(&client, "t", "-1 []").await;
        cluster.boot(2).await;
        cluster.ready(2).await;
        check_led(&client, "t", "2 [2]").await;
        cluster.boot(3).await;
        cluster.ready(3).await;
        check_led(&client, "t", "2 [2, 3]").await;
        assert_eq!(produce(&cluster.client(2).await, "t", -1, batch(&["kept"], None)).await, Ok(0));
        cluster.stop_all().await;
    });
}

#[test]
fn a_broker_whose_only_disk_fails_gives_up_and_others_lead() {
    run(async {
        let cluster = Cluster::start_with(1, 4).await;
        let client = cluster.client(1).await;
        create_beside_1(&client, "t", &[("flush.messages", "1")]).await;
        check_led(&client, "t", "2 [2, 3, 4]").await;
        let second = cluster.client(2).await;
        let writing = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            produce(&second, "t", 1, batch(&["a"], None)).await
        };
        let (reason, written) = tokio::join!(cluster.fail_next_sync(2), writing);
        assert_eq!(written, Err(ErrorCode::KafkaStorageError));
        assert!(reason.contains("/data failed"), "{reason}");
        check_led(&client, "t", "3 [3, 4]").await;
    });
}
