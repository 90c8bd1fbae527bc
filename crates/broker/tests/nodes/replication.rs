//! Logs that part ways and come together again, through whole nodes: what was cut, deleted,
//! moved or lost with a disk at one replica is the same at all of them afterwards.

use std::path::Path;
use std::time::Duration;

use crate::support::records::{
    batch, check_led, create, create_on, delete_records, fetch, is_acknowledged, leader, offset_at, produce,
};
use crate::support::{Client, Cluster, run};
use log::Disk;
use model::ErrorCode;
use wire::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use wire::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, DescribeLogDirsRequest, ResponseKind, topic,
};

const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

async fn range(client: &Client, name: &str) -> (i64, i64) {
    (offset_at(client, name, EARLIEST).await, offset_at(client, name, LATEST).await)
}

/// Records of one value each, acknowledged by all.
async fn write(client: &Client, name: &str, values: &[&str]) {
    for value in values {
        let written = produce(client, name, -1, batch(&[value], None)).await;
        assert!(written.is_ok(), "{value}: {written:?}");
    }
}

#[test]
fn deleted_records_are_gone_on_every_replica_before_the_answer_and_after_a_restart() {
    run(async {
        let mut cluster = Cluster::start_with(1, 4).await;
        let client = cluster.client(1).await;
        create_on(&client, "t", &[2, 3, 4], &[]).await;
        check_led(&client, "t", "2 [2, 3, 4]").await;
        let (_, id) = leader(&client, "t").await;
        let second = cluster.client(2).await;
        write(&second, "t", &["a", "b", "c", "d"]).await;
        let begun = tokio::time::Instant::now();
        assert_eq!(delete_records(&second, "t", 2, 5_000).await, "low 2");
        assert!(begun.elapsed() < Duration::from_millis(400), "followers hear of it at once");
        assert_eq!(range(&second, "t").await, (2, 4));
        assert_eq!(fetch(&second, id, 1, 0).await, "OFFSET_OUT_OF_RANGEhw=-1");
        assert_eq!(delete_records(&second, "t", 1, 5_000).await, "low 2", "nothing comes back");
        cluster.kill(2);
        check_led(&client, "t", "3 [3, 4]").await;
        let third = cluster.client(3).await;
        assert_eq!(range(&third, "t").await, (2, 4));
        assert_eq!(fetch(&third, id, 2, 0).await, "@2 c @3 d hw=4");
        assert_eq!(delete_records(&third, "t", -1, 5_000).await, "low 4");
        cluster.stop(4).await;
        cluster.stop(3).await;
        cluster.boot(3).await;
        cluster.ready(3).await;
        check_led(&client, "t", "3 [3]").await;
        assert_eq!(range(&cluster.client(3).await, "t").await, (4, 4));
    });
}

#[test]
fn what_cannot_be_deleted_is_said_with_kafkas_codes() {
    run(async {
        let cluster = Cluster::start_with(1, 3).await;
        let client = cluster.client(1).await;
        create_on(&client, "t", &[2, 3], &[]).await;
        create_on(&client, "compacted", &[2], &[("cleanup.policy", "compact")]).await;
        create_on(&client, "__consumer_offsets", &[2], &[]).await;
        check_led(&client, "t", "2 [2, 3]").await;
        let second = cluster.client(2).await;
        write(&second, "t", &["a", "b"]).await;
        assert_eq!(delete_records(&second, "t", 3, 1_000).await, "OFFSET_OUT_OF_RANGE");
        assert_eq!(delete_records(&second, "t", -2, 1_000).await, "OFFSET_OUT_OF_RANGE");
        assert_eq!(delete_records(&second, "missing", 0, 1_000).await, "UNKNOWN_TOPIC_OR_PARTITION");
        assert_eq!(delete_records(&second, "compacted", 0, 1_000).await, "POLICY_VIOLATION");
        assert_eq!(delete_records(&second, "__consumer_offsets", 0, 1_000).await, "INVALID_TOPIC_EXCEPTION");
        let third = cluster.client(3).await;
        assert_eq!(delete_records(&third, "t", 1, 1_000).await, "NOT_LEADER_OR_FOLLOWER");
        assert_eq!(range(&second, "t").await, (0, 2));
        cluster.stop_all().await;
    });
}

#[test]
fn a_deletion_waits_for_a_silent_replica_until_it_counts_as_dead() {
    run(async {
        let cluster = Cluster::start_with(1, 3).await;
        let client = cluster.client(1).await;
        create_on(&client, "t", &[2, 3], &[]).await;
        check_led(&client, "t", "2 [2, 3]").await;
        let second = cluster.client(2).await;
        write(&second, "t", &["a", "b"]).await;
        cluster.network.cut("n3");
        assert_eq!(delete_records(&second, "t", 1, 1_000).await, "REQUEST_TIMED_OUT");
        assert_eq!(delete_records(&second, "t", 1, 30_000).await, "low 1", "it is fenced after 9 s");
    });
}

#[test]
fn a_follower_whose_history_left_the_leaders_is_cut_where_they_part() {
    run(async {
        let mut cluster = Cluster::start_with(1, 3).await;
        let client = cluster.client(1).await;
        create_on(&client, "t", &[2, 3], &[("unclean.leader.election.enable", "true")]).await;
        check_led(&client, "t", "2 [2, 3]").await;
        let (_, id) = leader(&client, "t").await;
        let second = cluster.client(2).await;
        write(&second, "t", &["a", "b"]).await;
        cluster.network.cut("n3");
        check_led(&client, "t", "2 [2]").await;
        write(&second, "t", &["lost", "too"]).await;
        // It stops without handing over: nobody in sync is left.
        cluster.stop(2).await;
        cluster.network.heal("n3");
        check_led(&client, "t", "3 [3]").await;
        let third = cluster.client(3).await;
        write(&third, "t", &["x"]).await;
        cluster.boot(2).await;
        cluster.ready(2).await;
        check_led(&client, "t", "3 [2, 3]").await;
        cluster.stop(3).await;
        check_led(&client, "t", "2 [2]").await;
        let second = cluster.client(2).await;
        assert_eq!(fetch(&second, id, 0, 0).await, "@0 a @1 b @2 x hw=3");
    });
}

#[test]
fn a_follower_that_ends_before_its_leader_begins_starts_over_there() {
    run(async {
        let mut cluster = Cluster::start_with(1, 3).await;
        let client = cluster.client(1).await;
        create_on(&client, "t", &[2, 3], &[]).await;
        check_led(&client, "t", "2 [2, 3]").await;
        let (_, id) = leader(&client, "t").await;
        let second = cluster.client(2).await;
        write(&second, "t", &["a", "b"]).await;
        cluster.stop(3).await;
        check_led(&client, "t", "2 [2]").await;
        write(&second, "t", &["c", "d", "e"]).await;
        assert_eq!(delete_records(&second, "t", 4, 1_000).await, "low 4", "nobody else is alive");
        cluster.boot(3).await;
        cluster.ready(3).await;
        check_led(&client, "t", "2 [2, 3]").await;
        cluster.stop(2).await;
        check_led(&client, "t", "3 [3]").await;
        let third = cluster.client(3).await;
        assert_eq!(range(&third, "t").await, (4, 5));
        assert_eq!(fetch(&third, id, 4, 0).await, "@4 e hw=5");
        assert_eq!(fetch(&third, id, 3, 0).await, "OFFSET_OUT_OF_RANGEhw=-1");
    });
}

#[test]
fn retention_lets_old_segments_go_at_the_leader_and_then_everywhere() {
    run(async {
        let extra = "log.retention.check.interval.ms=1000\n";
        let mut cluster = Cluster::start_configured(1, 3, extra).await;
        let client = cluster.client(1).await;
        let configs = [("retention.ms", "20000"), ("segment.ms", "1000"), ("file.delete.delay.ms", "60000")];
        create_on(&client, "t", &[2, 3], &configs).await;
        check_led(&client, "t", "2 [2, 3]").await;
        let second = cluster.client(2).await;
        write(&second, "t", &["a", "b"]).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(range(&second, "t").await, (0, 2), "nothing is old enough");
        write(&second, "t", &["c"]).await;
        let two = |cluster: &Cluster, node| {
            let files = cluster.disk(node).files();
            files.iter().filter(|(path, _)| path.starts_with("/data/t-0") && is_log(path)).count()
        };
        assert_eq!((two(&cluster, 2), two(&cluster, 3)), (2, 2), "a second segment has begun");
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(range(&second, "t").await, (3, 3));
        // The follower goes with its leader, whose log start comes with every answer.
        write(&second, "t", &["d"]).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!((two(&cluster, 2), two(&cluster, 3)), (1, 1), "the first files are gone");
        let gone = |cluster: &Cluster| {
            let files = cluster.disk(2).files();
            files.iter().filter(|(path, _)| path.extension().is_some_and(|it| it == "deleted")).count()
        };
        assert!(gone(&cluster) > 0, "their files have other names until nobody can need them");
        tokio::time::sleep(Duration::from_secs(90)).await;
        assert_eq!(gone(&cluster), 0);
        cluster.stop(2).await;
        check_led(&client, "t", "3 [3]").await;
        assert_eq!(
            range(&cluster.client(3).await, "t").await,
            (4, 4),
            "the last one is as old as its producer says"
        );
    });
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}

#[test]
fn a_reassigned_partition_moves_with_its_records_and_leaves_nothing_behind() {
    run(async {
        let mut cluster = Cluster::start_with(3, 4).await;
        let client = cluster.client(1).await;
        create_on(&client, "t", &[1, 2], &[("file.delete.delay.ms", "5000")]).await;
        check_led(&client, "t", "1 [1, 2]").await;
        let (_, id) = leader(&client, "t").await;
        write(&client, "t", &["a", "b"]).await;
        let to = ReassignablePartition::default()
            .with_partition_index(0)
            .with_replicas(Some(vec![BrokerId(3), BrokerId(4)]));
        let to = ReassignableTopic::default().with_name(topic("t")).with_partitions(vec![to]);
        let request =
            AlterPartitionReassignmentsRequest::default().with_topics(vec![to]).with_timeout_ms(10_000);
        match client.ask(0, request).await {
            ResponseKind::AlterPartitionReassignments(response) => assert_eq!(
                (response.error_code, response.responses[0].partitions[0].error_code),
                (0, 0),
                "{response:?}"
            ),
            other => panic!("{other:?}"),
        }
        check_led(&client, "t", "3 [3, 4]").await;
        let third = cluster.client(3).await;
        write(&third, "t", &["c"]).await;
        let refused = produce(&client, "t", 1, batch(&["x"], None)).await;
        assert_eq!(refused, Err(ErrorCode::NotLeaderOrFollower));
        let left = |cluster: &Cluster, node| {
            let names = cluster.disk(node).list(Path::new("/data")).expect("it works");
            names.into_iter().filter(|entry| entry.name.starts_with("t-0")).map(|entry| entry.name).collect()
        };
        for node in [1, 2] {
            let names: Vec<String> = left(&cluster, node);
            assert!(names.iter().all(|name| name.ends_with("-delete")), "{names:?}");
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!((left(&cluster, 1), left(&cluster, 2)), (Vec::<String>::new(), Vec::new()));
        cluster.stop(3).await;
        check_led(&client, "t", "4 [4]").await;
        assert_eq!(fetch(&cluster.client(4).await, id, 0, 0).await, "@0 a @1 b @2 c hw=3");
    });
}

/// Node 2's disk fails as `fail` says while a record is written to it.
async fn check_disk_fails(configs: &[(&str, &str)], fail: impl FnOnce(&Cluster)) {
    let cluster = Cluster::start_with(1, 3).await;
    let client = cluster.client(1).await;
    create_on(&client, "t", &[2, 3], configs).await;
    check_led(&client, "t", "2 [2, 3]").await;
    let (_, id) = leader(&client, "t").await;
    let second = cluster.client(2).await;
    write(&second, "t", &["a", "b"]).await;
    fail(&cluster);
    assert!(!is_acknowledged(&second, "t", batch(&["lost"], None)).await);
    for _ in 0..50 {
        assert!(!is_acknowledged(&second, "t", batch(&["never"], None)).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    check_led(&client, "t", "3 [3]").await;
    let third = cluster.client(3).await;
    write(&third, "t", &["c"]).await;
    let read = fetch(&third, id, 0, 0).await;
    assert_eq!(read.replace("lost @", ""), read, "what was refused may be there, but was not acknowledged");
    assert!(read.starts_with("@0 a @1 b @2 c hw=3"), "{read}");
}

#[test]
fn a_node_acknowledges_nothing_after_a_write_failed() {
    run(check_disk_fails(&[], |cluster| cluster.disk(2).fail_after(0)));
}

#[test]
fn a_node_acknowledges_nothing_after_a_sync_failed() {
    run(check_disk_fails(&[("flush.messages", "1")], |cluster| cluster.disk(2).fail_next_sync()));
}

/// Found by the simulation, seed 583: a damaged log was cut, and its replica, in sync as it had stopped,
/// led and had all others cut theirs.
#[test]
fn a_replica_whose_log_was_damaged_is_not_in_sync_however_it_stopped() {
    run(async {
        let mut cluster = Cluster::start_with(1, 3).await;
        let client = cluster.client(1).await;
        create_on(&client, "t", &[2, 3], &[("min.insync.replicas", "2")]).await;
        check_led(&client, "t", "2 [2, 3]").await;
        let (_, id) = leader(&client, "t").await;
        write(&cluster.client(2).await, "t", &["a", "b"]).await;
        cluster.stop(3).await;
        check_led(&client, "t", "2 [2]").await;
        cluster.stop(2).await;
        let magic = 16;
        let log = Path::new("/data/t-0/00000000000000000000.log");
        cluster.disk(2).flip(log, magic, 1).expect("there are records");
        cluster.boot(2).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        cluster.boot(3).await;
        check_led(&client, "t", "3 [2, 3]").await;
        assert_eq!(fetch(&cluster.client(3).await, id, 0, 0).await, "@0 a @1 b hw=2");
    });
}

#[test]
fn log_directories_are_described_with_what_lies_in_them() {
    run(async {
        let cluster = Cluster::start(1).await;
        let client = cluster.client(1).await;
        create(&client, "t", 2, 1, &[]).await;
        leader(&client, "t").await;
        write(&client, "t", &["a"]).await;
        cluster.disk(1).set_capacity(Some(1 << 30));
        let request = DescribeLogDirsRequest::default().with_topics(None);
        let ResponseKind::DescribeLogDirs(response) = client.ask(4, request).await else { panic!("none") };
        let [dir] = response.results.as_slice() else { panic!("{response:?}") };
        assert_eq!((dir.error_code, dir.log_dir.as_str(), dir.total_bytes), (0, "/data", 1 << 30));
        assert!(dir.usable_bytes > 0 && dir.usable_bytes < 1 << 30, "{}", dir.usable_bytes);
        let [topic] = dir.topics.as_slice() else { panic!("{response:?}") };
        let sizes: Vec<_> =
            topic.partitions.iter().map(|it| (it.partition_index, it.partition_size)).collect();
        let one = i64::try_from(batch(&["a"], None).len()).expect("short");
        assert_eq!(sizes, [(0, one), (1, 0)]);
        cluster.stop_all().await;
    });
}
