//! The data plane fed with metadata records: what each partition becomes, what lies on the disk,
//! and how long thousands of them take.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use config::{NodeConfig, Properties};
use log::Disk;
use log::disk::{MemDisk, OpenMode};
use model::{LeaderEpoch, NodeId, Offset, PartitionIndex, Timestamp, TopicId, Uuid};
use net::pipe::PipeNetwork;
use net::{ConnectOptions, Threads, VirtualClock};
use proto::metadata::{
    ConfigRecord, MetadataRecord, PartitionChangeRecord, PartitionRecord, RemoveTopicRecord, TopicRecord,
};
use quorum::{Blocking, CommittedBatch, StateMachine};
use replica::Role;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::controller_link::{ControllerLink, Office};
use crate::data::partition::Partition;
use crate::data::{Data, DataOptions};
use crate::lifecycle::{Lifecycle, Pace, SelfDescription};
use crate::publish::{Replay, Steps};
use crate::running::Running;

const ME: NodeId = NodeId::new(1);
pub(super) const TOPIC: TopicId = Uuid::from_u128(77);

/// A data plane and the metadata log that feeds it.
pub(super) struct Fed {
    pub(super) data: Arc<Data>,
    replay: Replay,
    steps: Steps,
    /// Log directories that failed.
    lost: watch::Receiver<BTreeSet<Uuid>>,
    end: Offset,
    /// What keeps channels open that nobody uses here.
    _kept: (Lifecycle, watch::Sender<Offset>, watch::Sender<Office>),
}

fn config() -> NodeConfig {
    let text = "process.roles=broker\nnode.id=1\nlog.dirs=/a,/b\nlisteners=PLAINTEXT://n1:9092\n\
                controller.listener.names=CONTROLLER\ncontroller.quorum.bootstrap.servers=n9:9093\n";
    let properties = Properties::parse("test.properties", text.as_bytes()).expect("well-formed");
    NodeConfig::from_properties(&properties).unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn disk() -> MemDisk {
    let disk = MemDisk::new();
    for dir in ["/a", "/b"] {
        disk.create_dir_all(Path::new(dir)).expect("an empty disk takes directories");
    }
    disk
}

impl Fed {
    pub(super) async fn open(disk: &MemDisk, was_clean: bool) -> Self {
        let network = Arc::new(PipeNetwork::new().host("n1"));
        let (replay, readers) = Replay::new(true);
        let (office, seat) = watch::channel(Office::default());
        let link = ControllerLink::new(network.clone(), ConnectOptions::default(), seat, None);
        let (applied, reached) = watch::channel(Offset::ZERO);
        let describe = SelfDescription {
            node: ME,
            cluster: Uuid::from_u128(9).into(),
            incarnation: Uuid::from_u128(8),
            listeners: Vec::new(),
            features: BTreeMap::new(),
            rack: None,
            log_dirs: Vec::new(),
            previous_epoch: None,
        };
        let second = Duration::from_secs(1);
        let pace = Pace { heartbeat_interval: second, registration_max: second, stop_max: second };
        let leave = CancellationToken::new();
        let (offline_dirs, lost) = watch::channel(BTreeSet::new());
        let (cordoned_dirs, cordoned) = watch::channel(BTreeSet::new());
        let (lifecycle, broker) =
            Lifecycle::new(describe, link.clone(), reached, lost.clone(), cordoned, pace, leave);
        let options = DataOptions {
            node: ME,
            cluster: Uuid::from_u128(9).into(),
            config: Arc::new(config()),
            log_dirs: vec![
                (PathBuf::from("/a"), Uuid::from_u128(5)),
                (PathBuf::from("/b"), Uuid::from_u128(6)),
            ],
            disk: Arc::new(disk.clone()),
            network,
            clock: Arc::new(VirtualClock::starting_at(Timestamp::new(1_700_000_000_000))),
            blocking: Blocking::Inline,
            threads: Threads::none(),
            published: readers.published,
            controllers: link,
            broker,
            offline_dirs,
            cordoned_dirs,
            seed: 3,
            running: Running::new(
                Arc::new(disk.clone()),
                vec![PathBuf::from("/a"), PathBuf::from("/b")],
                None,
            ),
            was_clean,
            lost_power: false,
        };
        let data = Data::open(options).await.expect("the directories can be read");
        let steps = readers.steps.expect("asked for");
        Self { data, replay, steps, lost, end: Offset::ZERO, _kept: (lifecycle, applied, office) }
    }

    /// One batch of the log, applied.
    pub(super) async fn feed(&mut self, records: Vec<MetadataRecord>) {
        let base_offset = self.end;
        self.end = base_offset.plus(i64::try_from(records.len()).expect("few"));
        let last_offset = Offset::new(self.end.get() - 1);
        let (epoch, timestamp) = (LeaderEpoch::new(1), Timestamp::new(0));
        self.replay.apply(&CommittedBatch { base_offset, last_offset, epoch, timestamp, records });
        let step = self.steps.take().await;
        self.data.apply(&step).await;
    }

    /// `t-0 leads 3`, a line a partition.
    pub(super) fn parts(&self) -> Vec<String> {
        self.data.plane.partitions().iter().map(|partition| describe(partition)).collect()
    }
}

fn describe(partition: &Partition) -> String {
    let state = partition.lock();
    let part = match state.replica.role() {
        Role::Leader(leader) => format!("leads {}", leader.leader_epoch()),
        Role::Follower(follower) => format!("follows {} in {}", follower.leader(), follower.epoch()),
        Role::Offline => "waits".to_owned(),
    };
    let log = if state.log.is_some() { "" } else { " without a log" };
    format!("{} {part}{log}", partition.name)
}

pub(super) fn topic(id: TopicId, name: &str) -> MetadataRecord {
    TopicRecord { name: name.to_owned(), topic_id: id }.into()
}

pub(super) fn partition(topic: TopicId, index: i32, replicas: &[i32], leader: i32) -> MetadataRecord {
    PartitionRecord {
        partition_id: index,
        topic_id: topic,
        replicas: replicas.to_vec(),
        isr: replicas.to_vec(),
        leader,
        leader_epoch: 0,
        partition_epoch: 0,
        ..PartitionRecord::default()
    }
    .into()
}

fn lead(topic: TopicId, index: i32, leader: i32) -> MetadataRecord {
    PartitionChangeRecord { partition_id: index, topic_id: topic, leader, ..PartitionChangeRecord::default() }
        .into()
}

pub(super) fn run(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
    // On a paused clock a wait in vain would not end, but spin through the years.
    let in_time = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(600), test).await });
    in_time.expect("the test waits for something that does not come");
}

pub(super) fn names(disk: &MemDisk, dir: &str) -> Vec<String> {
    let entries = disk.list(Path::new(dir)).expect("it is there");
    entries.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name).collect()
}

#[test]
fn partitions_become_what_the_metadata_says() {
    run(async {
        let mut fed = Fed::open(&disk(), true).await;
        fed.feed(vec![
            topic(TOPIC, "t"),
            partition(TOPIC, 0, &[1, 2], 1),
            partition(TOPIC, 1, &[2, 1], 2),
            partition(TOPIC, 2, &[2, 3], 2),
        ])
        .await;
        assert_eq!(fed.parts(), ["t-0 leads 0", "t-1 follows 2 in 0"]);
        fed.feed(vec![lead(TOPIC, 0, 2), lead(TOPIC, 1, 1)]).await;
        assert_eq!(fed.parts(), ["t-0 follows 2 in 1", "t-1 leads 1"]);
        fed.feed(vec![lead(TOPIC, 0, -1)]).await;
        assert_eq!(fed.parts(), ["t-0 waits", "t-1 leads 1"]);
        assert!(fed.data.stop().await);
    });
}

#[test]
fn a_deleted_topics_directories_are_renamed_at_once_and_removed_later() {
    run(async {
        let disk = disk();
        let mut fed = Fed::open(&disk, true).await;
        fed.feed(vec![topic(TOPIC, "t"), partition(TOPIC, 0, &[1], 1), partition(TOPIC, 1, &[1], 1)]).await;
        assert_eq!((names(&disk, "/a"), names(&disk, "/b")), (vec!["t-0".into()], vec!["t-1".into()]));
        fed.feed(vec![RemoveTopicRecord { topic_id: TOPIC }.into()]).await;
        assert!(fed.parts().is_empty());
        for name in names(&disk, "/a").into_iter().chain(names(&disk, "/b")) {
            assert!(name.starts_with("t-") && name.ends_with("-delete"), "{name}");
        }
        let again = Uuid::from_u128(78);
        fed.feed(vec![topic(again, "t"), partition(again, 0, &[1], 1)]).await;
        tokio::time::sleep(Duration::from_secs(62)).await;
        assert_eq!(names(&disk, "/a").len() + names(&disk, "/b").len(), 1, "only the new topic's is left");
        assert!(fed.data.stop().await);
    });
}

#[test]
fn a_log_of_an_older_topic_of_the_same_name_is_set_aside() {
    run(async {
        let disk = disk();
        let mut fed = Fed::open(&disk, true).await;
        fed.feed(vec![topic(TOPIC, "t"), partition(TOPIC, 0, &[1], 1)]).await;
        assert!(fed.data.stop().await);
        let mut fed = Fed::open(&disk, true).await;
        let again = Uuid::from_u128(78);
        fed.feed(vec![topic(again, "t"), partition(again, 0, &[1], 1)]).await;
        assert_eq!(fed.parts(), ["t-0 leads 0"]);
        let names = names(&disk, "/a");
        assert!(names.len() == 2 && names.iter().any(|name| name.ends_with("-stray")), "{names:?}");
        assert!(fed.data.stop().await);
    });
}

#[test]
fn a_log_that_cannot_be_opened_keeps_only_its_own_partition_offline() {
    run(async {
        let disk = disk();
        for index in 0..2 {
            let dir = PathBuf::from(format!("/a/t-{index}"));
            disk.create_dir_all(&dir).expect("room");
            log::partition_metadata::write(&disk, &dir, TOPIC).expect("room");
        }
        let broken = disk.open(Path::new("/a/t-1/partition.metadata"), OpenMode::ReadWrite).expect("room");
        broken.write_at(b"not what it was", 0).expect("room");
        let mut fed = Fed::open(&disk, true).await;
        fed.feed(vec![topic(TOPIC, "t"), partition(TOPIC, 0, &[1], 1), partition(TOPIC, 1, &[1], 1)]).await;
        assert_eq!(fed.parts(), ["t-0 leads 0", "t-1 waits without a log"]);
        assert!(!fed.data.stop().await, "what is broken is not marked as closed in order");
    });
}

#[test]
fn settings_reach_partitions_that_are_there() {
    run(async {
        let mut fed = Fed::open(&disk(), true).await;
        fed.feed(vec![topic(TOPIC, "t"), partition(TOPIC, 0, &[1], 1)]).await;
        let set = |kind, resource: &str, name: &str, value: &str| {
            let (resource_name, name) = (resource.to_owned(), name.to_owned());
            ConfigRecord { resource_type: kind, resource_name, name, value: Some(value.to_owned()) }.into()
        };
        let sizes = |fed: &Fed| {
            let partition = fed.data.plane.partition((TOPIC, PartitionIndex::new(0))).expect("it is there");
            let settings = partition.lock().settings.clone();
            (settings.topic.batch_bytes_max, settings.topic.min_insync_replicas)
        };
        fed.feed(vec![set(4, "", "message.max.bytes", "5000")]).await;
        assert_eq!(sizes(&fed), (5_000, 1));
        fed.feed(vec![set(2, "t", "max.message.bytes", "700"), set(2, "t", "min.insync.replicas", "2")])
            .await;
        assert_eq!(sizes(&fed), (700, 2));
        assert!(fed.data.stop().await);
    });
}

#[test]
fn several_fetchers_share_a_leader_and_are_dealt_anew_when_their_number_changes() {
    run(async {
        let mut fed = Fed::open(&disk(), true).await;
        let parts = (0..4).map(|index| partition(TOPIC, index, &[1, 2, 3], if index < 3 { 2 } else { 3 }));
        fed.feed(std::iter::once(topic(TOPIC, "t")).chain(parts).collect()).await;
        let shares = |fed: &Fed| fed.data.plane.fetchers.shares();
        assert_eq!(shares(&fed), ["2/0: t-0 t-1 t-2", "3/0: t-3"], "one is the default");
        let set = |value: Option<&str>| {
            let (resource_name, name) = (String::new(), "num.replica.fetchers".to_owned());
            ConfigRecord { resource_type: 4, resource_name, name, value: value.map(str::to_owned) }.into()
        };
        fed.feed(vec![set(Some("2"))]).await;
        assert_eq!(shares(&fed), ["2/0: t-0 t-2", "2/1: t-1", "3/1: t-3"]);
        fed.feed(vec![lead(TOPIC, 1, 1), lead(TOPIC, 2, 3)]).await;
        assert_eq!(shares(&fed), ["2/0: t-0", "3/0: t-2", "3/1: t-3"]);
        fed.feed(vec![set(None)]).await;
        assert_eq!(shares(&fed), ["2/0: t-0", "3/0: t-2 t-3"]);
        assert!(fed.data.stop().await);
    });
}

#[test]
fn a_directory_that_failed_takes_all_its_partitions_offline_and_is_told() {
    run(async {
        let disk = disk();
        let mut fed = Fed::open(&disk, true).await;
        let parts = (0..4).map(|index| partition(TOPIC, index, &[1], 1));
        fed.feed(std::iter::once(topic(TOPIC, "t")).chain(parts).collect()).await;
        let hurt = fed.data.plane.partition((TOPIC, PartitionIndex::new(1))).expect("it is there");
        hurt.lock().fail();
        fed.lost.changed().await.expect("the data plane lives");
        assert_eq!(*fed.lost.borrow(), BTreeSet::from([Uuid::from_u128(6)]), "the directory's id");
        let expected = ["t-0 leads 0", "t-1 waits without a log", "t-2 leads 0", "t-3 waits without a log"];
        assert_eq!(fed.parts(), expected);
        let born = (4..6).map(|index| partition(TOPIC, index, &[1], 1));
        fed.feed(born.collect()).await;
        assert_eq!(fed.parts()[4..], ["t-4 leads 0", "t-5 leads 0"], "new ones go where the disk works");
        assert_eq!(names(&disk, "/b").len(), 2);
        assert!(!fed.data.stop().await);
    });
}

/// Bounds are wide, for tests run unoptimised beside others; what it takes is printed.
#[test]
fn thousands_of_partitions_come_and_change_hands_in_a_moment() {
    run(async {
        let disk = disk();
        let mut fed = Fed::open(&disk, true).await;
        let mut records = vec![topic(TOPIC, "t")];
        records.extend((0..10_000).map(|index| {
            partition(TOPIC, index, &[1 + index % 3, 1 + (index + 1) % 3, 1 + (index + 2) % 3], 1 + index % 3)
        }));
        let begun = std::time::Instant::now();
        fed.feed(records).await;
        let created = begun.elapsed();
        let mine = |fed: &Fed| fed.parts().iter().filter(|part| part.contains("leads")).count();
        assert_eq!(mine(&fed), 3_334);
        let begun = std::time::Instant::now();
        fed.feed((0..10_000).filter(|index| index % 3 == 1).map(|index| lead(TOPIC, index, 1)).collect())
            .await;
        let moved = begun.elapsed();
        assert_eq!(mine(&fed), 6_667);
        println!("10,000 partitions came in {created:?}, 3,333 changed hands in {moved:?}");
        assert!(created + moved < Duration::from_secs(20));
    });
}
