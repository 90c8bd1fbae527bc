//! Batches that are what they say, and every way of lying about it.

use model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

use super::{
    BatchBuilder, BatchError, BatchRef, Batches, HEADER_BYTES, NewRecord, Producer, RecordError, Rules,
    ValidationError, patch, sole, validate,
};
use crate::codec::{self, Codec};

const RULES: Rules = Rules {
    batch_bytes_max: 1 << 20,
    decompressed_bytes_max: 8 << 20,
    needs_keys: false,
    timestamps: Some((Timestamp::new(0), Timestamp::new(10_000))),
    is_rewritten: false,
};

type Fields<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, &'a [(&'a [u8], Option<&'a [u8]>)]);

const RECORDS: &[Fields<'static>] = &[
    (Some(b"key"), Some(b"value"), &[(b"h", Some(b"1")), (b"h", None), (b"", Some(b""))]),
    (None, Some(b""), &[]),
    (Some(b""), None, &[]),
];

fn batch(codec: Codec) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(3)).codec(codec, None);
    for (index, &(key, value, headers)) in (0..).zip(RECORDS) {
        builder.push(&NewRecord { timestamp: Timestamp::new(1_000 - index), key, value, headers });
    }
    let mut bytes = Vec::new();
    builder.finish(&mut bytes).expect("compresses");
    bytes
}

/// Overwrites bytes, makes the CRC right again, and says what a leader answers.
fn check_lie(at: usize, with: &[u8], answer: &str) {
    let mut bytes = batch(Codec::None);
    bytes[at..at + with.len()].copy_from_slice(with);
    if at >= 21 {
        patch::seal(&mut bytes);
    }
    let got = validate(&bytes, &RULES).map_or_else(|error| error.code().name(), |_| "NONE");
    assert_eq!(got, answer, "{with:?} at {at}");
}

#[test]
fn every_codec_keeps_offsets_times_nulls_and_repeated_headers() {
    for codec in Codec::ALL {
        let bytes = batch(codec);
        let batch = BatchRef::parse(&bytes).expect("a batch");
        batch.check_crc().expect("a right CRC");
        assert_eq!((batch.header.codec(), batch.header.count), (Some(codec), 3));
        let records = batch.records(1 << 20).expect("decompresses");
        let mut seen = 0;
        for (index, record) in (0..).zip(records.iter()) {
            let record = record.expect("a record");
            let (key, value, headers) = RECORDS[index as usize];
            assert_eq!((record.key, record.value), (key, value));
            let found: Vec<_> = record.headers.map(|header| (header.key, header.value)).collect();
            assert_eq!(found, headers);
            assert_eq!(record.offset, Offset::new(index));
            assert_eq!(record.timestamp, Timestamp::new(1_000 - index));
            seen += 1;
        }
        assert_eq!(seen, 3);
        assert!(validate(&bytes, &RULES).is_ok(), "{codec}");
    }
}

#[test]
fn a_buffer_splits_into_its_batches_and_shows_a_torn_tail() {
    let mut bytes = batch(Codec::None);
    let one = bytes.len();
    bytes.extend(batch(Codec::Zstd));
    for cut in 0..=bytes.len() {
        let whole = Batches::new(&bytes[..cut]).filter(Result::is_ok).count();
        let torn = Batches::new(&bytes[..cut]).any(|batch| matches!(batch, Err(BatchError::Partial { .. })));
        let expected = usize::from(cut >= one) + usize::from(cut == bytes.len());
        assert_eq!(whole, expected, "cut at {cut}");
        assert_eq!(torn, cut != 0 && cut != one && cut != bytes.len(), "cut at {cut}");
    }
}

#[test]
fn the_leaders_fields_lie_outside_the_crc() {
    let mut bytes = batch(Codec::Lz4);
    patch::place(&mut bytes, Offset::new(7_000), LeaderEpoch::new(9));
    let placed = BatchRef::parse(&bytes).expect("a batch");
    placed.check_crc().expect("untouched");
    assert_eq!(
        (placed.header.base_offset, placed.header.next_offset()),
        (Offset::new(7_000), Offset::new(7_003))
    );
    assert_eq!(placed.header.leader_epoch, LeaderEpoch::new(9));
    patch::stamp(&mut bytes, Timestamp::new(77));
    let stamped = BatchRef::parse(&bytes).expect("a batch");
    stamped.check_crc().expect("sealed again");
    let records = stamped.records(1 << 20).expect("decompresses");
    assert!(records.iter().all(|record| record.expect("a record").timestamp == Timestamp::new(77)));
}

#[test]
fn a_producers_sequence_wraps() {
    let producer = Producer { id: ProducerId::new(5), epoch: ProducerEpoch::new(0), base_sequence: i32::MAX };
    let mut builder = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(0)).producer(producer, false);
    for _ in 0..3 {
        builder.push(&NewRecord::default());
    }
    let mut bytes = Vec::new();
    builder.finish(&mut bytes).expect("no codec");
    let header = BatchRef::parse(&bytes).expect("a batch").header;
    assert_eq!(header.producer(), Some(producer));
    assert_eq!(header.last_sequence(), 1);
}

#[test]
fn every_lie_in_the_header_is_refused_with_kafkas_code() {
    for (at, with, answer) in [
        (8, &(-1i32).to_be_bytes()[..], "CORRUPT_MESSAGE"),
        (8, &0i32.to_be_bytes(), "CORRUPT_MESSAGE"),
        (8, &48i32.to_be_bytes(), "CORRUPT_MESSAGE"),
        (8, &i32::MAX.to_be_bytes(), "INVALID_RECORD"),
        (16, &[0], "INVALID_RECORD"),
        (16, &[1], "INVALID_RECORD"),
        (16, &[3], "CORRUPT_MESSAGE"),
        (17, &[0, 0, 0, 0], "CORRUPT_MESSAGE"),
        (21, &[0, 5], "UNSUPPORTED_COMPRESSION_TYPE"),
        (21, &[0, 7], "UNSUPPORTED_COMPRESSION_TYPE"),
        (21, &[0, 1], "CORRUPT_MESSAGE"),
        (21, &[0, 2], "CORRUPT_MESSAGE"),
        (21, &[0, 3], "CORRUPT_MESSAGE"),
        (21, &[0, 4], "CORRUPT_MESSAGE"),
        (21, &[0, 8], "NONE"),
        (21, &[0, 16], "NONE"),
        (21, &[0, 32], "INVALID_RECORD"),
        (21, &[0, 64], "NONE"),
        (23, &0i32.to_be_bytes(), "INVALID_RECORD"),
        (23, &1i32.to_be_bytes(), "INVALID_RECORD"),
        (23, &3i32.to_be_bytes(), "INVALID_RECORD"),
        (23, &(-1i32).to_be_bytes(), "INVALID_RECORD"),
        (23, &i32::MAX.to_be_bytes(), "INVALID_RECORD"),
        (43, &5i64.to_be_bytes(), "INVALID_RECORD"),
        (57, &0i32.to_be_bytes(), "INVALID_RECORD"),
        (57, &2i32.to_be_bytes(), "INVALID_RECORD"),
        (57, &4i32.to_be_bytes(), "INVALID_RECORD"),
        (57, &(-1i32).to_be_bytes(), "INVALID_RECORD"),
        (57, &i32::MAX.to_be_bytes(), "INVALID_RECORD"),
        (27, &20_000i64.to_be_bytes(), "INVALID_TIMESTAMP"),
        (27, &(-5i64).to_be_bytes(), "INVALID_TIMESTAMP"),
        (0, &77i64.to_be_bytes(), "INVALID_RECORD"),
        (0, &(-1i64).to_be_bytes(), "INVALID_RECORD"),
        (0, &i64::MAX.to_be_bytes(), "INVALID_RECORD"),
        // A false maximum is corrected; an epoch or sequence without a producer means nothing.
        (35, &9_999i64.to_be_bytes(), "NONE"),
        (51, &3i16.to_be_bytes(), "NONE"),
        (53, &3i32.to_be_bytes(), "NONE"),
        (12, &(-1i32).to_be_bytes(), "NONE"),
    ] {
        check_lie(at, with, answer);
    }
}

#[test]
fn every_changed_byte_of_the_records_is_an_error_or_another_value() {
    let whole = batch(Codec::None);
    for at in HEADER_BYTES..whole.len() {
        for with in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = with;
            patch::seal(&mut bytes);
            if validate(&bytes, &RULES).is_ok() {
                let records = BatchRef::parse(&bytes).expect("valid").records(1 << 20).expect("valid");
                assert_eq!(records.iter().filter(Result::is_ok).count(), 3, "{with} at {at}");
            }
        }
    }
}

#[test]
fn a_compacted_topic_names_the_records_without_a_key() {
    let rules = Rules { needs_keys: true, ..RULES };
    match validate(&batch(Codec::Gzip), &rules) {
        Err(ValidationError::Records { indexes, .. }) => assert_eq!(indexes, [1]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_batch_above_the_topics_bound_is_too_large() {
    let rules = Rules { batch_bytes_max: 98, ..RULES };
    let error = validate(&batch(Codec::None), &rules).expect_err("one byte more");
    assert_eq!(error.code().name(), "MESSAGE_TOO_LARGE");
}

#[test]
fn a_false_maximum_timestamp_is_told_and_corrected_under_a_new_crc() {
    for codec in Codec::ALL {
        for lie in [-1, 5, 999, i64::MAX] {
            let mut bytes = batch(codec);
            patch::set_max_timestamp(&mut bytes, Timestamp::new(lie));
            let valid = validate(&bytes, &RULES).expect("not refused, as in Kafka");
            assert_eq!(
                (valid.header.max_timestamp, valid.max_timestamp),
                (Timestamp::new(lie), Timestamp::new(1_000))
            );
            patch::set_max_timestamp(&mut bytes, valid.max_timestamp);
            assert_eq!(bytes, batch(codec), "{codec}");
        }
    }
}

#[test]
fn a_record_out_of_its_number_is_named_where_it_was_compressed_and_taken_where_not() {
    let mut plain = batch(Codec::None);
    let second = HEADER_BYTES + 1 + usize::from(plain[HEADER_BYTES] >> 1);
    plain[second + 3] = 4;
    patch::seal(&mut plain);
    assert!(validate(&plain, &RULES).is_ok(), "as in Kafka");
    let mut zipped = plain[..HEADER_BYTES].to_vec();
    codec::compress(Codec::Gzip, None, &plain[HEADER_BYTES..], &mut zipped).expect("compresses");
    let length = i32::try_from(zipped.len() - 12).expect("short");
    zipped[8..12].copy_from_slice(&length.to_be_bytes());
    zipped[22] = 1;
    patch::seal(&mut zipped);
    let error = validate(&zipped, &RULES).expect_err("record 1 says it is record 2");
    assert_eq!(error, ValidationError::Record(RecordError::OffsetDelta { index: 1, got: 2 }));
    assert!(validate(&zipped, &Rules { is_rewritten: true, ..RULES }).is_ok());
}

#[test]
fn what_is_left_behind_a_batch_is_nobodys_until_it_is_a_batch() {
    let one = batch(Codec::None);
    let two = [one.clone(), one.clone()].concat();
    for cut in one.len()..two.len() {
        assert_eq!(sole(&two[..cut]), Ok(&one[..]), "cut at {cut}");
    }
    assert_eq!(sole(&two), Err(ValidationError::NotOneBatch));
}

#[test]
fn a_batch_cut_anywhere_is_refused() {
    for codec in Codec::ALL {
        let whole = batch(codec);
        for cut in 0..whole.len() {
            let error = validate(&whole[..cut], &RULES).expect_err("cut");
            assert_eq!(error.code().name(), "INVALID_RECORD", "{codec} cut at {cut}");
            assert_eq!(sole(&whole[..cut]), Err(ValidationError::NotOneBatch), "{codec} cut at {cut}");
        }
    }
}

/// Written by Kafka 4.3.1's own builder: the records above, and a value of bytes that count to 251.
#[test]
fn what_javas_client_writes_is_read_in_every_codec() {
    for (codec, hex, big) in [
        (Codec::None, include_str!("golden/java_none.hex"), 300),
        (Codec::Gzip, include_str!("golden/java_gzip.hex"), 40_000),
        (Codec::Snappy, include_str!("golden/java_snappy.hex"), 40_000),
        (Codec::Lz4, include_str!("golden/java_lz4.hex"), 40_000),
        (Codec::Zstd, include_str!("golden/java_zstd.hex"), 40_000),
    ] {
        let bytes: Vec<u8> = (0..hex.trim().len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex"))
            .collect();
        let valid = validate(&bytes, &RULES).expect("Kafka wrote it");
        assert_eq!((valid.header.codec(), valid.header.producer_id), (Some(codec), 5));
        assert_eq!((valid.max_timestamp, valid.max_timestamp_delta), (Timestamp::new(1_002), 1));
        let counted: Vec<u8> = (0..big).map(|at| (at % 251) as u8).collect();
        let last: Fields<'_> = (None, Some(&counted), &[]);
        let records = BatchRef::parse(&bytes).expect("valid").records(1 << 20).expect("valid");
        for (record, (key, value, headers)) in records.iter().zip(RECORDS.iter().copied().chain([last])) {
            let record = record.expect("valid");
            assert_eq!((record.key, record.value), (key, value), "{codec}");
            let found: Vec<_> = record.headers.map(|header| (header.key, header.value)).collect();
            assert_eq!(found, headers, "{codec}");
        }
        assert_eq!(records.iter().count(), 4);
    }
}
