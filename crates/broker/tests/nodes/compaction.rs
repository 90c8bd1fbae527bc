//! Compacted topics on whole nodes: logs shrink, the last value of each key stays where it was, and
//! followers that join late and what goes wrong with one log change nothing of it.

mod restarts;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::records::{batch, check_led, create_on, leader, offset_at, produce};
use crate::support::{Client, Cluster, run};
use model::{ErrorCode, LeaderEpoch, Offset, Timestamp};
use wire::batch::{BatchBuilder, Batches, NewRecord};
use wire::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use wire::messages::delete_topics_request::DeleteTopicState;
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, Bytes, DeleteTopicsRequest, FetchRequest, ResponseKind,
    WireUuid, topic,
};

const NOW: i64 = 1_700_000_000_000;
const COMPACTED: [(&str, &str); 3] = [
    ("cleanup.policy", "compact"),
    ("internal.segment.bytes", "2000"),
    ("min.cleanable.dirty.ratio", "0.01"),
];
const OFTEN: &str = "log.cleaner.backoff.ms=200\n";

fn keyed(key: &str, value: Option<&str>) -> Bytes {
    let mut builder = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(0));
    let (timestamp, key, value) = (Timestamp::new(NOW), Some(key.as_bytes()), value.map(str::as_bytes));
    builder.push(&NewRecord { timestamp, key, value, ..NewRecord::default() });
    let mut bytes = Vec::new();
    builder.finish(&mut bytes).expect("no codec");
    bytes.into()
}

/// Writes `count` values to five keys in turn; what each ends with, and where.
async fn write(client: &Client, name: &str, count: i64) -> BTreeMap<String, (i64, String)> {
    let mut last = BTreeMap::new();
    for number in 0..count {
        let (key, value) = (format!("k{}", number % 5), format!("v{number}"));
        let records = keyed(&key, Some(&value));
        let at = produce(client, name, -1, records).await.unwrap_or_else(|code| panic!("{number}: {code}"));
        last.insert(key, (at, value));
    }
    last
}

/// Reads the partition to its high watermark: what each key ends with, and how many records there are.
async fn read(client: &Client, id: WireUuid) -> (BTreeMap<String, (i64, String)>, usize) {
    let (mut last, mut count, mut next) = (BTreeMap::new(), 0, 0);
    loop {
        let data = FetchPartition::default()
            .with_fetch_offset(next)
            .with_current_leader_epoch(-1)
            .with_partition_max_bytes(500);
        let data = FetchTopic::default().with_topic_id(id).with_partitions(vec![data]);
        let request = FetchRequest::default()
            .with_min_bytes(1)
            .with_max_bytes(500)
            .with_session_epoch(-1)
            .with_topics(vec![data]);
        let ResponseKind::Fetch(response) = client.ask(16, request).await else { panic!("no records") };
        let answer = &response.responses[0].partitions[0];
        assert_eq!(answer.error_code, 0, "from {next}");
        for batch in Batches::new(answer.records.as_deref().unwrap_or_default()) {
            let batch = batch.expect("whole");
            batch.check_crc().expect("sealed");
            for record in batch.records(1 << 20).expect("plain").iter() {
                let record = record.expect("whole");
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let key = record.key.map(text).expect("a key");
                match record.value.map(text) {
                    Some(value) => last.insert(key, (record.offset.get(), value)),
                    None => last.remove(&key),
                };
                count += 1;
            }
            next = batch.header.next_offset().get();
        }
        if next >= answer.high_watermark {
            return (last, count);
        }
    }
}

/// Bytes of the partition's batches on the disk of node `id`.
fn log_bytes(cluster: &Cluster, id: i32, name: &str) -> u64 {
    let dir = format!("/data/{name}-0/");
    let files = cluster.disk(id).files().into_iter();
    let logs = files.filter(|(path, _)| {
        let path = path.to_string_lossy();
        path.starts_with(&dir) && path.ends_with(".log")
    });
    logs.map(|(_, len)| len).sum()
}

/// Waits until the log is at most so large.
async fn shrinks_to(cluster: &Cluster, id: i32, name: &str, bytes: u64) {
    for _ in 0..600 {
        if log_bytes(cluster, id, name) <= bytes {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{name} has {} bytes at node {id}", log_bytes(cluster, id, name));
}

async fn reassign(client: &Client, name: &str, to: &[i32]) {
    let replicas = to.iter().copied().map(BrokerId).collect();
    let partition = ReassignablePartition::default().with_replicas(Some(replicas));
    let asked = ReassignableTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
    let request =
        AlterPartitionReassignmentsRequest::default().with_topics(vec![asked]).with_timeout_ms(9_000);
    let ResponseKind::AlterPartitionReassignments(response) = client.ask(0, request).await else {
        panic!("no answer")
    };
    assert_eq!((response.error_code, response.responses[0].partitions[0].error_code), (0, 0));
}

#[test]
fn a_compacted_topic_shrinks_and_reads_the_same_at_leader_and_new_follower() {
    run(async {
        let mut cluster = Cluster::start_configured(1, 4, OFTEN).await;
        let client = cluster.client(1).await;
        create_on(&client, "t", &[2, 3], &COMPACTED).await;
        check_led(&client, "t", "2 [2, 3]").await;
        let (_, id) = leader(&client, "t").await;
        let second = cluster.client(2).await;
        let unkeyed = produce(&second, "t", -1, batch(&["no key"], None)).await;
        assert_eq!(unkeyed, Err(ErrorCode::InvalidRecord));
        let last = write(&second, "t", 300).await;
        for id in [2, 3] {
            shrinks_to(&cluster, id, "t", 4_000).await;
        }
        let (seen, count) = read(&second, id).await;
        assert!(count < 60, "{count} records are left");
        assert_eq!(seen, last);
        assert_eq!((offset_at(&second, "t", -2).await, offset_at(&second, "t", -1).await), (0, 300));
        // A follower that begins with nothing copies a log with gaps.
        reassign(&client, "t", &[2, 3, 4]).await;
        check_led(&client, "t", "2 [2, 3, 4]").await;
        cluster.stop(2).await;
        cluster.kill(3);
        check_led(&client, "t", "4 [4]").await;
        let fourth = cluster.client(4).await;
        assert_eq!(read(&fourth, id).await.0, last);
        assert_eq!(produce(&fourth, "t", 1, keyed("k9", Some("x"))).await, Ok(300));
    });
}

#[test]
fn a_log_with_a_bad_batch_is_left_as_it_is_and_the_others_go_on() {
    run(async {
        let cluster = Cluster::start_configured(1, 2, "log.cleaner.backoff.ms=20000\n").await;
        let client = cluster.client(1).await;
        for name in ["bad", "good"] {
            create_on(&client, name, &[2], &COMPACTED).await;
            check_led(&client, name, "2 [2]").await;
        }
        let second = cluster.client(2).await;
        write(&second, "bad", 100).await;
        write(&second, "good", 100).await;
        let damaged = std::path::Path::new("/data/bad-0/00000000000000000000.log");
        cluster.disk(2).flip(damaged, 500, 1).expect("it has so many bytes");
        let before = log_bytes(&cluster, 2, "bad");
        shrinks_to(&cluster, 2, "good", 4_000).await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(log_bytes(&cluster, 2, "bad"), before);
        assert_eq!(produce(&second, "bad", 1, keyed("k", Some("v"))).await, Ok(100));
        let under_way = |path: &std::path::PathBuf| path.to_string_lossy().ends_with(".cleaned");
        assert!(!cluster.disk(2).files().iter().any(|(path, _)| under_way(path)));
    });
}

#[test]
fn a_topic_that_is_deleted_while_it_is_compacted_slowly_leaves_nothing() {
    run(async {
        let slowly = "log.cleaner.backoff.ms=200\nlog.cleaner.io.max.bytes.per.second=2000\n";
        let mut cluster = Cluster::start_configured(1, 2, slowly).await;
        let client = cluster.client(1).await;
        create_on(&client, "t", &[2], &COMPACTED).await;
        check_led(&client, "t", "2 [2]").await;
        let second = cluster.client(2).await;
        write(&second, "t", 200).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let request = DeleteTopicsRequest::default()
            .with_topics(vec![DeleteTopicState::default().with_name(Some(topic("t")))])
            .with_timeout_ms(5_000);
        let ResponseKind::DeleteTopics(response) = client.ask(6, request).await else { panic!("no answer") };
        assert_eq!(response.responses[0].error_code, 0);
        tokio::time::sleep(Duration::from_secs(120)).await;
        let left: Vec<_> = cluster.disk(2).files();
        assert!(!left.iter().any(|(path, _)| path.starts_with("/data/t-0")), "{left:?}");
        // A topic of the same name is another one.
        create_on(&client, "t", &[2], &COMPACTED).await;
        check_led(&client, "t", "2 [2]").await;
        let (_, id) = leader(&client, "t").await;
        let last = write(&second, "t", 200).await;
        shrinks_to(&cluster, 2, "t", 6_000).await;
        assert_eq!(read(&second, id).await.0, last);
        cluster.stop(2).await;
    });
}
