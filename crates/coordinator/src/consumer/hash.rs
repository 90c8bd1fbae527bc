//! One number for all that a group's target depends on: its topics, their partitions and racks (KIP-1101).
//!
//! The same number as Kafka's, so that a group that Kafka led is not divided anew only because another leads it.

use model::TopicId;
use twox_hash::XxHash3_64;

use crate::cluster::{Cluster, Topic};

/// The first byte of what is hashed for a topic: the version of all that follows.
const TOPIC_FORM: u8 = 0;

/// The hash of those of `names` that there are, in the order of their names; 0 for none.
pub fn of_topics<'a>(cluster: &dyn Cluster, names: impl IntoIterator<Item = &'a str>) -> i64 {
    let mut out = Vec::new();
    for name in names {
        if let Some(topic) = cluster.topic(name) {
            out.extend_from_slice(&of_topic(cluster, name, topic).to_le_bytes());
        }
    }
    if out.is_empty() { 0 } else { XxHash3_64::oneshot(&out).cast_signed() }
}

fn of_topic(cluster: &dyn Cluster, name: &str, topic: Topic) -> u64 {
    let mut out = vec![TOPIC_FORM];
    put_id(&mut out, topic.id);
    put_text(&mut out, name);
    out.extend_from_slice(&topic.partitions.to_le_bytes());
    for partition in 0..topic.partitions {
        out.extend_from_slice(&partition.to_le_bytes());
        let mut racks = cluster.racks(topic.id, partition);
        racks.sort_unstable();
        for rack in racks {
            let units = i32::try_from(rack.encode_utf16().count()).unwrap_or(i32::MAX);
            out.extend_from_slice(&units.to_le_bytes());
            put_text(&mut out, rack);
        }
    }
    XxHash3_64::oneshot(&out)
}

/// Two numbers of eight bytes, each with its lowest byte first.
fn put_id(out: &mut Vec<u8>, id: TopicId) {
    for half in id.as_bytes().chunks(8) {
        out.extend(half.iter().rev());
    }
}

/// Java's characters, then how many there are.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let mut units = 0_i32;
    for unit in text.encode_utf16() {
        out.extend_from_slice(&unit.to_le_bytes());
        units = units.saturating_add(1);
    }
    out.extend_from_slice(&units.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use model::Uuid;

    use super::of_topics;
    use crate::testing::Topics;

    /// The hash of topics, which Kafka 4.3.1's own classes gave.
    fn check(names: &[&str], hash: i64) {
        let mut topics = Topics::default();
        topics.put("t", Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10), &["", "b,a", "größe"]);
        topics.put("orders-of-2026", Uuid::from_u128((7 << 64) | 9), &["rack-1,rack-2"; 200]);
        assert_eq!(of_topics(&topics, names.iter().copied()), hash, "{names:?}");
    }

    #[test]
    fn topics_are_hashed_as_kafka_does() {
        check(&["t"], -2_937_567_395_814_283_418);
        check(&["orders-of-2026"], -6_550_606_359_103_928_199);
        check(&["orders-of-2026", "t"], -8_640_120_087_708_374_843);
    }

    #[test]
    fn topics_that_are_not_there_do_not_count() {
        check(&[], 0);
        check(&["nowhere"], 0);
        check(&["nowhere", "t"], -2_937_567_395_814_283_418);
    }
}
