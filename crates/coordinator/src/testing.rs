//! A coordinator's life as text: the door that tests go through.
//!
//! A script is commands, each followed by the answers it causes, which begin with `>`:
//!
//! ```text
//!   join a v4 instance=i topics=t,u reason=r   also protocols=range,sticky type=connect session=10000 rebalance=60000
//!   > a join MEMBER_ID_REQUIRED a.1        ids are told as the client id and a count
//!   sync a a.1=x b.2=y | beat a | leave a reason=r | leave instance=i | rejoin: `join` again, with the id it has
//!   commit a t-0=5 | fetch t-0 | fetch all | fetch stable t-0 | delete-offset t-0
//!   describe | list state=Empty type=classic | delete | group h: the group meant from here on
//!   hb a topics=t regex=[tu] epoch=1 own | hb a leave | describe-consumer | topics t:3 u:2 | log: see `consumer`
//!   pass 3000 | fail unavailable | hold | release | reload | depose | forget t
//! ```
//!
//! After every step the state is held against the log: see [`Life::check`].

mod api;
mod consumer;
mod log;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use api::api_of;
pub use consumer::Topics;
pub use log::{Log, check_told, commands, offset};
use model::{ErrorCode, Millis, Offset, Timestamp, Uuid};
use wire::messages::join_group_request::JoinGroupRequestProtocol;
use wire::messages::leave_group_request::MemberIdentity;
use wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::messages::sync_group_request::SyncGroupRequestAssignment;
use wire::messages::*;

use crate::*;

/// What the clocks show when a life begins.
pub const BEGINS: u64 = 1_000_000;

/// What a client remembers.
#[derive(Clone, Default)]
pub struct Memory {
    pub member: StrBytes,
    pub generation: i32,
    pub protocol: String,
}

/// A shard, its log, and the clients.
pub struct Life {
    pub shard: Shard,
    pub settings: Settings,
    pub log: Log,
    pub clock: u64,
    pub group: String,
    pub clients: BTreeMap<String, Memory>,
    pub waiting: BTreeMap<Token, (String, i16, ApiKey)>,
    pub answers: Vec<(String, ResponseKind)>,
    pub transcript: Vec<String>,
    /// What the shard sees of the cluster.
    pub topics: Topics,
    /// What members of the new protocol have, as they were told.
    pub owned: BTreeMap<String, Vec<(Uuid, Vec<i32>)>>,
    /// How much of the log was told.
    pub told: usize,
    tokens: u64,
    chances: u128,
}

/// Options of a command: `key=value`, flags, and what is left.
struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn value(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    fn number(&self, key: &str, default: i32) -> i32 {
        self.value(key).map_or(default, |text| text.parse().expect("a number"))
    }

    fn version(&self, default: i16) -> i16 {
        let version = self.0.iter().find_map(|word| word.strip_prefix('v')?.parse().ok());
        version.unwrap_or(default)
    }
}

/// Lives through a script, and finds it told as it was.
#[track_caller]
pub fn check(script: &str) {
    check_with(Settings::default(), script);
}

#[track_caller]
pub fn check_with(settings: Settings, script: &str) {
    let mut life = Life::new(settings);
    commands(script).for_each(|line| life.run(line));
    check_told(script, &life.transcript);
}

impl Life {
    pub fn new(settings: Settings) -> Self {
        let mut life = Self {
            shard: Shard::new(settings.clone(), Offset::ZERO),
            settings,
            log: Log::default(),
            clock: BEGINS,
            group: "g".to_owned(),
            clients: BTreeMap::new(),
            waiting: BTreeMap::new(),
            answers: Vec::new(),
            transcript: Vec::new(),
            topics: Topics::default(),
            owned: BTreeMap::new(),
            told: 0,
            tokens: 0,
            chances: 0,
        };
        let now = life.now();
        life.shard.set_cluster(Arc::new(life.topics.clone()));
        life.shard.loaded(now);
        life
    }

    pub fn now(&self) -> Now {
        let time = i64::try_from(self.clock).expect("a test ends");
        Now { clock: Millis::new(self.clock), time: Timestamp::new(time) }
    }

    /// One line of a script.
    pub fn run(&mut self, line: &str) {
        self.transcript.push(line.to_owned());
        let words: Vec<&str> = line.split(' ').collect();
        let rest = Words(words[1..].to_vec());
        match words[0] {
            "pass" => self.pass(words[1].parse().expect("milliseconds")),
            "fail" => self.log.fail(words[1]),
            "hold" => self.log.held = true,
            "release" => {
                self.log.held = false;
                self.settle();
            }
            "reload" => self.reload(self.log.records.len()),
            "depose" => self.reload(self.log.high_watermark),
            "group" => self.group = words[1].to_owned(),
            "forget" => loop {
                let records = self.shard.forget_topic(self.now(), words[1]);
                if !self.append(records) {
                    break;
                }
            },
            "topics" => self.change_topics(&words[1..]),
            "log" => self.tell_log(),
            "hb" => {
                let (version, request) = self.heartbeat(words[1], &rest);
                self.ask(words[1], version, request.into());
            }
            "describe-consumer" => {
                let request = ConsumerGroupDescribeRequest::default();
                let request = request.with_group_ids(vec![GroupId(text(&self.group))]);
                self.ask("-", 1, request.into());
            }
            "describe" | "list" | "delete" | "fetch" | "delete-offset" => {
                let (version, request) = self.question(words[0], &rest);
                self.ask("-", version, request);
            }
            command => {
                let (version, request) = self.request(command, words[1], &rest);
                self.ask(words[1], version, request);
            }
        }
        self.check();
    }

    fn request(&self, command: &str, client: &str, rest: &Words<'_>) -> (i16, RequestKind) {
        let group = GroupId(text(&self.group));
        let memory = self.clients.get(client).cloned().unwrap_or_default();
        let member = rest.value("id").map_or(memory.member.clone(), |id| self.id(id));
        let generation = rest.number("gen", memory.generation);
        let instance = rest.value("instance").map(text);
        match command {
            "join" => {
                let version = rest.version(9);
                let topics = self.subscription(client, rest);
                let protocol = |name| {
                    JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(topics.clone())
                };
                let names = rest.value("protocols").unwrap_or("range").split(',');
                let request = JoinGroupRequest::default()
                    .with_group_id(group)
                    .with_member_id(member)
                    .with_group_instance_id(instance)
                    .with_session_timeout_ms(rest.number("session", 10_000))
                    .with_rebalance_timeout_ms(rest.number("rebalance", 60_000))
                    .with_protocol_type(text(rest.value("type").unwrap_or("consumer")))
                    .with_reason(rest.value("reason").map(text))
                    .with_protocols(names.filter(|name| !name.is_empty()).map(protocol).collect());
                (version, request.into())
            }
            "sync" => {
                let known = Some(memory.protocol.as_str()).filter(|name| !name.is_empty());
                let protocol = rest.value("protocol").or(known).unwrap_or("range");
                let parts = rest.0.iter().filter_map(|word| word.split_once('='));
                let parts = parts.filter(|(name, _)| name.contains('.')).map(|(name, part)| {
                    SyncGroupRequestAssignment::default()
                        .with_member_id(self.id(name))
                        .with_assignment(self.part(part))
                });
                let request = SyncGroupRequest::default()
                    .with_group_id(group)
                    .with_member_id(member)
                    .with_generation_id(generation)
                    .with_group_instance_id(instance)
                    .with_protocol_type(Some(text(rest.value("type").unwrap_or("consumer"))))
                    .with_protocol_name(Some(text(protocol)).filter(|name| name.as_str() != "-"))
                    .with_assignments(parts.collect());
                (rest.version(5), request.into())
            }
            "beat" => {
                let request = HeartbeatRequest::default()
                    .with_group_id(group)
                    .with_member_id(member)
                    .with_generation_id(generation)
                    .with_group_instance_id(instance);
                (rest.version(4), request.into())
            }
            "leave" => {
                let version = rest.version(5);
                let member = if instance.is_some() { StrBytes::default() } else { member };
                let mut request = LeaveGroupRequest::default().with_group_id(group);
                if version < 3 {
                    request.member_id = member;
                } else {
                    let identity = MemberIdentity::default().with_member_id(member);
                    let reason = rest.value("reason").map(text);
                    request.members = vec![identity.with_group_instance_id(instance).with_reason(reason)];
                }
                (version, request.into())
            }
            "commit" => {
                let simple = client == "-";
                let request = OffsetCommitRequest::default()
                    .with_group_id(group)
                    .with_member_id(member)
                    .with_generation_id_or_member_epoch(if simple { -1 } else { generation })
                    .with_group_instance_id(instance)
                    .with_retention_time_ms(rest.number("retention", -1).into())
                    .with_topics(commits(rest));
                (rest.version(9), request.into())
            }
            other => panic!("no such command: {other}"),
        }
    }

    fn question(&self, command: &str, rest: &Words<'_>) -> (i16, RequestKind) {
        let group = GroupId(text(&self.group));
        match command {
            "describe" => (rest.version(6), DescribeGroupsRequest::default().with_groups(vec![group]).into()),
            "list" => {
                let filter = |key| rest.value(key).map(text).into_iter().collect::<Vec<_>>();
                let request = ListGroupsRequest::default().with_states_filter(filter("state"));
                (5, request.with_types_filter(filter("type")).into())
            }
            "delete" => (2, DeleteGroupsRequest::default().with_groups_names(vec![group]).into()),
            "delete-offset" => {
                let (name, index) = partition(rest.0[0]);
                let index = OffsetDeleteRequestPartition::default().with_partition_index(index);
                let topic = OffsetDeleteRequestTopic::default().with_name(topic(name));
                let topics = vec![topic.with_partitions(vec![index])];
                (0, OffsetDeleteRequest::default().with_group_id(group).with_topics(topics).into())
            }
            _ => {
                let (stable, what) = match rest.0[..] {
                    ["stable", what, ..] => (true, what),
                    [what, ..] => (false, what),
                    [] => panic!("fetch what?"),
                };
                (rest.version(9), self.fetch(group, stable, what, rest.version(9)))
            }
        }
    }

    fn fetch(&self, group: GroupId, stable: bool, what: &str, version: i16) -> RequestKind {
        let named = (what != "all").then(|| partition(what));
        if version < 8 {
            let topics = named.map(|(name, index)| {
                let topic = offset_fetch_request::OffsetFetchRequestTopic::default();
                vec![topic.with_name(topic_name(name)).with_partition_indexes(vec![index])]
            });
            return OffsetFetchRequest::default().with_group_id(group).with_topics(topics).into();
        }
        let topics = named.map(|(name, index)| {
            let topic = OffsetFetchRequestTopics::default();
            vec![topic.with_name(topic_name(name)).with_partition_indexes(vec![index])]
        });
        let group = OffsetFetchRequestGroup::default().with_group_id(group).with_topics(topics);
        OffsetFetchRequest::default().with_groups(vec![group]).with_require_stable(stable).into()
    }

    /// Sends a request, appends what comes of it, and takes the answers.
    pub fn ask(&mut self, client: &str, version: i16, request: RequestKind) {
        self.tokens += 1;
        self.chances += 1;
        let token = Token(self.tokens);
        let api = api_of(&request);
        self.waiting.insert(token, (client.to_owned(), version, api));
        let client = Client { id: text(client), host: text("/h") };
        let chance = Uuid::from_u128(self.chances);
        let call = Call { caller: Caller { token, version }, client, chance, request };
        let records = self.shard.handle(self.now(), &call).expect("a request of ours");
        self.append(records);
    }

    /// Appends, or fails to. False when there was nothing to append, or nothing more is to be asked for.
    pub fn append(&mut self, records: Vec<Record>) -> bool {
        let outcome = self.log.append(records);
        match outcome {
            None => {}
            Some(Ok(last)) => self.shard.appended(last),
            Some(Err(failure)) => self.shard.append_failed(failure),
        }
        self.settle();
        matches!(outcome, Some(Ok(_)))
    }

    /// Moves the watermark, and takes the answers.
    fn settle(&mut self) {
        self.shard.committed(self.log.settle());
        let replies = self.shard.replies();
        self.take(replies);
    }

    fn take(&mut self, replies: Vec<Reply>) {
        for reply in replies {
            let (client, version, api) = self.waiting.remove(&reply.token).expect("each is answered once");
            let mut frame = Vec::new();
            let written = wire::response::encode(1, api, version, &reply.response, &mut frame);
            written.unwrap_or_else(|error| panic!("{:?}: {error}", reply.response));
            self.learn(&client, &reply.response);
            self.transcript.push(format!("> {client} {}", self.tell(&reply.response)));
            self.answers.push((client, reply.response));
        }
    }

    fn learn(&mut self, client: &str, response: &ResponseKind) {
        match response {
            ResponseKind::ConsumerGroupHeartbeat(response) => return self.learn_heartbeat(client, response),
            ResponseKind::SyncGroup(response) => return self.learn_part(client, &response.assignment),
            _ => {}
        }
        let ResponseKind::JoinGroup(response) = response else { return };
        let code = ErrorCode::from_code(response.error_code);
        let memory = self.clients.entry(client.to_owned()).or_default();
        match code {
            ErrorCode::None => {
                memory.member = response.member_id.clone();
                memory.generation = response.generation_id;
                memory.protocol =
                    response.protocol_name.as_ref().map(ToString::to_string).unwrap_or_default();
            }
            ErrorCode::MemberIdRequired => memory.member = response.member_id.clone(),
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => *memory = Memory::default(),
            _ => {}
        }
    }

    /// Lets time pass, timer by timer.
    pub fn pass(&mut self, millis: u64) {
        let end = self.clock + millis;
        loop {
            let records = self.shard.tick(self.now());
            let more = self.append(records);
            if more {
                continue;
            }
            if self.clock == end {
                break;
            }
            let next = self.shard.next_deadline().map_or(end, Millis::get);
            self.clock = next.clamp(self.clock + 1, end);
        }
    }

    /// Another broker leads, and knows the log up to `end`.
    pub fn reload(&mut self, end: usize) {
        self.log.records.truncate(end);
        let high_watermark = offset(self.log.high_watermark.min(end));
        let mut next = Shard::new(self.settings.clone(), high_watermark);
        next.set_cluster(Arc::new(self.topics.clone()));
        for (at, record) in self.log.records.iter().enumerate() {
            next.replay(&record.key, record.value.as_deref(), offset(at)).expect("we wrote it");
        }
        next.loaded(self.now());
        let replies = std::mem::replace(&mut self.shard, next).resign();
        self.take(replies);
        assert!(self.waiting.is_empty(), "nobody waits for who does not lead: {:?}", self.waiting);
        self.settle();
    }

    /// What holds after every step: the log replays to the state that is, stable groups are as they were written,
    /// and what is committed is what the committed part of the log says.
    pub fn check(&self) {
        let mut hard = hard::Hard::default();
        for (at, record) in self.log.records.iter().enumerate() {
            // Beyond so many batches in flight, commits are not told apart.
            if at == self.log.high_watermark && self.log.records.len() < 1000 {
                assert_eq!(hard.offsets(), self.shard.committed_offsets());
            }
            let entry = record::Entry::read(
                &record.key,
                record.value.as_deref(),
                at as i64,
                &offsets::Offsets::default(),
            );
            hard.replay(entry.expect("we wrote it"));
        }
        if self.log.high_watermark == self.log.records.len() {
            assert_eq!(hard.offsets(), self.shard.committed_offsets());
        }
        assert_eq!(&hard, self.shard.hard());
        for (id, group) in self.shard.groups() {
            let group = match group {
                Group::Classic(group) => group,
                Group::Consumer(watched) => {
                    consumer::check(watched);
                    let written = Some(&hard::Written::Consumer(watched.group().clone()));
                    assert_eq!(hard.group(id), written);
                    continue;
                }
            };
            group.check_members();
            match (group.phase(), hard.group(id)) {
                (classic::Phase::Stable, Some(hard::Written::Classic(written))) => {
                    assert_eq!(**written, group.to_value());
                }
                (classic::Phase::Stable, other) => panic!("{id} is stable, but written as {other:?}"),
                _ => {}
            }
        }
        for (id, _) in hard.groups() {
            assert!(self.shard.groups().any(|(known, _)| known == id), "{id} is written and not known");
        }
    }

    /// The member id of `a.1`.
    fn id(&self, label: &str) -> StrBytes {
        let Some((client, count)) = label.rsplit_once('.') else { return text(label) };
        let count: u128 = count.parse().expect("a count");
        text(&format!("{client}-00000000-0000-0000-0000-{count:012x}"))
    }

    fn tell(&self, response: &ResponseKind) -> String {
        let code = |code| ErrorCode::from_code(code);
        match response {
            ResponseKind::JoinGroup(r) if r.error_code != 0 => {
                format!("join {} {}", code(r.error_code), label(&r.member_id)).trim_end().to_owned()
            }
            ResponseKind::JoinGroup(r) => {
                let members: Vec<String> = r.members.iter().map(|member| label(&member.member_id)).collect();
                let protocol = r.protocol_name.as_ref().map_or("-", StrBytes::as_str);
                let skip = if r.skip_assignment { " skip" } else { "" };
                let leads =
                    if members.is_empty() { String::new() } else { format!(" [{}]", members.join(" ")) };
                let (member, leader) = (label(&r.member_id), label(&r.leader));
                format!("join {member} gen={} {protocol} leader={leader}{leads}{skip}", r.generation_id)
            }
            ResponseKind::SyncGroup(r) => {
                let part = self.tell_part(&r.assignment);
                format!("sync {} {part}", code(r.error_code)).trim_end().to_owned()
            }
            ResponseKind::Heartbeat(r) => format!("beat {}", code(r.error_code)),
            ResponseKind::LeaveGroup(r) => {
                let members = r.members.iter().map(|member| format!(" {}", code(member.error_code)));
                format!("leave {}{}", code(r.error_code), members.collect::<String>())
            }
            ResponseKind::OffsetCommit(r) => {
                let partitions = r
                    .topics
                    .iter()
                    .flat_map(|topic| topic.partitions.iter().map(move |partition| (&topic.name, partition)));
                let told = partitions.map(|(name, partition)| {
                    format!(" {}-{}={}", name.as_str(), partition.partition_index, code(partition.error_code))
                });
                format!("commit{}", told.collect::<String>())
            }
            ResponseKind::OffsetFetch(r) if !r.groups.is_empty() => fetched(&r.groups[0]),
            ResponseKind::OffsetFetch(r) => {
                let partitions = r
                    .topics
                    .iter()
                    .flat_map(|topic| topic.partitions.iter().map(move |partition| (&topic.name, partition)));
                let told = partitions.map(|(name, partition)| {
                    format!(" {}-{}={}", name.as_str(), partition.partition_index, partition.committed_offset)
                });
                format!("fetch {}{}", code(r.error_code), told.collect::<String>())
            }
            ResponseKind::OffsetDelete(r) => {
                let partitions = r.topics.iter().flat_map(|topic| &topic.partitions);
                let told = partitions.map(|partition| format!(" {}", code(partition.error_code)));
                format!("delete-offset {}{}", code(r.error_code), told.collect::<String>())
            }
            ResponseKind::DescribeGroups(r) => described(&r.groups[0]),
            ResponseKind::ListGroups(r) => {
                let told = r.groups.iter().map(|group| {
                    let parts = [&group.protocol_type, &group.group_state, &group.group_type];
                    format!(" {}:{}", group.group_id.as_str(), parts.map(|part| part.as_str()).join(","))
                });
                format!("list{}", told.collect::<String>())
            }
            ResponseKind::ConsumerGroupHeartbeat(r) => self.tell_heartbeat(r),
            ResponseKind::ConsumerGroupDescribe(r) => self.tell_described(&r.groups[0]),
            ResponseKind::DeleteGroups(r) => format!("delete {}", code(r.results[0].error_code)),
            other => panic!("not ours: {other:?}"),
        }
    }
}

fn fetched(group: &offset_fetch_response::OffsetFetchResponseGroup) -> String {
    let partitions = group
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(move |partition| (&topic.name, partition)));
    let told = partitions.map(|(name, partition)| {
        let note = partition.metadata.as_ref().filter(|note| !note.is_empty());
        let note = note.map(|note| format!("'{}'", note.as_str())).unwrap_or_default();
        format!(" {}-{}={}{note}", name.as_str(), partition.partition_index, partition.committed_offset)
    });
    format!("fetch {}{}", ErrorCode::from_code(group.error_code), told.collect::<String>())
}

fn described(group: &describe_groups_response::DescribedGroup) -> String {
    let members = group.members.iter().map(|member| {
        let part = String::from_utf8_lossy(&member.member_assignment).into_owned();
        format!(" {}={part}", label(&member.member_id))
    });
    let code = ErrorCode::from_code(group.error_code);
    let message = group.error_message.as_ref().map(|text| format!(" {}", text.as_str())).unwrap_or_default();
    let head = [&group.group_state, &group.protocol_type, &group.protocol_data].map(|part| part.as_str());
    format!("describe {code}{message} {}{}", head.join(","), members.collect::<String>())
}

/// A member id as a client id and a count: `a.1`.
pub fn label(id: &StrBytes) -> String {
    match id.split_once("-00000000-0000-0000-0000-") {
        Some((client, count)) => format!("{client}.{}", i64::from_str_radix(count, 16).expect("a count")),
        None => id.to_string(),
    }
}

fn topic_name(name: &str) -> TopicName {
    topic(name)
}

fn partition(text: &str) -> (&str, i32) {
    let (name, index) = text.rsplit_once('-').expect("topic-partition");
    (name, index.parse().expect("a partition"))
}

/// `t-0=5`, or `t-0=5'note'`.
fn commits(rest: &Words<'_>) -> Vec<OffsetCommitRequestTopic> {
    let words = rest.0.iter().filter(|word| !word.starts_with("retention"));
    let pairs = words.filter_map(|word| word.split_once('=')).filter(|(name, _)| name.contains('-'));
    let topics = pairs.map(|(place, what)| {
        let (name, index) = partition(place);
        let (offset, note) = what.split_once('\'').unwrap_or((what, ""));
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset.parse().expect("an offset"))
            .with_committed_metadata(Some(text(note.trim_end_matches('\''))));
        OffsetCommitRequestTopic::default().with_name(topic(name)).with_partitions(vec![partition])
    });
    topics.collect()
}

/// Every version of an API writes its refusal, and it says the code.
pub fn check_refusal(
    refuse: impl Fn(&RequestKind, i16, ErrorCode) -> Option<ResponseKind>,
    api: ApiKey,
    versions: RangeInclusive<i16>,
    request: &RequestKind,
) {
    for version in versions {
        let refused = refuse(request, version, ErrorCode::NotCoordinator).expect("it is ours");
        let mut frame = Vec::new();
        wire::response::encode(1, api, version, &refused, &mut frame)
            .unwrap_or_else(|error| panic!("version {version}: {error}"));
        let code = ErrorCode::NotCoordinator.code().to_be_bytes();
        assert!(frame.windows(2).any(|pair| pair == code), "{api:?} {version} says nothing: {refused:?}");
    }
}
