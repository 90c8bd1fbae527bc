//! WriteTxnMarkers 2, one version past the library's: a marker says under which version of transactions it was
//! made (KIP-1228).
//!
//! ```text
//! markers { producer id i64 | epoch i16 | committed bool | topics { name | partitions [i32] | tags }
//!         | coordinator epoch i32 | transaction version i8 (2+) | tags } | tags
//! ```
//!
//! The library keeps tagged fields that it does not know. So a request of version 2
//! is written anew as one of version 1 with the number in such a field, and is read
//! like any other from there on. The way out is the same the other way round.

use bytes::Bytes;

use crate::kinds;
use crate::messages::WriteTxnMarkersRequest;
use crate::messages::write_txn_markers_request::WritableTxnMarker;
use crate::rewrite::Rewriting;

/// The first version with the field.
pub const VERSION: i16 = 2;
/// The version whose messages are read and written for it. Their answers are alike.
pub const MESSAGE_VERSION: i16 = 1;
/// The tag under which the number travels. Kafka's own tags are counted from 0.
const TAG: i32 = 9_999;

/// The version of transactions that a marker was made under; 0 is any before the second.
pub fn transaction_version(marker: &WritableTxnMarker) -> i8 {
    let field = marker.unknown_tagged_fields.get(&TAG);
    field.and_then(|bytes| bytes.first()).map_or(0, |&byte| byte as i8)
}

/// `marker` with the version of transactions that it was made under.
pub fn with_transaction_version(mut marker: WritableTxnMarker, version: i8) -> WritableTxnMarker {
    marker.unknown_tagged_fields.insert(TAG, Bytes::copy_from_slice(&version.to_be_bytes()));
    marker
}

/// The body of a request of version 2 as one of version 1; `None` where it is no such body.
pub fn to_version_1(body: &[u8]) -> Option<Vec<u8>> {
    rewrite(body, |marker| {
        let version = marker.take(1)?.first()?;
        marker.tags(Some((TAG.unsigned_abs(), *version)))
    })
}

/// Appends the body of a request of version 2.
pub(crate) fn encode(request: &WriteTxnMarkersRequest, out: &mut Vec<u8>) -> Result<(), String> {
    let mut body = Vec::new();
    kinds::encode_request(&request.clone().into(), MESSAGE_VERSION, &mut body)?;
    let mut versions = request.markers.iter().map(transaction_version);
    let body = rewrite(&body, |marker| {
        marker.put(&versions.next()?.to_be_bytes());
        marker.tags(None)
    });
    out.extend_from_slice(&body.ok_or("it is no such request")?);
    Ok(())
}

/// Copies a body but for what each marker ends with.
fn rewrite(body: &[u8], mut end: impl FnMut(&mut Rewriting<'_>) -> Option<()>) -> Option<Vec<u8>> {
    let mut body = Rewriting::new(body);
    body.array(|marker| {
        // The producer, its epoch and how the transaction ended.
        marker.copy(8 + 2 + 1)?;
        marker.array(|topic| {
            topic.text()?;
            topic.array(|partition| partition.copy(4))?;
            topic.tags(None)
        })?;
        // The coordinator's epoch.
        marker.copy(4)?;
        end(marker)
    })?;
    body.tags(None)?;
    body.end()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{MESSAGE_VERSION, VERSION, to_version_1, transaction_version, with_transaction_version};
    use crate::api::ApiKey;
    use crate::client::{decode_response, encode_request};
    use crate::header::RequestHeader;
    use crate::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
    use crate::messages::write_txn_markers_response::WritableTxnMarkerResult;
    use crate::messages::{
        RequestKind, ResponseKind, WriteTxnMarkersRequest, WriteTxnMarkersResponse, topic,
    };

    /// As Kafka 4.3.1 writes it: producer 7, epoch 3, aborted, partition 5 of `t`, coordinator epoch 9.
    fn version_2(transaction_version: u8) -> Vec<u8> {
        let mut body = vec![2];
        body.extend_from_slice(&7_i64.to_be_bytes());
        body.extend_from_slice(&[
            0,
            3,
            0,
            2,
            2,
            b't',
            2,
            0,
            0,
            0,
            5,
            0,
            0,
            0,
            0,
            9,
            transaction_version,
            0,
            0,
        ]);
        body
    }

    fn decode(body: Vec<u8>) -> WriteTxnMarkersRequest {
        let (api_key, api_version) = (ApiKey::WriteTxnMarkers as i16, 1);
        let header = RequestHeader { api_key, api_version, correlation_id: 1, client_id: None };
        match crate::request::decode(&header, Bytes::from(body)) {
            Ok(RequestKind::WriteTxnMarkers(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_marker_keeps_the_version_it_was_made_under() {
        for version in [0, 1, 2] {
            let request = decode(to_version_1(&version_2(version)).expect("well formed"));
            let marker = &request.markers[0];
            assert_eq!(transaction_version(marker), version as i8);
            let topic = &marker.topics[0];
            assert_eq!((topic.name.as_str(), topic.partition_indexes.as_slice()), ("t", &[5][..]));
            assert_eq!((marker.producer_id.0, marker.producer_epoch, marker.coordinator_epoch), (7, 3, 9));
            assert!(!marker.transaction_result);
        }
    }

    #[test]
    fn a_request_of_version_1_may_carry_it_too() {
        let named = WritableTxnMarkerTopic::default().with_name(topic("t")).with_partition_indexes(vec![1]);
        let marker = WritableTxnMarker::default().with_topics(vec![named]);
        assert_eq!(transaction_version(&marker), 0);
        let request =
            WriteTxnMarkersRequest::default().with_markers(vec![with_transaction_version(marker, 2)]);
        let mut body = Vec::new();
        crate::kinds::encode_request(&request.into(), 1, &mut body).expect("written");
        assert_eq!(transaction_version(&decode(body).markers[0]), 2);
    }

    #[test]
    fn what_is_sent_has_the_bytes_that_kafka_4_3_writes() {
        for version in [0, 1, 2] {
            let request = decode(to_version_1(&version_2(version)).expect("well formed"));
            let mut frame = Vec::new();
            encode_request(1, None, ApiKey::WriteTxnMarkers, VERSION, &request.into(), &mut frame)
                .expect("written");
            let mut body = Bytes::from(frame).slice(4..);
            let header = RequestHeader::decode(&mut body).expect("it begins with a header");
            assert_eq!((header.api_version, &body[..]), (VERSION, &version_2(version)[..]));
        }
    }

    #[test]
    fn an_answer_of_version_2_is_read() {
        let result = WritableTxnMarkerResult::default().with_producer_id(7.into());
        let answer: ResponseKind = WriteTxnMarkersResponse::default().with_markers(vec![result]).into();
        let mut frame = Vec::new();
        crate::response::encode(5, ApiKey::WriteTxnMarkers, MESSAGE_VERSION, &answer, &mut frame)
            .expect("written");
        let read = decode_response(ApiKey::WriteTxnMarkers, VERSION, Bytes::from(frame).slice(4..));
        assert_eq!(read, Ok((5, answer)));
    }

    #[test]
    fn no_part_and_no_flipped_body_does_harm() {
        let whole = version_2(2);
        for len in 0..whole.len() {
            assert!(to_version_1(&whole[..len]).is_none(), "cut at {len}");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[at] ^= 1 << bit;
                let _ = to_version_1(&changed);
            }
        }
        assert!(to_version_1(&[0xff, 0xff, 0xff, 0xff, 0x0f]).is_none());
    }
}
