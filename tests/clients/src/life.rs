//! The life of a group of ten: it grows, shrinks and loses members while records flow.
//!
//! Members are processes of any client. Their own client writes the records, and
//! the `rdkafka` crate reads back what the group has committed, five times a second.
//! After each step the group has to settle; the records of the whole life are judged
//! at its end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cluster::{Cluster, Shape};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::Client;
use crate::judge::{Figures, Judge, MemberId, Watched};
use crate::member::Member;
use crate::speech::Speech;

/// More than members, so that each has one, and not a multiple of ten.
const PARTITIONS: u32 = 12;
const TEN: usize = 10;
const GROUP: &str = "ten";
const TOPIC: &str = "flow";
/// A group that has not settled by then never will.
const PATIENCE: Duration = Duration::from_secs(90);
/// The records are written in so many pieces, with a pause after each, for as long as the steps take.
const PIECES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(200);
const LOOK: Duration = Duration::from_millis(200);
const ANSWER: Duration = Duration::from_secs(30);
/// The producer's, among members.
const PRODUCER: MemberId = 0;

/// How a group's members share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// All give up all at each rebalance.
    Eager,
    /// Each gives up what another gets (KIP-429).
    Cooperative,
    /// Eager, with names that outlive a process (KIP-345).
    Static,
    /// The cluster shares out (KIP-848).
    Consumer,
}

impl Style {
    fn word(self) -> &'static str {
        match self {
            Self::Eager | Self::Static => "eager",
            Self::Cooperative => "cooperative",
            Self::Consumer => "consumer",
        }
    }
}

/// Names the number of records of a life in full.
const RECORDS: &str = "KASTLE_RECORDS";
/// The records of a short one.
const FEW: u32 = 4_000;

/// Whether all are asked for, in full.
pub fn is_full() -> bool {
    std::env::var_os(RECORDS).is_some()
}

/// Lives it with members of `client`; what happened.
pub fn live(client: &Client, style: Style) -> Result<Figures> {
    let records = std::env::var(RECORDS).map_or(Ok(FEW), |records| records.parse().context(RECORDS))?;
    // A member that was killed is missed after six seconds in either protocol.
    let lines = ["min.session.timeout.ms=6000", "session.timeout.ms=6000", "min.heartbeat.interval.ms=300"];
    let shape = lines.iter().fold(Shape::of(3), |shape, line| shape.with(&format!("group.consumer.{line}")));
    let shape = shape.with("group.consumer.heartbeat.interval.ms=300");
    let cluster = Cluster::start(shape.with("group.initial.rebalance.delay.ms=100"))?;
    create_topic(&cluster.bootstrap())?;
    let begun = Instant::now();
    let mut life = Life::begin(client, style, records, cluster.bootstrap())?;
    life.steps()?;
    let looks = life.end()?;
    let figures = life.judge.figures();
    let took = begun.elapsed().as_secs_f64();
    println!("{style:?}: {records} records, {looks} looks in {took:.1} s: {figures:?}");
    println!("settled after {:.1?} s", life.settled);
    Ok(figures)
}

fn create_topic(bootstrap: &str) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
    let topic = NewTopic::new(TOPIC, i32::try_from(PARTITIONS)?, TopicReplication::Fixed(3));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let created = runtime.block_on(admin.create_topics(&[topic], &AdminOptions::new()))?;
    created.into_iter().try_for_each(|one| one.map(|_| ()).map_err(|(_, code)| code.into()))
}

struct Life<'a> {
    client: &'a Client,
    style: Style,
    records: u32,
    bootstrap: String,
    dir: tempfile::TempDir,
    judge: Judge,
    members: Vec<Member>,
    producer: Member,
    asked: u32,
    written: u32,
    next_piece: Instant,
    hearing: Receiver<(MemberId, String)>,
    heard: Sender<(MemberId, String)>,
    next_id: MemberId,
    watch: Watch,
    /// How long each step took to settle, in seconds.
    settled: Vec<f64>,
}

impl<'a> Life<'a> {
    fn begin(client: &'a Client, style: Style, records: u32, bootstrap: String) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let (heard, hearing) = channel();
        let produce = client.producer(&bootstrap, TOPIC, PARTITIONS);
        let producer = Member::start(produce, Speech::Own, PRODUCER, None, dir.path(), heard.clone())?;
        let (judge, members, watch) = (Judge::new(PARTITIONS), Vec::new(), Watch::begin(&bootstrap)?);
        let (asked, written, next_piece, next_id) = (0, 0, Instant::now(), PRODUCER + 1);
        Ok(Self {
            client,
            style,
            records,
            bootstrap,
            dir,
            judge,
            members,
            producer,
            asked,
            written,
            next_piece,
            hearing,
            heard,
            next_id,
            watch,
            settled: Vec::new(),
        })
    }

    fn steps(&mut self) -> Result<()> {
        for size in [3, 6, TEN] {
            self.grow(size)?;
            self.settle()?;
        }
        // Members die, and their partitions go to others when their sessions end.
        self.lose(2)?;
        self.settle()?;
        self.shrink(3)?;
        self.settle()?;
        // One dies while others come: the rebalance that they ask for has to do without it.
        self.lose(1)?;
        self.grow(7)?;
        self.settle()?;
        if self.style == Style::Static {
            self.replace()?;
            self.settle()?;
        }
        self.grow(TEN)?;
        self.settle()
    }

    fn grow(&mut self, size: usize) -> Result<()> {
        while self.members.len() < size {
            let name = (self.style == Style::Static).then(|| format!("m{}", self.next_id));
            self.start(name)?;
        }
        Ok(())
    }

    fn start(&mut self, instance: Option<String>) -> Result<()> {
        let (bootstrap, style) = (&self.bootstrap, self.style.word());
        let command = self.client.member(bootstrap, GROUP, TOPIC, style, instance.as_deref());
        let (id, speech, heard) = (self.next_id, self.client.speech(), self.heard.clone());
        let member = Member::start(command, speech, id, instance, self.dir.path(), heard)?;
        self.judge.comes(self.next_id);
        self.next_id += 1;
        self.members.push(member);
        Ok(())
    }

    fn lose(&mut self, count: usize) -> Result<()> {
        for mut member in self.members.drain(..count) {
            member.kill()?;
            self.judge.goes(member.id);
        }
        Ok(())
    }

    fn shrink(&mut self, count: usize) -> Result<()> {
        let mut leaving: Vec<Member> = self.members.drain(..count).collect();
        leaving.iter_mut().try_for_each(Member::ask_to_stop)?;
        for member in &mut leaving {
            member.stop()?;
            self.judge.goes(member.id);
        }
        Ok(())
    }

    /// Two static members come back under their names, one that was killed and one that left.
    fn replace(&mut self) -> Result<()> {
        let names: Vec<Option<String>> = self.members[..2].iter().map(|it| it.instance.clone()).collect();
        self.lose(1)?;
        self.shrink(1)?;
        names.into_iter().try_for_each(|name| self.start(name))
    }

    fn settle(&mut self) -> Result<()> {
        let (members, begun) = (self.members.len(), Instant::now());
        self.wait(&format!("{members} members do not settle"), |life| Ok(life.judge.is_settled()))?;
        self.settled.push(begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// Hears the members and lets records flow until `is_done`.
    fn wait(&mut self, what: &str, is_done: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.hear()?;
            if is_done(self)? {
                return Ok(());
            }
            self.watch.check()?;
            for member in self.members.iter_mut().chain([&mut self.producer]) {
                member.is_alive()?;
            }
            if self.next_piece <= Instant::now() {
                self.write(self.records / PIECES)?;
                self.next_piece = Instant::now() + PAUSE;
            }
            ensure!(Instant::now() < deadline, "{what}: {}", self.judge.standing());
        }
    }

    /// All that was said, or a moment without a word.
    fn hear(&mut self) -> Result<()> {
        let moment = Instant::now() + Duration::from_millis(50);
        loop {
            match self.hearing.recv_timeout(moment.saturating_duration_since(Instant::now())) {
                Ok((PRODUCER, line)) => {
                    let count = line.strip_prefix("written ").context("no word of a producer")?;
                    self.written = count.parse()?;
                }
                Ok((member, line)) => self.judge.hear(member, &line)?,
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => bail!("this life has a way to speak itself"),
            }
        }
    }

    fn write(&mut self, count: u32) -> Result<()> {
        let count = count.min(self.records - self.asked);
        if count > 0 {
            self.producer.tell(&count.to_string())?;
            self.asked += count;
        }
        Ok(())
    }

    /// The rest of the records, all at once; everybody leaves. How often the offsets were looked at.
    fn end(&mut self) -> Result<u64> {
        self.write(self.records)?;
        let records = self.records;
        self.wait("records are not written", |life| Ok(life.written == records))?;
        self.wait("records are missing", |life| Ok(life.judge.saw_all(records)))?;
        let all = u64::from(records);
        self.wait("commits are missing", |life| Ok(life.watch.last().values().sum::<u64>() == all))?;
        self.shrink(self.members.len())?;
        self.producer.stop()?;
        self.hear()?;
        self.judge.close(records, &self.watch.last())?;
        self.watch.end()
    }
}

/// Reads the group's committed offsets over and over.
struct Watch {
    watched: Arc<Mutex<Watched>>,
    is_over: Arc<AtomicBool>,
    looking: Option<JoinHandle<Result<()>>>,
}

impl Watch {
    fn begin(bootstrap: &str) -> Result<Self> {
        let mut config = ClientConfig::new();
        let consumer: BaseConsumer =
            config.set("bootstrap.servers", bootstrap).set("group.id", GROUP).create()?;
        let (watched, is_over) = (Arc::new(Mutex::new(Watched::default())), Arc::new(AtomicBool::new(false)));
        let (seen, over) = (Arc::clone(&watched), Arc::clone(&is_over));
        let looking = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                // No answer while the coordinator is on its way: that is no look.
                if let Ok(now) = committed(&consumer) {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).look(now)?;
                }
                std::thread::sleep(LOOK);
            }
            Ok(())
        });
        Ok(Self { watched, is_over, looking: Some(looking) })
    }

    fn last(&self) -> BTreeMap<u32, u64> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner).last().clone()
    }

    /// An error if it saw one.
    fn check(&mut self) -> Result<()> {
        match self.looking.take_if(|looking| looking.is_finished()) {
            None => Ok(()),
            Some(ended) => ended.join().map_err(|_| anyhow::anyhow!("the watch panicked"))?,
        }
    }

    fn end(&mut self) -> Result<u64> {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(looking) = self.looking.take() {
            looking.join().map_err(|_| anyhow::anyhow!("the watch panicked"))??;
        }
        Ok(self.watched.lock().unwrap_or_else(PoisonError::into_inner).looks)
    }
}

fn committed(consumer: &BaseConsumer) -> Result<BTreeMap<u32, u64>> {
    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(TOPIC, 0, i32::try_from(PARTITIONS)? - 1);
    let told = consumer.committed_offsets(asked, ANSWER).context("read the committed offsets back")?;
    let mut found = BTreeMap::new();
    for one in told.elements() {
        if let Offset::Offset(offset) = one.offset() {
            found.insert(u32::try_from(one.partition())?, u64::try_from(offset)?);
        }
    }
    Ok(found)
}
