//! The `rdkafka` crate as a member of a group, or as a producer.
//!
//! The lines it prints are those of `python/member.py`; it ends when its standard
//! input does.
//!
//! Usage: rdkafka-member member BOOTSTRAP GROUP TOPIC eager|cooperative|consumer [INSTANCE]
//!        rdkafka-member produce BOOTSTRAP TOPIC PARTITIONS

use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};

/// Records read before they are committed.
const BATCH: usize = 500;
const POLL: Duration = Duration::from_millis(200);
const FLUSH: Duration = Duration::from_secs(60);
/// What a commit is told that comes after a rebalance.
const LATE: &[Code] = &[
    Code::RebalanceInProgress,
    Code::IllegalGeneration,
    Code::UnknownMemberId,
    Code::StaleMemberEpoch,
    Code::FencedMemberEpoch,
    Code::NoOffset,
];

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["member", bootstrap, group, topic, style, ref instance @ ..] => {
            let consumer: BaseConsumer = settings(bootstrap, group, style, instance.first())?.create()?;
            consumer.subscribe(&[topic])?;
            live(&consumer)
        }
        ["produce", bootstrap, topic, partitions] => produce(bootstrap, topic, partitions.parse()?),
        _ => bail!("usage: rdkafka-member member|produce BOOTSTRAP ..."),
    }
}

fn settings(bootstrap: &str, group: &str, style: &str, instance: Option<&&str>) -> Result<ClientConfig> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("group.id", group);
    config.set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
    let strategy = match style {
        "eager" => Some("range"),
        "cooperative" => Some("cooperative-sticky"),
        "consumer" => None,
        _ => bail!("no style is called {style}"),
    };
    if let Some(strategy) = strategy {
        config.set("partition.assignment.strategy", strategy);
        config.set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "500");
    } else {
        config.set("group.protocol", "consumer");
    }
    if let Some(instance) = instance {
        config.set("group.instance.id", *instance);
    }
    Ok(config)
}

fn live(consumer: &BaseConsumer) -> Result<()> {
    let ended = input_ended();
    let mut told = None;
    let mut unsaid: BTreeMap<i32, i64> = BTreeMap::new();
    while !ended.load(Ordering::Relaxed) {
        let mut read = 0;
        while read < BATCH
            && let Some(message) = consumer.poll(if read == 0 { POLL } else { Duration::ZERO })
        {
            let message = message?;
            let value = std::str::from_utf8(message.payload().context("every record has a value")?)?;
            println!("seen {} {} {value}", message.partition(), message.offset());
            unsaid.insert(message.partition(), message.offset() + 1);
            read += 1;
        }
        let mut owned: Vec<i32> = consumer.assignment()?.elements().iter().map(|it| it.partition()).collect();
        owned.sort_unstable();
        if told.as_ref() != Some(&owned) {
            println!("{}", owned.iter().fold("owns".to_owned(), |line, it| format!("{line} {it}")));
            told = Some(owned);
        }
        if !unsaid.is_empty() {
            commit(consumer, std::mem::take(&mut unsaid))?;
        }
    }
    Ok(())
}

fn commit(consumer: &BaseConsumer, ends: BTreeMap<i32, i64>) -> Result<()> {
    match consumer.commit_consumer_state(CommitMode::Sync) {
        Ok(()) => ends.iter().for_each(|(partition, end)| println!("committed {partition} {end}")),
        Err(error) if error.rdkafka_error_code().is_some_and(|code| LATE.contains(&code)) => {
            println!("late {error}");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn input_ended() -> Arc<AtomicBool> {
    let ended = Arc::new(AtomicBool::new(false));
    let waiting = Arc::clone(&ended);
    std::thread::spawn(move || {
        // An input that cannot be read is as good as its end.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        waiting.store(true, Ordering::Relaxed);
    });
    ended
}

fn produce(bootstrap: &str, topic: &str, partitions: u32) -> Result<()> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("enable.idempotence", "true").set("linger.ms", "5");
    let producer: ThreadedProducer<Delivered> = config.create_with_context(Delivered)?;
    let mut written = 0;
    for line in std::io::stdin().lock().lines() {
        let count: u32 = line?.parse()?;
        for number in written..written + count {
            let (value, partition) = (number.to_string(), i32::try_from(number % partitions)?);
            let record = BaseRecord::<(), str>::to(topic).payload(&value).partition(partition);
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.flush(FLUSH)?;
        written += count;
        println!("written {written}");
    }
    Ok(())
}

/// Ends the program when a record is not delivered.
struct Delivered;

impl rdkafka::ClientContext for Delivered {}

impl rdkafka::producer::ProducerContext for Delivered {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &rdkafka::message::DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = delivered {
            eprintln!("a record was not delivered: {error}");
            std::process::exit(1);
        }
    }
}
