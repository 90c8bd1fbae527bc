//! What a log remembers of its idempotent producers (KIP-98, KIP-360).
//!
//! For each producer the last five batches: enough to recognise a batch that was
//! sent again, and to refuse one that leaves a gap. The state follows from the log
//! alone, so every replica has the same; snapshots only save reading it all again.
//!
//! ```text
//! <offset>.snapshot: version i16 = 1 | crc u32 of what follows | count i32 | entries
//! entry: producer id i64 | epoch i16 | last sequence i32 | last offset i64 | offset delta i32
//!      | timestamp i64 | coordinator epoch i32 | first offset of the open transaction i64, -1 none
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use model::{ErrorCode, Mutant, Offset, ProducerEpoch, ProducerId, Timestamp};
use wire::batch::BatchHeader;

/// As many batches of a producer are remembered as it may have in flight.
const BATCHES_REMEMBERED: usize = 5;
const VERSION: i16 = 1;
const HEADER_BYTES: usize = 10;
const ENTRY_BYTES: usize = 46;
const NO_OFFSET: i64 = -1;

/// Why a producer's batch is not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProducerError {
    /// A newer incarnation of the producer has written.
    #[error("producer {id} has epoch {current}, the batch has {got}")]
    StaleEpoch {
        /// The producer.
        id: ProducerId,
        /// Its epoch as known.
        current: ProducerEpoch,
        /// The epoch of the batch.
        got: ProducerEpoch,
    },
    /// Batches before this one are missing.
    #[error("producer {id} was at sequence {last}, the batch begins with {got}")]
    OutOfOrder {
        /// The producer.
        id: ProducerId,
        /// The last sequence seen; -1 when a new epoch must begin with 0.
        last: i32,
        /// The first sequence of the batch.
        got: i32,
    },
}

impl ProducerError {
    /// The code a producer sees.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::StaleEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            Self::OutOfOrder { .. } => ErrorCode::OutOfOrderSequenceNumber,
        }
    }
}

/// A batch that a producer wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Offset of its first record.
    pub first_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Its largest timestamp.
    pub timestamp: Timestamp,
    first_sequence: i32,
    last_sequence: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: ProducerEpoch,
    batches: VecDeque<Written>,
    /// The last time it wrote, control batches included.
    timestamp: Timestamp,
    coordinator_epoch: i32,
    transaction_start: Option<Offset>,
}

/// The producers of one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers {
    known: BTreeMap<ProducerId, Producer>,
}

/// Why a snapshot is not used; the state is then read from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the producer snapshot is damaged: {0}")]
pub struct SnapshotError(&'static str);

impl Producers {
    /// Judges a client's batch before it is appended: `Ok(Some(_))` is one that was appended before.
    pub fn judge(&self, header: &BatchHeader) -> Result<Option<Written>, ProducerError> {
        let Some(batch) = header.producer().filter(|_| !Mutant::SequenceUnchecked.is_planted()) else {
            return Ok(None);
        };
        let Some(known) = self.known.get(&batch.id) else { return Ok(None) };
        let (id, got) = (batch.id, batch.base_sequence);
        if batch.epoch < known.epoch {
            return Err(ProducerError::StaleEpoch { id, current: known.epoch, got: batch.epoch });
        }
        if batch.epoch > known.epoch {
            return if got == 0 { Ok(None) } else { Err(ProducerError::OutOfOrder { id, last: -1, got }) };
        }
        let same = |written: &&Written| {
            written.first_sequence == got && written.last_sequence == header.last_sequence()
        };
        if let Some(written) = known.batches.iter().find(same) {
            return Ok(Some(*written));
        }
        match known.batches.back() {
            Some(last) if next_sequence(last.last_sequence) == got => Ok(None),
            // Only markers of this epoch so far: its sequences begin with 0.
            None if got == 0 => Ok(None),
            last => {
                Err(ProducerError::OutOfOrder { id, last: last.map_or(-1, |last| last.last_sequence), got })
            }
        }
    }

    /// Takes note of a batch that is in the log now.
    pub fn note(&mut self, header: &BatchHeader) {
        let Some(batch) = header.producer() else { return };
        let known = self.known.entry(batch.id).or_insert_with(|| Producer {
            epoch: batch.epoch,
            batches: VecDeque::new(),
            timestamp: header.max_timestamp,
            coordinator_epoch: -1,
            transaction_start: None,
        });
        if batch.epoch > known.epoch {
            known.epoch = batch.epoch;
            known.batches.clear();
        }
        known.timestamp = header.max_timestamp;
        if header.is_control() {
            known.transaction_start = None;
            return;
        }
        if header.is_transactional() {
            known.transaction_start.get_or_insert(header.base_offset);
        }
        if known.batches.len() == BATCHES_REMEMBERED {
            known.batches.pop_front();
        }
        known.batches.push_back(Written {
            first_offset: header.base_offset,
            last_offset: header.last_offset(),
            timestamp: header.max_timestamp,
            first_sequence: batch.base_sequence,
            last_sequence: header.last_sequence(),
        });
    }

    /// Forgets producers that were silent for `expiration` and have no transaction open.
    pub fn expire(&mut self, now: Timestamp, expiration: Duration) {
        let expiration = i64::try_from(expiration.as_millis()).unwrap_or(i64::MAX);
        let oldest = now.get().saturating_sub(expiration);
        self.known.retain(|_, known| known.transaction_start.is_some() || known.timestamp.get() > oldest);
    }

    /// Where the oldest open transaction begins: readers of committed data stop there.
    pub fn first_open_transaction(&self) -> Option<Offset> {
        self.known.values().filter_map(|known| known.transaction_start).min()
    }

    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The snapshot file's content.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; HEADER_BYTES];
        for (id, known) in &self.known {
            let last = known.batches.back();
            out.extend_from_slice(&id.get().to_be_bytes());
            out.extend_from_slice(&known.epoch.get().to_be_bytes());
            out.extend_from_slice(&last.map_or(-1, |last| last.last_sequence).to_be_bytes());
            out.extend_from_slice(&last.map_or(NO_OFFSET, |last| last.last_offset.get()).to_be_bytes());
            out.extend_from_slice(&last.map_or(0, Written::offset_delta).to_be_bytes());
            out.extend_from_slice(&known.timestamp.get().to_be_bytes());
            out.extend_from_slice(&known.coordinator_epoch.to_be_bytes());
            let open = known.transaction_start.map_or(NO_OFFSET, Offset::get);
            out.extend_from_slice(&open.to_be_bytes());
        }
        let count = i32::try_from(self.known.len()).expect("producers of one partition fit 31 bits");
        out[0..2].copy_from_slice(&VERSION.to_be_bytes());
        out[6..10].copy_from_slice(&count.to_be_bytes());
        let crc = crc32c::crc32c(&out[6..]);
        out[2..6].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// Reads a snapshot file's content.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let (header, entries) =
            bytes.split_first_chunk::<HEADER_BYTES>().ok_or(SnapshotError("its header is cut off"))?;
        if i16::from_be_bytes([header[0], header[1]]) != VERSION {
            return Err(SnapshotError("its version is not 1"));
        }
        let crc = u32::from_be_bytes([header[2], header[3], header[4], header[5]]);
        if crc32c::crc32c(&bytes[6..]) != crc {
            return Err(SnapshotError("its CRC does not match"));
        }
        let count = i32::from_be_bytes([header[6], header[7], header[8], header[9]]);
        if usize::try_from(count).ok().and_then(|count| count.checked_mul(ENTRY_BYTES)) != Some(entries.len())
        {
            return Err(SnapshotError("its length does not match its count"));
        }
        let known = entries.chunks_exact(ENTRY_BYTES).map(decode_entry).collect();
        Ok(Self { known })
    }
}

impl Written {
    fn offset_delta(&self) -> i32 {
        i32::try_from(self.last_offset.since(self.first_offset)).expect("one batch")
    }
}

fn decode_entry(bytes: &[u8]) -> (ProducerId, Producer) {
    let last_sequence = i32::from_be_bytes(field(bytes, 10));
    let last_offset = i64::from_be_bytes(field(bytes, 14));
    let delta = i32::from_be_bytes(field(bytes, 22)).max(0);
    let timestamp = Timestamp::new(i64::from_be_bytes(field(bytes, 26)));
    let batch = (last_offset >= i64::from(delta)).then(|| Written {
        first_offset: Offset::new(last_offset - i64::from(delta)),
        last_offset: Offset::new(last_offset),
        timestamp,
        first_sequence: previous_sequence(last_sequence, delta),
        last_sequence,
    });
    let producer = Producer {
        epoch: ProducerEpoch::new(i16::from_be_bytes(field(bytes, 8))),
        batches: batch.into_iter().collect(),
        timestamp,
        coordinator_epoch: i32::from_be_bytes(field(bytes, 34)),
        transaction_start: Offset::from_wire(i64::from_be_bytes(field(bytes, 38))),
    };
    (ProducerId::new(i64::from_be_bytes(field(bytes, 0))), producer)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("entries are taken whole")
}

/// Sequences wrap from 2^31 - 1 to 0.
fn next_sequence(sequence: i32) -> i32 {
    sequence.checked_add(1).unwrap_or(0)
}

fn previous_sequence(sequence: i32, delta: i32) -> i32 {
    let sum = i64::from(sequence) - i64::from(delta);
    i32::try_from(sum.rem_euclid(1 << 31)).expect("below 2^31")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
    use wire::batch::{BatchBuilder, BatchHeader, NewRecord, Producer};

    use super::Producers;

    fn header(base: i64, epoch: i16, base_sequence: i32, records: usize) -> BatchHeader {
        let producer = Producer { id: ProducerId::new(9), epoch: ProducerEpoch::new(epoch), base_sequence };
        let mut builder = BatchBuilder::new(Offset::new(base), LeaderEpoch::new(0)).producer(producer, false);
        for _ in 0..records {
            builder.push(&NewRecord { timestamp: Timestamp::new(base), ..NewRecord::default() });
        }
        let mut bytes = Vec::new();
        builder.finish(&mut bytes).expect("no codec");
        BatchHeader::parse(&bytes).expect("a batch")
    }

    /// Each batch is (epoch, first sequence, records); appended unless refused. The outcome says
    /// `ok`, `at OFFSET` for a repeated one, or the error's code.
    fn check(batches: &[(i16, i32, usize)], outcome: &[&str]) {
        let mut producers = Producers::default();
        let mut end = 0;
        let mut said = Vec::new();
        for &(epoch, sequence, records) in batches {
            let batch = header(end, epoch, sequence, records);
            said.push(match producers.judge(&batch) {
                Ok(Some(written)) => format!("at {}", written.first_offset),
                Err(error) => error.code().name().to_owned(),
                Ok(None) => {
                    producers.note(&batch);
                    end = batch.next_offset().get();
                    "ok".to_owned()
                }
            });
        }
        assert_eq!(said, outcome);
        assert_eq!(Producers::decode(&producers.encode()).expect("fresh").encode(), producers.encode());
    }

    #[test]
    fn batches_in_sequence_are_taken_and_repeats_answered_with_their_place() {
        check(&[(0, 0, 3), (0, 3, 2), (0, 3, 2), (0, 0, 3), (0, 5, 1)], &["ok", "ok", "at 3", "at 0", "ok"]);
    }

    #[test]
    fn a_gap_and_an_unknown_repeat_are_out_of_order() {
        check(
            &[(0, 0, 3), (0, 4, 1), (0, 0, 2)],
            &["ok", "OUT_OF_ORDER_SEQUENCE_NUMBER", "OUT_OF_ORDER_SEQUENCE_NUMBER"],
        );
    }

    #[test]
    fn only_the_last_five_batches_are_remembered() {
        let mut batches: Vec<_> = (0..6).map(|sequence| (0, sequence, 1)).collect();
        batches.extend([(0, 0, 1), (0, 1, 1)]);
        let mut outcome = vec!["ok"; 6];
        outcome.extend(["OUT_OF_ORDER_SEQUENCE_NUMBER", "at 1"]);
        check(&batches, &outcome);
    }

    #[test]
    fn a_new_epoch_begins_with_zero_and_fences_the_old() {
        check(
            &[(3, 7, 1), (4, 8, 1), (4, 0, 1), (3, 8, 1)],
            &["ok", "OUT_OF_ORDER_SEQUENCE_NUMBER", "ok", "INVALID_PRODUCER_EPOCH"],
        );
    }

    #[test]
    fn a_sequence_wraps_to_zero() {
        check(&[(0, i32::MAX, 1), (0, 0, 1), (0, 0, 1)], &["ok", "ok", "at 1"]);
        check(&[(0, i32::MAX - 1, 3), (0, 1, 1)], &["ok", "ok"]);
    }

    #[test]
    fn a_silent_producer_is_forgotten() {
        let mut producers = Producers::default();
        producers.note(&header(1_000, 0, 0, 1));
        producers.expire(Timestamp::new(1_500), Duration::from_secs(1));
        assert!(!producers.is_empty());
        producers.expire(Timestamp::new(2_000), Duration::from_secs(1));
        assert!(producers.is_empty());
    }

    #[test]
    fn a_damaged_snapshot_is_refused_wherever_it_is_damaged() {
        let mut producers = Producers::default();
        producers.note(&header(1_000, 0, 0, 1));
        let whole = producers.encode();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(Producers::decode(&changed).is_err(), "changed at {at}");
            assert!(Producers::decode(&whole[..at]).is_err(), "cut at {at}");
        }
    }
}
