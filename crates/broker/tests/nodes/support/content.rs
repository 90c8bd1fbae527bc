//! Records with keys, in transactions and out of them, and what a reader of committed data makes of them.

use std::collections::{BTreeMap, BTreeSet};

use model::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use wire::batch::{BatchBuilder, BatchRef, Batches, EndMarker, NewRecord, Producer};
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::fetch_response::PartitionData;
use wire::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use wire::messages::{
    Bytes, FetchRequest, ResponseKind, TransactionalId, WireUuid, WriteTxnMarkersRequest, text, topic,
};

use super::Client;
use super::records::produce_request;

/// What a record says: its key, and its value or none.
pub type Said = (String, Option<String>);

/// Writes to partition 0 of a topic by hand; nobody coordinates its transactions.
pub struct Writer<'a> {
    pub client: &'a Client,
    pub name: &'a str,
    /// When the next records were made.
    pub timestamp: i64,
    /// By offset, what counts.
    pub committed: BTreeMap<i64, Said>,
    open: BTreeMap<i64, BTreeMap<i64, Said>>,
    sequences: BTreeMap<i64, i32>,
}

impl<'a> Writer<'a> {
    pub fn new(client: &'a Client, name: &'a str) -> Self {
        let (committed, open, sequences) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { client, name, timestamp: 1_700_000_000_000, committed, open, sequences }
    }

    /// One record; of `producer`'s transaction, if one is named.
    pub async fn put(&mut self, producer: Option<i64>, key: &str, value: Option<&str>) -> i64 {
        let mut builder = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(0));
        if let Some(id) = producer {
            let sequence = self.sequences.entry(id).or_default();
            let (id, epoch) = (ProducerId::new(id), ProducerEpoch::new(0));
            builder = builder.producer(Producer { id, epoch, base_sequence: *sequence }, true);
            *sequence += 1;
        }
        let (timestamp, bytes) = (Timestamp::new(self.timestamp), value.map(str::as_bytes));
        builder.push(&NewRecord {
            timestamp,
            key: Some(key.as_bytes()),
            value: bytes,
            ..NewRecord::default()
        });
        let mut records = Vec::new();
        builder.finish(&mut records).expect("no codec");
        let offset = self.send(records.into(), producer.is_some()).await;
        let into = match producer {
            Some(id) => self.open.entry(id).or_default(),
            None => &mut self.committed,
        };
        into.insert(offset, (key.to_owned(), value.map(str::to_owned)));
        offset
    }

    async fn send(&self, records: Bytes, is_transactional: bool) -> i64 {
        let mut request = produce_request(self.name, -1, records);
        request.transactional_id = is_transactional.then(|| TransactionalId(text("x")));
        let ResponseKind::Produce(response) = self.client.ask(11, request).await else { panic!("no answer") };
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!(answer.error_code, 0, "{answer:?}");
        answer.base_offset
    }

    /// Ends the transaction of `producer`.
    pub async fn end(&mut self, producer: i64, commit: bool) {
        let named = WritableTxnMarkerTopic::default().with_name(topic(self.name));
        let marker = WritableTxnMarker::default()
            .with_producer_id(producer.into())
            .with_transaction_result(commit)
            .with_topics(vec![named.with_partition_indexes(vec![0])]);
        let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
        let ResponseKind::WriteTxnMarkers(response) = self.client.ask(1, request).await else {
            panic!("no answer")
        };
        assert_eq!(response.markers[0].topics[0].partitions[0].error_code, 0);
        let records = self.open.remove(&producer).unwrap_or_default();
        if commit {
            self.committed.extend(records);
        }
    }

    /// `count` records for `keys` keys, a third of them in transactions, some of which are aborted; now and
    /// then a tombstone.
    pub async fn fill(&mut self, rng: &mut fastrand::Rng, count: usize, keys: u32) {
        for number in 0..count {
            let key = format!("k{}", rng.u32(..keys));
            let value = format!("v{number}");
            let value = (rng.u32(..8) > 0).then_some(value.as_str());
            let producer = (rng.u32(..3) == 0).then(|| rng.i64(7..9));
            self.put(producer, &key, value).await;
            if rng.u32(..6) == 0
                && let Some(producer) = self.open.keys().next().copied()
            {
                self.end(producer, rng.bool()).await;
            }
        }
        while let Some(producer) = self.open.keys().next().copied() {
            self.end(producer, rng.bool()).await;
        }
    }

    /// What each key ends with, and where; keys that are deleted are not in it.
    pub fn last(&self) -> BTreeMap<String, (i64, String)> {
        last_of(&self.committed)
    }
}

/// What each key ends with, and where.
pub fn last_of(records: &BTreeMap<i64, Said>) -> BTreeMap<String, (i64, String)> {
    let mut last = BTreeMap::new();
    for (offset, (key, value)) in records {
        match value {
            Some(value) => last.insert(key.clone(), (*offset, value.clone())),
            None => last.remove(key),
        };
    }
    last
}

/// What a reader of committed data found.
#[derive(Debug, Default)]
pub struct Seen {
    /// By offset.
    pub records: BTreeMap<i64, Said>,
    /// Batches that are not what their checksum says.
    pub damaged: usize,
    /// Why it could not read on.
    pub stopped: Option<ErrorCode>,
    pub high_watermark: i64,
}

/// Reads partition 0 from `from` on.
pub async fn read_committed(client: &Client, id: WireUuid, from: i64) -> Seen {
    let (mut seen, mut next) = (Seen::default(), from);
    loop {
        let data = FetchPartition::default()
            .with_fetch_offset(next)
            .with_current_leader_epoch(-1)
            .with_partition_max_bytes(1_000);
        let data = FetchTopic::default().with_topic_id(id).with_partitions(vec![data]);
        let request = FetchRequest::default()
            .with_min_bytes(1)
            .with_max_bytes(1_000)
            .with_isolation_level(1)
            .with_session_epoch(-1)
            .with_topics(vec![data]);
        let ResponseKind::Fetch(response) = client.ask(16, request).await else { panic!("no answer") };
        let answer = &response.responses[0].partitions[0];
        if answer.error_code != 0 {
            seen.stopped = Some(ErrorCode::from_code(answer.error_code));
            return seen;
        }
        seen.high_watermark = answer.high_watermark;
        let read_to = seen.take(answer);
        if read_to.is_none_or(|read_to| read_to <= next) || next >= answer.last_stable_offset {
            return seen;
        }
        next = read_to.unwrap_or(next);
    }
}

impl Seen {
    /// Where the answer ends; `None` when it is empty.
    fn take(&mut self, answer: &PartitionData) -> Option<i64> {
        let aborted = answer.aborted_transactions.clone().unwrap_or_default();
        let mut ended = BTreeSet::new();
        let mut end = None;
        for batch in Batches::new(answer.records.as_deref().unwrap_or_default()) {
            let Ok(batch) = batch else { break };
            let header = batch.header;
            end = Some(header.next_offset().get());
            if batch.check_crc().is_err() {
                self.damaged += 1;
                continue;
            }
            if header.is_control() {
                let marker = EndMarker::read(&batch).expect("a control batch with a sound checksum");
                if !marker.commit {
                    let of = aborted.iter().filter(|it| it.producer_id.0 == header.producer_id);
                    ended.extend(
                        of.filter(|it| it.first_offset < header.base_offset.get()).map(|it| it.first_offset),
                    );
                }
                continue;
            }
            let is_aborted = header.is_transactional()
                && aborted.iter().any(|it| {
                    it.producer_id.0 == header.producer_id
                        && it.first_offset <= header.base_offset.get()
                        && !ended.contains(&it.first_offset)
                });
            if !is_aborted {
                self.records.extend(said(&batch));
            }
        }
        end
    }
}

fn said(batch: &BatchRef<'_>) -> BTreeMap<i64, Said> {
    let records = batch.records(1 << 20).expect("plain");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let each = records.iter().map(|record| {
        let record = record.expect("whole");
        (record.offset.get(), (record.key.map(text).unwrap_or_default(), record.value.map(text)))
    });
    each.collect()
}
