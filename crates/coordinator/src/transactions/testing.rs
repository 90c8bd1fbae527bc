//! A transaction coordinator's life as text: the door that tests go through.
//!
//! A script is commands, each followed by what it causes, which begins with `>`:
//!
//! ```text
//!   init x                 also timeout=60000 as=7/0 (shows that producer) own (shows the one it has) v3
//!   add x t-0 t-1          as a producer until v3, as a partition's leader from v4 on; also as=7/0
//!   verify x t-0 | offsets x g | end x commit v5 | describe x | list state=Ongoing
//!   done x t-0             also retry, gone, fenced: what became of a marker; `all` for each that is out
//!   ids 3 | no-ids         producer ids come when they are asked for, unless `stingy`
//!   wall +3600000          the wall clock jumps
//!   pass 3000 | fail unavailable | hold | release | reload | depose
//! ```
//!
//! After every step the state is held against the log: see [`Life::check`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{ErrorCode, LeaderEpoch, Millis, Offset, ProducerEpoch, ProducerId, Timestamp, Uuid};
use wire::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use wire::messages::{ProducerId as WireProducerId, *};

use super::*;
use crate::call::{Call, Caller, Client, Now, Reply, Token};
use crate::record::Record;
use crate::testing::{Log, check_told, commands, offset};

/// What the clocks show when a life begins.
pub const BEGINS: u64 = 1_000_000;
/// The first producer id that is given out.
const FIRST_ID: i64 = 100;

/// A shard, its log, the partitions that hear of markers, and the clients.
pub struct Life {
    pub shard: Shard,
    pub settings: Settings,
    pub log: Log,
    pub clock: u64,
    /// How far the wall clock is from the other.
    pub wall: i64,
    /// What each client was told last: its producer.
    pub producers: BTreeMap<String, (i64, i16)>,
    /// Markers that nobody has reported on yet, a partition each.
    pub out: Vec<(Marker, Place)>,
    pub waiting: BTreeMap<Token, (String, i16)>,
    pub transcript: Vec<String>,
    /// All markers that ever went out.
    pub sent: Vec<Marker>,
    pub answers: Vec<(String, ResponseKind)>,
    pub stingy: bool,
    /// Markers are written at once.
    pub prompt: bool,
    next_id: i64,
    tokens: u64,
    epoch: i32,
}

/// Lives through a script, and finds it told as it was.
#[track_caller]
pub fn check(script: &str) {
    check_with(Settings::default(), script);
}

#[track_caller]
pub fn check_with(settings: Settings, script: &str) {
    check_life(Life::new(settings), script);
}

#[track_caller]
pub fn check_life(mut life: Life, script: &str) {
    commands(script).for_each(|line| life.run(line));
    check_told(script, &life.transcript);
}

impl Life {
    pub fn new(settings: Settings) -> Self {
        let mut life = Self {
            shard: Shard::new(settings.clone(), Offset::ZERO, LeaderEpoch::new(0)),
            settings,
            log: Log::default(),
            clock: BEGINS,
            wall: 0,
            producers: BTreeMap::new(),
            out: Vec::new(),
            waiting: BTreeMap::new(),
            transcript: Vec::new(),
            sent: Vec::new(),
            answers: Vec::new(),
            stingy: false,
            prompt: false,
            next_id: FIRST_ID,
            tokens: 0,
            epoch: 0,
        };
        let now = life.now();
        life.shard.loaded(now);
        life
    }

    /// One whose producer of `x` has come to `epoch`.
    pub fn at_epoch(epoch: i16) -> Self {
        let mut life = Self::new(Settings::default());
        let begun = Transaction::begin(ProducerId::new(FIRST_ID), 60_000, life.now().time);
        let old = Transaction { epoch: ProducerEpoch::new(epoch), ..begun };
        life.log.records.push(write("x", Some(&old), life.settings.version).expect("it fits"));
        life.log.high_watermark = 1;
        life.reload(1);
        life.next_id += 1;
        life.producers.insert("x".to_owned(), (FIRST_ID, epoch));
        life
    }

    pub fn now(&self) -> Now {
        let time = i64::try_from(self.clock).expect("a test ends");
        Now { clock: Millis::new(self.clock), time: Timestamp::new(time + self.wall) }
    }

    /// One line of a script.
    pub fn run(&mut self, line: &str) {
        self.transcript.push(line.to_owned());
        let words: Vec<&str> = line.split(' ').collect();
        match words[0] {
            "pass" => self.pass(words[1].parse().expect("milliseconds")),
            "wall" => self.wall += words[1].parse::<i64>().expect("milliseconds"),
            "fail" => self.log.fail(words[1]),
            "hold" => self.log.held = true,
            "release" => {
                self.log.held = false;
                self.settle();
            }
            "reload" => self.reload(self.log.records.len()),
            "depose" => self.reload(self.log.high_watermark),
            "stingy" => self.stingy = true,
            "prompt" => self.prompt = true,
            "ids" => self.give_ids(words[1].parse().expect("a count")),
            "no-ids" => {
                self.shard.no_producer_ids();
                self.settle();
            }
            "done" | "retry" | "gone" | "fenced" => self.report(&words),
            command => {
                let (version, request) = self.request(command, &words[1..]);
                let client = words.get(1).copied().filter(|_| command != "list");
                self.ask(client.unwrap_or("-"), version, request);
            }
        }
        self.check();
    }

    /// The producer that a request shows.
    fn shown(&self, id: &str, words: &[&str]) -> (WireProducerId, i16) {
        let given = words.iter().find_map(|word| word.strip_prefix("as="));
        let given = given.map(|text| text.split_once('/').expect("id/epoch"));
        let given = given.map(|(id, epoch)| (id.parse().expect("an id"), epoch.parse().expect("an epoch")));
        let (id, epoch) = given.or_else(|| self.producers.get(id).copied()).unwrap_or((-1, -1));
        (WireProducerId(id), epoch)
    }

    fn request(&self, command: &str, words: &[&str]) -> (i16, RequestKind) {
        let value = |key: &str| words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let version = |default| {
            words.iter().skip(1).find_map(|word| word.strip_prefix('v')?.parse().ok()).unwrap_or(default)
        };
        let name = words.first().copied().unwrap_or_default();
        let id = TransactionalId(text(if name == "-" { "" } else { name }));
        let (producer, epoch) = self.shown(name, words);
        match command {
            "init" => {
                let shows = words.contains(&"own") || value("as").is_some();
                let (producer, epoch) = if shows { (producer, epoch) } else { (WireProducerId(-1), -1) };
                let timeout = value("timeout").map_or(60_000, |text| text.parse().expect("milliseconds"));
                let request = InitProducerIdRequest::default()
                    .with_transactional_id(Some(id))
                    .with_transaction_timeout_ms(timeout)
                    .with_producer_id(producer)
                    .with_producer_epoch(epoch);
                (version(5), request.into())
            }
            "add" | "verify" => {
                let version = version(if command == "add" { 3 } else { 5 });
                let topics: Vec<_> =
                    words[1..].iter().filter(|word| word.contains('-')).map(topic_of).collect();
                let asked = AddPartitionsToTxnTransaction::default()
                    .with_transactional_id(id.clone())
                    .with_producer_id(producer)
                    .with_producer_epoch(epoch)
                    .with_verify_only(command == "verify")
                    .with_topics(topics.clone());
                let request = match version {
                    4.. => AddPartitionsToTxnRequest::default().with_transactions(vec![asked]),
                    _ => AddPartitionsToTxnRequest::default()
                        .with_v3_and_below_transactional_id(id)
                        .with_v3_and_below_producer_id(producer)
                        .with_v3_and_below_producer_epoch(epoch)
                        .with_v3_and_below_topics(topics),
                };
                (version, request.into())
            }
            "offsets" => {
                let request = AddOffsetsToTxnRequest::default()
                    .with_transactional_id(id)
                    .with_producer_id(producer)
                    .with_producer_epoch(epoch)
                    .with_group_id(GroupId(text(words[1])));
                (version(3), request.into())
            }
            "end" => {
                let request = EndTxnRequest::default()
                    .with_transactional_id(id)
                    .with_producer_id(producer)
                    .with_producer_epoch(epoch)
                    .with_committed(words.contains(&"commit"));
                (version(4), request.into())
            }
            "describe" => (0, DescribeTransactionsRequest::default().with_transactional_ids(vec![id]).into()),
            "list" => {
                let producers = value("id").map(|text| WireProducerId(text.parse().expect("an id")));
                let duration = value("longer").map_or(-1, |text| text.parse().expect("milliseconds"));
                let request = ListTransactionsRequest::default()
                    .with_state_filters(value("state").map(text).into_iter().collect())
                    .with_producer_id_filters(producers.into_iter().collect())
                    .with_transactional_id_pattern(value("like").map(text))
                    .with_duration_filter(duration);
                (2, request.into())
            }
            other => panic!("no such command: {other}"),
        }
    }

    /// Sends a request, appends what comes of it, and takes the answers.
    pub fn ask(&mut self, client: &str, version: i16, request: RequestKind) {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.waiting.insert(token, (client.to_owned(), version));
        let caller = Caller { token, version };
        let call = Call { caller, client: Client::default(), chance: Uuid::from_u128(1), request };
        let records = self.shard.handle(self.now(), &call).expect("a request of ours");
        self.append(records);
        self.tick();
    }

    /// Appends, or fails to. False when there was nothing to append, or nothing more is to be asked for.
    fn append(&mut self, records: Vec<Record>) -> bool {
        let outcome = self.log.append(records);
        match outcome {
            None => {}
            Some(Ok(last)) => self.shard.appended(last),
            Some(Err(failure)) => self.shard.append_failed(failure),
        }
        self.settle();
        matches!(outcome, Some(Ok(_)))
    }

    /// Lets the shard do what is due.
    fn tick(&mut self) {
        loop {
            let records = self.shard.tick(self.now());
            if !self.append(records) {
                return;
            }
        }
    }

    /// Moves the watermark, and carries out what the shard asks for.
    fn settle(&mut self) {
        self.shard.committed(self.log.settle());
        let replies = self.shard.replies();
        self.take(replies);
        for marker in self.shard.markers() {
            self.hear(marker);
        }
        let wanted = self.shard.producer_ids_wanted();
        if wanted > 0 && !self.stingy {
            self.give_ids(wanted);
        }
    }

    fn give_ids(&mut self, count: usize) {
        let first = self.next_id;
        self.next_id += i64::try_from(count).expect("few");
        self.shard.give_producer_ids((first..self.next_id).map(ProducerId::new));
        self.tick();
    }

    fn hear(&mut self, marker: Marker) {
        let places: String =
            marker.places.iter().map(|place| format!(" {}-{}", place.topic, place.partition)).collect();
        let result = if marker.commit { "commit" } else { "abort" };
        self.transcript.push(format!(
            "> marker {} {}/{} {result}{places}",
            marker.transactional_id, marker.producer_id, marker.epoch
        ));
        assert_eq!(marker.coordinator_epoch.get(), self.epoch);
        self.out.extend(marker.places.iter().map(|place| (marker.clone(), place.clone())));
        self.sent.push(marker);
        if self.prompt {
            self.report(&["done", "all"]);
        }
    }

    /// `done x t-0 t-1`, or `done all`.
    fn report(&mut self, words: &[&str]) {
        let outcome = match words[0] {
            "done" => Outcome::Done,
            "retry" => Outcome::Retry,
            "gone" => Outcome::Gone,
            _ => Outcome::Fenced,
        };
        let meant = |marker: &Marker, place: &Place| {
            let name = format!("{}-{}", place.topic, place.partition);
            words[1] == "all"
                || (*marker.transactional_id == *words[1]
                    && (words.len() == 2 || words[2..].contains(&&*name)))
        };
        let (told, out): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.out).into_iter().partition(|(marker, place)| meant(marker, place));
        self.out = out;
        for (marker, place) in told {
            let marked = Marked {
                transactional_id: marker.transactional_id,
                producer_id: marker.producer_id,
                epoch: marker.epoch,
                place,
                outcome,
            };
            self.shard.marked(self.now(), &marked);
        }
        self.tick();
    }

    fn take(&mut self, replies: Vec<Reply>) {
        for reply in replies {
            let (client, version) = self.waiting.remove(&reply.token).expect("each is answered once");
            let api = api_of(&reply.response);
            let mut frame = Vec::new();
            let written = wire::response::encode(1, api, version, &reply.response, &mut frame);
            written.unwrap_or_else(|error| panic!("{:?}: {error}", reply.response));
            self.learn(&client, version, &reply.response);
            self.transcript.push(format!("> {client} {}", tell(version, &reply.response)));
            self.answers.push((client, reply.response));
        }
    }

    fn learn(&mut self, client: &str, version: i16, response: &ResponseKind) {
        let (code, id, epoch) = match response {
            ResponseKind::InitProducerId(r) => (r.error_code, r.producer_id.0, r.producer_epoch),
            ResponseKind::EndTxn(r) if version >= 5 => (r.error_code, r.producer_id.0, r.producer_epoch),
            _ => return,
        };
        if code == 0 {
            self.producers.insert(client.to_owned(), (id, epoch));
        }
    }

    /// Lets time pass, timer by timer.
    pub fn pass(&mut self, millis: u64) {
        let end = self.clock + millis;
        loop {
            self.tick();
            if self.clock == end {
                return;
            }
            let next = self.shard.next_deadline().map_or(end, Millis::get);
            self.clock = next.clamp(self.clock + 1, end);
        }
    }

    /// Another broker leads, and knows the log up to `end`.
    pub fn reload(&mut self, end: usize) {
        self.log.records.truncate(end);
        self.epoch += 1;
        let high_watermark = offset(self.log.high_watermark.min(end));
        let mut next = Shard::new(self.settings.clone(), high_watermark, LeaderEpoch::new(self.epoch));
        for (at, record) in self.log.records.iter().enumerate() {
            next.replay(&record.key, record.value.as_deref(), offset(at)).expect("we wrote it");
        }
        next.loaded(self.now());
        let replies = std::mem::replace(&mut self.shard, next).resign();
        self.take(replies);
        assert!(self.waiting.is_empty(), "nobody waits for who does not lead: {:?}", self.waiting);
        // What is still on its way is the earlier leader's.
        self.out.clear();
        self.settle();
    }

    /// What holds after every step: the log replays to the state that is, what is committed is what the committed
    /// part of the log says, and only what is decided there was ever told to a partition.
    pub fn check(&self) {
        let mut known: BTreeMap<Arc<str>, Transaction> = BTreeMap::new();
        for (at, record) in self.log.records.iter().enumerate() {
            if at == self.log.high_watermark {
                assert_eq!(known, forgetful(self.shard.transactions()));
            }
            match read(&record.key, record.value.as_deref(), at as i64).expect("we wrote it") {
                (id, Some(next)) => {
                    let before = known.get(&id);
                    assert!(
                        before.is_none_or(|before| before.state.may_become(next.state)),
                        "{before:?} {next:?}"
                    );
                    known.insert(id, next)
                }
                (id, None) => known.remove(&id),
            };
        }
        if self.log.high_watermark == self.log.records.len() {
            assert_eq!(known, forgetful(self.shard.transactions()));
        }
        assert_eq!(known, forgetful(self.shard.written()));
        self.check_markers();
    }

    /// Nobody is told a thing that is not decided, nor two things of one epoch.
    fn check_markers(&self) {
        let mut decided = BTreeSet::new();
        for (at, record) in self.log.records.iter().take(self.log.high_watermark).enumerate() {
            let (id, next) = read(&record.key, record.value.as_deref(), at as i64).expect("we wrote it");
            let Some(next) = next else { continue };
            if let Some(commit) = next.state.prepared() {
                decided.insert((id, next.producer_id, next.epoch, commit));
            }
        }
        for marker in &self.sent {
            let told = |commit| (marker.transactional_id.clone(), marker.producer_id, marker.epoch, commit);
            assert!(decided.contains(&told(marker.commit)), "not decided: {marker:?}");
        }
    }
}

/// As a record says it.
fn forgetful<'a>(
    all: impl Iterator<Item = (&'a Arc<str>, &'a Transaction)>,
) -> BTreeMap<Arc<str>, Transaction> {
    all.map(|(id, known)| (id.clone(), Transaction { last_epoch: None, ..known.clone() })).collect()
}

fn tell(version: i16, response: &ResponseKind) -> String {
    let code = |code| ErrorCode::from_code(code);
    match response {
        ResponseKind::InitProducerId(r) if r.error_code == 0 => {
            format!("init {}/{}", r.producer_id.0, r.producer_epoch)
        }
        ResponseKind::InitProducerId(r) => format!("init {}", code(r.error_code)),
        ResponseKind::AddPartitionsToTxn(r) => {
            let many = r.results_by_transaction.iter().flat_map(|result| &result.topic_results);
            let topics = r.results_by_topic_v3_and_below.iter().chain(many);
            let told = topics.flat_map(|topic| {
                let partitions = topic.results_by_partition.iter();
                partitions.map(|partition| {
                    let code = code(partition.partition_error_code);
                    format!(" {}-{}={code}", topic.name.as_str(), partition.partition_index)
                })
            });
            format!("add{}", told.collect::<String>())
        }
        ResponseKind::AddOffsetsToTxn(r) => format!("offsets {}", code(r.error_code)),
        ResponseKind::EndTxn(r) if r.error_code == 0 && version >= 5 => {
            format!("end {}/{}", r.producer_id.0, r.producer_epoch)
        }
        ResponseKind::EndTxn(r) => format!("end {}", code(r.error_code)),
        ResponseKind::DescribeTransactions(r) => {
            let state = &r.transaction_states[0];
            if state.error_code != 0 {
                return format!("describe {}", code(state.error_code));
            }
            let topics = state.topics.iter().flat_map(|topic| {
                topic.partitions.iter().map(|index| format!(" {}-{index}", topic.topic.as_str()))
            });
            let (id, epoch) = (state.producer_id.0, state.producer_epoch);
            let began = match state.transaction_start_time_ms {
                -1 => "-".to_owned(),
                time => (time - BEGINS as i64).to_string(),
            };
            let head = format!("describe {} {id}/{epoch} since={began}", state.transaction_state.as_str());
            format!("{head}{}", topics.collect::<String>())
        }
        ResponseKind::ListTransactions(r) => {
            let listed = r.transaction_states.iter().map(|state| {
                let names = [state.transactional_id.as_str(), state.transaction_state.as_str()];
                format!(" {}:{}:{}", names[0], state.producer_id.0, names[1])
            });
            let unknown = r.unknown_state_filters.iter().map(|name| format!(" unknown={}", name.as_str()));
            format!(
                "list {}{}{}",
                code(r.error_code),
                listed.collect::<String>(),
                unknown.collect::<String>()
            )
        }
        other => panic!("not ours: {other:?}"),
    }
}

fn topic_of(word: &&str) -> AddPartitionsToTxnTopic {
    let (name, index) = word.rsplit_once('-').expect("topic-partition");
    let index = index.parse().expect("a partition");
    AddPartitionsToTxnTopic::default().with_name(topic(name)).with_partitions(vec![index])
}

fn api_of(response: &ResponseKind) -> ApiKey {
    match response {
        ResponseKind::InitProducerId(_) => ApiKey::InitProducerId,
        ResponseKind::AddPartitionsToTxn(_) => ApiKey::AddPartitionsToTxn,
        ResponseKind::AddOffsetsToTxn(_) => ApiKey::AddOffsetsToTxn,
        ResponseKind::EndTxn(_) => ApiKey::EndTxn,
        ResponseKind::DescribeTransactions(_) => ApiKey::DescribeTransactions,
        ResponseKind::ListTransactions(_) => ApiKey::ListTransactions,
        other => panic!("not ours: {other:?}"),
    }
}
