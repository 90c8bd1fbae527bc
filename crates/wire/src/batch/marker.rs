//! The marker that ends a transaction in a partition: committed or aborted (KIP-98).
//!
//! ```text
//! a control batch of one record, of the transaction's producer, without a sequence
//! key:   version i16 = 0 | type i16: 0 abort, 1 commit
//! value: version i16 = 0 | coordinator epoch i32
//! ```
//!
//! What is no such marker is none of ours: other control records (the metadata log's)
//! are read past, as is a batch that compaction has emptied.

use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::batch::build::{BatchBuilder, NewRecord};
use crate::batch::header::Producer;
use crate::batch::records::{Record, control_key, control_type};
use crate::batch::split::BatchRef;

const ABORT: i16 = 0;
const COMMIT: i16 = 1;
const VALUE_VERSION: i16 = 0;
/// A marker has no sequence.
const NO_SEQUENCE: i32 = -1;
/// A marker takes 17 bytes; whatever a control batch holds beyond this is no marker.
const BYTES_MAX: usize = 64 << 10;

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndMarker {
    /// Whether its records count.
    pub commit: bool,
    /// The epoch of the coordinator that says so.
    pub coordinator_epoch: i32,
}

impl EndMarker {
    /// The marker that a batch holds, if it is a control batch of one.
    pub fn read(batch: &BatchRef<'_>) -> Option<Self> {
        if !batch.header.is_control() {
            return None;
        }
        let records = batch.records(BYTES_MAX).ok()?;
        let record = records.iter().next()?.ok()?;
        let commit = Self::commits(&record)?;
        let epoch = record.value?.get(2..)?.first_chunk()?;
        Some(Self { commit, coordinator_epoch: i32::from_be_bytes(*epoch) })
    }

    /// Whether the record of a control batch commits, or aborts; `None` when it does neither.
    pub fn commits(record: &Record<'_>) -> Option<bool> {
        match control_type(record.key?)? {
            ABORT => Some(false),
            COMMIT => Some(true),
            _ => None,
        }
    }

    /// The batch that ends the transaction of this producer.
    pub fn batch(
        &self,
        id: ProducerId,
        epoch: ProducerEpoch,
        now: Timestamp,
        place: (Offset, LeaderEpoch),
    ) -> Vec<u8> {
        let producer = Producer { id, epoch, base_sequence: NO_SEQUENCE };
        let mut builder = BatchBuilder::new(place.0, place.1).producer(producer, true).control();
        let key = control_key(if self.commit { COMMIT } else { ABORT });
        let mut value = VALUE_VERSION.to_be_bytes().to_vec();
        value.extend_from_slice(&self.coordinator_epoch.to_be_bytes());
        builder.push(&NewRecord {
            timestamp: now,
            key: Some(&key),
            value: Some(&value),
            ..NewRecord::default()
        });
        let mut bytes = Vec::new();
        builder.finish(&mut bytes).expect("no codec can fail that is not there");
        bytes
    }
}

#[cfg(test)]
mod tests {
    use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

    use super::EndMarker;
    use crate::batch::{BatchBuilder, BatchRef, NewRecord};

    fn written(marker: EndMarker) -> Vec<u8> {
        let place = (Offset::new(7), LeaderEpoch::new(2));
        marker.batch(ProducerId::new(9), ProducerEpoch::new(3), Timestamp::new(1_000), place)
    }

    #[test]
    fn a_marker_is_read_as_it_was_written() {
        for commit in [false, true] {
            let marker = EndMarker { commit, coordinator_epoch: 12 };
            let bytes = written(marker);
            let batch = BatchRef::parse(&bytes).expect("a batch");
            batch.check_crc().expect("sealed");
            assert_eq!(EndMarker::read(&batch), Some(marker));
            let header = batch.header;
            assert!(header.is_control() && header.is_transactional());
            assert_eq!((header.base_sequence, header.last_sequence(), bytes.len()), (-1, -1, 78));
            assert_eq!((header.base_offset.get(), header.producer_epoch), (7, 3));
        }
    }

    #[test]
    fn what_is_no_marker_is_none_wherever_it_is_cut_or_changed() {
        let whole = written(EndMarker { commit: true, coordinator_epoch: 1 });
        for at in 61..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x55;
            let batch = BatchRef::parse(&changed).expect("the header is untouched");
            let _ = EndMarker::read(&batch);
        }
        let mut plain = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(0));
        plain.push(&NewRecord { key: Some(&[0, 0, 0, 1]), ..NewRecord::default() });
        let mut control = plain.clone().control();
        let mut bytes = Vec::new();
        plain.finish(&mut bytes).expect("no codec");
        assert_eq!(EndMarker::read(&BatchRef::parse(&bytes).expect("a batch")), None);
        control = control.control();
        bytes.clear();
        control.finish(&mut bytes).expect("no codec");
        assert_eq!(EndMarker::read(&BatchRef::parse(&bytes).expect("a batch")), None, "it has no value");
    }
}
