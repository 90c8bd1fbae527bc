//! The lies, and what Apache Kafka 4.3.1 answered to each.
//!
//! An answer is an error's name, with the records it names; or `@` and the first
//! offset, then how the batch is stored: records and codec, flags, the largest and
//! the first timestamp, and the offset deltas of its records.

use wire::codec::Codec;

use crate::lies::raw::RawBatch;

/// The topics that the cases are sent to.
#[derive(Clone, Copy)]
pub enum Topic {
    Plain,
    Appended,
    Compacted,
    Zipped,
    Bounded,
    Small,
}

impl Topic {
    pub const ALL: [Self; 6] =
        [Self::Plain, Self::Appended, Self::Compacted, Self::Zipped, Self::Bounded, Self::Small];

    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "lies-plain",
            Self::Appended => "lies-appended",
            Self::Compacted => "lies-compacted",
            Self::Zipped => "lies-zipped",
            Self::Bounded => "lies-bounded",
            Self::Small => "lies-small",
        }
    }

    pub fn configs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Plain => &[],
            Self::Appended => &[("message.timestamp.type", "LogAppendTime")],
            Self::Compacted => &[("cleanup.policy", "compact")],
            Self::Zipped => &[("compression.type", "gzip")],
            Self::Bounded => &[("message.timestamp.before.max.ms", "3600000")],
            Self::Small => &[("max.message.bytes", "300")],
        }
    }
}

/// One lie.
pub struct Case {
    pub name: &'static str,
    pub topic: Topic,
    pub lie: fn(&mut RawBatch),
    /// Kafka's answer.
    pub answer: &'static str,
    /// Ours, where we know better.
    pub departure: Option<&'static str>,
}

const fn case(name: &'static str, topic: Topic, lie: fn(&mut RawBatch), answer: &'static str) -> Case {
    Case { name, topic, lie, answer, departure: None }
}

/// Where Kafka fails on the lie (UNKNOWN_SERVER_ERROR), we say what is wrong; and what no consumer could
/// read, because a record's length lies within a compressed batch, is refused as it is uncompressed.
const fn departs(
    name: &'static str,
    topic: Topic,
    lie: fn(&mut RawBatch),
    answer: &'static str,
    ours: &'static str,
) -> Case {
    Case { name, topic, lie, answer, departure: Some(ours) }
}

pub const TABLE: &[Case] = &[
    case("an honest batch", Topic::Plain, |_| {}, "@0 3xnone max=now+2 base=now+0 deltas=0,1,2"),
    case(
        "a client's LogAppendTime on a CreateTime topic",
        Topic::Plain,
        |b| b.attributes = 0x08,
        "@0 3xnone max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "the same without timestamps",
        Topic::Plain,
        |b| {
            b.attributes = 0x08;
            b.base_timestamp = -1;
            for r in &mut b.records {
                r.timestamp_delta = 0;
            }
        },
        "INVALID_TIMESTAMP [0, 1, 2]",
    ),
    case(
        "a client's LogAppendTime on a LogAppendTime topic",
        Topic::Appended,
        |b| b.attributes = 0x08,
        "INVALID_TIMESTAMP [0, 1, 2]",
    ),
    case(
        "an honest batch on a LogAppendTime topic",
        Topic::Appended,
        |_| {},
        "@0 3xnone append-time base=now+0 deltas=0,1,2",
    ),
    case(
        "a client's LogAppendTime, compressed",
        Topic::Plain,
        |b| {
            b.attributes = 0x08;
            b.codec = Codec::Gzip;
        },
        "@0 3xgzip max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "a delete horizon",
        Topic::Plain,
        |b| b.attributes = 0x40,
        "@0 3xnone flags=0x40 max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "a delete horizon, compressed",
        Topic::Plain,
        |b| {
            b.attributes = 0x40;
            b.codec = Codec::Lz4;
        },
        "@0 3xlz4 flags=0x40 max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "a delete horizon on a compacted topic",
        Topic::Compacted,
        |b| b.attributes = 0x40,
        "@0 3xnone flags=0x40 max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "unknown attribute bits",
        Topic::Plain,
        |b| b.attributes = 0x100,
        "@0 3xnone flags=0x100 max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "all unknown attribute bits",
        Topic::Plain,
        |b| b.attributes = 0x7f80,
        "@0 3xnone flags=0x7f80 max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "the sign bit of the attributes",
        Topic::Plain,
        |b| b.attributes = i16::MIN,
        "@0 3xnone flags=0x8000 max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "transactional without a transactional id or a producer id",
        Topic::Plain,
        |b| b.attributes = 0x10,
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    ),
    case(
        "transactional with a producer id and no transactional id",
        Topic::Plain,
        |b| {
            b.attributes = 0x10;
            b.producer = (7_000_001, 0, 0);
        },
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    ),
    case(
        "transactional and control",
        Topic::Plain,
        |b| {
            b.attributes = 0x30;
            b.producer = (7_000_002, 0, 0);
        },
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    ),
    case("a control batch", Topic::Plain, |b| b.attributes = 0x20, "INVALID_RECORD"),
    case(
        "a control batch with a producer id",
        Topic::Plain,
        |b| {
            b.attributes = 0x20;
            b.producer = (7_000_003, 0, -1);
        },
        "INVALID_RECORD",
    ),
    case(
        "a control batch, compressed",
        Topic::Plain,
        |b| {
            b.attributes = 0x20;
            b.codec = Codec::Snappy;
        },
        "INVALID_RECORD",
    ),
    case(
        "offset deltas that all are zero",
        Topic::Plain,
        |b| {
            for r in &mut b.records {
                r.offset_delta = Some(0);
            }
        },
        "@0 3xnone max=now+2 base=now+0 deltas=0,0,0",
    ),
    case(
        "offset deltas with a gap",
        Topic::Plain,
        |b| b.records[2].offset_delta = Some(7),
        "@0 3xnone max=now+2 base=now+0 deltas=0,1,7",
    ),
    case(
        "offset deltas that begin at one",
        Topic::Plain,
        |b| {
            for (i, r) in (1..).zip(&mut b.records) {
                r.offset_delta = Some(i);
            }
        },
        "@0 3xnone max=now+2 base=now+0 deltas=1,2,3",
    ),
    case(
        "a negative offset delta",
        Topic::Plain,
        |b| b.records[1].offset_delta = Some(-5),
        "@0 3xnone max=now+2 base=now+0 deltas=0,-5,2",
    ),
    case(
        "the largest offset delta",
        Topic::Plain,
        |b| b.records[1].offset_delta = Some(i32::MAX),
        "@0 3xnone max=now+2 base=now+0 deltas=0,2147483647,2",
    ),
    departs(
        "offset deltas with a gap, compressed",
        Topic::Plain,
        |b| {
            b.records[2].offset_delta = Some(7);
            b.codec = Codec::Gzip;
        },
        "UNKNOWN_SERVER_ERROR",
        "INVALID_RECORD [2]",
    ),
    departs(
        "offset deltas that all are zero, compressed",
        Topic::Plain,
        |b| {
            for r in &mut b.records {
                r.offset_delta = Some(0);
            }
            b.codec = Codec::Zstd;
        },
        "UNKNOWN_SERVER_ERROR",
        "INVALID_RECORD [1]",
    ),
    departs(
        "a negative offset delta, compressed",
        Topic::Plain,
        |b| {
            b.records[1].offset_delta = Some(-5);
            b.codec = Codec::Lz4;
        },
        "UNKNOWN_SERVER_ERROR",
        "INVALID_RECORD [1]",
    ),
    case(
        "offset deltas with a gap where the topic compresses",
        Topic::Zipped,
        |b| b.records[2].offset_delta = Some(7),
        "@0 3xgzip max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "offset deltas with a gap where the topic stores another codec",
        Topic::Zipped,
        |b| {
            b.records[2].offset_delta = Some(7);
            b.codec = Codec::Lz4;
        },
        "@0 3xgzip max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "an honest batch where the topic compresses",
        Topic::Zipped,
        |_| {},
        "@0 3xgzip max=now+2 base=now+0 deltas=0,1,2",
    ),
    case("a base offset of one", Topic::Plain, |b| b.base_offset = 1, "INVALID_RECORD"),
    case("a base offset below zero", Topic::Plain, |b| b.base_offset = -1, "INVALID_RECORD"),
    case("the largest base offset", Topic::Plain, |b| b.base_offset = i64::MAX, "INVALID_RECORD"),
    case(
        "a base offset of one, compressed",
        Topic::Plain,
        |b| {
            b.base_offset = 1;
            b.codec = Codec::Gzip;
        },
        "INVALID_RECORD",
    ),
    case(
        "a base offset of one where the topic compresses",
        Topic::Zipped,
        |b| b.base_offset = 1,
        "INVALID_RECORD",
    ),
    case(
        "a leader epoch of its own",
        Topic::Plain,
        |b| b.leader_epoch = 77,
        "@0 3xnone max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "a last offset delta above the count",
        Topic::Plain,
        |b| b.last_offset_delta = Some(5),
        "INVALID_RECORD",
    ),
    case(
        "a last offset delta below the count",
        Topic::Plain,
        |b| b.last_offset_delta = Some(1),
        "INVALID_RECORD",
    ),
    case(
        "a last offset delta below zero",
        Topic::Plain,
        |b| b.last_offset_delta = Some(-1),
        "INVALID_RECORD",
    ),
    case(
        "the least last offset delta",
        Topic::Plain,
        |b| b.last_offset_delta = Some(i32::MIN),
        "INVALID_RECORD",
    ),
    case(
        "a count below the records",
        Topic::Plain,
        |b| {
            b.count = Some(2);
            b.last_offset_delta = Some(1);
        },
        "INVALID_RECORD",
    ),
    case(
        "a count below the records, compressed",
        Topic::Plain,
        |b| {
            b.count = Some(2);
            b.last_offset_delta = Some(1);
            b.codec = Codec::Gzip;
        },
        "INVALID_RECORD",
    ),
    case(
        "a count above the records",
        Topic::Plain,
        |b| {
            b.count = Some(4);
            b.last_offset_delta = Some(3);
        },
        "INVALID_RECORD",
    ),
    case(
        "a count above the records, compressed",
        Topic::Plain,
        |b| {
            b.count = Some(4);
            b.last_offset_delta = Some(3);
            b.codec = Codec::Zstd;
        },
        "INVALID_RECORD",
    ),
    case(
        "a count of zero",
        Topic::Plain,
        |b| {
            b.count = Some(0);
            b.records.clear();
            b.last_offset_delta = Some(0);
        },
        "INVALID_RECORD",
    ),
    case(
        "a count of zero with a matching last offset delta",
        Topic::Plain,
        |b| {
            b.count = Some(0);
            b.records.clear();
            b.last_offset_delta = Some(-1);
        },
        "INVALID_RECORD",
    ),
    case("a count below zero", Topic::Plain, |b| b.count = Some(-1), "INVALID_RECORD"),
    case(
        "a huge count and nothing behind",
        Topic::Plain,
        |b| {
            b.count = Some(i32::MAX);
            b.last_offset_delta = Some(i32::MAX - 1);
        },
        "INVALID_RECORD",
    ),
    case(
        "a huge count, compressed",
        Topic::Plain,
        |b| {
            b.count = Some(i32::MAX);
            b.last_offset_delta = Some(i32::MAX - 1);
            b.codec = Codec::Gzip;
        },
        "INVALID_RECORD",
    ),
    case("a wrong CRC", Topic::Plain, |b| b.crc_flip = 1, "CORRUPT_MESSAGE"),
    case(
        "a wrong CRC, compressed",
        Topic::Plain,
        |b| {
            b.crc_flip = 0x8000_0000;
            b.codec = Codec::Lz4;
        },
        "CORRUPT_MESSAGE",
    ),
    case("a length one too small", Topic::Plain, |b| b.length_more = -1, "CORRUPT_MESSAGE"),
    case("a length one too large", Topic::Plain, |b| b.length_more = 1, "INVALID_RECORD"),
    case(
        "a length of zero",
        Topic::Plain,
        |b| b.length_more = -(i32::try_from(b.bytes().len()).expect("short") - 12),
        "CORRUPT_MESSAGE",
    ),
    case(
        "a length below that of a header",
        Topic::Plain,
        |b| b.length_more = -(i32::try_from(b.bytes().len()).expect("short") - 60),
        "CORRUPT_MESSAGE",
    ),
    case(
        "a length that is just the header",
        Topic::Plain,
        |b| b.length_more = -(i32::try_from(b.bytes().len()).expect("short") - 61),
        "CORRUPT_MESSAGE",
    ),
    case("a negative length", Topic::Plain, |b| b.length_more = i32::MIN, "CORRUPT_MESSAGE"),
    departs(
        "the largest length",
        Topic::Plain,
        |b| b.length_more = i32::MAX - i32::try_from(b.bytes().len()).expect("short") + 12,
        "UNKNOWN_SERVER_ERROR",
        "INVALID_RECORD",
    ),
    case("a batch cut by one byte", Topic::Plain, |b| b.cut = 1, "INVALID_RECORD"),
    case("a batch cut within its header", Topic::Plain, |b| b.cut = b.bytes().len() - 30, "INVALID_RECORD"),
    case("a batch cut before its magic", Topic::Plain, |b| b.cut = b.bytes().len() - 14, "INVALID_RECORD"),
    case("no bytes at all", Topic::Plain, |b| b.cut = b.bytes().len(), "INVALID_RECORD"),
    case("one byte", Topic::Plain, |b| b.cut = b.bytes().len() - 1, "INVALID_RECORD"),
    case(
        "a byte behind the batch",
        Topic::Plain,
        |b| b.tail = vec![0],
        "@0 3xnone max=now+2 base=now+0 deltas=0,1,2",
    ),
    case("twelve zeroes behind the batch", Topic::Plain, |b| b.tail = vec![0; 12], "CORRUPT_MESSAGE"),
    case(
        "a header of garbage behind the batch",
        Topic::Plain,
        |b| b.tail = vec![0xff; 61],
        "CORRUPT_MESSAGE",
    ),
    case(
        "half a batch behind the batch",
        Topic::Plain,
        |b| b.tail = RawBatch::honest(b.base_timestamp).bytes()[..70].to_vec(),
        "@0 3xnone max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "two batches",
        Topic::Plain,
        |b| b.tail = RawBatch::honest(b.base_timestamp).bytes(),
        "INVALID_RECORD",
    ),
    case(
        "a batch and one with magic 1 behind",
        Topic::Plain,
        |b| b.tail = RawBatch { magic: 1, ..RawBatch::honest(b.base_timestamp) }.bytes(),
        "INVALID_RECORD",
    ),
    case("magic 0", Topic::Plain, |b| b.magic = 0, "INVALID_RECORD"),
    case("magic 1", Topic::Plain, |b| b.magic = 1, "INVALID_RECORD"),
    case("magic 3", Topic::Plain, |b| b.magic = 3, "CORRUPT_MESSAGE"),
    case("magic -1", Topic::Plain, |b| b.magic = 0xff, "CORRUPT_MESSAGE"),
    departs(
        "codec 5",
        Topic::Plain,
        |b| b.attributes = 5,
        "UNKNOWN_SERVER_ERROR",
        "UNSUPPORTED_COMPRESSION_TYPE",
    ),
    departs(
        "codec 7",
        Topic::Plain,
        |b| b.attributes = 7,
        "UNKNOWN_SERVER_ERROR",
        "UNSUPPORTED_COMPRESSION_TYPE",
    ),
    departs(
        "a body that is no gzip",
        Topic::Plain,
        |b| {
            b.codec = Codec::Gzip;
            b.body = Some(vec![9; 40]);
        },
        "UNKNOWN_SERVER_ERROR",
        "CORRUPT_MESSAGE",
    ),
    departs(
        "a body that is no zstd",
        Topic::Plain,
        |b| {
            b.codec = Codec::Zstd;
            b.body = Some(vec![9; 40]);
        },
        "UNKNOWN_SERVER_ERROR",
        "CORRUPT_MESSAGE",
    ),
    departs(
        "a body that is no lz4",
        Topic::Plain,
        |b| {
            b.codec = Codec::Lz4;
            b.body = Some(vec![9; 40]);
        },
        "UNKNOWN_SERVER_ERROR",
        "CORRUPT_MESSAGE",
    ),
    departs(
        "a body that is no snappy",
        Topic::Plain,
        |b| {
            b.codec = Codec::Snappy;
            b.body = Some(vec![9; 40]);
        },
        "UNKNOWN_SERVER_ERROR",
        "CORRUPT_MESSAGE",
    ),
    departs(
        "an empty gzip body",
        Topic::Plain,
        |b| {
            b.codec = Codec::Gzip;
            b.body = Some(Vec::new());
        },
        "UNKNOWN_SERVER_ERROR",
        "CORRUPT_MESSAGE",
    ),
    case("bytes behind the last record", Topic::Plain, |b| b.body_tail = &[0, 0, 0], "INVALID_RECORD"),
    case(
        "bytes behind the last record, compressed",
        Topic::Plain,
        |b| {
            b.body_tail = &[0, 0, 0];
            b.codec = Codec::Gzip;
        },
        "INVALID_RECORD",
    ),
    case("a record length one too large", Topic::Plain, |b| b.records[0].length_more = 1, "INVALID_RECORD"),
    case("a record length one too small", Topic::Plain, |b| b.records[0].length_more = -1, "INVALID_RECORD"),
    departs(
        "a record length one too large, compressed",
        Topic::Plain,
        |b| {
            b.records[0].length_more = 1;
            b.codec = Codec::Gzip;
        },
        "@0 3xgzip max=now+2 base=now+0 deltas=record 0 of the batch at offset 0 does not fit its own length",
        "INVALID_RECORD",
    ),
    departs(
        "a record length one too small, compressed",
        Topic::Plain,
        |b| {
            b.records[0].length_more = -1;
            b.codec = Codec::Gzip;
        },
        "@0 3xgzip max=now+2 base=now+0 deltas=record 0 of the batch at offset 0 does not fit its own length",
        "INVALID_RECORD",
    ),
    case("a negative record length", Topic::Plain, |b| b.records[0].length_more = -100, "INVALID_RECORD"),
    departs(
        "a negative record length, compressed",
        Topic::Plain,
        |b| {
            b.records[0].length_more = -100;
            b.codec = Codec::Zstd;
        },
        "@0 3xzstd max=now+2 base=now+0 deltas=record 0 of the batch at offset 0 does not fit its own length",
        "INVALID_RECORD",
    ),
    case(
        "a huge record length",
        Topic::Plain,
        |b| b.records[2].length_more = i32::MAX - 100,
        "INVALID_RECORD",
    ),
    departs(
        "a huge record length, compressed",
        Topic::Plain,
        |b| {
            b.records[2].length_more = i32::MAX - 100;
            b.codec = Codec::Gzip;
        },
        "@0 3xgzip max=now+2 base=now+0 deltas=0,1,record 2 of the batch at offset 0 does not fit its own length",
        "INVALID_RECORD",
    ),
    case(
        "bytes behind the fields of a record",
        Topic::Plain,
        |b| b.records[1].tail = &[1, 2],
        "INVALID_RECORD",
    ),
    case(
        "bytes behind the fields of a record, compressed",
        Topic::Plain,
        |b| {
            b.records[1].tail = &[1, 2];
            b.codec = Codec::Gzip;
        },
        "INVALID_RECORD",
    ),
    case(
        "record attributes",
        Topic::Plain,
        |b| b.records[1].attributes = 0x7f,
        "@0 3xnone max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "a key length past the record",
        Topic::Plain,
        |b| b.records[0].key_length = Some(1_000),
        "INVALID_RECORD",
    ),
    case(
        "a key length past the record, compressed",
        Topic::Plain,
        |b| {
            b.records[0].key_length = Some(1_000);
            b.codec = Codec::Gzip;
        },
        "INVALID_RECORD",
    ),
    case("a key length below -1", Topic::Plain, |b| b.records[0].key_length = Some(-2), "INVALID_RECORD"),
    case(
        "a value length past the record",
        Topic::Plain,
        |b| b.records[0].value_length = Some(1_000),
        "INVALID_RECORD",
    ),
    case(
        "a value length past the record, compressed",
        Topic::Plain,
        |b| {
            b.records[0].value_length = Some(1_000);
            b.codec = Codec::Lz4;
        },
        "INVALID_RECORD",
    ),
    case(
        "a value length below -1",
        Topic::Plain,
        |b| {
            b.records[0].value = None;
            b.records[0].value_length = Some(-2);
        },
        "@0 3xnone max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "a value length below -1, compressed",
        Topic::Plain,
        |b| {
            b.records[0].value = None;
            b.records[0].value_length = Some(-2);
            b.codec = Codec::Gzip;
        },
        "@0 3xgzip max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "more headers than there are",
        Topic::Plain,
        |b| b.records[0].header_count = Some(1),
        "INVALID_RECORD",
    ),
    case(
        "more headers than there are, compressed",
        Topic::Plain,
        |b| {
            b.records[0].header_count = Some(1);
            b.codec = Codec::Gzip;
        },
        "INVALID_RECORD",
    ),
    case("a negative header count", Topic::Plain, |b| b.records[0].header_count = Some(-1), "INVALID_RECORD"),
    case(
        "a negative header count, compressed",
        Topic::Plain,
        |b| {
            b.records[0].header_count = Some(-1);
            b.codec = Codec::Gzip;
        },
        "INVALID_RECORD",
    ),
    case(
        "a huge header count",
        Topic::Plain,
        |b| b.records[0].header_count = Some(i32::MAX),
        "INVALID_RECORD",
    ),
    case(
        "a header without a key",
        Topic::Plain,
        |b| {
            b.records[0].headers = vec![(b"", None)];
            b.records[0].header_key_length = Some(-1);
        },
        "INVALID_RECORD",
    ),
    case(
        "a header with an empty key and no value",
        Topic::Plain,
        |b| b.records[0].headers = vec![(b"", None)],
        "@0 3xnone max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "a varint without an end",
        Topic::Plain,
        |b| b.records[0].start = Some(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        "INVALID_RECORD",
    ),
    case(
        "a varint longer than it need be",
        Topic::Plain,
        |b| b.body = Some(vec![0x90, 0x00, 0, 0, 0, 1, 1, 0, 0, 0]),
        "INVALID_RECORD",
    ),
    case(
        "no key on a compacted topic",
        Topic::Compacted,
        |b| {
            b.records[0].key = None;
            b.records[2].key = None;
        },
        "INVALID_RECORD [0, 2]",
    ),
    case(
        "no key on a compacted topic, compressed",
        Topic::Compacted,
        |b| {
            b.records[1].key = None;
            b.codec = Codec::Gzip;
        },
        "INVALID_RECORD [1]",
    ),
    case(
        "an honest batch on a compacted topic",
        Topic::Compacted,
        |_| {},
        "@0 3xnone max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "a max timestamp that is not the largest",
        Topic::Plain,
        |b| b.max_timestamp = Some(b.base_timestamp + 500),
        "@0 3xnone max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "a max timestamp of -1",
        Topic::Plain,
        |b| b.max_timestamp = Some(-1),
        "@0 3xnone max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "a max timestamp that is not the largest, compressed",
        Topic::Plain,
        |b| {
            b.max_timestamp = Some(b.base_timestamp + 500);
            b.codec = Codec::Gzip;
        },
        "@0 3xgzip max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "records an hour ahead of the broker",
        Topic::Plain,
        |b| b.base_timestamp += 3_600_000 - 100_000,
        "@0 3xnone max=now+3500002 base=now+3500000 deltas=0,1,2",
    ),
    case(
        "records two hours ahead of the broker",
        Topic::Plain,
        |b| b.base_timestamp += 7_200_000,
        "INVALID_TIMESTAMP [0, 1, 2]",
    ),
    case(
        "one record two hours ahead of the broker",
        Topic::Plain,
        |b| b.records[1].timestamp_delta = 7_200_000,
        "INVALID_TIMESTAMP [1]",
    ),
    case(
        "one record two hours ahead of the broker, compressed",
        Topic::Plain,
        |b| {
            b.records[1].timestamp_delta = 7_200_000;
            b.codec = Codec::Gzip;
        },
        "INVALID_TIMESTAMP [1]",
    ),
    case(
        "records two hours ahead on a LogAppendTime topic",
        Topic::Appended,
        |b| b.base_timestamp += 7_200_000,
        "@0 3xnone append-time base=now+7200000 deltas=0,1,2",
    ),
    case("records from 1970", Topic::Plain, |b| b.base_timestamp = 0, "@0 3xnone max=2 base=0 deltas=0,1,2"),
    case(
        "records a day old where an hour is allowed",
        Topic::Bounded,
        |b| b.base_timestamp -= 86_400_000,
        "INVALID_TIMESTAMP [0, 1, 2]",
    ),
    case(
        "timestamps of -1",
        Topic::Plain,
        |b| {
            b.base_timestamp = -1;
            for r in &mut b.records {
                r.timestamp_delta = 0;
            }
        },
        "@0 3xnone max=-1 base=-1 deltas=0,1,2",
    ),
    case(
        "timestamps of -2",
        Topic::Plain,
        |b| {
            b.base_timestamp = -2;
            for r in &mut b.records {
                r.timestamp_delta = 0;
            }
        },
        "@0 3xnone max=-1 base=-2 deltas=0,1,2",
    ),
    case(
        "a timestamp delta that overflows",
        Topic::Plain,
        |b| b.records[1].timestamp_delta = i64::MAX,
        "INVALID_TIMESTAMP [1]",
    ),
    case(
        "a batch above max.message.bytes",
        Topic::Small,
        |b| b.records[0].value = Some(&[7; 400]),
        "MESSAGE_TOO_LARGE",
    ),
    case(
        "a batch above max.message.bytes that compresses below",
        Topic::Small,
        |b| {
            b.records[0].value = Some(&[7; 400]);
            b.codec = Codec::Gzip;
        },
        "@0 3xgzip max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "a batch above max.message.bytes with a wrong CRC",
        Topic::Small,
        |b| {
            b.records[0].value = Some(&[7; 400]);
            b.crc_flip = 1;
        },
        "MESSAGE_TOO_LARGE",
    ),
    case(
        "a producer id without an epoch",
        Topic::Plain,
        |b| b.producer = (7_000_010, -1, 0),
        "@0 3xnone max=now+2 base=now+0 producer=7000010/-1/0 deltas=0,1,2",
    ),
    case(
        "a producer id without a sequence",
        Topic::Plain,
        |b| b.producer = (7_000_011, 0, -1),
        "INVALID_RECORD",
    ),
    case("a sequence below -1", Topic::Plain, |b| b.producer = (7_000_012, 0, -2), "INVALID_RECORD"),
    case(
        "an epoch and a sequence without a producer id",
        Topic::Plain,
        |b| b.producer = (-1, 3, 4),
        "@0 3xnone max=now+2 base=now+0 producer=-1/3/4 deltas=0,1,2",
    ),
    case(
        "a producer id below -1",
        Topic::Plain,
        |b| b.producer = (-2, 0, 0),
        "@0 3xnone max=now+2 base=now+0 producer=-2/0/0 deltas=0,1,2",
    ),
    case(
        "a first sequence that is not zero",
        Topic::Plain,
        |b| b.producer = (7_000_013, 0, 5),
        "@0 3xnone max=now+2 base=now+0 producer=7000013/0/5 deltas=0,1,2",
    ),
    case(
        "the largest sequence",
        Topic::Plain,
        |b| b.producer = (7_000_014, 0, i32::MAX),
        "@0 3xnone max=now+2 base=now+0 producer=7000014/0/2147483647 deltas=0,1,2",
    ),
    case(
        "a producer id and wrong offset deltas",
        Topic::Plain,
        |b| {
            b.producer = (7_000_015, 0, 0);
            b.records[2].offset_delta = Some(9);
        },
        "@0 3xnone max=now+2 base=now+0 producer=7000015/0/0 deltas=0,1,9",
    ),
    case(
        "a wrong CRC and a wrong count",
        Topic::Plain,
        |b| {
            b.crc_flip = 1;
            b.count = Some(9);
        },
        "CORRUPT_MESSAGE",
    ),
    case(
        "a wrong CRC and a base offset of one",
        Topic::Plain,
        |b| {
            b.crc_flip = 1;
            b.base_offset = 1;
        },
        "INVALID_RECORD",
    ),
    case(
        "a batch above max.message.bytes with a base offset of one",
        Topic::Small,
        |b| {
            b.records[0].value = Some(&[7; 400]);
            b.base_offset = 1;
        },
        "INVALID_RECORD",
    ),
    case(
        "a batch above max.message.bytes with a wrong count",
        Topic::Small,
        |b| {
            b.records[0].value = Some(&[7; 400]);
            b.count = Some(9);
        },
        "MESSAGE_TOO_LARGE",
    ),
    case(
        "transactional with a wrong CRC",
        Topic::Plain,
        |b| {
            b.attributes = 0x10;
            b.crc_flip = 1;
        },
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    ),
    case(
        "a control batch with a wrong CRC",
        Topic::Plain,
        |b| {
            b.attributes = 0x20;
            b.crc_flip = 1;
        },
        "CORRUPT_MESSAGE",
    ),
    case(
        "a control batch with a wrong count",
        Topic::Plain,
        |b| {
            b.attributes = 0x20;
            b.count = Some(9);
        },
        "INVALID_RECORD",
    ),
    case(
        "no key, and a record two hours ahead, on a compacted topic",
        Topic::Compacted,
        |b| {
            b.records[0].key = None;
            b.records[2].timestamp_delta = 7_200_000;
        },
        "INVALID_TIMESTAMP [0, 2]",
    ),
    case(
        "no key two hours ahead on a compacted topic",
        Topic::Compacted,
        |b| {
            b.records[0].key = None;
            b.records[0].timestamp_delta = 7_200_000;
        },
        "INVALID_RECORD [0]",
    ),
    case(
        "a record two hours ahead and one that is torn",
        Topic::Plain,
        |b| {
            b.records[0].timestamp_delta = 7_200_000;
            b.records[1].length_more = 1;
        },
        "INVALID_RECORD",
    ),
    case(
        "a client's LogAppendTime two hours ahead",
        Topic::Plain,
        |b| {
            b.attributes = 0x08;
            b.max_timestamp = Some(b.base_timestamp + 7_200_000);
        },
        "INVALID_TIMESTAMP [0, 1, 2]",
    ),
    case(
        "a client's LogAppendTime with a max timestamp of its own",
        Topic::Plain,
        |b| {
            b.attributes = 0x08;
            b.max_timestamp = Some(b.base_timestamp + 500);
        },
        "@0 3xnone max=now+500 base=now+0 deltas=0,1,2",
    ),
    case(
        "a client's LogAppendTime where the topic compresses",
        Topic::Zipped,
        |b| b.attributes = 0x08,
        "@0 3xgzip max=now+2 base=now+2 deltas=0,1,2",
    ),
    case(
        "a byte behind the batch where the topic compresses",
        Topic::Zipped,
        |b| b.tail = vec![0],
        "@0 3xgzip max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "a delete horizon where the topic compresses",
        Topic::Zipped,
        |b| b.attributes = 0x40,
        "@0 3xgzip max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "a negative key length with nothing behind",
        Topic::Plain,
        |b| {
            b.records[0].key = None;
            b.records[0].key_length = Some(-9);
        },
        "@0 3xnone max=now+2 base=now+0 deltas=0,1,2",
    ),
    case(
        "magic 1 with a wrong length",
        Topic::Plain,
        |b| {
            b.magic = 1;
            b.length_more = 1;
        },
        "INVALID_RECORD",
    ),
    case(
        "a producer id without an epoch or a sequence",
        Topic::Plain,
        |b| b.producer = (7_000_016, -1, -1),
        "INVALID_RECORD",
    ),
];
