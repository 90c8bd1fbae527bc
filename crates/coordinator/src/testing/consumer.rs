//! The new protocol's part of a coordinator's life as text.
//!
//! ```text
//!   topics t:3 u:2@x,y         all topics there are from now on, with their partitions and racks
//!   hb a                       a heartbeat in the epoch that `a` knows; a whole request when that is 0
//!     v0 id=m epoch=3 topics=t,u regex=[tu] instance=i rack=x assignor=range rebalance=5000
//!     own                      says that it has what it was told; own=t0,t1 that it has those
//!     leave | away             for good, or for now
//!   > a hb NONE a epoch=1 t0,t1
//!   log                        the records since the last `log`, in their order
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{ErrorCode, TopicId, Uuid};
use wire::messages::consumer_group_describe_response::{Assignment, DescribedGroup};
use wire::messages::consumer_group_heartbeat_request::TopicPartitions;
use wire::messages::*;

use super::{Life, Memory, Words, label};
use crate::cluster::{Cluster, Topic};
use crate::consumer::{Current, Owned, Parts, State, Watched, embedded, member};
use crate::record::{ConsumerEntry, Entry};

/// Topics as a test sets them up.
#[derive(Clone, Debug, Default)]
pub struct Topics {
    pub version: u64,
    /// Its features are those of a release before the new protocol.
    pub is_old: bool,
    topics: BTreeMap<String, (TopicId, Vec<Vec<String>>)>,
    pub configs: BTreeMap<String, i64>,
}

impl Topics {
    /// A topic whose partitions lie in these racks.
    pub fn put(&mut self, name: &str, id: TopicId, racks: &[&str]) {
        let split = |racks: &&str| -> Vec<String> {
            racks.split(',').filter(|rack| !rack.is_empty()).map(str::to_owned).collect()
        };
        self.topics.insert(name.to_owned(), (id, racks.iter().map(split).collect()));
        self.version += 1;
    }
}

impl Cluster for Topics {
    fn version(&self) -> u64 {
        self.version
    }

    fn names(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.topics.keys().map(String::as_str))
    }

    fn topic(&self, name: &str) -> Option<Topic> {
        let (id, racks) = self.topics.get(name)?;
        Some(Topic { id: *id, partitions: i32::try_from(racks.len()).expect("few") })
    }

    fn name_of(&self, id: TopicId) -> Option<&str> {
        self.topics.iter().find(|(_, topic)| topic.0 == id).map(|(name, _)| name.as_str())
    }

    fn racks(&self, id: TopicId, partition: i32) -> Vec<&str> {
        let topic = self.topics.values().find(|topic| topic.0 == id);
        let racks = topic.and_then(|topic| topic.1.get(usize::try_from(partition).ok()?));
        racks.into_iter().flatten().map(String::as_str).collect()
    }

    fn has_consumer_protocol(&self) -> bool {
        !self.is_old
    }

    fn group_config(&self, _: &str, key: &str) -> Option<i64> {
        self.configs.get(key).copied()
    }
}

/// A topic's id: its name, so that a test can tell it again.
fn id_of(name: &str) -> TopicId {
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    Uuid::from_bytes(bytes)
}

fn name_of(id: TopicId) -> String {
    let bytes = id.as_bytes().iter().copied().filter(|byte| *byte != 0).collect();
    String::from_utf8(bytes).expect("ids are names")
}

/// What holds of every group after every step, as far as its records alone do not show it.
pub fn check(watched: &Watched) {
    let group = watched.group();
    let mut owners: BTreeMap<(TopicId, i32), &str> = BTreeMap::new();
    for (id, _) in group.members() {
        let current = group.current(id);
        for place in current.places() {
            let other = owners.insert(place, id);
            assert_eq!(other, None, "{place:?} has two owners, {id} is one");
            assert_eq!(group.owner(place.0, place.1), Some(id), "the index of owners is off");
        }
        assert!(current.epoch <= group.epoch(), "{id} is ahead of its group");
        if current.is_reconciled_to(group.target_epoch()) {
            let has = |(topic, own): (&TopicId, &BTreeMap<i32, i32>)| {
                let target = group.target_of(id).and_then(|target| target.get(topic));
                target.is_some_and(|target| own.keys().all(|partition| target.contains(partition)))
            };
            assert!(current.assigned.iter().all(has), "{id} is stable, and has more than it is to have");
        }
        assert!(
            current.revoking.is_empty() || current.state == State::UnrevokedPartitions,
            "{id} need not give up"
        );
    }
    assert!(group.target_epoch() <= group.epoch(), "a target for an epoch that is not");
}

impl Life {
    pub fn change_topics(&mut self, words: &[&str]) {
        let version = self.topics.version + 1;
        let (configs, is_old) = (self.topics.configs.clone(), self.topics.is_old);
        let mut topics = Topics { configs, is_old, ..Topics::default() };
        for word in words {
            let (name, rest) = word.split_once(':').expect("a topic and its partitions");
            let (count, racks) = rest.split_once('@').unwrap_or((rest, ""));
            topics.put(name, id_of(name), &vec![racks; count.parse().expect("a count")]);
        }
        topics.version = version;
        self.topics = topics;
        self.shard.set_cluster(Arc::new(self.topics.clone()));
    }

    pub(super) fn heartbeat(&self, client: &str, rest: &Words<'_>) -> (i16, ConsumerGroupHeartbeatRequest) {
        let has = |flag: &str| rest.0.contains(&flag);
        let version = rest.version(1);
        let memory = self.clients.get(client).cloned().unwrap_or_default();
        let own_id = if version == 0 { StrBytes::default() } else { text(client) };
        let known = if memory.member.is_empty() { own_id } else { memory.member };
        let epoch = match (has("leave"), has("away")) {
            (true, _) => -1,
            (_, true) => -2,
            _ => rest.number("epoch", memory.generation),
        };
        let (joins, regex) = (epoch == 0, rest.value("regex"));
        let names = rest.value("topics").or((joins && regex.is_none()).then_some("t"));
        let names = names.map(|names| names.split(',').filter(|name| !name.is_empty()).map(topic).collect());
        let own = match rest.value("own") {
            Some(own) => Some(parse(own)),
            None if joins => Some(Vec::new()),
            None if has("own") => Some(self.owned.get(client).cloned().unwrap_or_default()),
            None => None,
        };
        let own = own.map(|own| {
            let topics = own.into_iter().map(|(id, partitions)| {
                TopicPartitions::default().with_topic_id(to_wire_uuid(id)).with_partitions(partitions)
            });
            topics.collect()
        });
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_member_id(rest.value("id").map_or(known, text))
            .with_member_epoch(epoch)
            .with_instance_id(rest.value("instance").map(text))
            .with_rack_id(rest.value("rack").map(text))
            .with_rebalance_timeout_ms(rest.number("rebalance", if joins { 60_000 } else { -1 }))
            .with_subscribed_topic_names(names)
            .with_subscribed_topic_regex(regex.map(text))
            .with_server_assignor(rest.value("assignor").map(text))
            .with_topic_partitions(own);
        (version, request)
    }

    pub(super) fn learn_heartbeat(&mut self, client: &str, response: &ConsumerGroupHeartbeatResponse) {
        let memory = self.clients.entry(client.to_owned()).or_default();
        match ErrorCode::from_code(response.error_code) {
            ErrorCode::None if response.member_epoch < 0 => {
                *memory = Memory::default();
                self.owned.remove(client);
            }
            ErrorCode::None => {
                memory.member = response.member_id.clone().unwrap_or_default();
                memory.generation = response.member_epoch;
                if let Some(assignment) = &response.assignment {
                    let owned = assignment.topic_partitions.iter();
                    let owned = owned.map(|topic| (from_wire_uuid(topic.topic_id), topic.partitions.clone()));
                    self.owned.insert(client.to_owned(), owned.collect());
                }
            }
            ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId | ErrorCode::GroupIdNotFound => {
                memory.generation = 0;
                self.owned.remove(client);
            }
            _ => {}
        }
    }

    pub(super) fn tell_heartbeat(&self, response: &ConsumerGroupHeartbeatResponse) -> String {
        let code = ErrorCode::from_code(response.error_code);
        if response.error_code != 0 {
            return format!("hb {code}");
        }
        let member = label(response.member_id.as_ref().unwrap_or(&StrBytes::default()));
        let assignment = response.assignment.as_ref().map(|assignment| {
            let topics = assignment.topic_partitions.iter();
            let topics = topics.map(|topic| (from_wire_uuid(topic.topic_id), topic.partitions.clone()));
            format!(" [{}]", places(topics))
        });
        format!("hb {code} {member} epoch={}{}", response.member_epoch, assignment.unwrap_or_default())
    }

    pub(super) fn tell_described(&self, group: &DescribedGroup) -> String {
        let code = ErrorCode::from_code(group.error_code);
        if group.error_code != 0 {
            let message = group.error_message.as_ref().map_or("", StrBytes::as_str);
            return format!("group {code} {message}");
        }
        let told = |assignment: &Assignment| {
            let topics = assignment.topic_partitions.iter();
            places(topics.map(|topic| (from_wire_uuid(topic.topic_id), topic.partitions.clone())))
        };
        let members = group.members.iter().map(|member| {
            let kind = ["classic", "consumer"][usize::try_from(member.member_type).expect("one of two")];
            let (id, epoch) = (label(&member.member_id), member.member_epoch);
            format!(
                " {id}@{epoch} {kind} [{}]->[{}]",
                told(&member.assignment),
                told(&member.target_assignment)
            )
        });
        let (state, assignor) = (group.group_state.as_str(), group.assignor_name.as_str());
        let head =
            format!("group {code} {state} {}/{} {assignor}", group.assignment_epoch, group.group_epoch);
        head + &members.collect::<String>()
    }

    /// What a consumer of the classic protocol says of the topics it reads, and of what it has.
    pub(super) fn subscription(&self, client: &str, rest: &Words<'_>) -> Bytes {
        let names: Vec<&str> = rest.value("topics").unwrap_or("t").split(',').collect();
        let mut out = vec![0, 1];
        put_count(&mut out, names.len());
        names.iter().for_each(|name| put_text(&mut out, name));
        out.extend_from_slice(&(-1_i32).to_be_bytes());
        let own = self.owned.get(client).filter(|_| rest.0.contains(&"own")).cloned().unwrap_or_default();
        put_count(&mut out, own.len());
        for (id, partitions) in own {
            put_text(&mut out, &name_of(id));
            put_count(&mut out, partitions.len());
            partitions.iter().for_each(|partition| out.extend_from_slice(&partition.to_be_bytes()));
        }
        Bytes::from(out)
    }

    /// A part that a leader gives: any text, or `[t0,t1]` as consumers write it.
    pub(super) fn part(&self, text: &str) -> Bytes {
        let Some(places) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) else {
            return Bytes::copy_from_slice(text.as_bytes());
        };
        let mut parts = Parts::new();
        for (id, partitions) in parse(places) {
            parts.entry(id).or_default().extend(partitions);
        }
        let topics = parts.iter().map(|(id, own)| (id, own.clone()));
        embedded::assignment_bytes(&self.topics, 1, topics).into()
    }

    fn read_part(&self, bytes: &[u8]) -> Option<Parts> {
        embedded::assignment(&self.topics, bytes).ok().flatten().filter(|_| !bytes.is_empty())
    }

    pub(super) fn tell_part(&self, bytes: &[u8]) -> String {
        match self.read_part(bytes) {
            Some(parts) => tell_parts(&parts),
            None => String::from_utf8_lossy(bytes).into_owned(),
        }
    }

    pub(super) fn learn_part(&mut self, client: &str, bytes: &[u8]) {
        if let Some(parts) = self.read_part(bytes) {
            let owned = parts.into_iter().map(|(id, own)| (id, own.into_iter().collect()));
            self.owned.insert(client.to_owned(), owned.collect());
        }
    }

    pub fn tell_log(&mut self) {
        for record in &self.log.records[self.told..] {
            let entry =
                Entry::read(&record.key, record.value.as_deref(), 0, &crate::offsets::Offsets::default())
                    .expect("we wrote it");
            self.transcript.push(format!("> {}", told_entry(&entry)));
        }
        self.told = self.log.records.len();
    }
}

fn told_entry(entry: &Entry) -> String {
    use ConsumerEntry as E;
    let entry = match entry {
        Entry::Classic(_, value) => {
            let Some(value) = value else { return "classic -".to_owned() };
            let members = value.members.iter().map(|member| label(&text(&member.member_id)));
            let members = members.collect::<Vec<_>>().join(",");
            return format!("classic {} [{members}]", value.generation);
        }
        Entry::Consumer(_, entry) => entry,
        Entry::Offset(key, value) => {
            let offset = value.as_ref().map_or("-".to_owned(), |value| value.offset.to_string());
            return format!("offset {}-{} {offset}", key.topic, key.partition);
        }
    };
    let none = || "-".to_owned();
    let id = |id: &str| label(&text(id));
    match entry {
        E::Group(value) => {
            format!("epoch {}", value.as_ref().map_or_else(none, |value| value.epoch.to_string()))
        }
        E::Partitions(value) => format!("topics {}", value.is_some()),
        E::Member(name, value) => {
            format!("member {} {}", id(name), value.as_ref().map_or_else(none, subscription))
        }
        E::Target(value) => {
            format!("target {}", value.as_ref().map_or_else(none, |value| value.assignment_epoch.to_string()))
        }
        E::TargetMember(name, value) => {
            let parts = value.as_ref().map(member::parts);
            format!("part {} {}", id(name), parts.as_ref().map_or_else(none, tell_parts))
        }
        E::Current(name, value) => {
            let current = value.as_ref().map(Current::from_value);
            format!("current {} {}", id(name), current.as_ref().map_or_else(none, tell_current))
        }
        E::Expression(text, value) => {
            format!("regex {text} {}", value.as_ref().map_or_else(none, |value| value.topics.join(",")))
        }
    }
}

fn subscription(member: &crate::consumer::Member) -> String {
    let regex = member.subscribed_topic_regex.as_deref().unwrap_or("null");
    format!("{}/{regex}", member.subscribed_topic_names.join(","))
}

fn tell_parts(parts: &Parts) -> String {
    format!("[{}]", places(parts.iter().map(|(&topic, own)| (topic, own.iter().copied().collect()))))
}

fn tell_current(current: &Current) -> String {
    let owned =
        |owned: &Owned| places(owned.iter().map(|(&topic, own)| (topic, own.keys().copied().collect())));
    let (assigned, revoking) = (owned(&current.assigned), owned(&current.revoking));
    format!("{}<{} {:?} [{assigned}] -[{revoking}]", current.previous, current.epoch, current.state)
}

fn places(topics: impl Iterator<Item = (TopicId, Vec<i32>)>) -> String {
    let places = topics.flat_map(|(topic, partitions)| {
        partitions.into_iter().map(move |partition| format!("{}{partition}", name_of(topic)))
    });
    places.collect::<Vec<_>>().join(",")
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u32::try_from(count).expect("few").to_be_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&u16::try_from(text.len()).expect("short").to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// `t0,t1,u0`.
fn parse(text: &str) -> Vec<(TopicId, Vec<i32>)> {
    let places = text.split(',').filter(|place| !place.is_empty());
    places.map(|place| (id_of(&place[..1]), vec![place[1..].parse().expect("a partition")])).collect()
}
