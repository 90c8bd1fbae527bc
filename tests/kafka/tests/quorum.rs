//! Kafka's dump tool reads what the quorum writes: log, snapshot, formatted files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kastle_kafka_tests::Kafka;
use log::disk::{Disk, RealDisk};
use model::{NodeId, Timestamp, Uuid};
use net::{SystemClock, TcpNetwork};
use proto::metadata::{FeatureLevelRecord, MetadataRecord, TopicRecord};
use quorum::{
    Blocking, CommittedBatch, LoadedSnapshot, Quorum, QuorumOptions, StateMachine, Tuning, VoterSource,
    Voters, format,
};

/// Remembers all records.
#[derive(Default)]
struct All(Vec<MetadataRecord>);

impl StateMachine for All {
    fn apply(&mut self, batch: &CommittedBatch) {
        self.0.extend(batch.records.iter().cloned());
    }

    fn snapshot(&self) -> Box<dyn FnOnce() -> Vec<MetadataRecord> + Send> {
        let records = self.0.clone();
        Box::new(move || records)
    }

    fn restore(&mut self, snapshot: &LoadedSnapshot) {
        self.0.clone_from(&snapshot.records);
    }
}

fn options(dir: &Path, directory: Uuid) -> QuorumOptions {
    QuorumOptions {
        node: NodeId::new(1),
        directory,
        cluster: Uuid::from_u128(77).into(),
        log_dir: dir.to_owned(),
        voters: VoterSource::Formatted,
        listener: "CONTROLLER".to_owned(),
        disk: Arc::new(RealDisk),
        network: Arc::new(TcpNetwork),
        clock: Arc::new(SystemClock::new()),
        seed: 1,
        blocking: Blocking::Threads,
        tuning: Tuning::default(),
    }
}

fn bootstrap() -> Vec<MetadataRecord> {
    let name = "metadata.version".to_owned();
    vec![MetadataRecord::FeatureLevel(FeatureLevelRecord { name, feature_level: 30 })]
}

fn topic(number: u128) -> MetadataRecord {
    MetadataRecord::Topic(TopicRecord {
        name: format!("topic-{number}"),
        topic_id: Uuid::from_u128(500 + number),
    })
}

/// Formats, starts, appends, takes a snapshot, appends more.
async fn write(dir: &Path) {
    let directory = Uuid::from_u128(4242);
    let now = Timestamp::new(1_700_000_000_000);
    let voters = format!("1@localhost:9093:{directory}");
    let voters = Voters::parse_initial(&voters, "CONTROLLER").expect("well formed");
    format::write_bootstrap(&RealDisk, dir, &bootstrap(), now).expect("formats");
    format::write_voters(&RealDisk, dir, &voters, now).expect("formats");
    assert_eq!(format::read_bootstrap(&RealDisk, dir).expect("reads"), Some(bootstrap()));
    assert_eq!(format::read_voters(&RealDisk, dir).expect("reads"), Some(voters));
    let quorum = Quorum::spawn_thread(options(dir, directory), All::default()).await.expect("opens");
    let mut status = quorum.status();
    let epoch = status.wait_for(|status| status.is_leader_ready).await.expect("runs").epoch;
    quorum.append(epoch, None, bootstrap()).await.expect("appends");
    for number in 0..10 {
        quorum.append(epoch, None, vec![topic(2 * number), topic(2 * number + 1)]).await.expect("appends");
    }
    quorum.snapshot().await;
    let log_dir = dir.join("__cluster_metadata-0");
    for _ in 0..200 {
        if checkpoints(&log_dir).len() > 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    quorum.append(epoch, None, vec![topic(100)]).await.expect("appends");
    quorum.shutdown().await;
}

fn checkpoints(dir: &Path) -> Vec<PathBuf> {
    let entries = RealDisk.list(dir).expect("lists");
    let names = entries.into_iter().map(|entry| entry.name).filter(|name| name.ends_with(".checkpoint"));
    names.map(|name| dir.join(name)).collect()
}

fn check(kafka: &Kafka, file: &Path, expected: &[&str]) {
    let file = file.to_str().expect("a plain path");
    let arguments = ["--cluster-metadata-decoder", "--files", file];
    let text = kafka.check("org.apache.kafka.tools.DumpLogSegments", &arguments, expected);
    let text = text.expect("Kafka reads our file");
    assert!(!text.contains("isvalid: false"), "{text}");
}

#[tokio::test]
async fn kafkas_dump_tool_reads_log_snapshot_and_formatted_files() {
    let Some(kafka) = Kafka::find().expect("Kafka's jars, and Java") else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    write(dir.path()).await;
    let log_dir = dir.path().join("__cluster_metadata-0");
    check(&kafka, &dir.path().join("bootstrap.checkpoint"), &["SnapshotHeader", "\"featureLevel\":30"]);
    check(
        &kafka,
        &log_dir.join("00000000000000000000.log"),
        &[
            "KRaftVersion {\"version\":0,\"kRaftVersion\":1}",
            "KRaftVoters",
            "LeaderChange: {\"version\":0,\"leaderId\":1,\"voters\":[{\"voterId\":1}]",
            "\"type\":\"TOPIC_RECORD\",\"version\":0,\"data\":{\"name\":\"topic-19\"",
            "topic-100",
        ],
    );
    let files = checkpoints(&log_dir);
    assert_eq!(files.len(), 2, "{files:?}");
    check(&kafka, &files[0], &["Snapshot end offset: 0, epoch: 0", "KRaftVoters", "SnapshotFooter"]);
    check(&kafka, &files[1], &["epoch: 1", "KRaftVoters", "SnapshotHeader", "topic-19", "SnapshotFooter"]);
}
