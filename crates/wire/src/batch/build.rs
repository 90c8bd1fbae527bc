//! Batches of our own: what the tools produce, the quorum appends and tests need.

use model::{LeaderEpoch, Offset, Timestamp};

use crate::batch::header::{BatchHeader, HEADER_BYTES, PREFIX_BYTES, Producer};
use crate::batch::patch;
use crate::codec::{self, Codec, CodecError, Level};
use crate::varint;

/// A record to be.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    /// Its time.
    pub timestamp: Timestamp,
    /// Its key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// Its value; `None` is null.
    pub value: Option<&'a [u8]>,
    /// Its headers, in order.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

/// Collects records into one batch.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    codec: Codec,
    level: Level,
    producer: Option<Producer>,
    transactional: bool,
    control: bool,
    base_timestamp: Option<Timestamp>,
    max_timestamp: Timestamp,
    count: i32,
    body: Vec<u8>,
    scratch: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch at `base_offset`.
    pub fn new(base_offset: Offset, leader_epoch: LeaderEpoch) -> Self {
        Self {
            base_offset,
            leader_epoch,
            codec: Codec::None,
            level: None,
            producer: None,
            transactional: false,
            control: false,
            base_timestamp: None,
            max_timestamp: Timestamp::new(-1),
            count: 0,
            body: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Compresses the records; `level` is the codec's own.
    pub fn codec(mut self, codec: Codec, level: Level) -> Self {
        self.codec = codec;
        self.level = level;
        self
    }

    /// Marks the batch as this producer's.
    pub fn producer(mut self, producer: Producer, transactional: bool) -> Self {
        self.producer = Some(producer);
        self.transactional = transactional;
        self
    }

    /// Makes it a control batch.
    pub fn control(mut self) -> Self {
        self.control = true;
        self
    }

    /// Adds a record.
    pub fn push(&mut self, record: &NewRecord<'_>) {
        let base = *self.base_timestamp.get_or_insert(record.timestamp);
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        let mut one = std::mem::take(&mut self.scratch);
        one.clear();
        one.push(0);
        varint::write_i64(record.timestamp.get().wrapping_sub(base.get()), &mut one);
        varint::write_i32(self.count, &mut one);
        write_field(record.key, &mut one);
        write_field(record.value, &mut one);
        write_length(record.headers.len(), &mut one);
        for &(key, value) in record.headers {
            write_field(Some(key), &mut one);
            write_field(value, &mut one);
        }
        write_length(one.len(), &mut self.body);
        self.body.extend_from_slice(&one);
        self.scratch = one;
        self.count = self.count.checked_add(1).expect("a batch of 2^31 records");
    }

    /// How many records were added.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// The batch's size so far, uncompressed.
    pub fn size_bytes(&self) -> usize {
        HEADER_BYTES + self.body.len()
    }

    /// Appends the finished batch to `out`. At least one record was added.
    pub fn finish(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        assert!(self.count > 0, "an empty batch has no last offset");
        let start = out.len();
        out.resize(start + HEADER_BYTES, 0);
        codec::compress(self.codec, self.level, &self.body, out)?;
        self.write_header(&mut out[start..]);
        Ok(())
    }

    fn write_header(&self, batch: &mut [u8]) {
        let length = i32::try_from(batch.len() - PREFIX_BYTES).expect("a batch below 2 GiB");
        let producer = self.producer.map_or((-1, -1, -1), |producer| {
            (producer.id.get(), producer.epoch.get(), producer.base_sequence)
        });
        let attributes = BatchHeader::attributes_of(self.codec, self.transactional, self.control);
        patch::place(batch, self.base_offset, self.leader_epoch);
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[16] = 2;
        batch[21..23].copy_from_slice(&attributes.to_be_bytes());
        batch[23..27].copy_from_slice(&(self.count - 1).to_be_bytes());
        batch[27..35].copy_from_slice(&self.base_timestamp.unwrap_or_default().get().to_be_bytes());
        batch[35..43].copy_from_slice(&self.max_timestamp.get().to_be_bytes());
        batch[43..51].copy_from_slice(&producer.0.to_be_bytes());
        batch[51..53].copy_from_slice(&producer.1.to_be_bytes());
        batch[53..57].copy_from_slice(&producer.2.to_be_bytes());
        batch[57..61].copy_from_slice(&self.count.to_be_bytes());
        patch::seal(batch);
    }
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
