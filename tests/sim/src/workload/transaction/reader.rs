//! Readers of committed records: `isolation.level=read_committed` as clients have it.
//!
//! The leader gives records up to the last stable offset and says which of the transactions among them were
//! aborted; leaving those out is for the client to do. Each reader begins at the log's beginning, now and
//! then again, and notes what it saw in the order of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use judge::transactions::PassId;
use model::{ErrorCode, Offset};
use tokio::time::{Instant, sleep};
use wire::api::ApiKey;
use wire::batch::{Batches, EndMarker};
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::fetch_response::{AbortedTransaction, PartitionData};
use wire::messages::{FetchRequest, ResponseKind, topic};

use super::TOPIC;
use crate::workload::board::Content;
use crate::workload::client::{Client, FETCH_IDS_FROM, Key, begin, finish};
use crate::workload::queue::Stop;
use crate::workload::record::{Recorder, partition};

const READ_COMMITTED: i8 = 1;
/// The first version that knows of it.
const FETCH_FROM: i16 = 4;
/// More than any batch here holds.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;
const THINK_MS: u64 = 300;
const WAIT_MS: i32 = 200;
/// At the end everything is looked at once more after so long: a new leader learns from its followers what
/// is committed, and tells of less before.
const SECOND_LOOK: Duration = Duration::from_secs(3);

/// One of them.
pub struct Reader {
    name: String,
    client: Client,
    recorder: Recorder,
    readings: BTreeMap<Key, Reading>,
}

/// Where it is in a partition.
#[derive(Clone, Copy, Debug)]
struct Reading {
    pass: PassId,
    next: i64,
    /// Up to where the leader said that records are committed to the log.
    high_watermark: i64,
}

impl Reader {
    /// One that has read nothing.
    pub fn new(name: String, client: Client, recorder: Recorder) -> Self {
        Self { name, client, recorder, readings: BTreeMap::new() }
    }

    /// Reads until told to stop.
    pub async fn run(mut self, stop: Stop) {
        while !stop.is_set() {
            sleep(Duration::from_millis(self.client.rng.u64(1..=THINK_MS))).await;
            self.client.refresh_if_stale().await;
            let partitions = self.client.partitions(TOPIC);
            if partitions.is_empty() {
                self.client.distrust();
                continue;
            }
            let index = partitions[self.client.rng.usize(..partitions.len())];
            let key = (TOPIC.to_owned(), index);
            if self.client.rng.u8(..40) == 0 {
                self.readings.remove(&key);
            }
            self.poll(&key).await;
        }
    }

    /// Reads everything from the beginning until nothing more comes, and notes where it did not get to the
    /// log's end.
    pub async fn finish(&mut self, until: Instant) {
        self.readings.clear();
        let mut at_end_since: Option<Instant> = None;
        loop {
            self.client.refresh_if_stale().await;
            let partitions = self.client.partitions(TOPIC);
            let keys: Vec<Key> = partitions.into_iter().map(|index| (TOPIC.to_owned(), index)).collect();
            let before = self.positions();
            for key in &keys {
                self.poll(key).await;
            }
            let is_at_end = |key: &Key| {
                self.readings
                    .get(key)
                    .is_some_and(|it| it.high_watermark >= 0 && it.next >= it.high_watermark)
            };
            if keys.is_empty() || !keys.iter().all(is_at_end) || before != self.positions() {
                at_end_since = None;
            } else if at_end_since.get_or_insert_with(Instant::now).elapsed() >= SECOND_LOOK {
                for reading in self.readings.values() {
                    self.recorder.transactions(|it, _| it.finally_read(reading.pass));
                }
                return;
            }
            if Instant::now() >= until {
                for key in keys.iter().filter(|key| !is_at_end(key)) {
                    let at = self.readings.get(key).map_or(0, |it| it.next);
                    self.recorder.transactions(|it, _| it.hangs(partition(key), Offset::new(at)));
                }
                return;
            }
        }
    }

    fn positions(&self) -> BTreeMap<Key, i64> {
        self.readings.iter().map(|(key, reading)| (key.clone(), reading.next)).collect()
    }

    async fn poll(&mut self, key: &Key) {
        if !self.readings.contains_key(key) {
            let pass = self.recorder.transactions(|it, _| it.pass(&self.name, partition(key)));
            self.readings.insert(key.clone(), Reading { pass, next: 0, high_watermark: -1 });
        }
        if self.fetch(key).await.is_none() {
            self.client.distrust();
            self.client.back_off(1).await;
        }
    }

    async fn fetch(&mut self, key: &Key) -> Option<()> {
        let next = self.readings.get(key)?.next;
        let leader = self.client.leader(key)?;
        let link = self.client.link_to(leader.node).await.ok()?;
        let id = self.client.topic_id(&key.0);
        let most = if id.is_some() { i16::MAX } else { FETCH_IDS_FROM - 1 };
        let version = link.version(ApiKey::Fetch, FETCH_FROM, most)?;
        let asked = FetchPartition::default()
            .with_partition(key.1)
            .with_fetch_offset(next)
            .with_current_leader_epoch(-1)
            .with_partition_max_bytes(1 << self.client.rng.u8(9..=16));
        let asked = FetchTopic::default()
            .with_topic(topic(&key.0))
            .with_topic_id(id.unwrap_or_default())
            .with_partitions(vec![asked]);
        let request = FetchRequest::default()
            .with_max_wait_ms(WAIT_MS)
            .with_min_bytes(1)
            .with_max_bytes(1 << 20)
            .with_isolation_level(READ_COMMITTED)
            .with_session_epoch(-1)
            .with_topics(vec![asked]);
        let answer = finish(begin(&link, version, request, self.client.request_timeout)).await;
        let Ok(ResponseKind::Fetch(answer)) = answer else { return None };
        self.recorder.refused_unless_ok(ErrorCode::from_code(answer.error_code));
        let data = answer.responses.first().and_then(|topic| topic.partitions.first())?;
        let code = ErrorCode::from_code(data.error_code);
        self.recorder.refused_unless_ok(code);
        if code == ErrorCode::OffsetOutOfRange {
            // The log was lost, or its end was: what is there now is another reading.
            self.readings.remove(key);
        }
        (code == ErrorCode::None).then(|| self.take(key, data))
    }

    fn take(&mut self, key: &Key, data: &PartitionData) {
        let Some(reading) = self.readings.get_mut(key) else { return };
        let bytes = data.records.clone().unwrap_or_default();
        let aborted = data.aborted_transactions.clone().unwrap_or_default();
        let (records, next) = committed(&bytes, aborted, reading.next);
        (reading.next, reading.high_watermark) = (next, data.high_watermark);
        let pass = reading.pass;
        self.recorder.transactions(|it, now| it.saw(now, pass, &records, Offset::new(next)));
    }
}

/// The records from `next` on that are committed, and the offset behind what was looked at. Stops before a
/// batch that cannot be read.
fn committed(bytes: &[u8], mut aborted: Vec<AbortedTransaction>, mut next: i64) -> (Vec<(Offset, u64)>, i64) {
    aborted.sort_by_key(|transaction| transaction.first_offset);
    let mut aborted = aborted.into_iter().peekable();
    let mut open: BTreeSet<i64> = BTreeSet::new();
    let mut records = Vec::new();
    for batch in Batches::new(bytes) {
        // The last batch may be cut off by the request's own bound.
        let Ok(batch) = batch else { break };
        if batch.check_crc().is_err() {
            break;
        }
        let header = &batch.header;
        while let Some(begun) = aborted.next_if(|it| it.first_offset <= header.last_offset().get()) {
            open.insert(begun.producer_id.0);
        }
        if header.is_control() {
            if EndMarker::read(&batch).is_some_and(|marker| !marker.commit) {
                open.remove(&header.producer_id);
            }
        } else if !(header.is_transactional() && open.contains(&header.producer_id)) {
            let Ok(found) = batch.records(DECOMPRESSED_BYTES_MAX) else { break };
            for record in found.iter().flatten().filter(|record| record.offset.get() >= next) {
                let value = record.value.and_then(Content::number).unwrap_or(0);
                records.push((record.offset, value));
            }
        }
        next = next.max(header.next_offset().get());
    }
    (records, next)
}

#[cfg(test)]
mod tests {
    use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
    use wire::batch::{BatchBuilder, EndMarker, NewRecord, Producer};
    use wire::messages::ProducerId as WireProducerId;
    use wire::messages::fetch_response::AbortedTransaction;

    use super::committed;

    /// A log of `P:VALUE` (a record of producer P), `P+` and `P-` (its transaction ends, committed or
    /// aborted), one an offset.
    fn log(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (offset, word) in text.split_whitespace().enumerate() {
            let place = (Offset::new(offset as i64), LeaderEpoch::new(0));
            let producer: i64 = word[..1].parse().expect("a digit");
            let (id, epoch) = (ProducerId::new(producer), ProducerEpoch::new(0));
            if let Some(value) = word[1..].strip_prefix(':') {
                let tag = Producer { id, epoch, base_sequence: 0 };
                let mut builder = BatchBuilder::new(place.0, place.1).producer(tag, true);
                let value = value.parse::<u64>().expect("a number").to_be_bytes();
                builder.push(&NewRecord { value: Some(&value), ..NewRecord::default() });
                builder.finish(&mut bytes).expect("no codec");
            } else {
                let marker = EndMarker { commit: word.ends_with('+'), coordinator_epoch: 0 };
                bytes.extend(marker.batch(id, epoch, Timestamp::new(0), place));
            }
        }
        bytes
    }

    fn check(text: &str, aborted: &[(i64, i64)], from: i64, expected: &[u64]) {
        let aborted = aborted.iter().map(|&(producer, first)| {
            AbortedTransaction::default().with_producer_id(WireProducerId(producer)).with_first_offset(first)
        });
        let (records, next) = committed(&log(text), aborted.collect(), from);
        let values: Vec<u64> = records.into_iter().map(|(_, value)| value).collect();
        assert_eq!((values.as_slice(), next), (expected, text.split_whitespace().count() as i64), "{text}");
    }

    #[test]
    fn records_of_aborted_transactions_are_left_out_and_those_of_others_are_not() {
        check("1:10 2:20 1- 2:21 2+", &[(1, 0)], 0, &[20, 21]);
        check("1:10 1- 1:11 1+", &[(1, 0)], 0, &[11]);
        check("1:10 1+ 1:11 1-", &[(1, 2)], 0, &[10]);
        check("1:10 1+", &[], 0, &[10]);
    }

    #[test]
    fn what_was_read_before_is_not_read_again() {
        check("1:10 2:20 1+ 2+", &[], 1, &[20]);
    }
}
