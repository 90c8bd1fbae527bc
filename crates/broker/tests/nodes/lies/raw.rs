//! Record batches by hand, every field of which can lie.
//!
//! What no field overrides is as an honest producer writes it; the CRC is right for
//! whatever was written unless it is told to be wrong.

use wire::codec::{Codec, compress};
use wire::varint;

/// A record and what it lies about.
#[derive(Clone, Default)]
pub struct RawRecord {
    pub attributes: u8,
    pub timestamp_delta: i64,
    /// Its place in the batch unless told otherwise.
    pub offset_delta: Option<i32>,
    pub key: Option<&'static [u8]>,
    pub value: Option<&'static [u8]>,
    pub headers: Vec<(&'static [u8], Option<&'static [u8]>)>,
    /// Added to the length that stands before it.
    pub length_more: i32,
    pub key_length: Option<i32>,
    pub value_length: Option<i32>,
    pub header_count: Option<i32>,
    pub header_key_length: Option<i32>,
    /// Stand behind its last field, within its length.
    pub tail: &'static [u8],
    /// Written in place of its first bytes, whatever they are.
    pub start: Option<&'static [u8]>,
}

/// A batch and what it lies about.
#[derive(Clone)]
pub struct RawBatch {
    pub base_offset: i64,
    pub leader_epoch: i32,
    pub magic: u8,
    pub attributes: i16,
    pub codec: Codec,
    pub last_offset_delta: Option<i32>,
    pub base_timestamp: i64,
    /// The largest of the records' unless told otherwise.
    pub max_timestamp: Option<i64>,
    pub producer: (i64, i16, i32),
    pub count: Option<i32>,
    pub records: Vec<RawRecord>,
    /// In place of the records, compressed or not.
    pub body: Option<Vec<u8>>,
    /// Stand behind the records before they are compressed.
    pub body_tail: &'static [u8],
    pub length_more: i32,
    pub crc_flip: u32,
    /// As many bytes are cut off the end.
    pub cut: usize,
    /// Stand behind the batch.
    pub tail: Vec<u8>,
}

impl RawBatch {
    /// Three honest records, a millisecond apart.
    pub fn honest(now: i64) -> Self {
        let record = |at: i64| RawRecord {
            timestamp_delta: at,
            key: Some(b"key"),
            value: Some(b"value"),
            ..RawRecord::default()
        };
        Self {
            base_offset: 0,
            leader_epoch: -1,
            magic: 2,
            attributes: 0,
            codec: Codec::None,
            last_offset_delta: None,
            base_timestamp: now,
            max_timestamp: None,
            producer: (-1, -1, -1),
            count: None,
            records: (0..3).map(record).collect(),
            body: None,
            body_tail: &[],
            length_more: 0,
            crc_flip: 0,
            cut: 0,
            tail: Vec::new(),
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; 61];
        self.write_body(&mut out);
        let length = i32::try_from(out.len() - 12).expect("short").wrapping_add(self.length_more);
        let count = i32::try_from(self.records.len()).expect("short");
        let newest = self.records.iter().map(|it| self.base_timestamp.wrapping_add(it.timestamp_delta)).max();
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.base_offset.to_be_bytes());
        put(8, &length.to_be_bytes());
        put(12, &self.leader_epoch.to_be_bytes());
        put(16, &[self.magic]);
        put(21, &(self.attributes | self.codec.bits()).to_be_bytes());
        put(23, &self.last_offset_delta.unwrap_or(count - 1).to_be_bytes());
        put(27, &self.base_timestamp.to_be_bytes());
        put(35, &self.max_timestamp.or(newest).unwrap_or(-1).to_be_bytes());
        put(43, &self.producer.0.to_be_bytes());
        put(51, &self.producer.1.to_be_bytes());
        put(53, &self.producer.2.to_be_bytes());
        put(57, &self.count.unwrap_or(count).to_be_bytes());
        let crc = crc32c::crc32c(&out[21..]) ^ self.crc_flip;
        out[17..21].copy_from_slice(&crc.to_be_bytes());
        out.truncate(out.len() - self.cut);
        out.extend_from_slice(&self.tail);
        out
    }

    fn write_body(&self, out: &mut Vec<u8>) {
        if let Some(body) = &self.body {
            return out.extend_from_slice(body);
        }
        let mut body = Vec::new();
        for (index, record) in (0..).zip(&self.records) {
            record.write(index, &mut body);
        }
        body.extend_from_slice(self.body_tail);
        compress(self.codec, None, &body, out).expect("compresses");
    }
}

impl RawRecord {
    fn write(&self, index: i32, out: &mut Vec<u8>) {
        let mut one = vec![self.attributes];
        varint::write_i64(self.timestamp_delta, &mut one);
        varint::write_i32(self.offset_delta.unwrap_or(index), &mut one);
        field(self.key, self.key_length, &mut one);
        field(self.value, self.value_length, &mut one);
        let count = i32::try_from(self.headers.len()).expect("few");
        varint::write_i32(self.header_count.unwrap_or(count), &mut one);
        for (key, value) in &self.headers {
            field(Some(key), self.header_key_length, &mut one);
            field(*value, None, &mut one);
        }
        one.extend_from_slice(self.tail);
        if let Some(start) = self.start {
            one[..start.len()].copy_from_slice(start);
        }
        let length = i32::try_from(one.len()).expect("short").wrapping_add(self.length_more);
        varint::write_i32(length, out);
        out.extend_from_slice(&one);
    }
}

fn field(bytes: Option<&[u8]>, length: Option<i32>, out: &mut Vec<u8>) {
    let own = bytes.map_or(-1, |bytes| i32::try_from(bytes.len()).expect("short"));
    varint::write_i32(length.unwrap_or(own), out);
    out.extend_from_slice(bytes.unwrap_or_default());
}
