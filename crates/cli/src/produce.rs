//! `kastle produce TOPIC`: a record a line, from stdin or a file.
//!
//! Lines that are there together leave together, so a pipe is fast and a person at a
//! terminal sees each line acknowledged. Records with keys go where Kafka's clients
//! put them; those without fill one partition's batch after another's. As with Kafka's
//! producer, batches carry sequences unless told otherwise: one that is sent again after
//! its answer was lost is not written twice.

mod lines;
mod partitioner;
mod sequences;

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use model::{ErrorCode, LeaderEpoch, Offset, Timestamp};
use net::{Clock, SystemClock};
use serde_json::json;
use tokio::time::Instant;
use wire::batch::{BatchBuilder, NewRecord};
use wire::codec::Codec;
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::{ProduceRequest, ProduceResponse, topic};

use crate::client::{Cluster, PATIENCE, PAUSE, Routes, Target, To, answer, converse, refused, unexpected};
use crate::failure::{Failure, Kind, Outcome, say};
use crate::output;
use crate::produce::lines::{Line, Lines};
use crate::produce::sequences::Sequences;

/// A batch leaves when it has this size: far below the smallest limit in use (1 MiB), large enough
/// that its overhead is nothing.
const BATCH_BYTES: usize = 256 << 10;
/// How long the replicas may take.
const ACKS_TIMEOUT_MS: i32 = 25_000;

#[derive(Args)]
pub struct Arguments {
    /// The topic; created when it is missing and the cluster allows it.
    topic: String,
    /// Read this file instead of stdin.
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What stands between key and value; without it, a line is a value.
    #[arg(long, short, value_name = "TEXT")]
    key_separator: Option<String>,
    /// A key or value of exactly this text is null.
    #[arg(long, value_name = "TEXT")]
    null: Option<String>,
    /// A header on every record; repeatable.
    #[arg(long, short = 'H', value_name = "KEY=VALUE")]
    header: Vec<String>,
    /// How many replicas answer for a record; 0 waits for nobody, and what is lost is not noticed.
    #[arg(long, value_enum, default_value = "all")]
    acks: Acks,
    /// Write without sequences: a batch whose answer was lost may be written twice. Implied by --acks 0
    /// and 1.
    #[arg(long)]
    no_idempotence: bool,
    /// How batches are compressed.
    #[arg(long, short = 'z', value_enum, default_value = "none")]
    compression: Compression,
    /// Put everything into this partition.
    #[arg(long, short)]
    partition: Option<i32>,
    /// The records' time in milliseconds since 1970; now when absent.
    #[arg(long, value_name = "MS")]
    timestamp: Option<i64>,
    #[command(flatten)]
    target: Target,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Acks {
    /// Nobody.
    #[value(name = "0")]
    Nobody,
    /// The leader alone.
    #[value(name = "1")]
    Leader,
    /// Every replica in sync.
    #[value(name = "all", alias = "-1")]
    All,
}

impl Acks {
    fn to_wire(self) -> i16 {
        match self {
            Self::Nobody => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    fn codec(self) -> Codec {
        match self {
            Self::None => Codec::None,
            Self::Gzip => Codec::Gzip,
            Self::Snappy => Codec::Snappy,
            Self::Lz4 => Codec::Lz4,
            Self::Zstd => Codec::Zstd,
        }
    }
}

pub fn run(arguments: &Arguments) -> Outcome {
    let headers = arguments
        .header
        .iter()
        .map(|text| {
            let pair = text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
            pair.ok_or_else(|| {
                Failure::typed_wrong(format!(
                    "cannot read --header {text}: it has no '='; write --header KEY=VALUE"
                ))
            })
        })
        .collect::<Outcome<Vec<_>>>()?;
    let lines = Lines::open(arguments.file.as_deref())?;
    converse(&arguments.target, |cluster| Producer::produce(cluster, arguments, headers, lines))
}

/// A produce under way.
struct Producer<'a> {
    cluster: Cluster,
    arguments: &'a Arguments,
    headers: Vec<(String, String)>,
    routes: Routes,
    /// The partition that records without a key fill now.
    sticky: usize,
    batches: BTreeMap<i32, BatchBuilder>,
    /// What makes it idempotent, where it is.
    sequences: Option<Sequences>,
    /// Records acknowledged, or with `acks=0` sent.
    done: u64,
}

impl<'a> Producer<'a> {
    async fn produce(
        mut cluster: Cluster,
        arguments: &'a Arguments,
        headers: Vec<(String, String)>,
        mut lines: Lines,
    ) -> Outcome {
        let routes = cluster.partitions(&arguments.topic, true).await?;
        let is_idempotent = arguments.acks == Acks::All && !arguments.no_idempotence;
        let sequences = if is_idempotent { Some(Sequences::begin(&mut cluster).await?) } else { None };
        let batches = BTreeMap::new();
        let mut producer =
            Self { cluster, arguments, headers, routes, sticky: 0, batches, sequences, done: 0 };
        if let Some(partition) = arguments.partition
            && !producer.routes.leaders.contains_key(&partition)
        {
            let count = producer.routes.leaders.len();
            return Err(Failure::refused(format!(
                "cannot write to partition {partition} of {}: it has {count} partitions, counted from 0; choose one of them",
                arguments.topic
            )));
        }
        while let Some(line) = lines.next().await? {
            producer.push(&line).await?;
            // What is there already goes along in the same batches.
            while let Some(line) = lines.try_next()? {
                producer.push(&line).await?;
            }
            producer.flush().await?;
        }
        producer.flush().await?;
        producer.finish().await
    }

    /// Says what was done.
    async fn finish(mut self) -> Outcome {
        let what = match self.arguments.acks {
            Acks::Nobody => {
                self.cluster.settle().await?;
                "sent"
            }
            Acks::Leader | Acks::All => "acknowledged",
        };
        if self.arguments.target.json {
            return output::json(&json!({what: self.done}));
        }
        say(format_args!("{} records {what}", self.done))
    }

    async fn push(&mut self, line: &Line) -> Outcome {
        let (key, value) = self.split(line);
        let partition = self.choose(key);
        let timestamp = self.arguments.timestamp.map_or_else(|| SystemClock::new().wall(), Timestamp::new);
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            self.headers.iter().map(|(key, value)| (key.as_bytes(), Some(value.as_bytes()))).collect();
        let codec = self.arguments.compression.codec();
        let sequences = self.sequences.as_ref();
        let fresh = || {
            let batch = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(-1)).codec(codec, None);
            match sequences {
                Some(sequences) => batch.producer(sequences.next(partition), false),
                None => batch,
            }
        };
        let batch = self.batches.entry(partition).or_insert_with(fresh);
        batch.push(&NewRecord { timestamp, key, value, headers: &headers });
        if batch.size_bytes() < BATCH_BYTES {
            return Ok(());
        }
        self.sticky += 1;
        self.flush().await
    }

    /// A line's key and value, null where it says so.
    fn split<'b>(&self, line: &'b Line) -> (Option<&'b [u8]>, Option<&'b [u8]>) {
        let line = line.as_slice();
        let separator = self.arguments.key_separator.as_deref().unwrap_or_default().as_bytes();
        let at = (!separator.is_empty())
            .then(|| line.windows(separator.len()).position(|window| window == separator))
            .flatten();
        let null = self.arguments.null.as_deref().map(str::as_bytes);
        let unless_null = |bytes: &'b [u8]| (Some(bytes) != null).then_some(bytes);
        match at {
            Some(at) => (unless_null(&line[..at]), unless_null(&line[at + separator.len()..])),
            None => (None, unless_null(line)),
        }
    }

    fn choose(&self, key: Option<&[u8]>) -> i32 {
        let all: Vec<i32> = self.routes.leaders.keys().copied().collect();
        match (self.arguments.partition, key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partitioner::partition(key, &all),
            (None, None) => all.get(self.sticky % all.len().max(1)).copied().unwrap_or(0),
        }
    }

    /// Sends what was collected and awaits the answers.
    async fn flush(&mut self) -> Outcome {
        for (partition, batch) in std::mem::take(&mut self.batches) {
            let mut bytes = Vec::new();
            batch.finish(&mut bytes).map_err(|error| {
                Failure::refused(format!("cannot compress a batch: {error}; try another codec"))
            })?;
            self.send(partition, bytes.into()).await?;
            if let Some(sequences) = &mut self.sequences {
                sequences.advance(partition, batch.count());
            }
            self.done += u64::try_from(batch.count()).unwrap_or(0);
        }
        Ok(())
    }

    /// Sends one batch, again after errors that pass.
    async fn send(&mut self, partition: i32, records: Bytes) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (code, message) = self.send_once(partition, records.clone()).await?;
            // A duplicate was written the first time; only its answer was lost.
            if !code.is_error() || code == ErrorCode::DuplicateSequenceNumber {
                return Ok(());
            }
            if !code.is_retriable() || Instant::now() >= deadline {
                return Err(refused(
                    &format!("write to {}-{partition}", self.arguments.topic),
                    code,
                    message.as_deref(),
                ));
            }
            tokio::time::sleep(PAUSE).await;
            self.routes = self.cluster.partitions(&self.arguments.topic, false).await?;
        }
    }

    async fn send_once(&mut self, partition: i32, records: Bytes) -> Outcome<(ErrorCode, Option<String>)> {
        let Some(&leader) = self.routes.leaders.get(&partition) else {
            return Ok((ErrorCode::UnknownTopicOrPartition, None));
        };
        let acks = self.arguments.acks;
        let request = ProduceRequest::default().with_acks(acks.to_wire()).with_timeout_ms(ACKS_TIMEOUT_MS);
        let version = self.cluster.version_at(To::Node(leader), &request.clone().into()).await;
        let Ok(version) = version else {
            return Ok((ErrorCode::NotLeaderOrFollower, None));
        };
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(records));
        let named = TopicProduceData::default().with_partition_data(vec![data]);
        let named = if version >= 13 {
            named.with_topic_id(self.routes.id)
        } else {
            named.with_name(topic(&self.arguments.topic))
        };
        let request = request.with_topic_data(vec![named]);
        let sent = if acks == Acks::Nobody {
            self.cluster.tell(To::Node(leader), request).await.map(|()| None)
        } else {
            self.cluster.ask(To::Node(leader), request).await.map(Some)
        };
        match sent {
            Ok(None) => Ok((ErrorCode::None, None)),
            Ok(Some(response)) => outcome_of(answer!(Produce, response)),
            // The leader may have died: whoever leads next takes the batch.
            Err(failure) if failure.kind == Kind::Unreachable => {
                Ok((ErrorCode::NetworkException, Some(failure.to_string())))
            }
            Err(failure) => Err(failure),
        }
    }
}

/// What a response says of the one partition that was written to.
fn outcome_of(response: ProduceResponse) -> Outcome<(ErrorCode, Option<String>)> {
    let found = response.responses.into_iter().flat_map(|topic| topic.partition_responses).next();
    let Some(found) = found else { return Err(unexpected()) };
    Ok((ErrorCode::from_code(found.error_code), found.error_message.map(|message| message.to_string())))
}
