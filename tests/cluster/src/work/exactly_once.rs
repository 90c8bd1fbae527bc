//! Records copied from topic to topic in transactions, while the copiers, their coordinator and nodes are killed.
//!
//! A copier reads one partition of the source, writes each record to the same partition
//! of the sink and commits its offset in the same transaction. What it is made of is the
//! caller's: librdkafka (`copier`) or Java's client. One that ends, killed or not, is
//! started again. A reader of what is committed follows the sink all the while, another
//! one reads it afterwards: both see every record once, in the order of the source.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use wire::messages::{FindCoordinatorRequest, ResponseKind, text};

use crate::cluster::{Cluster, Shape, run as kastle};
use crate::work::reader::reader;
use crate::work::trouble::{ask, kill};

/// Where records are read.
pub const SOURCE: &str = "source";
/// Where they are written.
pub const SINK: &str = "sink";
/// Each has a copier.
pub const PARTITIONS: i32 = 4;
/// Where nothing comes for as long, the copiers are stuck.
const SETTLE_MAX: Duration = Duration::from_secs(180);
/// What was on its way when the copiers ended is there by then.
const LATE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);
const FIND_COORDINATOR_VERSION: i16 = 4;
const TRANSACTION: i8 = 1;

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct ExactlyOnce {
    /// Records to copy.
    pub records: u64,
    /// Kills: of a copier, of a copier's coordinator and of a node, in turn.
    pub strikes: u32,
    /// Between one and the next.
    pub interval: Duration,
}

/// What a copier is told.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// For its `bootstrap.servers`.
    pub bootstrap: &'a str,
    /// The partition of the source.
    pub partition: i32,
}

impl Job<'_> {
    /// For its `transactional.id`.
    pub fn id(&self) -> String {
        id_of(self.partition)
    }
}

fn id_of(partition: i32) -> String {
    format!("copier-{partition}")
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Records that the second reader read.
    pub read: u64,
    /// Of the source, and in no partition of the sink where it belongs.
    pub lost: u64,
    /// Read more than once.
    pub doubled: u64,
    /// Read behind a later one of the source.
    pub disordered: u64,
    /// Read in a partition where it does not belong.
    pub strange: u64,
    /// Partitions in which the first reader saw something else than the second.
    pub differing: u64,
    /// Processes of copiers.
    pub copiers: u32,
    /// Until the first reader had seen everything.
    pub took: Duration,
}

impl Outcome {
    /// Whether everything was copied exactly once.
    pub fn holds(&self) -> bool {
        self.lost + self.doubled + self.disordered + self.strange + self.differing == 0
    }
}

/// What was read, by partition and in its order.
type Seen = BTreeMap<i32, Vec<u64>>;

/// Runs it on a fresh cluster with copiers that `copier` makes.
pub fn run(work: &ExactlyOnce, copier: impl Fn(Job<'_>) -> Command + Sync) -> Result<Outcome> {
    let mut cluster = Cluster::start(Shape::of(3))?;
    let bootstrap = cluster.bootstrap();
    for topic in [SOURCE, SINK] {
        let partitions = PARTITIONS.to_string();
        kastle(&["topics", "create", "--bootstrap-server", &bootstrap, topic, "--partitions", &partitions])?;
    }
    let begun = Instant::now();
    let copiers = Copiers::default();
    let first = std::thread::scope(|scope| {
        let keeping: Vec<_> = (0..)
            .zip(&copiers.doomed)
            .map(|(partition, doomed)| {
                let (job, copiers, copier) = (Job { bootstrap: &bootstrap, partition }, &copiers, &copier);
                scope.spawn(move || copiers.keep(doomed, || copier(job)))
            })
            .collect();
        let writing = scope.spawn(|| write(&bootstrap, work));
        let reading = scope.spawn(|| read(&bootstrap, |seen| count(seen) >= work.records, work.span()));
        let struck = joined(scope.spawn(|| strike(&mut cluster, &copiers, work)));
        let (written, first) = (joined(writing), joined(reading));
        copiers.are_over.store(true, Ordering::Relaxed);
        keeping.into_iter().try_for_each(joined)?;
        struck.and(written).and(first)
    })?;
    let took = begun.elapsed();
    std::thread::sleep(LATE);
    let second = read(&bootstrap, |_| false, Duration::ZERO)?;
    let copiers = copiers.started.load(Ordering::Relaxed);
    Ok(Outcome { copiers, took, ..judge(work.records, &first, &second) })
}

fn joined<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a thread panicked"))?
}

impl ExactlyOnce {
    fn span(&self) -> Duration {
        self.interval * self.strikes
    }
}

/// The processes.
#[derive(Default)]
struct Copiers {
    /// Whether the copier of a partition is to be killed.
    doomed: [AtomicBool; PARTITIONS as usize],
    are_over: AtomicBool,
    started: AtomicU32,
}

impl Copiers {
    /// Has one run until all are over.
    fn keep(&self, doomed: &AtomicBool, command: impl Fn() -> Command) -> Result<()> {
        while !self.are_over.load(Ordering::Relaxed) {
            let mut copier =
                Killed(command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
            self.started.fetch_add(1, Ordering::Relaxed);
            while copier.0.try_wait()?.is_none()
                && !self.are_over.load(Ordering::Relaxed)
                && !doomed.swap(false, Ordering::Relaxed)
            {
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }
}

/// A process that ends with this value, by `kill -9`.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes the numbers at the pace that spreads them over the strikes: `n` in partition `n % PARTITIONS`.
fn write(bootstrap: &str, work: &ExactlyOnce) -> Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "300000")
        .create()?;
    let begun = Instant::now();
    for number in 0..work.records {
        let due = work.span().mul_f64(number as f64 / work.records as f64);
        if let Some(early) = due.checked_sub(begun.elapsed()).filter(|early| early.as_millis() > 5) {
            producer.poll(early);
        }
        let value = number.to_string();
        let partition = partition_of(number);
        let mut record = BaseRecord::<(), _>::to(SOURCE).partition(partition).payload(&value);
        while let Err((error, again)) = producer.send(record) {
            ensure!(error == KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), "{error}");
            record = again;
            producer.poll(PAUSE);
        }
    }
    producer.flush(SETTLE_MAX).context("the source is not written")
}

fn partition_of(number: u64) -> i32 {
    i32::try_from(number % u64::from(PARTITIONS.unsigned_abs())).expect("fewer than PARTITIONS")
}

fn strike(cluster: &mut Cluster, copiers: &Copiers, work: &ExactlyOnce) -> Result<()> {
    for round in 0..work.strikes as usize {
        std::thread::sleep(work.interval / 2);
        let partition = round / 3 % copiers.doomed.len();
        match round % 3 {
            0 => copiers.doomed[partition].store(true, Ordering::Relaxed),
            1 => {
                let at = coordinator(cluster, &id_of(i32::try_from(partition)?))?;
                kill(cluster, at, work.interval / 2)?;
            }
            _ => kill(cluster, round / 3 % cluster.nodes.len(), work.interval / 2)?,
        }
    }
    Ok(())
}

/// The place among the nodes of a transactional id's coordinator.
fn coordinator(cluster: &Cluster, id: &str) -> Result<usize> {
    let request =
        FindCoordinatorRequest::default().with_key_type(TRANSACTION).with_coordinator_keys(vec![text(id)]);
    let answer = ask(cluster, FIND_COORDINATOR_VERSION, request)?;
    let ResponseKind::FindCoordinator(answer) = &answer else { bail!("{answer:?}") };
    let node = answer.coordinators.first().context("no answer for the id")?.node_id.0;
    // While it moves there is none: then the first node is as good as any.
    Ok(cluster.nodes.iter().position(|it| it.id == node).unwrap_or(0))
}

/// Follows what is committed in the sink from its beginning, until it is enough; or to its end, where it never is.
fn read(bootstrap: &str, is_enough: impl Fn(&Seen) -> bool, patience: Duration) -> Result<Seen> {
    let consumer = reader(bootstrap, SINK, PARTITIONS)?;
    let mut seen: Seen = (0..PARTITIONS).map(|partition| (partition, Vec::new())).collect();
    let mut ended = [false; PARTITIONS as usize];
    let mut deadline = Instant::now() + patience + SETTLE_MAX;
    let follows = !patience.is_zero();
    while !is_enough(&seen) && (follows || !ended.iter().all(|&ended| ended)) && Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(500)) {
            Some(Ok(message)) => {
                let value = std::str::from_utf8(message.payload().context("a null value")?)?;
                let number = value.rsplit(' ').next().unwrap_or(value).parse()?;
                seen.entry(message.partition()).or_default().push(number);
                deadline = deadline.max(Instant::now() + SETTLE_MAX);
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => ended[partition as usize] = true,
            // A node that was killed.
            Some(Err(_)) | None => {}
        }
    }
    Ok(seen)
}

fn count(seen: &Seen) -> u64 {
    seen.values().map(|numbers| numbers.len() as u64).sum()
}

fn judge(records: u64, first: &Seen, second: &Seen) -> Outcome {
    let mut outcome = Outcome { read: count(second), ..Outcome::default() };
    let mut times: BTreeMap<u64, u64> = BTreeMap::new();
    for (&partition, numbers) in second {
        let is_at_home = |number: &&u64| **number < records && partition_of(**number) == partition;
        outcome.strange += numbers.iter().filter(|number| !is_at_home(number)).count() as u64;
        numbers.iter().filter(is_at_home).for_each(|number| *times.entry(*number).or_default() += 1);
        outcome.disordered += numbers.windows(2).filter(|pair| pair[1] < pair[0]).count() as u64;
        outcome.differing += u64::from(first.get(&partition) != Some(numbers));
    }
    outcome.lost = records - times.len() as u64;
    outcome.doubled = times.values().filter(|&&times| times > 1).count() as u64;
    outcome
}

#[cfg(test)]
mod tests {
    use super::{Outcome, PARTITIONS, Seen, judge, partition_of};

    /// The numbers from 0 to 7 as they belong, but for partition 1 as the second reader saw it.
    fn check(second: &[u64], expected: &Outcome) {
        let mut first: Seen = (0..PARTITIONS).map(|partition| (partition, Vec::new())).collect();
        (0..8).for_each(|number| first.entry(partition_of(number)).or_default().push(number));
        let mut other = first.clone();
        other.insert(1, second.to_vec());
        assert_eq!(judge(8, &first, &other), *expected, "{second:?}");
    }

    #[test]
    fn what_was_not_copied_exactly_once_is_told_by_its_kind() {
        let nothing = Outcome::default();
        check(&[1, 5], &Outcome { read: 8, ..nothing.clone() });
        check(&[1], &Outcome { read: 7, lost: 1, differing: 1, ..nothing.clone() });
        check(&[1, 5, 5], &Outcome { read: 9, doubled: 1, differing: 1, ..nothing.clone() });
        check(&[5, 1], &Outcome { read: 8, disordered: 1, differing: 1, ..nothing.clone() });
        check(&[1, 5, 6], &Outcome { read: 9, strange: 1, differing: 1, ..nothing.clone() });
        check(&[1, 5, 9], &Outcome { read: 9, strange: 1, differing: 1, ..nothing.clone() });
        assert!(Outcome { read: 8, ..nothing.clone() }.holds());
        assert!(!Outcome { differing: 1, ..nothing }.holds());
    }
}
