//! Jepsen's `queue` workload as a whole: producers, consumers and an administrator on hosts
//! of their own, and the final reading after everything was healed.
//!
//! All choices follow from the seed. The members of a group read beside the others, and at the end
//! one of them reads what all of them left. Transactions have a topic, a group and readers of their own,
//! and are read to their end as well.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use net::{Clock, Network};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::workload::admin::Admin;
use crate::workload::board::Board;
use crate::workload::client::{Address, Client, ClientOptions, Key};
use crate::workload::consumer::Consumer;
use crate::workload::group::Member;
use crate::workload::producer::{Producer, ProducerOptions};
use crate::workload::record::{Recorder, SharedHistory, decisions_partition, offsets_partition};
use crate::workload::transaction::reader::Reader;
use crate::workload::transaction::{self, Mover};

/// How long a poll of the final reading waits for records.
const FINAL_WAIT_MS: i32 = 100;
/// How long the last member may take, with a session of the others to wait for.
const GROUP_FINAL_BOUND: Duration = Duration::from_secs(60);
/// How long transactions may take to end once nobody is there to end them: the longest timeout, and the
/// markers.
const TRANSACTIONS_FINAL_BOUND: Duration = Duration::from_secs(60);
/// How long the final reading waits for records that were seen before, once it is at the end that
/// leaders tell: a new leader learns from its followers what is committed, and tells of less before.
const FINAL_PATIENCE: Duration = Duration::from_secs(5);

/// Tells every client to end after what it is doing.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Not yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Now.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is time.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A topic to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPlan {
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas of each.
    pub replicas: i16,
    /// `min.insync.replicas`.
    pub min_insync: i16,
    /// `flush.messages=1`: what was acknowledged also survives power loss on every node.
    pub flushes: bool,
    /// `segment.bytes`.
    pub segment_bytes: u64,
}

impl TopicPlan {
    /// Three replicas, two of which must have what is acknowledged.
    pub fn usual() -> Self {
        Self { partitions: 2, replicas: 3, min_insync: 2, flushes: false, segment_bytes: 16 << 10 }
    }

    /// Any.
    pub fn draw(rng: &mut Rng) -> Self {
        let replicas = [1, 2, 3, 3, 3][rng.usize(..5)];
        Self {
            partitions: rng.i32(1..=3),
            replicas,
            min_insync: rng.i16(1..=replicas),
            flushes: rng.u8(..3) == 0,
            segment_bytes: 1 << rng.u8(11..=16),
        }
    }

    /// Its settings in Kafka's words.
    pub fn configs(&self) -> Vec<(&'static str, String)> {
        let mut configs = vec![
            ("min.insync.replicas", self.min_insync.to_string()),
            ("internal.segment.bytes", self.segment_bytes.to_string()),
        ];
        if self.flushes {
            configs.push(("flush.messages", "1".to_owned()));
        }
        configs
    }
}

impl fmt::Display for TopicPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partitions, replicas, min_insync, segment_bytes, .. } = self;
        write!(
            f,
            "partitions={partitions} replicas={replicas} min.insync={min_insync} segment={segment_bytes}"
        )?;
        f.write_str(if self.flushes { " flush=1" } else { "" })
    }
}

/// Who takes part and how busily.
#[derive(Clone, Debug)]
pub struct Options {
    /// Producers with `enable.idempotence`.
    pub idempotent_producers: u32,
    /// Producers without.
    pub plain_producers: u32,
    /// Consumers.
    pub consumers: u32,
    /// Members of the group.
    pub members: u32,
    /// Transactional producers; each has a partition of their topic to commit offsets for.
    pub movers: u32,
    /// Topics that are there from the beginning to the end.
    pub topics: Vec<TopicPlan>,
    /// A producer's pause between bursts, on average.
    pub producer_think: Duration,
    /// The administrator's pause between changes, on average; `None` for no changes at all.
    pub admin_think: Option<Duration>,
}

impl Options {
    /// Nine clients, two or three topics.
    pub fn draw(rng: &mut Rng) -> Self {
        let flushing = TopicPlan { partitions: 1, flushes: true, ..TopicPlan::usual() };
        let mut topics = vec![TopicPlan::usual(), flushing];
        if rng.bool() {
            let drawn = TopicPlan::draw(rng);
            topics.push(TopicPlan { replicas: 3, min_insync: drawn.min_insync.min(2), ..drawn });
        }
        Self {
            idempotent_producers: 2,
            plain_producers: 1,
            consumers: 2,
            members: 3,
            movers: 2,
            topics,
            producer_think: Duration::from_millis(rng.u64(200..=500)),
            admin_think: Some(Duration::from_millis(rng.u64(1_000..=5_000))),
        }
    }
}

/// The network as the host of that name sees it.
pub type NetworkOf = dyn Fn(&str) -> Arc<dyn Network> + Send + Sync;

/// What the clients live in.
#[derive(Clone)]
pub struct Surroundings {
    /// How clients reach the cluster; asked once for each client's host.
    pub network: Arc<NetworkOf>,
    /// `bootstrap.servers`.
    pub bootstrap: Vec<Address>,
    /// What time it is for clients and the history.
    pub clock: Arc<dyn Clock>,
    /// Where everything is noted.
    pub history: SharedHistory,
}

/// The workload of one run.
pub struct Workload {
    options: Options,
    surroundings: Surroundings,
    board: Arc<Mutex<Board>>,
    seed: u64,
}

/// What the final reading found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinalReading {
    /// Acknowledged and never read, by anyone.
    pub unseen: BTreeMap<Key, Vec<u64>>,
    /// Partitions that could not be read to their end in time: the end, if it was learnt, and how far.
    pub unread: BTreeMap<Key, (Option<i64>, Option<i64>)>,
    /// How many partitions there were.
    pub partitions: usize,
    /// Partitions to whose end the group could not be brought in time, and where it is.
    pub behind: Vec<(Key, Option<i64>)>,
}

impl FinalReading {
    /// Whether everything was read.
    pub fn is_complete(&self) -> bool {
        self.unseen.is_empty() && self.unread.is_empty() && self.behind.is_empty()
    }
}

impl Workload {
    /// A workload that has not begun.
    pub fn new(options: Options, surroundings: Surroundings, seed: u64) -> Self {
        Self { options, surroundings, board: Arc::default(), seed }
    }

    /// Starts all clients, each a task on a host of its own: `c1`, `c2`, ... They end soon after `stop`.
    pub fn start(&self, stop: &Stop) -> Vec<JoinHandle<()>> {
        // As the nodes' configuration says: two of three replicas have what is acknowledged.
        let recorder = self.recorder("cluster");
        recorder
            .topic(offsets_partition().topic.as_str(), &TopicPlan { partitions: 1, ..TopicPlan::usual() });
        recorder
            .topic(decisions_partition().topic.as_str(), &TopicPlan { partitions: 1, ..TopicPlan::usual() });
        let mut hosts = (1..).map(|number| format!("c{number}"));
        let mut host = || hosts.next().expect("numbers do not end");
        let mut tasks = vec![self.start_admin(&host(), stop)];
        let idempotent = (0..self.options.idempotent_producers).map(|_| true);
        let plain = (0..self.options.plain_producers).map(|_| false);
        for is_idempotent in idempotent.chain(plain) {
            let options = ProducerOptions { is_idempotent, think: self.options.producer_think };
            let (client, recorder) = self.client(&host());
            let clock = self.surroundings.clock.clone();
            let producer = Producer::new(client, recorder, self.board.clone(), clock, options);
            tasks.push(net::task::spawn(Box::pin(producer.run(stop.clone()))));
        }
        for _ in 0..self.options.consumers {
            let (client, recorder) = self.client(&host());
            let consumer = Consumer::new(client, recorder, self.board.clone());
            tasks.push(net::task::spawn(Box::pin(consumer.run(stop.clone()))));
        }
        for _ in 0..self.options.members {
            let member = self.member(&host());
            tasks.push(net::task::spawn(Box::pin(member.run(stop.clone()))));
        }
        for number in 0..self.options.movers {
            let (client, recorder) = self.client(&host());
            let number = i32::try_from(number).expect("a few");
            let (board, clock) = (self.board.clone(), self.surroundings.clock.clone());
            let mover = Mover::new(number, client, recorder, board, clock);
            tasks.push(net::task::spawn(Box::pin(mover.run(stop.clone()))));
        }
        if self.options.movers > 0 {
            let host = host();
            let (client, recorder) = self.client(&host);
            let reader = Reader::new(host, client, recorder);
            tasks.push(net::task::spawn(Box::pin(reader.run(stop.clone()))));
        }
        tasks
    }

    fn member(&self, host: &str) -> Member {
        let (client, recorder) = self.client(host);
        Member::new(host.to_owned(), client, recorder, self.board.clone())
    }

    /// Runs all clients until `stop`, and returns once they have ended.
    pub async fn run(&self, stop: &Stop) {
        for task in self.start(stop) {
            // A client that panicked has a bug of ours: let it be heard.
            if let Err(failed) = task.await
                && let Ok(panic) = failed.try_into_panic()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }

    /// Reads every partition from its beginning to its end, once the faults are healed and the clients
    /// have ended, until all that was acknowledged was seen or `bound` is over.
    pub async fn final_phase(&self, bound: Duration) -> FinalReading {
        let deadline = Instant::now() + bound;
        // A partition whose leader's copy is damaged may never say where it ends: the others are read all the same.
        let asking_until = Instant::now() + bound / 2;
        let (client, recorder) = self.client("final");
        recorder.final_phase();
        let mut reader = Consumer::new(client, recorder, self.board.clone());
        let keys = self.lock().partitions();
        let mut ends: BTreeMap<Key, i64> = BTreeMap::new();
        let mut attempt = 0;
        while ends.len() < keys.len() && Instant::now() < asking_until {
            reader.client().refresh_if_stale().await;
            let missing: Vec<Key> = keys.iter().filter(|key| !ends.contains_key(*key)).cloned().collect();
            ends.extend(reader.ends(&missing).await);
            if ends.len() < keys.len() {
                reader.client().distrust();
                reader.client().back_off(attempt).await;
                attempt += 1;
            }
        }
        reader.assign(keys.iter().cloned());
        let is_read = |reader: &Consumer, key: &Key| {
            ends.get(key).is_some_and(|end| reader.position(key).is_some_and(|at| at >= *end))
        };
        let is_all_read = |reader: &Consumer, board: &Board| {
            keys.iter().all(|key| reader.position(key).is_some_and(|at| at >= board.end(key)))
        };
        let mut patience = deadline;
        while Instant::now() < deadline {
            reader.poll(FINAL_WAIT_MS).await;
            if keys.iter().all(|key| is_read(&reader, key)) && self.lock().unseen() == 0 {
                patience = patience.min(Instant::now() + FINAL_PATIENCE);
                if is_all_read(&reader, &self.lock()) || Instant::now() >= patience {
                    break;
                }
            }
        }
        let lasting = self.lock().lasting();
        let mut group_ends = ends.clone();
        group_ends.retain(|key, _| lasting.contains(key) && is_read(&reader, key));
        let behind = self.group_final_phase(&group_ends).await;
        self.transactions_final_phase().await;
        let unread = keys.iter().filter(|key| !is_read(&reader, key));
        let unread = unread.map(|key| (key.clone(), (ends.get(key).copied(), reader.position(key))));
        FinalReading {
            unseen: self.lock().unseen_values(),
            unread: unread.collect(),
            partitions: keys.len(),
            behind,
        }
    }

    /// One member reads what all of them left and commits it. Where the group is behind after that.
    async fn group_final_phase(&self, ends: &BTreeMap<Key, i64>) -> Vec<(Key, Option<i64>)> {
        if self.options.members == 0 || ends.is_empty() {
            return Vec::new();
        }
        let mut member = self.member("last-member");
        let reached = member.finish(ends, Instant::now() + GROUP_FINAL_BOUND).await;
        let behind = ends.iter().filter(|(key, end)| reached.get(*key).is_none_or(|at| at < *end));
        behind.map(|(key, _)| (key.clone(), reached.get(key).copied())).collect()
    }

    /// Reads what is committed to the end, and where the transactions brought their group.
    async fn transactions_final_phase(&self) {
        if self.options.movers == 0 {
            return;
        }
        let (client, recorder) = self.client("last-reader");
        let deadline = Instant::now() + TRANSACTIONS_FINAL_BOUND;
        Reader::new("last-reader".to_owned(), client, recorder).finish(deadline).await;
        let (client, recorder) = self.client("last-mover");
        let deadline = Instant::now() + TRANSACTIONS_FINAL_BOUND;
        let partitions = i32::try_from(self.options.movers).expect("a few");
        transaction::fetch_offsets(client, recorder, partitions, deadline).await;
    }

    /// What the clients share.
    pub fn lock(&self) -> std::sync::MutexGuard<'_, Board> {
        self.board.lock().expect("no holder of this lock panics")
    }

    fn start_admin(&self, host: &str, stop: &Stop) -> JoinHandle<()> {
        let (client, recorder) = self.client(host);
        let think = self.options.admin_think;
        let (plans, stop) = (self.options.topics.clone(), stop.clone());
        let mut admin = Admin::new(client, recorder, self.board.clone(), think.unwrap_or_default());
        let moved = (self.options.movers > 0).then(|| TopicPlan {
            partitions: i32::try_from(self.options.movers).expect("a few"),
            ..TopicPlan::usual()
        });
        net::task::spawn(Box::pin(async move {
            let mut is_set_up = admin.set_up(&plans, &stop).await;
            if let Some(plan) = moved {
                is_set_up &= admin.set_up_apart(transaction::TOPIC, &plan, &stop).await;
            }
            if is_set_up && think.is_some() {
                admin.run(stop).await;
            }
        }))
    }

    fn client(&self, host: &str) -> (Client, Recorder) {
        let seed = host.bytes().fold(self.seed, |seed, byte| Rng::with_seed(seed ^ u64::from(byte)).u64(..));
        let client = Client::new(ClientOptions {
            name: host.to_owned(),
            network: (self.surroundings.network)(host),
            bootstrap: self.surroundings.bootstrap.clone(),
            seed,
        });
        (client, self.recorder(host))
    }

    fn recorder(&self, process: &str) -> Recorder {
        Recorder::new(process, self.surroundings.clock.clone(), self.surroundings.history.clone())
    }
}
