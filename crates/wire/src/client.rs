//! The client's half: from a message to a request's frame, from a response's
//! frame to its message. Pure bytes; connections are `net`'s.
//!
//! A response comes from a peer, and a peer may be anyone who answers at an
//! address: its bytes are walked before they are decoded, like a request's.

use bytes::Bytes;

use crate::api::ApiKey;
use crate::bounds::{self, BoundsError};
use crate::frame::OpenFrame;
use crate::header::{self, HeaderError, RequestHeader};
use crate::messages::{RequestKind, ResponseKind, StrBytes};
use crate::response::EncodeError;
use crate::{kinds, markers, topic_ids};

/// Why a response cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// Its header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The bytes claim what they cannot hold.
    #[error("{api:?} response of version {version}: {source}")]
    Bounds {
        /// Its API.
        api: ApiKey,
        /// Its version.
        version: i16,
        /// What they claim.
        source: BoundsError,
    },
    /// The bytes are within bounds and still no such message.
    #[error("{api:?} response of version {version}: {reason}")]
    Malformed {
        /// Its API.
        api: ApiKey,
        /// Its version.
        version: i16,
        /// What the decoder said.
        reason: String,
    },
}

/// Appends the whole frame of a request. On an error `out` is as it was.
pub fn encode_request(
    correlation_id: i32,
    client_id: Option<&StrBytes>,
    api: ApiKey,
    version: i16,
    request: &RequestKind,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let frame = OpenFrame::begin(out);
    let header = RequestHeader {
        api_key: api as i16,
        api_version: version,
        correlation_id,
        client_id: client_id.cloned(),
    };
    header.encode(out);
    let written = match request {
        RequestKind::WriteTxnMarkers(request) if version == markers::VERSION => markers::encode(request, out),
        request if topic_ids::are_in(api as i16, version) => encode_by_ids(api, request, out),
        request => kinds::encode_request(request, version, out),
    };
    if let Err(reason) = written {
        frame.abandon(out);
        return Err(EncodeError::Message { api, version, reason });
    }
    frame.end(out, 0).map(drop).ok_or(EncodeError::TooLong { api, version })
}

fn encode_by_ids(api: ApiKey, request: &RequestKind, out: &mut Vec<u8>) -> Result<(), String> {
    let (nameless, ids) = topic_ids::split(request);
    let mut body = Vec::new();
    kinds::encode_request(&nameless, topic_ids::MESSAGE_VERSION, &mut body)?;
    let body = topic_ids::to_version_10(api as i16, &body, &ids).ok_or("it is no such request")?;
    out.extend_from_slice(&body);
    Ok(())
}

/// Reads a response of which `frame` holds all that follows the length.
pub fn decode_response(
    api: ApiKey,
    version: i16,
    mut frame: Bytes,
) -> Result<(i32, ResponseKind), ResponseError> {
    let correlation_id = header::decode_correlation_id(&mut frame)?;
    let body = decode_response_body(api, version, frame)?;
    Ok((correlation_id, body))
}

/// Reads a response of which `frame` holds all that follows the correlation id.
pub fn decode_response_body(
    api: ApiKey,
    version: i16,
    mut frame: Bytes,
) -> Result<ResponseKind, ResponseError> {
    header::decode_response_rest(&mut frame, api as i16, version)?;
    let version = version_of_answer(api, version, &frame);
    bounds::check_response(api, version, &frame).map_err(|source| ResponseError::Bounds {
        api,
        version,
        source,
    })?;
    ResponseKind::decode(api, &mut frame, version).map_err(|error| ResponseError::Malformed {
        api,
        version,
        reason: format!("{error:#}"),
    })
}

/// The version whose message an answer is. A broker that does not know a version of ApiVersions answers in version 0,
/// with error 35 at its head.
fn version_of_answer(api: ApiKey, version: i16, body: &[u8]) -> i16 {
    let unsupported = model::ErrorCode::UnsupportedVersion.code().to_be_bytes();
    match api {
        ApiKey::ApiVersions if body.starts_with(&unsupported) => 0,
        ApiKey::WriteTxnMarkers if version == markers::VERSION => markers::MESSAGE_VERSION,
        _ => version,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{ResponseError, decode_response, encode_request};
    use crate::api::ApiKey;
    use crate::bounds::BoundsError;
    use crate::header::RequestHeader;
    use crate::messages::{DescribeAclsRequest, MetadataRequest, RequestKind, text};
    use crate::{frame, request};

    #[test]
    fn what_a_client_writes_a_node_reads() {
        let asked: RequestKind = MetadataRequest::default().with_topics(Some(Vec::new())).into();
        for version in 0..=13 {
            let mut out = Vec::new();
            encode_request(7, Some(&text("me")), ApiKey::Metadata, version, &asked, &mut out)
                .expect("the message fits every version");
            let length = out.first_chunk().map(|&length| frame::length(length, 1 << 20));
            assert_eq!(length, Some(Ok(out.len() - frame::LENGTH_BYTES)));
            let mut frame = Bytes::from(out).slice(frame::LENGTH_BYTES..);
            let header = RequestHeader::decode(&mut frame).expect("a header");
            assert_eq!((header.correlation_id, header.client_id.as_deref()), (7, Some("me")));
            let read = request::decode(&header, frame).expect("a request");
            assert_eq!(request::api_of(&read), Some(ApiKey::Metadata));
        }
    }

    #[test]
    fn a_kind_that_is_not_served_is_written_too() {
        let mut out = Vec::new();
        let rare = DescribeAclsRequest::default().into();
        encode_request(1, None, ApiKey::DescribeAcls, 3, &rare, &mut out).expect("the library's own way");
        assert!(out.len() > frame::LENGTH_BYTES);
    }

    #[test]
    fn a_peers_lies_are_refused_like_a_clients() {
        // Correlation id, throttle time, then more brokers than there are bytes.
        let frame = Bytes::from_static(&[0, 0, 0, 1, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]);
        let refused = decode_response(ApiKey::Metadata, 3, frame);
        let lie = matches!(
            &refused,
            Err(ResponseError::Bounds { source: BoundsError::Elements { field: "brokers", .. }, .. })
        );
        assert!(lie, "{refused:?}");
    }
}
