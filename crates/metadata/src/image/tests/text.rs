//! Records from lines like `change t 0 isr=1,2 leader=1`, and changes as lines like
//! `t-0 leader=1 epoch=2 state=3 replicas=1,2 isr=1,2`. Topic `t` has an id made of its name.

use std::collections::BTreeMap;

use model::{NodeId, PartitionIndex, TopicId, Uuid};
use proto::Float64;
use proto::metadata::*;

use crate::changes::Changes;
use crate::image::Image;
use crate::partition::{LeaderRecoveryState, Partition};

/// A line's words: the plain ones in order, the others by their key.
struct Words<'a> {
    plain: Vec<&'a str>,
    keyed: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn new(line: &'a str) -> Self {
        let (keyed, plain): (Vec<&str>, Vec<&str>) =
            line.split_whitespace().partition(|word| word.contains('='));
        Self { plain, keyed: keyed.iter().filter_map(|word| word.split_once('=')).collect() }
    }

    fn number<T: TryFrom<i64>>(&self, key: &str, default: i64) -> T {
        let number = self.keyed.get(key).map_or(default, |text| text.parse().expect("a number"));
        T::try_from(number).ok().expect("a number that fits")
    }

    fn at<T: std::str::FromStr>(&self, position: usize) -> T {
        self.plain[position].parse().ok().expect("a number in this place")
    }

    fn list(&self, key: &str) -> Option<Vec<i32>> {
        let text = self.keyed.get(key)?;
        Some(text.split(',').filter(|id| !id.is_empty()).map(|id| id.parse().expect("ids")).collect())
    }

    fn ids(&self, key: &str) -> Option<Vec<Uuid>> {
        Some(self.list(key)?.into_iter().map(|id| Uuid::from_u128(id as u128)).collect())
    }

    fn text(&self, key: &str) -> Option<String> {
        self.keyed.get(key).map(|text| (*text).to_owned())
    }
}

pub(super) fn topic_id(name: &str) -> TopicId {
    Uuid::from_u128(name.bytes().fold(0x1_0000, |id, byte| id << 8 | u128::from(byte)))
}

pub(super) fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

pub(super) fn records(script: &str) -> Vec<MetadataRecord> {
    lines(script).iter().map(|line| record(&Words::new(line))).collect()
}

fn record(words: &Words<'_>) -> MetadataRecord {
    match words.plain[0] {
        "topic" => topic(words).into(),
        "remove" => RemoveTopicRecord { topic_id: topic_id(words.plain[1]) }.into(),
        "partition" => partition(words).into(),
        "change" => change(words).into(),
        "clear-elr" => {
            let topic_name = words.plain.get(1).copied().unwrap_or_default().to_owned();
            ClearElrRecord { topic_name }.into()
        }
        "level" => level(words).into(),
        "config" => config(words).into(),
        "producer-ids" => {
            ProducerIdsRecord { next_producer_id: words.at(1), ..ProducerIdsRecord::default() }.into()
        }
        "zk" => ZkMigrationStateRecord { zk_migration_state: words.at(1) }.into(),
        "noop" => NoOpRecord::default().into(),
        "begin" => BeginTransactionRecord { name: words.text("name") }.into(),
        "end" => EndTransactionRecord::default().into(),
        "abort" => AbortTransactionRecord::default().into(),
        _ => node(words).unwrap_or_else(|| security(words)),
    }
}

fn topic(words: &Words<'_>) -> TopicRecord {
    let name = words.plain[1];
    let id = words.keyed.get("id").map_or_else(|| topic_id(name), |like| topic_id(like));
    TopicRecord { name: name.to_owned(), topic_id: id }
}

fn partition(words: &Words<'_>) -> PartitionRecord {
    let replicas = words.list("replicas").unwrap_or_default();
    PartitionRecord {
        partition_id: words.at(2),
        topic_id: topic_id(words.plain[1]),
        isr: words.list("isr").unwrap_or_else(|| replicas.clone()),
        leader: words.number("leader", replicas.first().map_or(-1, |id| i64::from(*id))),
        replicas,
        removing_replicas: words.list("removing").unwrap_or_default(),
        adding_replicas: words.list("adding").unwrap_or_default(),
        leader_recovery_state: words.number("recovery", 0),
        leader_epoch: words.number("epoch", 0),
        partition_epoch: words.number("state", 0),
        directories: words.ids("dirs").unwrap_or_default(),
        eligible_leader_replicas: words.list("elr"),
        last_known_elr: words.list("last"),
    }
}

fn change(words: &Words<'_>) -> PartitionChangeRecord {
    PartitionChangeRecord {
        partition_id: words.at(2),
        topic_id: topic_id(words.plain[1]),
        isr: words.list("isr"),
        leader: words.number("leader", -2),
        replicas: words.list("replicas"),
        removing_replicas: words.list("removing"),
        adding_replicas: words.list("adding"),
        leader_recovery_state: words.number("recovery", -1),
        directories: words.ids("dirs"),
        eligible_leader_replicas: words.list("elr"),
        last_known_elr: words.list("last"),
    }
}

fn level(words: &Words<'_>) -> FeatureLevelRecord {
    FeatureLevelRecord { name: words.plain[1].to_owned(), feature_level: words.at(2) }
}

fn config(words: &Words<'_>) -> ConfigRecord {
    let (kind, name) = words.plain[1].split_once('/').expect("kind/name");
    let (key, value) = words.keyed.iter().next().expect("a key");
    let value = (!value.is_empty()).then(|| (*value).to_owned());
    let resource_type = kind.parse().expect("a number");
    ConfigRecord { resource_type, resource_name: name.to_owned(), name: (*key).to_owned(), value }
}

fn node(words: &Words<'_>) -> Option<MetadataRecord> {
    let id = words.plain.get(1)?.parse().ok()?;
    let epoch = words.number("epoch", 0);
    Some(match words.plain[0] {
        "broker" => broker(words, id).into(),
        "unregister" => UnregisterBrokerRecord { broker_id: id, broker_epoch: epoch }.into(),
        "fence" => FenceBrokerRecord { id, epoch }.into(),
        "unfence" => UnfenceBrokerRecord { id, epoch }.into(),
        "rebroker" => BrokerRegistrationChangeRecord {
            broker_id: id,
            broker_epoch: epoch,
            fenced: words.number("fenced", 0),
            in_controlled_shutdown: words.number("shutdown", 0),
            log_dirs: words.ids("dirs").unwrap_or_default(),
            cordoned_log_dirs: words.ids("cordoned"),
        }
        .into(),
        "controller" => {
            RegisterControllerRecord { controller_id: id, ..RegisterControllerRecord::default() }.into()
        }
        _ => return None,
    })
}

fn broker(words: &Words<'_>, broker_id: i32) -> RegisterBrokerRecord {
    let listener = |port: u16| BrokerEndpoint { name: "PLAIN".into(), port, ..BrokerEndpoint::default() };
    let range = |level| BrokerFeature {
        name: "metadata.version".into(),
        min_supported_version: 7,
        max_supported_version: level,
    };
    RegisterBrokerRecord {
        broker_id,
        broker_epoch: words.number("epoch", 0),
        incarnation_id: Uuid::from_u128(words.number("incarnation", 0)),
        end_points: words.list("ports").unwrap_or_default().into_iter().map(|p| listener(p as u16)).collect(),
        features: words.list("to").unwrap_or_default().into_iter().map(|l| range(l as i16)).collect(),
        rack: words.text("rack"),
        fenced: words.number::<i64>("fenced", 1) == 1,
        in_controlled_shutdown: words.number::<i64>("shutdown", 0) == 1,
        log_dirs: words.ids("dirs").unwrap_or_default(),
        cordoned_log_dirs: words.ids("cordoned"),
        is_migrating_zk_broker: false,
    }
}

fn security(words: &Words<'_>) -> MetadataRecord {
    let number = |position: usize| Uuid::from_u128(words.at(position));
    let text = |position: usize| words.plain[position].to_owned();
    match words.plain[0] {
        "acl" => AccessControlEntryRecord { id: number(1), principal: text(2), ..Default::default() }.into(),
        "acl-gone" => RemoveAccessControlEntryRecord { id: number(1) }.into(),
        "scram" => UserScramCredentialRecord {
            mechanism: words.at(1),
            name: text(2),
            iterations: 4096,
            ..Default::default()
        }
        .into(),
        "scram-gone" => RemoveUserScramCredentialRecord { mechanism: words.at(1), name: text(2) }.into(),
        "token" => DelegationTokenRecord { token_id: text(1), owner: text(2), ..Default::default() }.into(),
        "token-gone" => RemoveDelegationTokenRecord { token_id: text(1) }.into(),
        "quota" => quota(words).into(),
        other => panic!("no record is written {other}"),
    }
}

/// `quota user=ann rate 5`, without the number to remove it; an entity named `*` is the default one.
fn quota(words: &Words<'_>) -> ClientQuotaRecord {
    let entity = words.keyed.iter().map(|(kind, name)| EntityData {
        entity_type: (*kind).to_owned(),
        entity_name: (*name != "*").then(|| (*name).to_owned()),
    });
    let value: Option<f64> = words.plain.get(2).map(|text| text.parse().expect("a number"));
    ClientQuotaRecord {
        entity: entity.collect(),
        key: words.plain[1].to_owned(),
        value: Float64::new(value.unwrap_or(0.0)),
        remove: value.is_none(),
    }
}

/// What changed, and how it stands.
pub(super) fn told(image: &Image, changes: &Changes) -> Vec<String> {
    let mut told = Vec::new();
    told.extend(changes.features.iter().map(|name| feature(image, name)));
    told.extend(changes.brokers.iter().map(|id| broker_text(image, *id)));
    told.extend(changes.controllers.iter().map(|id| format!("controller {id}")));
    told.extend(changes.topics_deleted.values().map(|name| format!("{name} gone")));
    told.extend(changes.topics_created.values().map(|name| format!("{name} new")));
    for (topic, index) in &changes.partitions {
        let partition = image.partition(*topic, *index).expect("a changed partition is there");
        let name = &image.topic_by_id(*topic).expect("with its topic").name;
        told.push(partition_text(name.as_str(), *index, partition));
    }
    for resource in &changes.configs {
        let values = image.configs(resource).into_iter().flatten();
        let values: Vec<String> = values.map(|(key, value)| format!("{key}={value}")).collect();
        told.push(format!("config {}/{} {}", resource.kind.0, resource.name, or_none(&values.join(" "))));
    }
    told.extend(security_text(image, changes));
    if changes.producer_ids {
        told.push(format!("producer-ids {}", image.next_producer_id()));
    }
    told
}

fn feature(image: &Image, name: &str) -> String {
    format!("level {name} {}", image.feature(name).map_or("none".to_owned(), |level| level.to_string()))
}

fn broker_text(image: &Image, id: NodeId) -> String {
    let Some(broker) = image.broker(id) else { return format!("broker {id} gone") };
    let mut text = format!("broker {id} epoch={}", broker.epoch);
    let mut add = |key: &str, value: String| text.push_str(&format!(" {key}{value}"));
    for endpoint in &broker.listeners {
        add("port=", endpoint.port.to_string());
    }
    for (name, range) in &broker.features {
        add(name, format!("={}..{}", range.min, range.max));
    }
    broker.rack.iter().for_each(|rack| add("rack=", rack.clone()));
    if broker.fenced {
        add("fenced", String::new());
    }
    if broker.in_controlled_shutdown {
        add("shutdown", String::new());
    }
    if !broker.log_dirs.is_empty() {
        add("dirs=", ids(&broker.log_dirs));
    }
    broker.cordoned_log_dirs.iter().for_each(|dirs| add("cordoned=", ids(dirs)));
    text
}

fn partition_text(topic: &str, index: PartitionIndex, partition: &Partition) -> String {
    let leader = partition.leader.map_or("none".to_owned(), |leader| leader.to_string());
    let mut text = format!(
        "{topic}-{index} leader={leader} epoch={} state={} replicas={} isr={}",
        partition.leader_epoch,
        partition.partition_epoch,
        nodes(&partition.replicas),
        nodes(&partition.isr)
    );
    let lists = [
        ("adding", &partition.adding),
        ("removing", &partition.removing),
        ("elr", &partition.elr),
        ("last", &partition.last_known_elr),
    ];
    for (key, list) in lists.iter().filter(|(_, list)| !list.is_empty()) {
        text.push_str(&format!(" {key}={}", nodes(list)));
    }
    if partition.directories.iter().any(|id| !id.is_zero()) {
        text.push_str(&format!(" dirs={}", ids(&partition.directories)));
    }
    if partition.leader_recovery_state == LeaderRecoveryState::Recovering {
        text.push_str(" recovering");
    }
    text
}

fn security_text(image: &Image, changes: &Changes) -> Vec<String> {
    let mut told = Vec::new();
    for id in &changes.acls {
        let acl = image.acl(*id).map_or("none", |acl| acl.principal.as_str());
        told.push(format!("acl {} {acl}", ids(&[*id])));
    }
    for (mechanism, user) in &changes.scram {
        let iterations = image.scram(*mechanism, user).map_or(0, |credential| credential.iterations);
        told.push(format!("scram {mechanism} {user} {iterations}"));
    }
    for id in &changes.delegation_tokens {
        let owner = image.delegation_tokens().find(|token| token.token_id == *id);
        told.push(format!("token {id} {}", owner.map_or("none", |token| token.owner.as_str())));
    }
    for entity in &changes.quotas {
        let parts = entity.0.iter();
        let parts: Vec<String> =
            parts.map(|(kind, name)| format!("{kind}={}", name.as_deref().unwrap_or("*"))).collect();
        let values = image.quotas().find(|(found, _)| *found == entity);
        let values: Vec<String> = values
            .into_iter()
            .flat_map(|(_, values)| values)
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        told.push(format!("quota {} {}", parts.join(" "), or_none(&values.join(" "))));
    }
    told
}

fn nodes(nodes: &[NodeId]) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(",")
}

fn ids(ids: &[Uuid]) -> String {
    let number = |id: &Uuid| u128::from_be_bytes(*id.as_bytes()).to_string();
    ids.iter().map(number).collect::<Vec<_>>().join(",")
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}
