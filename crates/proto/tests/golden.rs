//! Our codecs against bytes that Apache Kafka 4.3.1 wrote: same fields read, same bytes written.

use kastle_proto::control::ControlRecord;
use kastle_proto::metadata::MetadataRecord;

/// One line of a golden file.
struct Sample<'a> {
    record: &'a str,
    version: i16,
    bytes: Vec<u8>,
    fields: &'a str,
}

fn samples(text: &str) -> Vec<Sample<'_>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| sample(line).unwrap_or_else(|| panic!("not a sample: {line}"))).collect()
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let mut parts = line.splitn(4, ' ');
    let (record, version) = (parts.next()?, parts.next()?.parse().ok()?);
    let digits = parts.next()?.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    Some(Sample { record, version, bytes: digits.map(byte).collect::<Option<_>>()?, fields: parts.next()? })
}

/// What Debug prints of the record inside an enum's variant.
fn inner(text: &str) -> &str {
    let (_, inner) = text.split_once('(').expect("a variant with a record");
    inner.strip_suffix(')').expect("closed after its record")
}

fn check_metadata(sample: &Sample<'_>) {
    let record = MetadataRecord::from_value(&sample.bytes).expect("Kafka wrote it");
    assert_eq!(record.name(), sample.record);
    assert_eq!(MetadataRecord::version_of(&sample.bytes), Ok(sample.version));
    assert_eq!(inner(&format!("{record:?}")), sample.fields);
    let mut ours = Vec::new();
    record.to_value_in(sample.version, &mut ours).expect("what was read can be written");
    assert_eq!(ours, sample.bytes, "{} v{}", sample.record, sample.version);
}

fn check_control(sample: &Sample<'_>) {
    let key = [
        ("LeaderChangeMessage", 2),
        ("SnapshotHeaderRecord", 3),
        ("SnapshotFooterRecord", 4),
        ("KRaftVersionRecord", 5),
        ("VotersRecord", 6),
    ]
    .iter()
    .find_map(|(name, kind)| (*name == sample.record).then_some([0, 0, 0, *kind]))
    .expect("a control record");
    let record = ControlRecord::from_key_value(&key, &sample.bytes).expect("Kafka wrote it");
    assert_eq!(record.to_key(), key);
    assert_eq!(inner(&format!("{record:?}")), sample.fields);
    let mut ours = Vec::new();
    record.to_value(&mut ours).expect("what was read can be written");
    assert_eq!(ours, sample.bytes, "{} v{}", sample.record, sample.version);
}

#[test]
fn metadata_records_are_read_and_written_as_kafka_does() {
    samples(include_str!("golden/metadata.txt")).iter().for_each(check_metadata);
}

#[test]
fn control_records_are_read_and_written_as_kafka_does() {
    samples(include_str!("golden/control.txt")).iter().for_each(check_control);
}

#[test]
fn every_record_in_every_version_has_a_sample() {
    let samples = samples(include_str!("golden/metadata.txt"));
    for (_, name, versions) in MetadataRecord::TYPES {
        for version in versions.clone() {
            let found = samples.iter().filter(|sample| sample.record == *name && sample.version == version);
            assert!(found.count() >= 5, "{name} v{version}");
        }
    }
}
