//! Replicas on their way between the directories /a and /b, while they are written to and while the node
//! dies.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use log::Disk;
use log::disk::{Crash, MemDisk};
use model::{ErrorCode, LeaderEpoch, Offset, PartitionIndex, Timestamp};
use proto::metadata::{ConfigRecord, MetadataRecord, RemoveTopicRecord};
use wire::batch::{BatchBuilder, Batches, NewRecord};
use wire::cordoned::LOG_DIRS_VERSION;
use wire::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use wire::messages::{AlterReplicaLogDirsRequest, DescribeLogDirsRequest, text, topic as topic_name};

use crate::data::partition::Partition;
use crate::data::tests::{Fed, TOPIC, disk, names, partition, run, topic};
use crate::data::{log_dirs, moves};

const WALL: Timestamp = Timestamp::new(1_700_000_000_000);

/// `t-0` alone, which this node leads: it lies in /a.
async fn with_one(disk: &MemDisk) -> Fed {
    let mut fed = Fed::open(disk, true).await;
    fed.feed(vec![topic(TOPIC, "t"), partition(TOPIC, 0, &[1], 1)]).await;
    fed
}

fn only(fed: &Fed) -> Arc<Partition> {
    fed.data.plane.partition((TOPIC, PartitionIndex::new(0))).expect("it is there")
}

/// Appends a record as the leader. False where the disk refuses.
fn write(fed: &Fed, value: &str) -> bool {
    let partition = only(fed);
    let mut builder = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(0));
    builder.push(&NewRecord { timestamp: WALL, value: Some(value.as_bytes()), ..NewRecord::default() });
    let mut batch = Vec::new();
    builder.finish(&mut batch).expect("no codec");
    let mut state = partition.lock();
    let rules = state.settings.rules(WALL);
    let Ok((log, leader)) = state.lead() else { return false };
    let epoch = leader.leader_epoch();
    log.append_as_leader(&batch, epoch, WALL, &rules).is_ok()
}

/// Every value in the log.
fn read(fed: &Fed) -> Vec<String> {
    let partition = only(fed);
    let mut state = partition.lock();
    let log = state.log.as_mut().expect("it works");
    let mut values = Vec::new();
    let mut at = log.start();
    while let Some(slice) = log.read(at, 1 << 20, log.end(), true).expect("it can be read") {
        let bytes = slice.read().expect("it can be read");
        for batch in Batches::new(&bytes) {
            let batch = batch.expect("whole batches");
            at = batch.header.next_offset();
            for record in batch.records(1 << 20).expect("plain").iter() {
                let value = record.expect("whole").value.expect("a value");
                values.push(String::from_utf8_lossy(value).into_owned());
            }
        }
    }
    values
}

/// Asks for `t-0` in that directory; the answer's code.
async fn ask(fed: &Fed, dir: &str, name: &str, index: i32) -> ErrorCode {
    let named = AlterReplicaLogDirTopic::default().with_name(topic_name(name)).with_partitions(vec![index]);
    let dir = AlterReplicaLogDir::default().with_path(text(dir)).with_topics(vec![named]);
    let request = AlterReplicaLogDirsRequest::default().with_dirs(vec![dir]);
    let response = moves::handle(fed.data.plane.clone(), request).await;
    ErrorCode::from_code(response.results[0].partitions[0].error_code)
}

/// `/a t-0`, `/b t-0 future`, a line each.
async fn described(fed: &Fed) -> Vec<String> {
    let request = DescribeLogDirsRequest::default().with_topics(None);
    let response = log_dirs::handle(fed.data.plane.clone(), LOG_DIRS_VERSION, request);
    let mut lines = Vec::new();
    for dir in response.await.results {
        for topic in dir.topics {
            lines.extend(topic.partitions.iter().map(|it| {
                let future = if it.is_future_key { " future" } else { "" };
                format!("{} {}-{}{future}", dir.log_dir.as_str(), topic.name.as_str(), it.partition_index)
            }));
        }
    }
    lines
}

/// The directories that an answer of that version calls cordoned.
async fn cordoned(fed: &Fed, version: i16) -> Vec<String> {
    let request = DescribeLogDirsRequest::default().with_topics(Some(Vec::new()));
    let response = log_dirs::handle(fed.data.plane.clone(), version, request).await;
    let cordoned = response.results.iter().filter(|it| !it.unknown_tagged_fields.is_empty());
    cordoned.map(|it| it.log_dir.to_string()).collect()
}

async fn settle(fed: &Fed) {
    for _ in 0..10_000 {
        if fed.data.plane.moves.all().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("the move does not end: {:?}", fed.data.plane.moves.all());
}

fn slowly(rate: &str) -> MetadataRecord {
    let name = "replica.alter.log.dirs.io.max.bytes.per.second".to_owned();
    ConfigRecord { resource_type: 4, resource_name: String::new(), name, value: Some(rate.to_owned()) }.into()
}

#[test]
fn a_replica_moves_while_it_is_written_to_and_stays_there() {
    run(async {
        let disk = disk();
        let mut fed = with_one(&disk).await;
        let mut values: Vec<String> = (0..100).map(|number| format!("v{number}")).collect();
        assert!(values.iter().all(|value| write(&fed, value)));
        assert_eq!(ask(&fed, "/b", "t", 0).await, ErrorCode::None);
        assert_eq!(described(&fed).await, ["/a t-0", "/b t-0 future"]);
        for number in 100..200 {
            values.push(format!("v{number}"));
            assert!(write(&fed, values.last().expect("just pushed")));
            tokio::task::yield_now().await;
        }
        settle(&fed).await;
        assert_eq!(described(&fed).await, ["/b t-0"]);
        assert_eq!((read(&fed), fed.parts()), (values.clone(), vec!["t-0 leads 0".to_owned()]));
        assert!(write(&fed, "after"));
        values.push("after".to_owned());
        let doomed = names(&disk, "/a");
        assert!(doomed.len() == 1 && doomed[0].ends_with("-delete"), "{doomed:?}");
        // The next replicas go where there is room now.
        fed.feed(vec![partition(TOPIC, 1, &[1], 1)]).await;
        assert!(names(&disk, "/a").contains(&"t-1".to_owned()));
        tokio::time::sleep(Duration::from_secs(70)).await;
        assert_eq!(names(&disk, "/a"), ["t-1"]);
        assert!(fed.data.stop().await);
        let fed = with_one(&disk).await;
        assert_eq!((read(&fed), names(&disk, "/b")), (values, vec!["t-0".to_owned()]));
        assert!(fed.data.stop().await);
    });
}

#[test]
fn what_cannot_move_is_said_with_kafkas_codes() {
    run(async {
        let mut fed = with_one(&disk()).await;
        fed.feed(vec![partition(TOPIC, 1, &[2], 2)]).await;
        assert_eq!(ask(&fed, "/elsewhere", "t", 0).await, ErrorCode::LogDirNotFound);
        assert_eq!(ask(&fed, "/b", "missing", 0).await, ErrorCode::UnknownTopicOrPartition);
        assert_eq!(ask(&fed, "/b", "t", 7).await, ErrorCode::UnknownTopicOrPartition);
        assert_eq!(ask(&fed, "/b", "t", 1).await, ErrorCode::ReplicaNotAvailable);
        assert_eq!(ask(&fed, "/a", "t", 0).await, ErrorCode::None, "it is there");
        assert!(fed.data.plane.moves.all().is_empty());
        assert!(fed.data.stop().await);
    });
}

#[test]
fn a_move_can_be_taken_back_and_ends_with_its_topic() {
    run(async {
        let disk = disk();
        let mut fed = with_one(&disk).await;
        fed.feed(vec![slowly("10")]).await;
        assert!((0..100).all(|number| write(&fed, &format!("v{number}"))));
        for ends in ["taken back", "deleted"] {
            assert_eq!(ask(&fed, "/b", "t", 0).await, ErrorCode::None);
            tokio::time::sleep(Duration::from_secs(2)).await;
            let copies = names(&disk, "/b");
            assert!(copies.len() == 1 && copies[0].ends_with("-future"), "{copies:?}");
            match ends {
                "taken back" => assert_eq!(ask(&fed, "/a", "t", 0).await, ErrorCode::None),
                _ => fed.feed(vec![RemoveTopicRecord { topic_id: TOPIC }.into()]).await,
            }
            tokio::time::sleep(Duration::from_secs(100)).await;
            assert_eq!(names(&disk, "/b"), Vec::<String>::new(), "{ends}");
        }
        assert!(fed.data.stop().await);
    });
}

#[test]
fn a_move_that_a_stop_broke_off_begins_again() {
    run(async {
        let disk = disk();
        let mut fed = with_one(&disk).await;
        fed.feed(vec![slowly("10")]).await;
        assert!((0..100).all(|number| write(&fed, &format!("v{number}"))));
        assert_eq!(ask(&fed, "/b", "t", 0).await, ErrorCode::None);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(fed.data.stop().await);
        assert!(names(&disk, "/b")[0].ends_with("-future"));
        let fed = with_one(&disk).await;
        settle(&fed).await;
        assert_eq!((described(&fed).await, read(&fed).len()), (vec!["/b t-0".to_owned()], 100));
        assert!(fed.data.stop().await);
    });
}

/// The disk stops after `changes` further changes, the node dies, and starts again. Whether the move came to its
/// end before.
async fn check_crash(changes: u64, how: fn() -> Crash) -> bool {
    let disk = disk();
    disk.sync_dir(Path::new("/")).expect("the disk works");
    let fed = with_one(&disk).await;
    let values: Vec<String> = (0..20).map(|number| format!("v{number}")).collect();
    assert!(values.iter().all(|value| write(&fed, value)));
    only(&fed).lock().log.as_mut().expect("it works").flush().expect("the disk works");
    disk.stop_after(changes);
    assert_eq!(ask(&fed, "/b", "t", 0).await, ErrorCode::None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ended = names_or_none(&disk).contains(&PathBuf::from("/b/t-0"));
    fed.data.stop().await;
    drop(fed);
    disk.crash(how());
    let mut fed = Fed::open(&disk, false).await;
    fed.feed(vec![topic(TOPIC, "t"), partition(TOPIC, 0, &[1], 1)]).await;
    settle(&fed).await;
    assert_eq!(read(&fed), values, "after {changes} changes");
    assert!(write(&fed, "more"), "after {changes} changes");
    let places = described(&fed).await;
    assert_eq!(places.len(), 1, "after {changes} changes: {places:?}");
    assert!(fed.data.stop().await);
    ended
}

fn names_or_none(disk: &MemDisk) -> Vec<PathBuf> {
    let files = disk.files().into_iter().filter_map(|(path, _)| path.parent().map(PathBuf::from));
    files.collect()
}

#[test]
fn a_node_that_dies_at_any_step_of_a_move_has_its_records_afterwards() {
    for how in [|| Crash::Process, || Crash::Power] as [fn() -> Crash; 2] {
        run(async move {
            let mut changes = 0;
            while !check_crash(changes, how).await {
                changes += 1;
            }
            assert!(changes > 10, "a move takes more than {changes} changes");
            for changes in changes..changes + 15 {
                check_crash(changes, how).await;
            }
        });
    }
}

#[test]
fn a_cordoned_directory_takes_no_new_replicas_until_it_is_opened_again() {
    run(async {
        let disk = disk();
        let mut fed = with_one(&disk).await;
        let cordon = |value: Option<&str>| -> MetadataRecord {
            let (resource_name, name) = ("1".to_owned(), "cordoned.log.dirs".to_owned());
            let value = value.map(str::to_owned);
            ConfigRecord { resource_type: 4, resource_name, name, value }.into()
        };
        fed.feed(vec![cordon(Some("/b"))]).await;
        assert_eq!(cordoned(&fed, LOG_DIRS_VERSION).await, ["/b"]);
        assert!(cordoned(&fed, LOG_DIRS_VERSION - 1).await.is_empty(), "there is no place for it");
        assert_eq!(ask(&fed, "/b", "t", 0).await, ErrorCode::InvalidReplicaAssignment);
        fed.feed(vec![partition(TOPIC, 1, &[1], 1), partition(TOPIC, 2, &[1], 1)]).await;
        assert_eq!((names(&disk, "/a").len(), names(&disk, "/b").len()), (3, 0));
        fed.feed(vec![cordon(Some("*")), partition(TOPIC, 3, &[1], 1)]).await;
        assert_eq!((names(&disk, "/a").len(), names(&disk, "/b").len()), (3, 1), "it must lie somewhere");
        assert_eq!(cordoned(&fed, LOG_DIRS_VERSION).await, ["/a", "/b"]);
        fed.feed(vec![cordon(None), partition(TOPIC, 4, &[1], 1)]).await;
        assert!(cordoned(&fed, LOG_DIRS_VERSION).await.is_empty());
        assert_eq!((names(&disk, "/a").len(), names(&disk, "/b").len()), (3, 2));
        assert!(fed.data.stop().await);
    });
}
