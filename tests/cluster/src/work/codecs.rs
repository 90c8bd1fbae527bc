//! librdkafka writes with each codec and reads everything back, to the byte.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rdkafka::Timestamp;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::cluster::Cluster;
use crate::work::reader::reader;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const FLUSH_MAX: Duration = Duration::from_secs(30);

/// Writes `records` records with every codec into a topic of its own and checks what is read.
pub fn run(cluster: &Cluster, records: usize) -> Result<()> {
    for codec in CODECS {
        let topic = format!("codec-{codec}");
        produce(cluster, &topic, codec, records).with_context(|| format!("produce with {codec}"))?;
        consume(cluster, &topic, records).with_context(|| format!("consume what {codec} wrote"))?;
    }
    Ok(())
}

fn timestamp_of(number: usize) -> i64 {
    1_700_000_000_000 + number as i64
}

fn value_of(number: usize) -> Option<String> {
    (number % 7 != 3).then(|| format!("value {number} {}", "x".repeat(number % 300)))
}

fn headers_of(number: usize) -> OwnedHeaders {
    let text = number.to_string();
    OwnedHeaders::new()
        .insert(Header { key: "number", value: Some(&text) })
        .insert(Header { key: "number", value: None::<&str> })
        .insert(Header { key: "empty", value: Some("") })
}

fn produce(cluster: &Cluster, topic: &str, codec: &str, records: usize) -> Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap())
        .set("acks", "all")
        .set("compression.codec", codec)
        .set("linger.ms", "20")
        .create()?;
    for number in 0..records {
        let key = format!("key {number}");
        let value = value_of(number);
        let mut record =
            BaseRecord::to(topic).partition(0).timestamp(timestamp_of(number)).headers(headers_of(number));
        if number % 5 != 1 {
            record = record.key(&key);
        }
        if let Some(value) = &value {
            record = record.payload(value);
        }
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(FLUSH_MAX)?;
    Ok(())
}

fn consume(cluster: &Cluster, topic: &str, records: usize) -> Result<()> {
    let consumer = reader(&cluster.bootstrap(), topic, 1)?;
    let mut next = 0;
    loop {
        match consumer.poll(FLUSH_MAX) {
            Some(Ok(message)) => {
                check(&message, next).with_context(|| format!("record {next}"))?;
                next += 1;
            }
            Some(Err(KafkaError::PartitionEOF(_))) if next == records => return Ok(()),
            Some(Err(KafkaError::PartitionEOF(_))) => bail!("the partition ends after {next} of {records}"),
            Some(Err(error)) => return Err(error.into()),
            None => bail!("nothing more comes after {next} of {records}"),
        }
    }
}

fn check(message: &BorrowedMessage<'_>, number: usize) -> Result<()> {
    let key = format!("key {number}");
    ensure!(message.offset() == number as i64, "it has offset {}", message.offset());
    ensure!(message.key() == (number % 5 != 1).then_some(key.as_bytes()), "its key is {:?}", message.key());
    let value = value_of(number);
    ensure!(
        message.payload() == value.as_ref().map(String::as_bytes),
        "its value is {:?}",
        message.payload()
    );
    let timestamp = message.timestamp();
    ensure!(timestamp == Timestamp::CreateTime(timestamp_of(number)), "its time is {timestamp:?}");
    let text = number.to_string();
    let expected = [("number", Some(text.as_bytes())), ("number", None), ("empty", Some(&b""[..]))];
    let headers = message.headers().context("it has no headers")?;
    let found: Vec<_> = headers.iter().map(|header| (header.key, header.value)).collect();
    ensure!(found == expected, "its headers are {found:?}");
    Ok(())
}
