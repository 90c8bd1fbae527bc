//! Situations and their outcome, as text (see `text`), and what holds of any run of records.

mod differences;
mod random;
mod refusals;
mod situations;
mod text;

use model::Offset;
use proto::metadata::MetadataRecord;

use super::*;

/// Replays lines of records over an image built by other lines; the outcome is what changed, and how
/// that stands now.
fn check(before: &str, script: &str, outcome: &str) {
    let mut image = replayed(before);
    let mut changes = Changes::default();
    let mut result = Ok(());
    for (line, record) in text::records(script).iter().enumerate() {
        result = image.replay(Offset::new(line as i64), record, &mut changes);
        if result.is_err() {
            break;
        }
    }
    let told = match result {
        Ok(()) => {
            image.check(&changes);
            check_whole(&image);
            text::told(&image, &changes)
        }
        Err(error) => vec![format!("error: {error}")],
    };
    assert_eq!(told, text::lines(outcome));
}

fn replayed(script: &str) -> Image {
    replay_all(&text::records(script)).0
}

fn replay_all(records: &[MetadataRecord]) -> (Image, Changes) {
    let (mut image, mut changes) = (Image::default(), Changes::default());
    for (offset, record) in records.iter().enumerate() {
        let replayed = image.replay(Offset::new(offset as i64), record, &mut changes);
        replayed.unwrap_or_else(|error| panic!("{error}: {record:?}"));
    }
    (image, changes)
}

/// What `Image::check` asserts for what changed, for everything; and the count by broker, recounted.
fn check_whole(image: &Image) {
    image.check(&Changes::between(&Image::default(), image));
    let mut counts: imbl::OrdMap<NodeId, imbl::OrdMap<TopicId, u32>> = imbl::OrdMap::new();
    for topic in image.topics() {
        for (_, partition) in topic.partitions() {
            for node in &partition.replicas {
                *counts.entry(*node).or_default().entry(topic.id).or_default() += 1;
            }
        }
    }
    assert_eq!(image.topics.by_broker, counts, "the count by broker is off");
}
