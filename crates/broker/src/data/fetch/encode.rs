//! The body of a Fetch response, by hand: record bytes leave from the file they are in.
//!
//! ```text
//! throttle i32 | error i16 (7+) | session i32 (7+) | topics { name (-12) or id (13+)
//! | partitions { index | error | high watermark | last stable | log start (5+) | aborted
//! | preferred replica (11+) | records | tags 0 diverging epoch, 1 current leader (12+) } | tags }
//! | tags 0 node endpoints (16+)
//! ```
//!
//! Everything but the records goes into one buffer, which is cut where records stand.

use bytes::Bytes;
use log::transactions::Aborted;
use model::{ErrorCode, LeaderEpoch, NodeId, Offset};
use replica::EpochEnd;
use wire::messages::{StrBytes, WireUuid};

use crate::data::hints::Endpoint;
use crate::data::plane::CurrentLeader;
use crate::server::Chunk;

const ERROR_AT_HEAD_FROM: i16 = 7;
const LOG_START_FROM: i16 = 5;
const PREFERRED_REPLICA_FROM: i16 = 11;
const FLEXIBLE_FROM: i16 = 12;
const TOPIC_IDS_FROM: i16 = 13;
const ENDPOINTS_FROM: i16 = 16;

const DIVERGING_EPOCH: u32 = 0;
const CURRENT_LEADER: u32 = 1;
const NODE_ENDPOINTS: u32 = 0;

/// A topic of a response.
pub struct TopicOut {
    /// Its name, up to version 12.
    pub name: StrBytes,
    /// Its id, from version 13.
    pub id: WireUuid,
    /// Its partitions.
    pub partitions: Vec<PartitionOut>,
}

/// A partition of a response.
pub struct PartitionOut {
    /// Its number.
    pub index: i32,
    /// What went wrong.
    pub error: ErrorCode,
    /// Everything below is committed; with an error not told.
    pub high_watermark: Option<Offset>,
    /// Everything below is decided, where it is told.
    pub last_stable: Option<Offset>,
    /// The transactions that were aborted of what is read.
    pub aborted: Vec<Aborted>,
    /// Where the log begins.
    pub log_start: Option<Offset>,
    /// Where the reader's history left ours.
    pub diverging: Option<EpochEnd>,
    /// Whom to ask instead.
    pub leader: Option<CurrentLeader>,
    /// The replica that a consumer shall read from instead of this one.
    pub preferred: Option<NodeId>,
    /// The records; `None` when there are none.
    pub records: Option<Chunk>,
}

impl PartitionOut {
    /// An answer without records.
    pub fn failed(index: i32, error: ErrorCode) -> Self {
        let (high_watermark, log_start, diverging, leader, records) = (None, None, None, None, None);
        let (last_stable, aborted) = (None, Vec::new());
        Self {
            index,
            error,
            high_watermark,
            last_stable,
            aborted,
            log_start,
            diverging,
            leader,
            preferred: None,
            records,
        }
    }
}

/// What stands beside the topics.
pub struct Head {
    /// The response's version.
    pub version: i16,
    /// What went wrong with all of it.
    pub error: ErrorCode,
    /// The session; 0 is none.
    pub session: i32,
    /// The request asked for committed data: the list of aborted transactions is there, if empty.
    pub read_committed: bool,
}

/// Writes the body.
pub fn encode<'a>(
    head: &Head,
    topics: Vec<TopicOut>,
    endpoints: impl Iterator<Item = Endpoint<'a>>,
) -> Vec<Chunk> {
    let count: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
    let mut body =
        Body { head, out: Vec::with_capacity(64 + topics.len() * 32 + count * 64), chunks: Vec::new() };
    body.i32(0);
    if head.version >= ERROR_AT_HEAD_FROM {
        body.i16(head.error.code());
        body.i32(head.session);
    }
    body.length(topics.len());
    for topic in topics {
        body.topic(topic);
    }
    body.endpoints(endpoints);
    body.finish()
}

struct Body<'a> {
    head: &'a Head,
    out: Vec<u8>,
    chunks: Vec<Chunk>,
}

impl Body<'_> {
    fn is_flexible(&self) -> bool {
        self.head.version >= FLEXIBLE_FROM
    }

    fn topic(&mut self, topic: TopicOut) {
        if self.head.version >= TOPIC_IDS_FROM {
            self.out.extend_from_slice(topic.id.as_bytes());
        } else {
            self.text(&topic.name);
        }
        self.length(topic.partitions.len());
        for partition in topic.partitions {
            self.partition(partition);
        }
        self.no_tags();
    }

    fn partition(&mut self, partition: PartitionOut) {
        self.i32(partition.index);
        self.i16(partition.error.code());
        self.i64(partition.high_watermark.map_or(-1, Offset::get));
        self.i64(partition.last_stable.map_or(-1, Offset::get));
        if self.head.version >= LOG_START_FROM {
            self.i64(partition.log_start.map_or(-1, Offset::get));
        }
        match (self.head.read_committed, self.is_flexible()) {
            (true, _) => self.aborted(&partition.aborted),
            (false, true) => self.varint(0),
            (false, false) => self.i32(-1),
        }
        if self.head.version >= PREFERRED_REPLICA_FROM {
            self.i32(partition.preferred.map_or(-1, NodeId::get));
        }
        self.records(partition.records);
        if self.is_flexible() {
            self.tags(partition.diverging, partition.leader);
        }
    }

    fn aborted(&mut self, transactions: &[Aborted]) {
        self.length(transactions.len());
        for transaction in transactions {
            self.i64(transaction.producer.get());
            self.i64(transaction.first.get());
            self.no_tags();
        }
    }

    fn records(&mut self, records: Option<Chunk>) {
        let len = records.as_ref().map_or(0, Chunk::len);
        self.length(len);
        match records {
            None => {}
            Some(Chunk::Bytes(bytes)) => self.out.extend_from_slice(&bytes),
            Some(file) => {
                self.cut();
                self.chunks.push(file);
            }
        }
    }

    fn tags(&mut self, diverging: Option<EpochEnd>, leader: Option<CurrentLeader>) {
        self.varint(u32::from(diverging.is_some()) + u32::from(leader.is_some()));
        if let Some(EpochEnd { epoch, end }) = diverging {
            self.varint(DIVERGING_EPOCH);
            self.varint(4 + 8 + 1);
            self.i32(LeaderEpoch::get(epoch));
            self.i64(end.get());
            self.varint(0);
        }
        if let Some(CurrentLeader { node, epoch }) = leader {
            self.varint(CURRENT_LEADER);
            self.varint(4 + 4 + 1);
            self.i32(node.get());
            self.i32(epoch.get());
            self.varint(0);
        }
    }

    fn endpoints<'a>(&mut self, endpoints: impl Iterator<Item = Endpoint<'a>>) {
        let endpoints: Vec<Endpoint<'a>> = endpoints.collect();
        if endpoints.is_empty() || self.head.version < ENDPOINTS_FROM {
            return self.no_tags();
        }
        let outer = std::mem::take(&mut self.out);
        self.length(endpoints.len());
        for endpoint in endpoints {
            self.i32(endpoint.node.get());
            self.text(endpoint.host);
            self.i32(i32::from(endpoint.port));
            match endpoint.rack {
                Some(rack) => self.text(rack),
                None => self.varint(0),
            }
            self.varint(0);
        }
        let list = std::mem::replace(&mut self.out, outer);
        self.varint(1);
        self.varint(NODE_ENDPOINTS);
        self.varint(u32::try_from(list.len()).expect("one address a broker"));
        self.out.extend_from_slice(&list);
    }

    fn finish(mut self) -> Vec<Chunk> {
        self.cut();
        self.chunks
    }

    /// What is in the buffer leaves before what comes next.
    fn cut(&mut self) {
        if !self.out.is_empty() {
            let room = self.out.capacity() - self.out.len();
            let rest = Vec::with_capacity(room);
            self.chunks.push(Chunk::Bytes(Bytes::from(std::mem::replace(&mut self.out, rest))));
        }
    }

    fn no_tags(&mut self) {
        if self.is_flexible() {
            self.varint(0);
        }
    }

    /// The length of an array or a byte run that is not null.
    fn length(&mut self, length: usize) {
        if self.is_flexible() {
            self.varint(u32::try_from(length).expect("bounded by the request") + 1);
        } else {
            self.i32(i32::try_from(length).expect("bounded by the request"));
        }
    }

    fn text(&mut self, text: &str) {
        if self.is_flexible() {
            self.length(text.len());
        } else {
            self.i16(i16::try_from(text.len()).expect("a topic's name"));
        }
        self.out.extend_from_slice(text.as_bytes());
    }

    fn varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.push((value as u8) | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    fn i16(&mut self, value: i16) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    fn i32(&mut self, value: i32) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    fn i64(&mut self, value: i64) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
