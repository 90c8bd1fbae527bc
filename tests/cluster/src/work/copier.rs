//! A copier of `exactly_once` made of librdkafka, as a process of its own.
//!
//! Whatever goes wrong ends it, and its transaction: the next one goes on where the last
//! committed one ended. So it has nothing to remember and nothing to undo.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Result;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::work::exactly_once::{Job, SINK, SOURCE};

/// Records in a transaction.
const BATCH: usize = 100;
/// A batch is not waited for longer.
const POLL: Duration = Duration::from_millis(100);
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// librdkafka 2.12 may wait for ever for a group's coordinator that was killed, whatever timeout it was given. Who
/// looks after a copier would kill it then, and starts another one.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// How to start one: a subcommand of the program at `program`.
pub fn command(program: &Path) -> impl Fn(Job<'_>) -> Command {
    move |job| {
        let mut command = Command::new(program);
        command.args(["copier", job.bootstrap, &job.partition.to_string()]);
        command
    }
}

/// Copies until it is killed, or something goes wrong.
pub fn copy(job: Job<'_>) -> Result<()> {
    let (alive, heard) = mpsc::channel();
    std::thread::spawn(move || {
        while heard.recv_timeout(STUCK_AFTER).is_ok() {}
        std::process::exit(1);
    });
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", job.bootstrap)
        .set("transactional.id", job.id())
        .create()?;
    // What a copier of the same id left open is over from here on.
    producer.init_transactions(ANSWER_MAX)?;
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", job.bootstrap)
        .set("group.id", "copiers")
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(SOURCE, job.partition, Offset::Stored)?;
    consumer.assign(&assignment)?;
    loop {
        copy_batch(&producer, &consumer, job.partition)?;
        alive.send(())?;
    }
}

fn copy_batch(producer: &BaseProducer, consumer: &BaseConsumer, partition: i32) -> Result<()> {
    let mut next = None;
    for _ in 0..BATCH {
        let message = match consumer.poll(POLL) {
            Some(Ok(message)) => message,
            // librdkafka tells of nodes that are gone, and finds the next leader by itself.
            Some(Err(KafkaError::MessageConsumption(_))) | None => break,
            Some(Err(error)) => return Err(error.into()),
        };
        if next.is_none() {
            producer.begin_transaction()?;
        }
        let value = [&b"copy of "[..], message.payload().unwrap_or_default()].concat();
        let record = BaseRecord::<(), _>::to(SINK).partition(partition).payload(&value);
        producer.send(record).map_err(|(error, _)| error)?;
        next = Some(message.offset() + 1);
    }
    let Some(next) = next else { return Ok(()) };
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(SOURCE, partition, Offset::Offset(next))?;
    let group = consumer.group_metadata().expect("the consumer has a group");
    producer.send_offsets_to_transaction(&offsets, &group, ANSWER_MAX)?;
    Ok(producer.commit_transaction(ANSWER_MAX)?)
}
