//! Records at `acks=all` while nodes die and come back, or something else befalls them (`trouble`).
//!
//! Every value is unique and carries its own number. What librdkafka reports as
//! delivered is written down with its partition and offset; afterwards everything is
//! read back. A record that was acknowledged and is not read is lost; one read twice
//! is a duplicate; an offset with two values is the worst of all.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};

use crate::cluster::Cluster;
use crate::work::reader::reader;
use crate::work::trouble::Trouble;

const TOPIC: &str = "chaos";
const PARTITIONS: i32 = 12;
/// After the last of it everything is delivered within this, or the cluster is stuck.
const SETTLE_MAX: Duration = Duration::from_secs(120);
const READ_MAX: Duration = Duration::from_secs(120);

/// How much.
#[derive(Clone, Copy, Debug)]
pub struct Chaos {
    /// Records to deliver.
    pub records: u64,
    /// What happens meanwhile.
    pub trouble: Trouble,
    /// How often.
    pub strikes: u32,
    /// Between one and the next; it heals in the middle.
    pub interval: Duration,
    /// `enable.idempotence`.
    pub idempotent: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Records that were acknowledged.
    pub acknowledged: u64,
    /// Records that librdkafka gave up on.
    pub failed: u64,
    /// Records read back.
    pub read: u64,
    /// Acknowledged and not read back at their offset.
    pub lost: u64,
    /// Values read at more than one offset.
    pub duplicates: u64,
    /// Offsets acknowledged for one value and read with another.
    pub conflicts: u64,
}

#[derive(Clone, Default)]
struct Deliveries {
    inner: Arc<Mutex<Delivered>>,
}

#[derive(Default)]
struct Delivered {
    at: BTreeMap<(i32, i64), u64>,
    failed: u64,
    conflicts: u64,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let mut delivered = self.inner.lock().expect("no holder panics");
        match result {
            Ok(message) => {
                let place = (message.partition(), message.offset());
                if delivered.at.insert(place, number as u64).is_some() {
                    delivered.conflicts += 1;
                }
            }
            Err(_) => delivered.failed += 1,
        }
    }
}

/// Runs it on a fresh cluster.
pub fn run(chaos: &Chaos) -> Result<Outcome> {
    let mut cluster = Cluster::start(chaos.trouble.shape().with(&format!("num.partitions={PARTITIONS}")))?;
    let deliveries = Deliveries::default();
    let producer: ThreadedProducer<Deliveries> = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap())
        .set("acks", "all")
        .set("enable.idempotence", chaos.idempotent.to_string())
        .set("linger.ms", "5")
        .set("message.timeout.ms", "300000")
        .set("queue.buffering.max.messages", "50000")
        .create_with_context(deliveries.clone())?;
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| send(&producer, chaos));
        let striking = scope.spawn(|| strike(&mut cluster, chaos));
        sending.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
        striking.join().map_err(|_| anyhow::anyhow!("the trouble panicked"))?
    })?;
    producer.flush(SETTLE_MAX).context("what was sent is not delivered after the last of it")?;
    drop(producer);
    let delivered = std::mem::take(&mut *deliveries.inner.lock().expect("no holder panics"));
    let read = read_back(&cluster, &delivered)?;
    Ok(compare(&delivered, &read))
}

/// Sends at the pace that spreads the records over the strikes.
fn send(producer: &ThreadedProducer<Deliveries>, chaos: &Chaos) -> Result<()> {
    let span = chaos.interval * chaos.strikes;
    let begun = Instant::now();
    for number in 0..chaos.records {
        let due = span.mul_f64(number as f64 / chaos.records as f64);
        if let Some(early) = due.checked_sub(begun.elapsed()).filter(|early| early.as_millis() > 5) {
            std::thread::sleep(early);
        }
        let value = format!("{number:012}");
        let key = (number % 1_000).to_string();
        let mut record = BaseRecord::with_opaque_to(TOPIC, number as usize).key(&key).payload(&value);
        while let Err((error, again)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            record = again;
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    Ok(())
}

fn strike(cluster: &mut Cluster, chaos: &Chaos) -> Result<()> {
    let mut strikes = 0..chaos.strikes as usize;
    strikes.try_for_each(|round| chaos.trouble.strike(cluster, (TOPIC, PARTITIONS), round, chaos.interval))
}

/// Everything in the topic, by place.
fn read_back(cluster: &Cluster, delivered: &Delivered) -> Result<BTreeMap<(i32, i64), u64>> {
    let consumer = reader(&cluster.bootstrap(), TOPIC, PARTITIONS)?;
    let mut read = BTreeMap::new();
    let mut ended = vec![false; PARTITIONS as usize];
    let deadline = Instant::now() + READ_MAX;
    // The end as first met may lie before what was acknowledged if a watermark is still on its way.
    let all_read = |read: &BTreeMap<_, _>| delivered.at.keys().all(|place| read.contains_key(place));
    while !ended.iter().all(|&ended| ended) || (!all_read(&read) && Instant::now() < deadline) {
        match consumer.poll(Duration::from_millis(500)) {
            Some(Ok(message)) => {
                let value = std::str::from_utf8(message.payload().context("a null value")?)?;
                read.insert((message.partition(), message.offset()), value.parse()?);
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => ended[partition as usize] = true,
            Some(Err(_)) | None if Instant::now() < deadline => {}
            other => bail!("the topic cannot be read back: {other:?}"),
        }
    }
    Ok(read)
}

fn compare(delivered: &Delivered, read: &BTreeMap<(i32, i64), u64>) -> Outcome {
    let mut places: BTreeMap<u64, u64> = BTreeMap::new();
    for number in read.values() {
        *places.entry(*number).or_default() += 1;
    }
    let conflict =
        |(place, number): &(&(i32, i64), &u64)| read.get(*place).is_some_and(|other| other != *number);
    Outcome {
        acknowledged: delivered.at.len() as u64,
        failed: delivered.failed,
        read: read.len() as u64,
        lost: delivered.at.keys().filter(|place| !read.contains_key(*place)).count() as u64,
        duplicates: places.values().filter(|&&count| count > 1).count() as u64,
        conflicts: delivered.conflicts + delivered.at.iter().filter(conflict).count() as u64,
    }
}
