//! Consumers: assigned partitions, read from their leaders by long polls without sessions.
//!
//! A consumer believes nothing it is given: each batch's CRC is checked, each record must be
//! the one that its number and partition say, and offsets must follow each other, for nothing
//! here is compacted. It resets as `auto.offset.reset=earliest` does and asks new leaders
//! whether the log it read is still the log (KIP-320), and notes both.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use judge::history::{OpId, Read, Run};
use model::{ErrorCode, LeaderEpoch, Offset};
use wire::api::ApiKey;
use wire::batch::{Batches, Record};
use wire::messages::fetch_request::{FetchPartition, FetchTopic};
use wire::messages::fetch_response::PartitionData;
use wire::messages::{FetchRequest, FetchResponse, ResponseKind, topic};

use crate::workload::board::{Board, Content};
use crate::workload::client::{Client, FETCH_IDS_FROM, Key, NO_EPOCH, Pending, begin, finish};
use crate::workload::queue::Stop;
use crate::workload::record::{Recorder, partition};

mod offsets;

/// The first version that carries zstd (KIP-110).
const ZSTD_FROM: i16 = 10;
/// The first version that names the leader epoch that the client knows (KIP-320).
const EPOCH_FROM: i16 = 9;
/// More than any batch here holds once decompressed.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 20;
/// The pause between two polls is drawn up to here.
const THINK_MS: u64 = 300;
const WAIT_MS: (i32, i32) = (50, 500);

/// One consumer.
pub struct Consumer {
    client: Client,
    recorder: Recorder,
    board: Arc<Mutex<Board>>,
    positions: BTreeMap<Key, Position>,
    /// An answer said that zstd needs a newer version.
    needs_zstd: bool,
}

/// Where a consumer stands in a partition.
#[derive(Clone, Copy, Debug, Default)]
struct Position {
    /// The next offset to read; `None` until the log's beginning was asked for.
    next: Option<i64>,
    /// The epoch of the last batch that was read; -1 for none.
    read_epoch: i32,
    /// The leader epoch under which the position was last found to be right.
    validated: i32,
}

impl Position {
    fn unset() -> Self {
        Self { next: None, read_epoch: -1, validated: -1 }
    }

    fn at(next: i64) -> Self {
        Self { next: Some(next), ..Self::unset() }
    }
}

struct Flight {
    answer: Pending,
    /// What was asked for, each with the leader epoch that was named.
    asked: BTreeMap<Key, Option<LeaderEpoch>>,
}

impl Consumer {
    /// A consumer without an assignment.
    pub fn new(client: Client, recorder: Recorder, board: Arc<Mutex<Board>>) -> Self {
        Self { client, recorder, board, positions: BTreeMap::new(), needs_zstd: false }
    }

    /// Consumes until told to stop.
    pub async fn run(mut self, stop: Stop) {
        while !stop.is_set() {
            tokio::time::sleep(Duration::from_millis(self.client.rng.u64(1..=THINK_MS))).await;
            self.client.refresh_if_stale().await;
            if self.positions.is_empty() || self.client.rng.u8(..60) == 0 {
                self.draw_assignment();
            }
            if self.client.rng.u8(..50) == 0 {
                self.ask_some_offset().await;
            }
            let wait_ms = self.client.rng.i32(WAIT_MS.0..=WAIT_MS.1);
            self.poll(wait_ms).await;
        }
    }

    /// Assigns partitions, each to be read from its beginning.
    pub fn assign(&mut self, keys: impl IntoIterator<Item = Key>) {
        self.positions = keys.into_iter().map(|key| (key, Position::unset())).collect();
        let assigned: Vec<(Key, Option<i64>)> =
            self.positions.keys().map(|key| (key.clone(), None)).collect();
        self.recorder.assigned(&assigned);
    }

    /// Goes on as a group says; without an offset from the beginning.
    pub fn subscribe(&mut self, positions: Vec<(Key, Option<i64>)>) {
        self.recorder.subscribed(&positions);
        let place = |(key, at): (Key, Option<i64>)| (key, at.map_or_else(Position::unset, Position::at));
        self.positions = positions.into_iter().map(place).collect();
    }

    /// The next offset of each assigned partition, where it is known.
    pub fn position(&self, key: &Key) -> Option<i64> {
        self.positions.get(key)?.next
    }

    /// Access to the client, for what is asked beside consuming.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// A part of all partitions: from the beginning, from where it was, or from somewhere before.
    fn draw_assignment(&mut self) {
        let keys = self.board.lock().expect("no holder of this lock panics").partitions();
        let rng = &mut self.client.rng;
        let mut positions = BTreeMap::new();
        for key in keys {
            if rng.u8(..3) == 0 {
                continue;
            }
            let kept = self.positions.get(&key).and_then(|position| position.next);
            let position = match (kept, rng.u8(..4)) {
                (Some(next), 1 | 2) => Position::at(next),
                (Some(next), 3) => Position::at(rng.i64(0..=next)),
                _ => Position::unset(),
            };
            positions.insert(key, position);
        }
        self.positions = positions;
        let assigned: Vec<(Key, Option<i64>)> =
            self.positions.iter().map(|(key, position)| (key.clone(), position.next)).collect();
        self.recorder.assigned(&assigned);
    }

    /// Asks every leader of an assigned partition once; whether any record came.
    pub async fn poll(&mut self, wait_ms: i32) -> bool {
        self.drop_doomed();
        self.client.refresh_if_stale().await;
        self.settle_positions().await;
        let (op, flights) = self.send(wait_ms).await;
        let Some(op) = op else {
            self.client.back_off(1).await;
            return false;
        };
        let mut seen = Vec::new();
        for flight in flights {
            match finish(flight.answer).await {
                Ok(ResponseKind::Fetch(response)) => self.take(&response, &flight.asked, &mut seen),
                _ => self.client.distrust(),
            }
        }
        let mut board = self.board.lock().expect("no holder of this lock panics");
        for (key, run) in &seen {
            run.records.iter().for_each(|read| board.saw(key, read.offset.get(), read.value));
        }
        drop(board);
        let seen: Vec<Run> = seen.into_iter().map(|(_, run)| run).collect();
        let came = seen.iter().any(|run| !run.records.is_empty());
        self.recorder.poll_ended(op, seen);
        came
    }

    fn drop_doomed(&mut self) {
        let board = self.board.lock().expect("no holder of this lock panics");
        self.positions.retain(|key, _| !board.is_doomed(&key.0));
    }

    /// Sends the fetches, and notes a poll with the first: the way to the next leader may be long, and the
    /// answer of this one be there before.
    async fn send(&mut self, wait_ms: i32) -> (Option<OpId>, Vec<Flight>) {
        let mut by_leader: BTreeMap<i32, Vec<Key>> = BTreeMap::new();
        for (key, position) in &self.positions {
            match self.client.leader(key) {
                Some(leader) if position.next.is_some() => {
                    by_leader.entry(leader.node).or_default().push(key.clone());
                }
                Some(_) => {}
                None => self.client.distrust(),
            }
        }
        let (mut op, mut flights) = (None, Vec::new());
        for (node, keys) in by_leader {
            let Ok(link) = self.client.link_to(node).await else { continue };
            let has_ids = keys.iter().all(|key| self.client.topic_id(&key.0).is_some());
            let at_most = if has_ids { i16::MAX } else { FETCH_IDS_FROM - 1 };
            let at_least = if self.needs_zstd { ZSTD_FROM } else { 0 };
            let Some(version) = link.version(ApiKey::Fetch, at_least, at_most) else { continue };
            let epoch = |key: &Key| self.client.epoch(key, version, EPOCH_FROM);
            let asked = keys.into_iter().map(|key| (key.clone(), epoch(&key))).collect();
            let request = self.request(&asked, wait_ms);
            op.get_or_insert_with(|| self.recorder.poll_began());
            let answer = begin(&link, version, request, self.client.request_timeout);
            flights.push(Flight { answer, asked });
        }
        (op, flights)
    }

    fn request(&mut self, asked: &BTreeMap<Key, Option<LeaderEpoch>>, wait_ms: i32) -> FetchRequest {
        let partition_bytes = 1 << self.client.rng.u8(9..=16);
        let mut topics: Vec<FetchTopic> = Vec::new();
        for (key, epoch) in asked {
            let next = self.positions[key].next.expect("only settled positions are fetched from");
            let data = FetchPartition::default()
                .with_partition(key.1)
                .with_fetch_offset(next)
                .with_current_leader_epoch(epoch.unwrap_or(NO_EPOCH).get())
                .with_partition_max_bytes(partition_bytes);
            match topics.iter_mut().find(|known| known.topic.0.as_str() == key.0) {
                Some(known) => known.partitions.push(data),
                None => topics.push(
                    FetchTopic::default()
                        .with_topic(topic(&key.0))
                        .with_topic_id(self.client.topic_id(&key.0).unwrap_or_default())
                        .with_partitions(vec![data]),
                ),
            }
        }
        FetchRequest::default()
            .with_max_wait_ms(wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(partition_bytes.saturating_mul(4))
            .with_session_epoch(-1)
            .with_topics(topics)
    }

    fn take(
        &mut self,
        response: &FetchResponse,
        asked: &BTreeMap<Key, Option<LeaderEpoch>>,
        seen: &mut Vec<(Key, Run)>,
    ) {
        if response.error_code != 0 {
            self.recorder.refused(ErrorCode::from_code(response.error_code));
            self.client.distrust();
            return;
        }
        for answered in &response.responses {
            let name = match answered.topic.0.as_str() {
                "" => self.client.topic_of(answered.topic_id).map(str::to_owned),
                name => Some(name.to_owned()),
            };
            let Some(name) = name else { continue };
            for data in &answered.partitions {
                let key = (name.clone(), data.partition_index);
                if let Some(&epoch) = asked.get(&key) {
                    self.take_partition(key, epoch, data, seen);
                }
            }
        }
    }

    fn take_partition(
        &mut self,
        key: Key,
        epoch: Option<LeaderEpoch>,
        data: &PartitionData,
        seen: &mut Vec<(Key, Run)>,
    ) {
        let next = self.positions[&key].next.expect("only settled positions are fetched from");
        let code = ErrorCode::from_code(data.error_code);
        if code != ErrorCode::None {
            self.recorder.refused(code);
        }
        match code {
            ErrorCode::None => {
                let records = self.decode(&key, next, data.records.as_deref().unwrap_or_default());
                let (from, high_watermark) = (Offset::new(next), Offset::from_wire(data.high_watermark));
                let run = Run { partition: partition(&key), from, high_watermark, epoch, records };
                seen.push((key, run));
            }
            ErrorCode::OffsetOutOfRange => {
                self.recorder.reset(&key, next, data.log_start_offset, data.high_watermark, epoch);
                self.positions.insert(key, Position::unset());
            }
            ErrorCode::UnsupportedCompressionType => self.needs_zstd = true,
            ErrorCode::CorruptMessage => {
                self.recorder.corrupt(&key, next, "the leader says CORRUPT_MESSAGE");
                self.client.distrust();
            }
            _ => {
                self.client.distrust();
                let hint = &data.current_leader;
                self.client.note_leader(&key, hint.leader_id.0, hint.leader_epoch);
            }
        }
    }

    /// The records from `next` on, by offset; whatever is wrong with them is noted.
    fn decode(&mut self, key: &Key, next: i64, bytes: &[u8]) -> Vec<Read> {
        let mut found = Found { next, epoch: NO_EPOCH, records: Vec::new() };
        let mut batches = Batches::new(bytes);
        let wrong = batches.try_for_each(|batch| {
            // The last batch may be cut off by the request's own bound.
            let Ok(batch) = batch else { return Ok(()) };
            batch.check_crc().map_err(|error| error.to_string())?;
            found.epoch = batch.header.leader_epoch;
            let records = batch.records(DECOMPRESSED_BYTES_MAX).map_err(|error| error.to_string())?;
            for record in records.iter() {
                found.take(key, &record.map_err(|error| error.to_string())?)?;
            }
            Ok(())
        });
        if let Err(wrong) = wrong {
            let wrong: String = wrong;
            self.recorder.corrupt(key, found.next, &wrong);
        }
        if let Some(position) = self.positions.get_mut(key) {
            position.next = Some(found.next);
            position.read_epoch = position.read_epoch.max(found.epoch.get());
        }
        found.records
    }
}

struct Found {
    next: i64,
    /// Of the batch that is read.
    epoch: LeaderEpoch,
    records: Vec<Read>,
}

impl Found {
    fn take(&mut self, key: &Key, record: &Record<'_>) -> Result<(), String> {
        let offset = record.offset.get();
        if offset < self.next {
            // A batch is given whole, also when it begins before what was asked for.
            return if self.records.is_empty() { Ok(()) } else { Err(format!("offset {offset} came again")) };
        }
        if offset > self.next {
            return Err(format!("offset {offset} follows {}: a gap", self.next));
        }
        let number = record.value.and_then(Content::number);
        let number = number.ok_or_else(|| format!("offset {offset} has a value that nobody sent"))?;
        let epoch = LeaderEpoch::from_wire(self.epoch.get());
        self.records.push(Read { offset: record.offset, value: number, epoch });
        self.next = offset + 1;
        let header = record.headers.clone().next();
        let got = Content {
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.unwrap_or_default().to_vec(),
            header: header.and_then(|header| header.value.map(<[u8]>::to_vec)),
        };
        let is_whole = got == Content::of(key, number);
        is_whole
            .then_some(())
            .ok_or_else(|| format!("offset {offset} holds {number}, changed or of another partition"))
    }
}

#[cfg(test)]
mod tests {
    use judge::history::Read;
    use model::{LeaderEpoch, Offset};
    use wire::batch::{BatchBuilder, Batches, NewRecord};

    use super::{Content, Found, NO_EPOCH};

    /// Takes records with those numbers at `base` and on, as partition `t`-0 holds them.
    fn check(found: &mut Found, base: i64, numbers: &[u64]) -> Result<(), String> {
        let (own, mut bytes) = (("t".to_owned(), 0), Vec::new());
        let mut builder = BatchBuilder::new(Offset::new(base), LeaderEpoch::new(0));
        for &number in numbers {
            let content = Content::of(&own, number);
            let header = [(b"h".as_slice(), content.header.as_deref())];
            builder.push(&NewRecord {
                key: content.key.as_deref(),
                value: Some(&content.value),
                headers: if content.header.is_some() { &header } else { &[] },
                ..NewRecord::default()
            });
        }
        builder.finish(&mut bytes).expect("no codec");
        let batch = Batches::new(&bytes).next().expect("one").expect("whole");
        let records = batch.records(1 << 20).expect("plain");
        records.iter().try_for_each(|record| found.take(&own, &record.expect("whole")))
    }

    #[test]
    fn records_before_the_position_are_skipped_and_a_gap_is_noticed() {
        let mut found = Found { next: 2, epoch: LeaderEpoch::new(6), records: Vec::new() };
        assert_eq!(check(&mut found, 0, &[10, 11, 12, 13]), Ok(()));
        let epoch = Some(LeaderEpoch::new(6));
        let read = |offset, value| Read { offset: Offset::new(offset), value, epoch };
        assert_eq!(found.records, [read(2, 12), read(3, 13)]);
        assert_eq!(check(&mut found, 5, &[14]), Err("offset 5 follows 4: a gap".to_owned()));
        assert_eq!(check(&mut found, 3, &[13]), Err("offset 3 came again".to_owned()));
    }

    #[test]
    fn a_record_of_another_partition_is_noticed() {
        let mut found = Found { next: 0, epoch: NO_EPOCH, records: Vec::new() };
        let own = ("t".to_owned(), 1);
        let mut bytes = Vec::new();
        let mut builder = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(0));
        let strayed = Content::of(&own, 3).value;
        builder.push(&NewRecord { value: Some(&strayed), ..NewRecord::default() });
        builder.finish(&mut bytes).expect("no codec");
        let batch = Batches::new(&bytes).next().expect("one").expect("whole");
        let records = batch.records(1 << 20).expect("plain");
        let record = records.iter().next().expect("one").expect("whole");
        assert_eq!(found.take(&own, &record), Ok(()));
        found.next = 0;
        assert!(found.take(&("t".to_owned(), 0), &record).is_err());
    }
}
