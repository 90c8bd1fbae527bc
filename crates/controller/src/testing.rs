//! Clusters as text, and what decisions make of them as text: the door that tests go through.
//!
//! ```text
//!   broker 1 rack=a            registered with epoch 101, directory 1, not fenced
//!   broker 2 fenced            or `stopping`
//!   t-0 replicas=1,2,3 isr=1,2 leader=1 elr=3      leader epoch 5, partition epoch 9
//!   config topic t min.insync.replicas=2           or `config broker - key=value` for all
//!   feature eligible.leader.replicas.version=1     metadata.version is the newest unless given
//! ```

use std::collections::BTreeMap;

use metadata::{Changes, Image};
use model::{BrokerEpoch, Millis, NodeId, Offset, PartitionIndex, TopicId, Uuid};
use proto::metadata::*;

use crate::decision::Decision;
use crate::sessions::{Contact, Sessions};
use crate::settings::{METADATA_VERSION, METADATA_VERSION_MAX, Settings};
use crate::view::View;

/// Where the log of a cluster made of text ends.
pub const LOG_END: i64 = 1_000;
/// What time it is in it.
pub const NOW: u64 = 50_000;

/// A cluster and what a controller knows beside it.
pub struct TestCluster {
    pub image: Image,
    pub sessions: Sessions,
    pub settings: Settings,
    pub now: Millis,
    pub next_offset: Offset,
    pub seed: u64,
}

/// Reads a cluster; panics on what it cannot read.
pub fn cluster(spec: &str) -> TestCluster {
    let mut cluster = TestCluster {
        image: Image::default(),
        sessions: Sessions::new(Millis::new(NOW)),
        settings: Settings {
            node: NodeId::new(100),
            cluster_id: "cluster".to_owned(),
            ..Settings::default()
        },
        now: Millis::new(NOW),
        next_offset: Offset::ZERO,
        seed: 7,
    };
    let level = FeatureLevelRecord { name: METADATA_VERSION.to_owned(), feature_level: METADATA_VERSION_MAX };
    cluster.replay(&[level.into()]);
    for line in spec.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let records = records_of(&cluster.image, line);
        cluster.replay(&records);
    }
    cluster.next_offset = Offset::new(LOG_END);
    cluster
}

impl TestCluster {
    /// The view of the next decision.
    pub fn view(&self) -> View<'_> {
        View {
            image: &self.image,
            sessions: &self.sessions,
            settings: &self.settings,
            now: self.now,
            next_offset: self.next_offset,
            seed: self.seed,
        }
    }

    /// Replays records, each of which must be a true one.
    pub fn replay(&mut self, records: &[MetadataRecord]) {
        for record in records {
            let replayed = self.image.replay(self.next_offset, record, &mut Changes::default());
            replayed.unwrap_or_else(|error| panic!("{record:?} does not replay: {error}"));
            self.next_offset = self.next_offset.next();
        }
    }

    /// Takes a decision in, and describes its records, one a line.
    pub fn take<R>(&mut self, decision: Decision<R>) -> (String, R) {
        let before = self.image.clone();
        self.replay(&decision.records);
        if let Some(contact) = decision.contact {
            self.sessions.apply(contact);
        }
        self.seed += 1;
        // A deleted topic has its name before, a new one after.
        let lines = decision.records.iter().map(|record| describe(&before, &self.image, record));
        (lines.collect::<Vec<_>>().join("\n"), decision.response)
    }

    /// Lets a broker be heard now.
    pub fn hear(&mut self, broker: i32, offset: i64) {
        let broker = NodeId::new(broker);
        let epoch = self.image.broker(broker).expect("registered").epoch;
        let contact =
            Contact::Heard { broker, epoch, metadata_offset: Offset::from_wire(offset), at: self.now };
        self.sessions.apply(contact);
    }
}

/// Compares texts line by line, whatever their indentation.
#[track_caller]
pub fn assert_lines(got: &str, expected: &str) {
    let lines = |text: &str| {
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(lines(got), lines(expected), "got:\n{got}\n");
}

/// The directory of a node's replicas: one a broker.
pub fn directory(node: i32) -> Uuid {
    Uuid::from_u128(u128::from(node.unsigned_abs()) << 64)
}

/// The epoch of a broker's registration in a cluster made of text.
pub fn epoch(node: i32) -> i64 {
    100 + i64::from(node)
}

/// The incarnation of it.
pub fn incarnation(node: i32) -> Uuid {
    Uuid::from_u128(0xbeef << 64 | u128::from(node.unsigned_abs()))
}

/// The id of a topic made of text.
pub fn topic_id(name: &str) -> TopicId {
    let bytes =
        name.bytes().fold(1u128 << 100, |id, byte| id.wrapping_mul(31).wrapping_add(u128::from(byte)));
    Uuid::from_u128(bytes)
}

/// `key=value` words of a line.
pub fn fields(line: &str) -> BTreeMap<&str, &str> {
    line.split_whitespace().filter_map(|word| word.split_once('=')).collect()
}

/// `1,2,3`.
pub fn ids(text: &str) -> Vec<i32> {
    text.split(',').filter(|id| !id.is_empty()).map(|id| id.parse().expect("an id")).collect()
}

fn records_of(image: &Image, line: &str) -> Vec<MetadataRecord> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let fields = fields(line);
    match words[0] {
        "broker" => vec![broker_record(words[1].parse().expect("an id"), &words, &fields).into()],
        "feature" => {
            let (name, level) = words[1].split_once('=').expect("name=level");
            let feature_level = level.parse().expect("a level");
            vec![FeatureLevelRecord { name: name.to_owned(), feature_level }.into()]
        }
        "config" => {
            let (name, value) = words[3].split_once('=').expect("key=value");
            let record = ConfigRecord {
                resource_type: kind(words[1]),
                resource_name: words[2].trim_matches('-').to_owned(),
                name: name.to_owned(),
                value: Some(value.to_owned()),
            };
            vec![record.into()]
        }
        place => {
            let (topic, index) = place.rsplit_once('-').expect("topic-partition");
            let mut records = Vec::new();
            if image.topic(topic).is_none() {
                records.push(TopicRecord { name: topic.to_owned(), topic_id: topic_id(topic) }.into());
            }
            let index = index.parse().expect("an index");
            records.push(partition_record(topic_id(topic), index, &words, &fields).into());
            records
        }
    }
}

fn broker_record(id: i32, words: &[&str], fields: &BTreeMap<&str, &str>) -> RegisterBrokerRecord {
    let dirs = fields.get("dirs").map(|dirs| ids(dirs)).unwrap_or_else(|| vec![id]);
    let level = fields.get("level").map_or(METADATA_VERSION_MAX, |level| level.parse().expect("a level"));
    RegisterBrokerRecord {
        broker_id: id,
        broker_epoch: epoch(id),
        incarnation_id: incarnation(id),
        rack: fields.get("rack").map(ToString::to_string),
        fenced: words.contains(&"fenced"),
        in_controlled_shutdown: words.contains(&"stopping"),
        log_dirs: dirs.into_iter().map(directory).collect(),
        cordoned_log_dirs: fields.get("cordoned").map(|dirs| ids(dirs).into_iter().map(directory).collect()),
        features: vec![BrokerFeature {
            name: METADATA_VERSION.to_owned(),
            min_supported_version: 7,
            max_supported_version: level,
        }],
        ..RegisterBrokerRecord::default()
    }
}

fn partition_record(
    topic_id: TopicId,
    partition_id: i32,
    words: &[&str],
    fields: &BTreeMap<&str, &str>,
) -> PartitionRecord {
    let list = |name: &str| fields.get(name).map(|list| ids(list));
    let replicas = list("replicas").expect("replicas=");
    PartitionRecord {
        partition_id,
        topic_id,
        isr: list("isr").unwrap_or_else(|| replicas.clone()),
        directories: replicas.iter().copied().map(directory).collect(),
        replicas,
        removing_replicas: list("removing").unwrap_or_default(),
        adding_replicas: list("adding").unwrap_or_default(),
        leader: fields.get("leader").map_or(-1, |leader| leader.parse().expect("an id")),
        leader_recovery_state: i8::from(words.contains(&"recovering")),
        leader_epoch: 5,
        partition_epoch: 9,
        eligible_leader_replicas: list("elr"),
        last_known_elr: list("last"),
    }
}

fn kind(word: &str) -> i8 {
    match word {
        "topic" => 2,
        "broker" => 4,
        "client" => 16,
        "group" => 32,
        other => panic!("no such kind of resource: {other}"),
    }
}

fn describe(before: &Image, after: &Image, record: &MetadataRecord) -> String {
    use MetadataRecord as R;
    let place = |topic: TopicId, index: i32| {
        let found = after.topic_by_id(topic).or_else(|| before.topic_by_id(topic));
        format!("{}-{index}", found.expect("a known topic").name)
    };
    match record {
        R::RegisterBroker(record) => {
            let fenced = if record.fenced { "fenced" } else { "unfenced" };
            format!("+broker {} epoch={} {fenced}", record.broker_id, record.broker_epoch)
        }
        R::UnregisterBroker(record) => format!("-broker {}", record.broker_id),
        R::BrokerRegistrationChange(record) => describe_registration(record),
        R::Topic(record) => format!("+topic {}", record.name),
        R::RemoveTopic(record) => {
            format!("-topic {}", before.topic_by_id(record.topic_id).expect("a known topic").name)
        }
        R::Partition(record) => format!(
            "+{} replicas={} isr={} leader={}",
            place(record.topic_id, record.partition_id),
            list(&record.replicas),
            list(&record.isr),
            record.leader
        ),
        R::PartitionChange(record) => {
            format!("{}{}", place(record.topic_id, record.partition_id), describe_change(record))
        }
        R::Config(record) => {
            let value = record.value.as_ref().map_or("unset".to_owned(), |value| format!("={value}"));
            format!("config {} '{}' {} {value}", record.resource_type, record.resource_name, record.name)
        }
        R::FeatureLevel(record) => format!("feature {}={}", record.name, record.feature_level),
        R::ProducerIds(record) => {
            format!("producer ids up to {} of broker {}", record.next_producer_id, record.broker_id)
        }
        R::ClearElr(record) => format!("clear elr '{}'", record.topic_name),
        other => format!("{other:?}"),
    }
}

fn describe_registration(record: &BrokerRegistrationChangeRecord) -> String {
    let mut out = format!("broker {}", record.broker_id);
    match record.fenced {
        1 => out += " fenced",
        -1 => out += " unfenced",
        _ => {}
    }
    if record.in_controlled_shutdown == 1 {
        out += " stopping";
    }
    if !record.log_dirs.is_empty() {
        out += &format!(" left with {} directories", record.log_dirs.len());
    }
    if let Some(cordoned) = &record.cordoned_log_dirs {
        out += &format!(" cordons {} directories", cordoned.len());
    }
    out
}

/// What a change record says of leader, sets and recovery; the directories are left to the caller.
pub fn describe_sets(record: &PartitionChangeRecord) -> String {
    let mut out = String::new();
    if record.leader != -2 {
        out += &format!(" leader={}", record.leader);
    }
    let lists = [
        ("isr", &record.isr),
        ("elr", &record.eligible_leader_replicas),
        ("last", &record.last_known_elr),
        ("replicas", &record.replicas),
        ("removing", &record.removing_replicas),
        ("adding", &record.adding_replicas),
    ];
    for (name, ids) in lists {
        if let Some(ids) = ids {
            out += &format!(" {name}={}", list(ids));
        }
    }
    if record.leader_recovery_state != -1 {
        out += &format!(" recovering={}", record.leader_recovery_state);
    }
    out
}

/// What a change record says, field by field; what it leaves out is not described.
pub fn describe_change(record: &PartitionChangeRecord) -> String {
    let mut out = describe_sets(record);
    if record.directories.is_some() {
        out += " directories";
    }
    out
}

pub fn list(ids: &[i32]) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

/// The epochs of a partition: leader's, then its own.
pub fn epochs(cluster: &TestCluster, topic: &str, index: i32) -> (i32, i32) {
    let topic = cluster.image.topic(topic).expect("a topic");
    let partition = topic.partition(PartitionIndex::new(index)).expect("a partition");
    (partition.leader_epoch.get(), partition.partition_epoch.get())
}

/// A broker's epoch in the image.
pub fn broker_epoch(cluster: &TestCluster, node: i32) -> BrokerEpoch {
    cluster.image.broker(NodeId::new(node)).expect("registered").epoch
}
