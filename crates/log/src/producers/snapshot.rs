//! The producers' state as a file, in Kafka's format.
//!
//! ```text
//! <offset>.snapshot: version i16 = 1 | crc u32 of what follows | count i32 | entries
//! entry: producer id i64 | epoch i16 | last sequence i32 | last offset i64 | offset delta i32
//!      | timestamp i64 | coordinator epoch i32 | first offset of the open transaction i64, -1 none
//! ```
//!
//! Of each producer's batches only the last one is written. A damaged file is no
//! loss: an older one and more of the log say the same.

use model::{Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::producers::{Producer, Producers, Written};

const VERSION: i16 = 1;
const HEADER_BYTES: usize = 10;
const ENTRY_BYTES: usize = 46;
const NO_OFFSET: i64 = -1;

/// Why a snapshot is not used; the state is then read from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the producer snapshot is damaged: {0}")]
pub struct SnapshotError(&'static str);

impl Producers {
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
        let mut producers = Self::default();
        for entry in entries.chunks_exact(ENTRY_BYTES) {
            let (id, producer) = decode_entry(entry);
            if let Some(start) = producer.transaction_start {
                producers.open.insert(start, id);
            }
            producers.known.insert(id, producer);
        }
        Ok(producers)
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

/// The first sequence of a batch that ends with `sequence`; a group coordinator's have none.
fn previous_sequence(sequence: i32, delta: i32) -> i32 {
    if sequence < 0 {
        return sequence;
    }
    let sum = i64::from(sequence) - i64::from(delta);
    i32::try_from(sum.rem_euclid(1 << 31)).expect("below 2^31")
}
