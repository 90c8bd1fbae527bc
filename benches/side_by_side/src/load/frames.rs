//! Requests encoded beforehand, and where in an answer the error codes are.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use model::{LeaderEpoch, Offset, Timestamp};
use wire::api::ApiKey;
use wire::batch::{BatchBuilder, NewRecord};
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::{BrokerId, FetchRequest, ProduceRequest, RequestKind, text, topic};

/// Asked for by everything that is measured; the floor knows only these.
pub const PRODUCE: i16 = 12;
/// Not flexible: its answers have fixed places.
pub const FETCH: i16 = 11;
/// As much as Java's consumer asks of one partition.
const FETCH_BYTES: i32 = 1 << 20;
const TIMEOUT_MS: i32 = 30_000;
/// Stands for the offset until it is found in the encoded request.
const OFFSET_MARK: i64 = 0x5a5a_1234_5a5a_4321;
/// Length, correlation id and no tagged fields; then one topic.
const ANSWER_HEAD: usize = 4 + 4 + 1;
/// Index, error, base offset, append time, log start, no record errors, no message, no tags.
const PARTITION_ANSWER: usize = 4 + 2 + 8 + 8 + 8 + 1 + 1 + 1;
/// The topic's tags, throttle time, tags.
const ANSWER_TAIL: usize = 1 + 4 + 1;

/// What each batch is made of.
#[derive(Clone, Copy, Debug)]
pub enum Fill {
    /// So many records.
    Records(u32),
    /// As many records as fit into so many bytes.
    Bytes(usize),
}

/// Record batches all alike.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The encoded batch.
    pub bytes: Vec<u8>,
    /// Records in it.
    pub records: u64,
}

impl Batch {
    /// Builds one of records with values of `value_bytes`.
    pub fn new(fill: Fill, value_bytes: usize) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let timestamp = Timestamp::new(i64::try_from(now.as_millis())?);
        let mut random = fastrand::Rng::with_seed(5);
        let mut builder = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(-1));
        let mut value = vec![0; value_bytes];
        loop {
            random.fill(&mut value);
            let mut more = builder.clone();
            more.push(&NewRecord { timestamp, value: Some(&value), ..NewRecord::default() });
            let is_full = match fill {
                Fill::Records(records) => i64::from(builder.count()) == i64::from(records),
                Fill::Bytes(bytes) => builder.count() > 0 && more.size_bytes() > bytes,
            };
            if is_full {
                break;
            }
            builder = more;
        }
        let mut bytes = Vec::new();
        builder.finish(&mut bytes)?;
        Ok(Self { bytes, records: u64::try_from(builder.count())? })
    }
}

/// An encoded Produce request.
#[derive(Clone, Debug)]
pub struct ProduceFrame {
    /// With its length in front.
    pub bytes: Vec<u8>,
    /// Records in it.
    pub records: u64,
    /// Bytes of its batches.
    pub batch_bytes: u64,
    /// Where the answer's first partition begins, and how many there are.
    first_answer: usize,
    partitions: usize,
}

impl ProduceFrame {
    /// One batch for each of `partitions` of `name`.
    pub fn new(name: &str, partitions: &[i32], batch: &Batch, acks: i16) -> Result<Self> {
        let data = partitions.iter().map(|&index| {
            PartitionProduceData::default().with_index(index).with_records(Some(batch.bytes.clone().into()))
        });
        let data = TopicProduceData::default().with_name(topic(name)).with_partition_data(data.collect());
        let request =
            ProduceRequest::default().with_acks(acks).with_timeout_ms(TIMEOUT_MS).with_topic_data(vec![data]);
        let count = partitions.len();
        let counts = varint_bytes(2) + varint_bytes(name.len() + 1) + varint_bytes(count + 1);
        Ok(Self {
            bytes: encode(ApiKey::Produce, PRODUCE, &request.into())?,
            records: batch.records * count as u64,
            batch_bytes: (batch.bytes.len() * count) as u64,
            first_answer: ANSWER_HEAD + counts + name.len(),
            partitions: count,
        })
    }

    /// Whether `answer`, a whole frame, says that every batch was taken.
    pub fn is_taken(&self, answer: &[u8]) -> bool {
        let end = self.first_answer + self.partitions * PARTITION_ANSWER + ANSWER_TAIL;
        let code = |place: usize| {
            let at = self.first_answer + place * PARTITION_ANSWER + 4;
            answer.get(at..at + 2)
        };
        answer.len() == end && (0..self.partitions).all(|place| code(place) == Some(&[0, 0]))
    }

    /// What `answer` says, for people.
    pub fn explain(&self, answer: &[u8]) -> String {
        let body = answer.get(4..).unwrap_or_default().to_vec();
        match wire::client::decode_response(ApiKey::Produce, PRODUCE, body.into()) {
            Ok((_, response)) => format!("{response:?}").chars().take(1_000).collect(),
            Err(error) => error.to_string(),
        }
    }
}

fn varint_bytes(value: usize) -> usize {
    if value < 0x80 { 1 } else { 2 }
}

/// An encoded Fetch request for one partition, outside of any session.
#[derive(Clone, Debug)]
pub struct FetchFrame {
    /// With its length in front.
    pub bytes: Vec<u8>,
    offset_at: usize,
    /// Bytes of an answer in front of the records, without its length.
    pub answer_head: usize,
}

impl FetchFrame {
    /// For partition `index` of `name`; waits for records up to `wait_ms`.
    pub fn new(name: &str, index: i32, wait_ms: i32) -> Result<Self> {
        let partition = FetchPartition::default()
            .with_partition(index)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(OFFSET_MARK)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(FETCH_BYTES);
        let asked = FetchTopic::default().with_topic(topic(name)).with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(50 << 20)
            .with_session_epoch(-1)
            .with_topics(vec![asked]);
        let bytes = encode(ApiKey::Fetch, FETCH, &request.into())?;
        let mark = OFFSET_MARK.to_be_bytes();
        let offset_at = bytes.windows(8).position(|part| part == mark).context("no offset in the request")?;
        Ok(Self { bytes, offset_at, answer_head: fetch_head(name) })
    }

    /// Asks for records from `offset` on.
    pub fn set_offset(&mut self, offset: i64) {
        self.bytes[self.offset_at..self.offset_at + 8].copy_from_slice(&offset.to_be_bytes());
    }
}

/// Correlation id, throttle time, error, session, topics, name, partitions, index, error, three offsets,
/// aborted transactions (none), preferred replica, records' length.
fn fetch_head(name: &str) -> usize {
    4 + 4 + 2 + 4 + 4 + 2 + name.len() + 4 + 4 + 2 + 24 + 4 + 4 + 4
}

/// Both error codes of a Fetch answer's head, and the length of the records behind it.
pub fn read_fetch_head(head: &[u8], name_bytes: usize) -> Option<(i16, i16, i32)> {
    let i16_at = |at: usize| head.get(at..)?.first_chunk().map(|&bytes| i16::from_be_bytes(bytes));
    let partition = 4 + 4 + 2 + 4 + 4 + 2 + name_bytes + 4 + 4;
    let records = head.last_chunk().map(|&bytes| i32::from_be_bytes(bytes))?;
    Some((i16_at(8)?, i16_at(partition)?, records))
}

fn encode(api: ApiKey, version: i16, request: &RequestKind) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    wire::client::encode_request(1, Some(&text("side-by-side")), api, version, request, &mut frame)?;
    Ok(frame)
}
