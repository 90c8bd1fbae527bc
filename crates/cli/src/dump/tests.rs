//! Every kind of file, sound, damaged and cut off, and what its dump says.

use std::path::{Path, PathBuf};

use model::{LeaderEpoch, Offset, Timestamp};
use proto::metadata::{FeatureLevelRecord, MetadataRecord};
use wire::batch::{BatchBuilder, NewRecord};
use wire::codec::Codec;

use super::{FileKind, Out, Stop, dump};

/// Writes `bytes` as a file of that name and dumps it: the lines, and the damage where there is any.
fn dumped(name: &str, bytes: &[u8], json: bool) -> String {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join(name);
    std::fs::create_dir_all(path.parent().expect("beneath the directory")).expect("creatable");
    std::fs::write(&path, bytes).expect("writable");
    let mut out = Out { to: Vec::new(), json, with_records: true };
    let damage = match dump(&path, &mut out) {
        Ok(()) => String::new(),
        Err(Stop::Damage(what)) => format!("! {what}\n"),
        Err(Stop::Io(error)) => panic!("{error}"),
    };
    let text = String::from_utf8(out.to).expect("text");
    let lines: Vec<&str> = text.lines().filter(|line| json || line.starts_with(' ')).map(str::trim).collect();
    format!("{}\n{damage}", lines.join("\n"))
}

fn check(name: &str, bytes: &[u8], expected: &[&str]) {
    let text = dumped(name, bytes, false);
    for part in expected {
        assert!(text.contains(part), "missing: {part}\nin: {text}");
    }
}

/// Key and value.
type Pair<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

fn batch(codec: Codec, records: &[Pair<'_>]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Offset::new(7), LeaderEpoch::new(3)).codec(codec, None);
    for (key, value) in records {
        builder.push(&NewRecord {
            timestamp: Timestamp::new(1_000),
            key: *key,
            value: *value,
            headers: &[(b"h", Some(b"v")), (b"n", None)],
        });
    }
    let mut bytes = Vec::new();
    builder.finish(&mut bytes).expect("small");
    bytes
}

#[test]
fn a_segment_shows_its_batches_and_records_in_every_codec() {
    for codec in Codec::ALL {
        let bytes = batch(codec, &[(Some(b"k"), Some(b"some value")), (None, None)]);
        check(
            "t-0/00000000000000000007.log",
            &bytes,
            &[
                "batch 7..8 epoch=3 count=2 position=0",
                &format!("codec={codec}"),
                "7 timestamp=1000 key=\"k\" value=\"some value\" h=v n=null",
                "8 timestamp=1000 key=null value=null",
            ],
        );
    }
}

#[test]
fn metadata_records_are_decoded() {
    let record = MetadataRecord::FeatureLevel(FeatureLevelRecord {
        name: "metadata.version".to_owned(),
        feature_level: 30,
    });
    let mut value = Vec::new();
    record.to_value(30, &mut value).expect("encodable");
    let bytes = batch(Codec::None, &[(None, Some(&value)), (None, Some(b"junk"))]);
    let expected =
        ["FeatureLevelRecord {\"feature_level\":30,\"name\":\"metadata.version\"}", "8 undecodable"];
    check("__cluster_metadata-0/00000000000000000007.log", &bytes, &expected);
    check("bootstrap.checkpoint", &bytes, &expected);
    let json = dumped("bootstrap.checkpoint", &bytes, true);
    for line in json.lines().filter(|line| !line.is_empty()) {
        serde_json::from_str::<serde_json::Value>(line).expect("each line is an object");
    }
}

#[test]
fn a_formatted_directory_can_be_read() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let voters = quorum::Voters::parse_initial("1@h:9093:JEXY6aqzQY-32P5TStzaFg", "C").expect("well-formed");
    quorum::format::write_voters(&log::disk::RealDisk, dir.path(), &voters, Timestamp::new(5))
        .expect("writable");
    let name = "__cluster_metadata-0/00000000000000000000-0000000000.checkpoint";
    let bytes = std::fs::read(dir.path().join(name)).expect("written");
    check(
        name,
        &bytes,
        &["control", "SnapshotHeader", "KRaftVersion", "Voters", "\"h\"", "9093", "SnapshotFooter"],
    );
}

#[test]
fn damage_is_named_with_its_place_after_what_is_sound() {
    let sound = batch(Codec::None, &[(None, Some(b"v"))]);
    let at = sound.len();
    let mut torn = [sound.clone(), sound.clone()].concat();
    torn.truncate(2 * at - 1);
    check("t-0/0.log", &torn, &["batch 7..7", &format!("! at byte {at}: a batch of {at} bytes is cut off")]);
    let mut flipped = [sound.clone(), sound.clone()].concat();
    flipped[2 * at - 1] ^= 1;
    check("t-0/0.log", &flipped, &["batch 7..7", &format!("! at byte {at}: "), "CRC"]);
    let mut long = sound.clone();
    long[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    check("t-0/0.log", &long, &["! at byte 0: a batch says it has 2147483659 bytes"]);
    check("t-0/0.log", &[sound.as_slice(), &[0; 100]].concat(), &["batch 7..7"]);
    assert!(
        !dumped("t-0/0.log", &[sound, vec![0; 100]].concat(), false).contains('!'),
        "zeroes are preallocated"
    );
}

#[test]
fn no_truncation_of_any_file_is_worse_than_damage() {
    let segment = batch(Codec::Gzip, &[(Some(b"k"), Some(b"value"))]);
    for length in 0..segment.len() {
        dumped("t-0/0.log", &segment[..length], false);
        dumped("0.snapshot", &segment[..length], false);
        dumped("0.index", &segment[..length], false);
        dumped("0.timeindex", &segment[..length], false);
    }
}

#[test]
fn indexes_show_absolute_offsets() {
    let offsets =
        [[5_u32, 100], [9, 300]].concat().iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>();
    check("00000000000000000100.index", &offsets, &["offset=105 position=100", "offset=109 position=300"]);
    check("00000000000000000100.index", &offsets[..13], &["offset=105", "! 5 bytes are left after entry 1"]);
    let swapped = [&offsets[8..], &offsets[..8]].concat();
    check("0.index", &swapped, &["! entry 1 does not follow"]);
    let mut times = 1_000_i64.to_be_bytes().to_vec();
    times.extend_from_slice(&5_u32.to_be_bytes());
    check("00000000000000000100.timeindex", &times, &["timestamp=1000 offset=105"]);
}

#[test]
fn producer_snapshots_show_every_producer() {
    let mut bytes = log::producers::Producers::default().encode();
    check("0.snapshot", &bytes, &[""]);
    assert!(!dumped("0.snapshot", &bytes, false).contains('!'), "the CRC is the log's own");
    bytes[9] = 1;
    check("0.snapshot", &bytes, &["! its CRC is"]);
}

#[test]
fn text_files_are_shown_as_they_are() {
    check("leader-epoch-checkpoint", b"0\n1\n2 10\n", &["0\n1\n2 10"]);
    check("recovery-point-offset-checkpoint", b"0\n1\na 0 1\n", &["a 0 1"]);
    check("meta.properties", b"node.id=1\n", &["node.id=1"]);
}

#[test]
fn a_name_tells_what_a_file_is() {
    let kind = |name: &str| FileKind::of(Path::new(name));
    assert_eq!(kind("/d/__cluster_metadata-0/00000000000000000000.log"), Some(FileKind::Metadata));
    assert_eq!(kind("/d/t-0/00000000000000000000.log.deleted"), Some(FileKind::Records));
    assert_eq!(kind("/d/t-0/what"), None);
    assert_eq!(FileKind::of(&PathBuf::from("/")), None);
}
