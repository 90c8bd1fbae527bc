//! Disks that fill up: clients' batches are refused while there is room for everything else, replicas wait
//! when there is less, and all goes on by itself when there is room again.

use std::time::Duration;

use model::ErrorCode;
use wire::messages::{Bytes, ResponseKind};

use crate::support::content::read_committed;
use crate::support::groups::Group;
use crate::support::records::{
    batch, check_led, configure, create, create_on, delete_records, fetch, leader, offset_at, produce,
    produce_request,
};
use crate::support::{Client, Cluster, run};

/// What the nodes here keep back.
const RESERVE: u64 = 200_000;
const KEEPING: &str = "log.dir.reserve.bytes=200000\noffsets.topic.num.partitions=1\noffsets.topic.replication.factor=1\n\
     replica.lag.time.max.ms=2000\n";
/// Every segment holds a batch or two.
const SMALL: [(&str, &str); 2] = [("internal.segment.bytes", "20000"), ("file.delete.delay.ms", "1000")];
const LATEST: i64 = -1;

fn large(letter: &str) -> Bytes {
    batch(&[&letter.repeat(10_000)], None)
}

/// Leaves so much room on the disk of a node, which hears of it soon.
async fn leave_room(cluster: &Cluster, id: i32, bytes: u64) {
    let disk = cluster.disk(id);
    disk.set_capacity(Some(disk.used_bytes() + bytes));
    tokio::time::sleep(Duration::from_secs(2)).await;
}

/// Writes until it is refused, with the code for it; how many batches were taken.
async fn write_until_refused(client: &Client, name: &str) -> i64 {
    for taken in 0..100 {
        match produce(client, name, -1, large("x")).await {
            Ok(_) => {}
            Err(code) => {
                assert_eq!(code, ErrorCode::KafkaStorageError);
                return taken;
            }
        }
    }
    panic!("nothing was refused");
}

/// Tries until a batch is taken, as clients do.
async fn write_patiently(client: &Client, name: &str) -> i64 {
    for _ in 0..300 {
        match produce(client, name, 1, large("y")).await {
            Ok(offset) => return offset,
            Err(code) => assert_eq!(code, ErrorCode::KafkaStorageError),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it does not recover");
}

#[test]
fn what_clients_write_stops_at_the_reserve_and_all_else_goes_on() {
    run(async {
        let mut cluster = Cluster::start_configured(1, 1, KEEPING).await;
        let client = cluster.client(1).await;
        create(&client, "t", 1, 1, &SMALL).await;
        let (_, id) = leader(&client, "t").await;
        leave_room(&cluster, 1, RESERVE + 100_000).await;
        let count = write_until_refused(&client, "t").await;
        assert!((7..=10).contains(&count), "{count} batches of 10 KB went into 100 KB");
        let request = produce_request("t", -1, large("x"));
        let ResponseKind::Produce(response) = client.ask(12, request).await else { panic!("no answer") };
        let message = response.responses[0].partition_responses[0].error_message.clone().unwrap_or_default();
        assert!(message.contains("200000 are kept back (log.dir.reserve.bytes)"), "{}", message.as_str());

        assert!(fetch(&client, id, count - 1, 0).await.ends_with(&format!("hw={count}")));
        create(&client, "u", 1, 1, &[]).await;
        leader(&client, "u").await;
        assert_eq!(produce(&client, "u", 1, large("x")).await, Err(ErrorCode::KafkaStorageError));
        let mut group = Group::new("g");
        group.join(&cluster).await;
        assert_eq!(group.commit(&cluster, "t", &[(0, 5)]).await, "t-0 NONE");
        assert_eq!(group.offsets(&cluster, "t", &[0]).await, "5");

        drop(client);
        cluster.stop(1).await;
        cluster.boot(1).await;
        cluster.ready(1).await;
        let client = cluster.client(1).await;
        assert_eq!(produce(&client, "t", 1, large("x")).await, Err(ErrorCode::KafkaStorageError));
        assert_eq!(offset_at(&client, "t", LATEST).await, count);
        assert_eq!(group.offsets(&cluster, "t", &[0]).await, "5");
        let low = count - 1;
        assert_eq!(delete_records(&client, "t", low, 5_000).await, format!("low {low}"));
        assert_eq!(write_patiently(&client, "t").await, count, "what was refused is not there");
        cluster.stop_all().await;
    });
}

#[test]
fn retention_comes_early_where_room_is_needed_and_the_reserve_can_be_changed() {
    run(async {
        let cluster = Cluster::start_configured(1, 1, KEEPING).await;
        let client = cluster.client(1).await;
        let [segment, delay] = SMALL;
        create(&client, "t", 1, 1, &[segment, delay, ("retention.bytes", "40000")]).await;
        leader(&client, "t").await;
        for _ in 0..10 {
            produce(&client, "t", 1, large("x")).await.expect("there is room");
        }
        leave_room(&cluster, 1, RESERVE - 10_000).await;
        assert_eq!(produce(&client, "t", 1, large("x")).await, Err(ErrorCode::KafkaStorageError));
        let begun = tokio::time::Instant::now();
        assert_eq!(write_patiently(&client, "t").await, 10);
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(20), "{took:?} pass; retention is due after 300 s");

        leave_room(&cluster, 1, RESERVE / 4).await;
        configure(&client, 2, "t", "retention.bytes", "-1").await;
        assert_eq!(produce(&client, "t", 1, large("x")).await, Err(ErrorCode::KafkaStorageError));
        configure(&client, 4, "1", "log.dir.reserve.bytes", "0").await;
        assert_eq!(write_patiently(&client, "t").await, 11);
        cluster.stop_all().await;
    });
}

#[test]
fn replicas_go_on_below_the_reserve_and_wait_below_half_of_it() {
    run(async {
        let mut cluster = Cluster::start_configured(1, 3, KEEPING).await;
        let client = cluster.client(1).await;
        create_on(&client, "t", &[2, 3], &SMALL).await;
        check_led(&client, "t", "2 [2, 3]").await;
        let (_, id) = leader(&client, "t").await;
        let second = cluster.client(2).await;
        leave_room(&cluster, 3, RESERVE - 10_000).await;
        assert_eq!(produce(&second, "t", -1, large("a")).await, Ok(0));
        check_led(&client, "t", "2 [2, 3]").await;
        // Further than its disk would have had room for.
        let before = cluster.disk(3).used_bytes();
        leave_room(&cluster, 3, RESERVE / 4).await;
        for number in 1..=20 {
            assert_eq!(produce(&second, "t", 1, large("b")).await, Ok(number));
        }
        check_led(&client, "t", "2 [2]").await;
        assert!(cluster.disk(3).used_bytes() < before + 20_000, "it took nothing");
        assert_eq!(produce(&second, "t", -1, large("c")).await, Ok(21), "the others go on");
        cluster.disk(3).set_capacity(None);
        check_led(&client, "t", "2 [2, 3]").await;
        cluster.stop(2).await;
        check_led(&client, "t", "3 [3]").await;
        let third = cluster.client(3).await;
        assert_eq!(offset_at(&third, "t", LATEST).await, 22);
        let seen = read_committed(&third, id, 0).await;
        let values = seen.records.values().filter_map(|(_, value)| value.clone());
        let letters: String = values.map(|value| value.chars().next().unwrap_or('?')).collect();
        assert_eq!(letters, format!("a{}c", "b".repeat(20)));
        cluster.stop_all().await;
    });
}

#[test]
fn a_disk_without_any_room_takes_no_log_out_of_service() {
    run(async {
        let unreserved = "log.dir.reserve.bytes=0\nreplica.lag.time.max.ms=2000\n";
        let mut cluster = Cluster::start_configured(1, 3, unreserved).await;
        let client = cluster.client(1).await;
        create_on(&client, "t", &[2, 3], &SMALL).await;
        check_led(&client, "t", "2 [2, 3]").await;
        let (_, id) = leader(&client, "t").await;
        let second = cluster.client(2).await;
        for room in [0, 5_000, 11_000] {
            let end = offset_at(&second, "t", LATEST).await;
            // The leader's disk, then its follower's.
            leave_room(&cluster, 2, room).await;
            let taken = write_until_refused(&second, "t").await;
            assert!(taken <= 1, "{taken}");
            cluster.disk(2).set_capacity(None);
            assert_eq!(write_patiently(&second, "t").await, end + taken);
            leave_room(&cluster, 3, room).await;
            for _ in 0..3 {
                produce(&second, "t", 1, large("z")).await.expect("its own disk has room");
            }
            check_led(&client, "t", "2 [2]").await;
            cluster.disk(3).set_capacity(None);
            check_led(&client, "t", "2 [2, 3]").await;
        }
        let end = offset_at(&second, "t", LATEST).await;
        cluster.stop(2).await;
        check_led(&client, "t", "3 [3]").await;
        let third = cluster.client(3).await;
        assert_eq!(offset_at(&third, "t", LATEST).await, end);
        assert!(fetch(&third, id, end - 1, 0).await.ends_with(&format!("hw={end}")));
        cluster.stop_all().await;
    });
}
