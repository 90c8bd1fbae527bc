//! OffsetCommit and OffsetFetch 10, one version past the library's requests: topics go by their ids (KIP-848).
//!
//! ```text
//! version 9    topics { name compact text       | partitions | tags }
//! version 10   topics { topic id of sixteen bytes | partitions | tags }
//! ```
//!
//! Nothing else differs. So a body of version 10 is written anew as one of version 9 whose topics have empty names,
//! is read like any other, and the ids are put into the message's fields, which the library has. The way out is the
//! same the other way round. The library knows the responses of version 10.

use crate::api::ApiKey;
use crate::messages::{RequestKind, WireUuid};
use crate::rewrite::Rewriting;

/// The version with ids.
pub const VERSION: i16 = 10;
/// The version whose messages are read and written for it.
pub const MESSAGE_VERSION: i16 = 9;
/// An empty text.
const NO_NAME: &[u8] = &[1];

/// Whether a request of that version tells topics by their ids, and has to be written anew.
pub fn are_in(api_key: i16, version: i16) -> bool {
    let known = [ApiKey::OffsetCommit as i16, ApiKey::OffsetFetch as i16];
    version == VERSION && known.contains(&api_key)
}

/// The body of a request of version 10 as one of version 9, and the ids of its topics in their order; `None` where it
/// is no such body.
pub fn to_version_9(api_key: i16, body: &[u8]) -> Option<(Vec<u8>, Vec<WireUuid>)> {
    let mut ids = Vec::new();
    let body = rewrite(api_key, body, |topic| {
        ids.push(WireUuid::from_slice(topic.take(16)?).ok()?);
        topic.put(NO_NAME);
        Some(())
    })?;
    Some((body, ids))
}

/// The body of a request of version 9 without names as one of version 10.
pub(crate) fn to_version_10(api_key: i16, body: &[u8], ids: &[WireUuid]) -> Option<Vec<u8>> {
    let mut ids = ids.iter();
    rewrite(api_key, body, |topic| {
        (topic.take(1)? == NO_NAME).then_some(())?;
        topic.put(ids.next()?.as_bytes());
        Some(())
    })
}

/// Puts topics' ids into a request, in their order.
pub fn put(request: &mut RequestKind, ids: Vec<WireUuid>) {
    let ids = ids.into_iter();
    match request {
        RequestKind::OffsetCommit(request) => {
            request.topics.iter_mut().zip(ids).for_each(|(topic, id)| topic.topic_id = id);
        }
        RequestKind::OffsetFetch(request) => {
            let topics = request.groups.iter_mut().filter_map(|group| group.topics.as_mut());
            topics.flatten().zip(ids).for_each(|(topic, id)| topic.topic_id = id);
        }
        _ => {}
    }
}

/// A request without its topics' names, and their ids.
pub(crate) fn split(request: &RequestKind) -> (RequestKind, Vec<WireUuid>) {
    let mut nameless = request.clone();
    let mut ids = Vec::new();
    match &mut nameless {
        RequestKind::OffsetCommit(request) => {
            for topic in &mut request.topics {
                ids.push(std::mem::take(&mut topic.topic_id));
                topic.name = Default::default();
            }
        }
        RequestKind::OffsetFetch(request) => {
            for topic in request.groups.iter_mut().filter_map(|group| group.topics.as_mut()).flatten() {
                ids.push(std::mem::take(&mut topic.topic_id));
                topic.name = Default::default();
            }
        }
        _ => {}
    }
    (nameless, ids)
}

fn rewrite(
    api_key: i16,
    body: &[u8],
    mut name: impl FnMut(&mut Rewriting<'_>) -> Option<()>,
) -> Option<Vec<u8>> {
    let mut body = Rewriting::new(body);
    if api_key == ApiKey::OffsetCommit as i16 {
        // The group, the epoch, the member and its instance.
        body.text()?;
        body.copy(4)?;
        body.text()?;
        body.text()?;
        body.array(|topic| {
            name(topic)?;
            topic.array(|partition| {
                // Its index, offset, leader epoch and metadata.
                partition.copy(4 + 8 + 4)?;
                partition.text()?;
                partition.tags(None)
            })?;
            topic.tags(None)
        })?;
    } else {
        body.array(|group| {
            // The group, the member and its epoch.
            group.text()?;
            group.text()?;
            group.copy(4)?;
            group.array(|topic| {
                name(topic)?;
                topic.array(|partition| partition.copy(4))?;
                topic.tags(None)
            })?;
            group.tags(None)
        })?;
        // Whether offsets have to be stable.
        body.copy(1)?;
    }
    body.tags(None)?;
    body.end()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::client::encode_request;
    use crate::header::RequestHeader;
    use crate::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    use crate::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
    use crate::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest, text};

    fn id(number: u128) -> WireUuid {
        WireUuid::from_u128(number)
    }

    fn commit() -> RequestKind {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(3)
            .with_committed_offset(77)
            .with_committed_metadata(Some(text("here")));
        let topic = |number| {
            OffsetCommitRequestTopic::default().with_topic_id(id(number)).with_partitions(vec![
                partition
                    .clone();
                2
            ])
        };
        OffsetCommitRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_member_id(text("m"))
            .with_generation_id_or_member_epoch(5)
            .with_topics(vec![topic(1), topic(2)])
            .into()
    }

    fn fetch() -> RequestKind {
        let topic = |number| {
            OffsetFetchRequestTopics::default().with_topic_id(id(number)).with_partition_indexes(vec![0, 4])
        };
        let group = |name: &str, topics| {
            OffsetFetchRequestGroup::default().with_group_id(GroupId(text(name))).with_topics(topics)
        };
        let groups = vec![
            group("a", Some(vec![topic(1)])),
            group("all", None),
            group("b", Some(vec![topic(2), topic(3)])),
        ];
        OffsetFetchRequest::default().with_groups(groups).with_require_stable(true).into()
    }

    /// The body as it goes over the wire.
    fn encoded(api: ApiKey, request: &RequestKind) -> Bytes {
        let mut frame = Vec::new();
        encode_request(1, None, api, VERSION, request, &mut frame).expect("it can be written");
        let mut frame = Bytes::from(frame).slice(4..);
        let header = RequestHeader::decode(&mut frame).expect("it begins with a header");
        assert_eq!((header.api_key, header.api_version), (api as i16, VERSION));
        frame
    }

    fn check(api: ApiKey, request: &RequestKind) {
        let body = encoded(api, request);
        let (rewritten, ids) = to_version_9(api as i16, &body).expect("it is one");
        let header = RequestHeader {
            api_key: api as i16,
            api_version: MESSAGE_VERSION,
            correlation_id: 1,
            client_id: None,
        };
        let mut read = crate::request::decode(&header, rewritten.into()).expect("version 9");
        put(&mut read, ids);
        assert_eq!(read, *request);
        for end in 0..body.len() {
            assert!(to_version_9(api as i16, &body[..end]).is_none(), "cut at {end}");
        }
        for bit in 0..body.len() * 8 {
            let mut flipped = body.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = to_version_9(api as i16, &flipped);
        }
    }

    #[test]
    fn a_commit_by_ids_is_read_as_it_was_written() {
        check(ApiKey::OffsetCommit, &commit());
    }

    #[test]
    fn a_fetch_by_ids_is_read_as_it_was_written() {
        check(ApiKey::OffsetFetch, &fetch());
    }

    #[test]
    fn a_commit_has_the_bytes_that_kafka_4_3_writes() {
        let partition =
            OffsetCommitRequestPartition::default().with_partition_index(1).with_committed_offset(2);
        let topic = OffsetCommitRequestTopic::default()
            .with_topic_id(id(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10))
            .with_partitions(vec![partition]);
        let request =
            OffsetCommitRequest::default().with_group_id(GroupId(text("g"))).with_topics(vec![topic]);
        let expected = [
            &[2, b'g', 0xff, 0xff, 0xff, 0xff, 1, 0, 2][..],
            &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
            &[2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0],
        ];
        assert_eq!(encoded(ApiKey::OffsetCommit, &request.into())[..], expected.concat());
    }
}
