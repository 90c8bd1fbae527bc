//! Bodies by hand: what is walked, what is refused and why.

use super::{BoundsError, check, check_response, request_memory_max};
use crate::api::ApiKey;
use crate::kinds;
use crate::messages::*;

fn encoded(request: impl Into<RequestKind>, version: i16) -> Vec<u8> {
    let mut body = Vec::new();
    kinds::encode_request(&request.into(), version, &mut body).expect("the test's message fits its version");
    body
}

fn metadata(names: impl Iterator<Item = String>) -> MetadataRequest {
    let one = |name: String| {
        metadata_request::MetadataRequestTopic::default().with_name(Some(TopicName(name.into())))
    };
    MetadataRequest::default().with_topics(Some(names.map(one).collect()))
}

fn error(api: ApiKey, version: i16, body: &[u8]) -> BoundsError {
    check(api, version, body).expect_err("the body lies")
}

#[test]
fn six_bytes_that_claim_two_thousand_million_topics_are_refused() {
    let body = [0x7f, 0xff, 0xff, 0xff, 0, 0];
    let expected = BoundsError::Elements { field: "topics", count: i32::MAX as usize, left: 2 };
    assert_eq!(error(ApiKey::Metadata, 4, &body), expected);
    let body = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let expected = BoundsError::Elements { field: "topics", count: u32::MAX as usize - 1, left: 1 };
    assert_eq!(error(ApiKey::Metadata, 9, &body), expected);
}

#[test]
fn a_number_without_end_and_one_beyond_32_bits_are_refused() {
    let expected = BoundsError::Varint { field: "topics" };
    assert_eq!(error(ApiKey::Metadata, 9, &[0xff; 6]), expected);
    assert_eq!(error(ApiKey::Metadata, 9, &[0xff, 0xff, 0xff, 0xff, 0x1f]), expected);
}

#[test]
fn null_is_refused_where_the_version_does_not_know_it() {
    assert_eq!(error(ApiKey::Metadata, 0, &[0xff; 4]), BoundsError::Null { field: "topics" });
    assert!(check(ApiKey::Metadata, 1, &[0xff; 4]).is_ok());
    assert_eq!(
        error(ApiKey::Metadata, 1, &[0xff, 0xff, 0xff, 0xfe]),
        BoundsError::Negative { field: "topics", length: -2 }
    );
}

#[test]
fn bytes_behind_a_request_are_ignored_and_behind_a_response_refused() {
    assert!(check(ApiKey::Metadata, 1, &[0xff, 0xff, 0xff, 0xff, 0]).is_ok());
    let response = check_response(ApiKey::ControllerRegistration, 0, &[0, 0, 0, 0, 0, 0, 0, 0, 7]);
    assert_eq!(response, Err(BoundsError::Trailing { left: 1 }));
}

#[test]
fn text_must_be_text() {
    let body = [0, 0, 0, 1, 0, 2, 0xc3, 0x28];
    assert_eq!(error(ApiKey::Metadata, 1, &body), BoundsError::Text { field: "name" });
}

#[test]
fn a_tagged_field_is_as_long_as_it_says() {
    let body = encoded(FetchRequest::default().with_cluster_id(Some(text("abc"))), 12);
    assert!(check(ApiKey::Fetch, 12, &body).is_ok());
    // The cluster id is all there is behind the last plain field: count, tag, length, its own length, text.
    let at = body.len() - 5;
    assert_eq!(body[at], 4, "the length of the tagged field");
    for wrong in [3, 5] {
        let mut body = body.clone();
        body[at] = wrong;
        assert!(check(ApiKey::Fetch, 12, &body).is_err(), "length {wrong}");
    }
    let mut unknown = body.clone();
    unknown[at - 1] = 77;
    assert!(check(ApiKey::Fetch, 12, &unknown).is_ok(), "an unknown tag is a field of a version to come");
}

#[test]
fn a_truncated_body_is_refused_at_every_byte() {
    let topic = create_topics_request::CreatableTopic::default()
        .with_name(topic("a-topic"))
        .with_configs(vec![create_topics_request::CreatableTopicConfig::default().with_name(text("k"))]);
    for version in 2..=7 {
        let body = encoded(CreateTopicsRequest::default().with_topics(vec![topic.clone()]), version);
        assert!(check(ApiKey::CreateTopics, version, &body).is_ok());
        for end in 0..body.len() {
            assert!(check(ApiKey::CreateTopics, version, &body[..end]).is_err(), "{version} {end}");
        }
    }
}

#[test]
fn small_bytes_that_grow_large_are_refused() {
    // 200,000 empty keys: a byte each on the wire, 32 in memory.
    let keys = vec![StrBytes::new(); 200_000];
    let body = encoded(FindCoordinatorRequest::default().with_coordinator_keys(keys), 4);
    let expected = BoundsError::Memory {
        field: "coordinator_keys",
        needed: 6_400_000,
        allowed: request_memory_max(body.len()),
        body: body.len(),
    };
    assert_eq!(error(ApiKey::FindCoordinator, 4, &body), expected);
}

#[test]
fn the_large_requests_of_large_clusters_are_taken() {
    let names = |count: usize| (0..count).map(|index| format!("topic-{index}"));
    for version in [1, 9, 10, 13] {
        let body = encoded(metadata(names(100_000)), version);
        assert!(check(ApiKey::Metadata, version, &body).is_ok(), "Metadata {version}");
    }
    let topics = names(10_000).map(|name| {
        create_topics_request::CreatableTopic::default()
            .with_name(TopicName(name.into()))
            .with_num_partitions(1)
    });
    let request = CreateTopicsRequest::default().with_topics(topics.collect());
    for version in [2, 7] {
        assert!(check(ApiKey::CreateTopics, version, &encoded(request.clone(), version)).is_ok());
    }
    let topics = (0..10_000).map(|_| {
        fetch_request::FetchTopic::default().with_partitions(vec![fetch_request::FetchPartition::default()])
    });
    let request = FetchRequest::default().with_topics(topics.collect());
    for version in [4, 11, 12, 17] {
        assert!(check(ApiKey::Fetch, version, &encoded(request.clone(), version)).is_ok());
    }
    let group = offset_fetch_request::OffsetFetchRequestGroup::default().with_topics(Some(
        names(50_000)
            .map(|name| {
                offset_fetch_request::OffsetFetchRequestTopics::default()
                    .with_name(TopicName(name.into()))
                    .with_partition_indexes(vec![0])
            })
            .collect(),
    ));
    let body = encoded(OffsetFetchRequest::default().with_groups(vec![group]), 8);
    assert!(check(ApiKey::OffsetFetch, 8, &body).is_ok());
}
