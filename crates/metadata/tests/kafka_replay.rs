//! Our replay against Apache Kafka 4.3.1's: the same records make the same snapshot.

use std::collections::BTreeSet;

use kastle_metadata::{Changes, Image};
use model::Offset;
use proto::metadata::MetadataRecord;

/// Records and the snapshot that Kafka made of them, as values.
#[derive(Default)]
struct Run {
    records: Vec<Vec<u8>>,
    snapshot: Vec<Vec<u8>>,
}

fn runs() -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for line in include_str!("golden/replay.txt").lines().filter(|line| !line.starts_with('#')) {
        let (kind, text) = line.split_once(' ').expect("a kind and a text");
        if kind == "run" {
            runs.push(Run::default());
            continue;
        }
        let run = runs.last_mut().expect("a run begins before its records");
        let list = if kind == "record" { &mut run.records } else { &mut run.snapshot };
        list.push(bytes(text));
    }
    runs
}

fn bytes(hex: &str) -> Vec<u8> {
    let text = |pair| std::str::from_utf8(pair).expect("ASCII");
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(text(pair), 16).expect("hex")).collect()
}

fn replay(values: &[Vec<u8>]) -> Image {
    let mut image = Image::default();
    for (offset, value) in values.iter().enumerate() {
        let record = MetadataRecord::from_value(value).expect("Kafka wrote it");
        let mut changes = Changes::default();
        image.replay(Offset::new(offset as i64), &record, &mut changes).expect("Kafka replayed it");
        image.check(&changes);
    }
    image
}

fn values(image: &Image) -> Vec<Vec<u8>> {
    let level = image.metadata_version().level();
    let value = |record: &MetadataRecord| {
        let mut bytes = Vec::new();
        record.to_value(level, &mut bytes).expect("a snapshot holds what its level can say");
        bytes
    };
    image.to_records().iter().map(value).collect()
}

/// A record of a snapshot as text. Directories are a set, which Kafka sorts as signed numbers.
fn text(value: &[u8]) -> String {
    let mut record = MetadataRecord::from_value(value).expect("just written");
    if let MetadataRecord::RegisterBroker(record) = &mut record {
        record.log_dirs.sort_unstable();
        record.cordoned_log_dirs.iter_mut().for_each(|dirs| dirs.sort_unstable());
    }
    format!("{record:?}")
}

/// Kafka writes what is alike in the order of its hash maps, so the order within a kind is not compared.
fn check(run: &Run) {
    let image = replay(&run.records);
    let ours: BTreeSet<String> = values(&image).iter().map(|value| text(value)).collect();
    let kafkas: BTreeSet<String> = run.snapshot.iter().map(|value| text(value)).collect();
    let extra: Vec<_> = ours.difference(&kafkas).collect();
    let missing: Vec<_> = kafkas.difference(&ours).collect();
    assert!(extra.is_empty() && missing.is_empty(), "only here: {extra:#?}\nonly in Kafka's: {missing:#?}");

    let from_snapshot = replay(&run.snapshot);
    assert_eq!(from_snapshot, image, "Kafka's snapshot makes the same image");
    assert_eq!(from_snapshot.digest(), image.digest());
}

#[test]
fn the_same_records_make_the_same_snapshot_as_in_kafka() {
    let runs = runs();
    assert_eq!(runs.len(), 6);
    runs.iter().for_each(check);
}

#[test]
fn a_snapshot_names_its_kinds_in_kafkas_order() {
    // A topic and its partitions come together: one kind.
    let kind = |value: &Vec<u8>| match MetadataRecord::from_value(value).expect("read before") {
        MetadataRecord::Partition(_) => "TopicRecord",
        record => record.name(),
    };
    let kinds = |values: &[Vec<u8>]| {
        let mut kinds: Vec<&str> = values.iter().map(kind).collect();
        kinds.dedup();
        kinds
    };
    for run in runs() {
        assert_eq!(kinds(&values(&replay(&run.records))), kinds(&run.snapshot));
    }
}
