//! What consumers of the classic protocol tell each other through the coordinator: subscriptions and assignments.
//!
//! The coordinator reads and writes both only while a group is on its way from one protocol to the other. Versions 0
//! to 3; a later one begins like 3.

use std::collections::BTreeSet;

use proto::DecodeError;
use proto::codec::Reader;
use wire::messages::consumer_group_heartbeat_request::TopicPartitions;
use wire::messages::to_wire_uuid;

use super::member::Parts;
use crate::cluster::Cluster;

/// The last version of either, and from which on a subscription tells what its consumer has, and in which rack it is.
const VERSION_MAX: i16 = 3;
const TELLS_OWNED: i16 = 1;
const TELLS_GENERATION: i16 = 2;
const TELLS_RACK: i16 = 3;
/// Fewest bytes of an item of any list here: the length of a name, or a number.
const ITEM_BYTES: usize = 2;

/// What a consumer reads, what it has, and where it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscription {
    pub version: i16,
    pub topics: Vec<String>,
    pub owned: Vec<(String, Vec<i32>)>,
    pub rack: Option<String>,
}

impl Subscription {
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let version = version(&mut reader)?;
        let topics = list(&mut reader, text)?;
        let _user_data = user_data(&mut reader)?;
        let mut subscription = Self { version, topics, ..Self::default() };
        if version >= TELLS_OWNED {
            subscription.owned = list(&mut reader, partitions)?;
        }
        if version >= TELLS_GENERATION {
            int32(&mut reader)?;
        }
        if version >= TELLS_RACK && reader.left() > 0 {
            subscription.rack = nullable_text(&mut reader)?.filter(|rack| !rack.is_empty());
        }
        Ok(subscription)
    }

    /// What it has, as a member of the new protocol would say it. Topics that are no more cannot be said.
    pub fn claim(&self, cluster: &dyn Cluster) -> Vec<TopicPartitions> {
        let known = self.owned.iter().filter_map(|(name, partitions)| {
            let id = to_wire_uuid(cluster.topic(name)?.id);
            Some(TopicPartitions::default().with_topic_id(id).with_partitions(partitions.clone()))
        });
        known.collect()
    }
}

/// What a consumer was given; `None` when the assignor left something in it that only itself can read.
pub fn assignment(cluster: &dyn Cluster, bytes: &[u8]) -> Result<Option<Parts>, DecodeError> {
    if bytes.is_empty() {
        return Ok(Some(Parts::new()));
    }
    let mut reader = Reader::new(bytes);
    version(&mut reader)?;
    let topics = list(&mut reader, partitions)?;
    if user_data(&mut reader)? {
        return Ok(None);
    }
    let mut parts = Parts::new();
    for (name, partitions) in topics {
        if let Some(topic) = cluster.topic(&name).filter(|_| !partitions.is_empty()) {
            parts.entry(topic.id).or_default().extend(partitions);
        }
    }
    Ok(Some(parts))
}

/// The same the other way. Topics that are no more are left out.
pub fn assignment_bytes<'a>(
    cluster: &dyn Cluster,
    version: i16,
    topics: impl Iterator<Item = (&'a model::TopicId, BTreeSet<i32>)>,
) -> Vec<u8> {
    let named: Vec<(&str, BTreeSet<i32>)> =
        topics.filter_map(|(id, partitions)| Some((cluster.name_of(*id)?, partitions))).collect();
    let mut out = version.min(VERSION_MAX).to_be_bytes().to_vec();
    out.extend_from_slice(&length(named.len()).to_be_bytes());
    for (name, partitions) in named {
        let bytes = u16::try_from(name.len()).expect("topics have at most 249 characters");
        out.extend_from_slice(&bytes.to_be_bytes());
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&length(partitions.len()).to_be_bytes());
        for partition in partitions {
            out.extend_from_slice(&partition.to_be_bytes());
        }
    }
    // Nothing of the assignor's own.
    out.extend_from_slice(&(-1_i32).to_be_bytes());
    out
}

fn length(count: usize) -> i32 {
    i32::try_from(count).expect("a cluster has fewer partitions")
}

fn version(reader: &mut Reader<'_>) -> Result<i16, DecodeError> {
    let at = reader.at();
    let version = i16::from_be_bytes(reader.take_array()?);
    if version < 0 {
        return Err(DecodeError::Negative { at, length: version.into() });
    }
    Ok(version.min(VERSION_MAX))
}

fn int32(reader: &mut Reader<'_>) -> Result<i32, DecodeError> {
    Ok(i32::from_be_bytes(reader.take_array()?))
}

/// A list; how long it says it is is held against the bytes there are before anything is made of it.
fn list<'a, T>(
    reader: &mut Reader<'a>,
    mut item: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let at = reader.at();
    let count = int32(reader)?;
    let count = usize::try_from(count).map_err(|_| DecodeError::Negative { at, length: count.into() })?;
    let max = reader.left() / ITEM_BYTES;
    if count > max {
        return Err(DecodeError::Count { at, count, max });
    }
    (0..count).map(|_| item(reader)).collect()
}

fn nullable_text(reader: &mut Reader<'_>) -> Result<Option<String>, DecodeError> {
    let at = reader.at();
    let length = i16::from_be_bytes(reader.take_array()?);
    if length == -1 {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| DecodeError::Negative { at, length: length.into() })?;
    let text = std::str::from_utf8(reader.take(length)?).map_err(|_| DecodeError::Utf8 { at })?;
    Ok(Some(text.to_owned()))
}

fn text(reader: &mut Reader<'_>) -> Result<String, DecodeError> {
    let at = reader.at();
    nullable_text(reader)?.ok_or(DecodeError::Negative { at, length: -1 })
}

fn partitions(reader: &mut Reader<'_>) -> Result<(String, Vec<i32>), DecodeError> {
    Ok((text(reader)?, list(reader, int32)?))
}

/// Whether there is any.
fn user_data(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    let at = reader.at();
    let length = int32(reader)?;
    if length == -1 {
        return Ok(false);
    }
    let length = usize::try_from(length).map_err(|_| DecodeError::Negative { at, length: length.into() })?;
    Ok(!reader.take(length)?.is_empty())
}

#[cfg(test)]
mod tests {
    use model::Uuid;

    use super::*;
    use crate::testing::Topics;

    fn topics() -> Topics {
        let mut topics = Topics::default();
        topics.put("t", Uuid::from_u128(1), &["", "", ""]);
        topics
    }

    const VERSION_3: &[u8] = &[
        0, 3, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 9, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0,
        7, 0, 1, b'x',
    ];

    #[test]
    fn a_subscription_tells_topics_what_is_owned_and_the_rack() {
        let read = Subscription::from_bytes(VERSION_3).expect("it is whole");
        assert_eq!((read.version, read.topics.join(",")), (3, "t".to_owned()));
        assert_eq!((&read.owned[..], read.rack.as_deref()), (&[("t".to_owned(), vec![2])][..], Some("x")));
        assert_eq!(read.claim(&topics())[0].partitions, [2]);
        let read =
            Subscription::from_bytes(&[0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).expect("it is whole");
        assert_eq!(read, Subscription::default());
    }

    #[test]
    fn half_a_subscription_is_refused() {
        for end in 0..VERSION_3.len() {
            // What follows the generation may be left out: there is no more when it was written by version 2.
            let whole = end == VERSION_3.len() - 3;
            assert_eq!(Subscription::from_bytes(&VERSION_3[..end]).is_ok(), whole, "{end}");
        }
        let count = [0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0];
        assert!(matches!(Subscription::from_bytes(&count), Err(DecodeError::Count { .. })));
    }

    #[test]
    fn an_assignment_is_read_as_it_is_written() {
        let parts = Parts::from([(Uuid::from_u128(1), BTreeSet::from([0, 2]))]);
        let bytes = assignment_bytes(&topics(), 9, parts.iter().map(|(id, own)| (id, own.clone())));
        assert_eq!(bytes[..2], [0, 3]);
        assert_eq!(assignment(&topics(), &bytes), Ok(Some(parts)));
        for end in 1..bytes.len() {
            assert!(assignment(&topics(), &bytes[..end]).is_err(), "{end}");
        }
        assert_eq!(assignment(&topics(), &[]), Ok(Some(Parts::new())));
        assert_eq!(assignment(&topics(), &[0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 5]), Ok(None));
    }
}
