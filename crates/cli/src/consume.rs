//! `kastle consume TOPIC`: a topic's records, from where one likes.
//!
//! Without a group: it reads partitions by itself and commits nothing. Records of one
//! partition come in order; partitions are interleaved as their answers arrive.

mod format;

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use clap::Args;
use model::ErrorCode;
use tokio::time::Instant;
use wire::batch::Batches;
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::fetch_response::PartitionData;
use wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::{BrokerId, FetchRequest, ListOffsetsRequest, topic};

use crate::client::{Cluster, PATIENCE, PAUSE, Routes, Target, To, answer, converse, refused, unexpected};
use crate::consume::format::Format;
use crate::failure::{Failure, Kind, Outcome};

/// Most bytes of one answer, and of one partition in it.
const FETCH_BYTES: i32 = 8 << 20;
const PARTITION_BYTES: i32 = 1 << 20;
/// How long a leader holds an answer back for want of records.
const FETCH_WAIT_MS: i32 = 250;
/// The largest batch that is decompressed.
const RECORDS_BYTES_MAX: usize = 1 << 30;
/// Timestamps that mean an end of the log.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

#[derive(Args)]
pub struct Arguments {
    /// The topic.
    topic: String,
    /// Begin at the first record; otherwise only what comes from now on is read.
    #[arg(long, group = "from")]
    from_beginning: bool,
    /// Begin at this offset of each partition; a negative one counts from the end.
    #[arg(long, group = "from", allow_hyphen_values = true)]
    offset: Option<i64>,
    /// Begin at the first record of this time, in milliseconds since 1970.
    #[arg(long, group = "from", value_name = "MS")]
    timestamp: Option<i64>,
    /// Read only this partition; repeatable.
    #[arg(long, short)]
    partition: Vec<i32>,
    /// Stop after this many records.
    #[arg(long, short = 'n', value_name = "MAX")]
    max: Option<u64>,
    /// Stop where the partitions end now.
    #[arg(long, short = 'e')]
    exit_at_end: bool,
    /// Only committed records of transactions.
    #[arg(long)]
    read_committed: bool,
    /// How a record is shown: %k key, %v value, %h headers, %o offset, %p partition, %T timestamp,
    /// %t topic, %% percent, \n \t \0.
    #[arg(long, short, default_value = "%v\\n")]
    format: String,
    #[command(flatten)]
    target: Target,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let format = Format::parse(&arguments.format, arguments.target.json)?;
    converse(&arguments.target, |cluster| Consumer::consume(cluster, arguments, format))
}

/// A consume under way.
struct Consumer<'a> {
    cluster: Cluster,
    arguments: &'a Arguments,
    format: Format,
    routes: Routes,
    /// The next offset of each partition that is still read.
    next: BTreeMap<i32, i64>,
    /// Where each ends, with `--exit-at-end`.
    ends: BTreeMap<i32, i64>,
    left: u64,
    out: BufWriter<io::Stdout>,
    /// Since when nothing but errors came.
    trouble: Option<Instant>,
}

impl<'a> Consumer<'a> {
    async fn consume(mut cluster: Cluster, arguments: &'a Arguments, format: Format) -> Outcome {
        let routes = cluster.partitions(&arguments.topic, false).await?;
        let mut consumer = Self {
            cluster,
            arguments,
            format,
            routes,
            next: BTreeMap::new(),
            ends: BTreeMap::new(),
            left: arguments.max.unwrap_or(u64::MAX),
            out: BufWriter::new(io::stdout()),
            trouble: None,
        };
        consumer.seek().await?;
        while consumer.left > 0 && !consumer.next.is_empty() {
            consumer.fetch_all().await?;
            consumer.flush()?;
        }
        consumer.flush()
    }

    /// Finds where to begin and, if asked, where to end.
    async fn seek(&mut self) -> Outcome {
        let chosen = self.chosen()?;
        let ends = self.list_offsets(&chosen, LATEST).await?;
        let arguments = self.arguments;
        self.next = match (arguments.from_beginning, arguments.offset, arguments.timestamp) {
            (true, ..) => self.list_offsets(&chosen, EARLIEST).await?,
            (_, Some(offset), _) if offset >= 0 => {
                chosen.iter().map(|partition| (*partition, offset)).collect()
            }
            (_, Some(back), _) => {
                let starts = self.list_offsets(&chosen, EARLIEST).await?;
                let from = |(partition, end): (&i32, &i64)| {
                    (*partition, (end + back).max(starts.get(partition).copied().unwrap_or(0)))
                };
                ends.iter().map(from).collect()
            }
            (.., Some(timestamp)) => {
                let found = self.list_offsets(&chosen, timestamp).await?;
                // No record is that young: begin with the next one.
                let or_end = |(partition, offset): (i32, i64)| {
                    (partition, if offset < 0 { ends.get(&partition).copied().unwrap_or(0) } else { offset })
                };
                found.into_iter().map(or_end).collect()
            }
            _ => ends.clone(),
        };
        if arguments.exit_at_end {
            self.ends = ends;
            self.drop_finished();
        }
        Ok(())
    }

    fn chosen(&self) -> Outcome<Vec<i32>> {
        let all: Vec<i32> = self.routes.leaders.keys().copied().collect();
        if self.arguments.partition.is_empty() {
            return Ok(all);
        }
        match self.arguments.partition.iter().find(|partition| !all.contains(partition)) {
            None => Ok(self.arguments.partition.clone()),
            Some(stranger) => Err(Failure::refused(format!(
                "cannot read partition {stranger} of {}: it has {} partitions, counted from 0; choose one of them",
                self.arguments.topic,
                all.len()
            ))),
        }
    }

    /// The offset of each partition at a timestamp; waits out elections.
    async fn list_offsets(&mut self, partitions: &[i32], timestamp: i64) -> Outcome<BTreeMap<i32, i64>> {
        let mut found = BTreeMap::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut trouble = ErrorCode::None;
            for (leader, wanted) in
                self.by_leader(partitions.iter().copied().filter(|partition| !found.contains_key(partition)))
            {
                match self.list_offsets_at(leader, &wanted, timestamp).await {
                    Ok(answers) => {
                        for (partition, code, offset) in answers {
                            if code.is_error() {
                                trouble = code
                            } else {
                                found.insert(partition, offset);
                            }
                        }
                    }
                    Err(failure) if failure.kind == Kind::Unreachable => {
                        trouble = ErrorCode::NetworkException
                    }
                    Err(failure) => return Err(failure),
                }
            }
            if !trouble.is_error() && found.len() == partitions.len() {
                return Ok(found);
            }
            if !trouble.is_retriable() && trouble.is_error() || Instant::now() >= deadline {
                return Err(refused(&format!("find the offsets of {}", self.arguments.topic), trouble, None));
            }
            tokio::time::sleep(PAUSE).await;
            self.routes = self.cluster.partitions(&self.arguments.topic, false).await?;
        }
    }

    async fn list_offsets_at(
        &mut self,
        leader: i32,
        wanted: &[i32],
        timestamp: i64,
    ) -> Outcome<Vec<(i32, ErrorCode, i64)>> {
        let one = |partition: &i32| {
            ListOffsetsPartition::default().with_partition_index(*partition).with_timestamp(timestamp)
        };
        let asked = ListOffsetsTopic::default()
            .with_name(topic(&self.arguments.topic))
            .with_partitions(wanted.iter().map(one).collect());
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked]);
        let response = answer!(ListOffsets, self.cluster.ask(To::Node(leader), request).await?);
        let answers = response.topics.into_iter().flat_map(|topic| topic.partitions);
        Ok(answers
            .map(|answer| (answer.partition_index, ErrorCode::from_code(answer.error_code), answer.offset))
            .collect())
    }

    fn by_leader(&self, partitions: impl Iterator<Item = i32>) -> BTreeMap<i32, Vec<i32>> {
        let mut grouped: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            let leader = self.routes.leaders.get(&partition).copied().unwrap_or(-1);
            grouped.entry(leader).or_default().push(partition);
        }
        grouped
    }

    /// One fetch from each leader.
    async fn fetch_all(&mut self) -> Outcome {
        let leaders = self.by_leader(self.next.keys().copied());
        // Idle leaders must not hold up busy ones: the wait is shared.
        let wait = FETCH_WAIT_MS / i32::try_from(leaders.len().max(1)).unwrap_or(1);
        let mut trouble = None;
        for (leader, partitions) in leaders {
            match self.fetch(leader, &partitions, wait).await {
                Ok(answers) => {
                    for answer in answers {
                        trouble = self.take(&answer)?.or(trouble);
                    }
                }
                Err(failure) if failure.kind == Kind::Unreachable => {
                    trouble = Some(ErrorCode::NetworkException)
                }
                Err(failure) => return Err(failure),
            }
            if self.left == 0 {
                return Ok(());
            }
        }
        self.drop_finished();
        self.wait_out(trouble).await
    }

    /// Errors that pass are waited out, with new routes; those that stay end the command.
    async fn wait_out(&mut self, trouble: Option<ErrorCode>) -> Outcome {
        let Some(code) = trouble else {
            self.trouble = None;
            return Ok(());
        };
        let since = *self.trouble.get_or_insert_with(Instant::now);
        if !code.is_retriable() || since.elapsed() >= PATIENCE {
            return Err(refused(&format!("read {}", self.arguments.topic), code, None));
        }
        tokio::time::sleep(PAUSE).await;
        self.routes = self.cluster.partitions(&self.arguments.topic, false).await?;
        Ok(())
    }

    async fn fetch(&mut self, leader: i32, partitions: &[i32], wait: i32) -> Outcome<Vec<PartitionData>> {
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(wait)
            .with_min_bytes(1)
            .with_max_bytes(FETCH_BYTES)
            .with_isolation_level(i8::from(self.arguments.read_committed))
            .with_session_epoch(-1);
        let version = self.cluster.version_at(To::Node(leader), &request.clone().into()).await?;
        let one = |partition: &i32| {
            FetchPartition::default()
                .with_partition(*partition)
                .with_current_leader_epoch(-1)
                .with_fetch_offset(self.next[partition])
                .with_partition_max_bytes(PARTITION_BYTES)
        };
        let asked = FetchTopic::default().with_partitions(partitions.iter().map(one).collect());
        let asked = if version >= 13 {
            asked.with_topic_id(self.routes.id)
        } else {
            asked.with_topic(topic(&self.arguments.topic))
        };
        let response =
            answer!(Fetch, self.cluster.ask(To::Node(leader), request.with_topics(vec![asked])).await?);
        let code = ErrorCode::from_code(response.error_code);
        if code.is_error() {
            return Err(refused(&format!("read {}", self.arguments.topic), code, None));
        }
        let answers: Vec<PartitionData> =
            response.responses.into_iter().flat_map(|topic| topic.partitions).collect();
        if answers.iter().all(|answer| partitions.contains(&answer.partition_index)) {
            Ok(answers)
        } else {
            Err(unexpected())
        }
    }

    /// Shows an answer's records; an error of the partition is handed back.
    fn take(&mut self, answer: &PartitionData) -> Outcome<Option<ErrorCode>> {
        let partition = answer.partition_index;
        let code = ErrorCode::from_code(answer.error_code);
        if code.is_error() {
            return Ok(Some(code));
        }
        let damaged = |cause: String| {
            Failure::refused(format!(
                "cannot read {}-{partition}: {cause}; look at it with `kastle log dump`",
                self.arguments.topic
            ))
        };
        let bytes = answer.records.as_deref().unwrap_or_default();
        for batch in Batches::new(bytes) {
            let batch = match batch {
                Ok(batch) => batch,
                // An answer may end within a batch; it comes whole with the next.
                Err(wire::batch::BatchError::Partial { .. }) => break,
                Err(error) => return Err(damaged(error.to_string())),
            };
            batch.check_crc().map_err(|error| damaged(error.to_string()))?;
            let from = self.next[&partition];
            if !batch.header.is_control() {
                let records = batch.records(RECORDS_BYTES_MAX).map_err(|error| damaged(error.to_string()))?;
                for record in records.iter() {
                    let record = record.map_err(|error| damaged(error.to_string()))?;
                    if record.offset.get() < from || self.is_past_end(partition, record.offset.get()) {
                        continue;
                    }
                    let written = self.format.write(&self.arguments.topic, partition, &record, &mut self.out);
                    check_output(written)?;
                    self.left -= 1;
                    if self.left == 0 {
                        return Ok(None);
                    }
                }
            }
            self.next.insert(partition, batch.header.next_offset().get().max(from));
        }
        Ok(None)
    }

    fn is_past_end(&self, partition: i32, offset: i64) -> bool {
        self.ends.get(&partition).is_some_and(|end| offset >= *end)
    }

    fn drop_finished(&mut self) {
        let ends = &self.ends;
        self.next.retain(|partition, next| ends.get(partition).is_none_or(|end| *next < *end));
    }

    fn flush(&mut self) -> Outcome {
        check_output(self.out.flush())
    }
}

/// A closed pipe ends the command quietly.
fn check_output(written: io::Result<()>) -> Outcome {
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::refused(""),
        _ => Failure::refused(format!("cannot write the output: {error}; is the disk full?")),
    })
}
