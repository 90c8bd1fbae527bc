//! A batch with fewer records, as compaction leaves it.
//!
//! The records that stay keep their offsets, and the batch its place: base and last
//! offset, producer and sequence are as they were, so that readers pass over what is
//! gone and a producer's sequence still ends where it did. Where tombstones wait to be
//! removed, the base timestamp is the time from which on they may go (KIP-534).

use model::Timestamp;

use crate::batch::header::{BatchHeader, CODEC_MASK, DELETE_HORIZON, HEADER_BYTES, PREFIX_BYTES};
use crate::batch::patch;
use crate::batch::records::{Record, RecordError, Records};
use crate::codec::{self, Codec, CodecError};
use crate::varint;

/// Why a batch cannot be written anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetainError {
    /// Its records cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// They cannot be compressed again.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

impl Records<'_> {
    /// Appends the batch to `out` with those of its records that `kept` names by their places, one at
    /// least, compressed as it was. With a delete horizon, tombstones may go from then on.
    pub fn retain(
        &self,
        kept: &[bool],
        delete_horizon: Option<Timestamp>,
        out: &mut Vec<u8>,
    ) -> Result<(), RetainError> {
        let header = &self.header;
        let (mut body, mut scratch) = (Vec::new(), Vec::new());
        let (mut base, mut newest, mut count) = (delete_horizon, Timestamp::new(-1), 0);
        for (record, _) in self.iter().zip(kept).filter(|(_, kept)| **kept) {
            let record = record?;
            let base = *base.get_or_insert(record.timestamp);
            newest = newest.max(record.timestamp);
            count += 1;
            write_record(&record, base, &mut scratch, &mut body);
        }
        assert!(count > 0, "a batch without records is written by `emptied`");
        let begin = out.len();
        out.resize(begin + HEADER_BYTES, 0);
        codec::compress(header.codec().unwrap_or(Codec::None), None, &body, out)?;
        let horizon_bit = if delete_horizon.is_some() { DELETE_HORIZON } else { 0 };
        let attributes = header.attributes & !DELETE_HORIZON | horizon_bit;
        let times = (base.unwrap_or_default(), newest);
        write_header(header, attributes, times, count, &mut out[begin..]);
        Ok(())
    }
}

/// Appends the batch to `out` without any record: what is left says where it ended and who wrote it.
pub fn emptied(header: &BatchHeader, out: &mut Vec<u8>) {
    let begin = out.len();
    out.resize(begin + HEADER_BYTES, 0);
    let attributes = header.attributes & !(CODEC_MASK | DELETE_HORIZON);
    write_header(header, attributes, (Timestamp::new(-1), header.max_timestamp), 0, &mut out[begin..]);
}

fn write_header(
    of: &BatchHeader,
    attributes: i16,
    (base, newest): (Timestamp, Timestamp),
    count: i32,
    batch: &mut [u8],
) {
    let length = i32::try_from(batch.len() - PREFIX_BYTES).expect("records that fitted a batch fit it again");
    patch::place(batch, of.base_offset, of.leader_epoch);
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[23..27].copy_from_slice(&of.last_offset_delta.to_be_bytes());
    batch[27..35].copy_from_slice(&base.get().to_be_bytes());
    batch[35..43].copy_from_slice(&newest.get().to_be_bytes());
    batch[43..51].copy_from_slice(&of.producer_id.to_be_bytes());
    batch[51..53].copy_from_slice(&of.producer_epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&of.base_sequence.to_be_bytes());
    batch[57..61].copy_from_slice(&count.to_be_bytes());
    patch::seal(batch);
}

fn write_record(record: &Record<'_>, base: Timestamp, one: &mut Vec<u8>, body: &mut Vec<u8>) {
    one.clear();
    one.push(0);
    varint::write_i64(record.timestamp.get().wrapping_sub(base.get()), one);
    varint::write_i32(record.offset_delta, one);
    write_field(record.key, one);
    write_field(record.value, one);
    write_length(record.headers.count(), one);
    for header in record.headers {
        write_field(Some(header.key), one);
        write_field(header.value, one);
    }
    write_length(one.len(), body);
    body.extend_from_slice(one);
}

fn write_field(field: Option<&[u8]>, out: &mut Vec<u8>) {
    match field {
        Some(bytes) => {
            write_length(bytes.len(), out);
            out.extend_from_slice(bytes);
        }
        None => varint::write_i32(-1, out),
    }
}

fn write_length(length: usize, out: &mut Vec<u8>) {
    varint::write_i32(i32::try_from(length).expect("a field below 2 GiB"), out);
}

#[cfg(test)]
mod tests {
    use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

    use super::emptied;
    use crate::batch::{BatchBuilder, BatchRef, NewRecord, Producer, patch};
    use crate::codec::Codec;

    /// Five records at 100.. with times 50, 40, 30, ..., of a producer at sequence 7.
    fn batch(codec: Codec) -> Vec<u8> {
        let producer = Producer { id: ProducerId::new(3), epoch: ProducerEpoch::new(1), base_sequence: 7 };
        let mut builder = BatchBuilder::new(Offset::new(100), LeaderEpoch::new(4))
            .codec(codec, None)
            .producer(producer, true);
        for at in 0..5 {
            let key = format!("k{at}");
            let value = format!("v{at}");
            builder.push(&NewRecord {
                timestamp: Timestamp::new(50 - 10 * at),
                key: Some(key.as_bytes()),
                value: (at != 2).then_some(value.as_bytes()),
                headers: &[(b"h", Some(b"1")), (b"h", None)],
            });
        }
        let mut bytes = Vec::new();
        builder.finish(&mut bytes).expect("compresses");
        bytes
    }

    /// What is left when only the records at these places are kept.
    fn check(codec: Codec, kept: [bool; 5], horizon: Option<i64>, outcome: &str) {
        let bytes = batch(codec);
        let before = BatchRef::parse(&bytes).expect("whole");
        let mut out = b"before".to_vec();
        let records = before.records(1 << 20).expect("as built");
        records.retain(&kept, horizon.map(Timestamp::new), &mut out).expect("readable");
        let after = BatchRef::parse(&out[6..]).expect("whole");
        after.check_crc().expect("sealed");
        let (was, is) = (before.header, after.header);
        assert_eq!((is.base_offset, is.last_offset()), (was.base_offset, was.last_offset()));
        assert_eq!((is.producer(), is.last_sequence()), (was.producer(), was.last_sequence()));
        assert_eq!((is.codec(), is.leader_epoch), (was.codec(), was.leader_epoch));
        assert!(is.is_transactional() && !is.is_control());
        assert_eq!(is.has_delete_horizon(), horizon.is_some());
        if let Some(horizon) = horizon {
            assert_eq!(is.base_timestamp.get(), horizon);
        }
        let records = after.records(1 << 20).expect("compressed alike");
        let each = records.iter().map(|record| {
            let record = record.expect("whole");
            let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or(b"null")).into_owned();
            assert_eq!(record.headers.count(), 2);
            format!("{}:{}={}@{} ", record.offset, text(record.key), text(record.value), record.timestamp)
        });
        let said = format!("{}max {}", each.collect::<String>(), is.max_timestamp);
        assert_eq!(said, outcome);
    }

    #[test]
    fn records_that_stay_keep_offset_time_and_headers() {
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let kept = [false, true, true, false, false];
            check(codec, kept, None, "101:k1=v1@40 102:k2=null@30 max 40");
            check(codec, kept, Some(9_000), "101:k1=v1@40 102:k2=null@30 max 40");
            check(codec, [false, false, false, false, true], Some(0), "104:k4=v4@10 max 10");
        }
    }

    #[test]
    fn the_leaders_time_stays_the_time_of_every_record() {
        let mut bytes = batch(Codec::None);
        patch::stamp(&mut bytes, Timestamp::new(777));
        let before = BatchRef::parse(&bytes).expect("whole");
        let mut out = Vec::new();
        let records = before.records(1 << 20).expect("plain");
        records.retain(&[false, true, false, true, false], None, &mut out).expect("readable");
        let after = BatchRef::parse(&out).expect("whole");
        assert_eq!(after.header.timestamp_type(), before.header.timestamp_type());
        let times: Vec<i64> = after
            .records(1 << 20)
            .expect("plain")
            .iter()
            .map(|it| it.expect("whole").timestamp.get())
            .collect();
        assert_eq!(times, [777, 777]);
    }

    #[test]
    fn an_emptied_batch_is_a_header_that_ends_where_the_batch_did() {
        let bytes = batch(Codec::Zstd);
        let before = BatchRef::parse(&bytes).expect("whole").header;
        let mut out = Vec::new();
        emptied(&before, &mut out);
        let after = BatchRef::parse(&out).expect("whole");
        after.check_crc().expect("sealed");
        assert_eq!((out.len(), after.header.count), (61, 0));
        assert_eq!(after.header.next_offset(), before.next_offset());
        assert_eq!(after.header.last_sequence(), before.last_sequence());
        assert_eq!(after.header.max_timestamp, before.max_timestamp);
        assert_eq!(after.header.codec(), Some(Codec::None));
        assert_eq!(after.records(0).expect("nothing").iter().count(), 0);
    }
}
