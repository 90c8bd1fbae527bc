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
use crate::kinds;
use crate::messages::{RequestKind, ResponseKind, StrBytes};
use crate::response::EncodeError;

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
    if let Err(reason) = kinds::encode_request(request, version, out) {
        frame.abandon(out);
        return Err(EncodeError::Message { api, version, reason });
    }
    frame.end(out, 0).map(drop).ok_or(EncodeError::TooLong { api, version })
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

/// A broker that does not know a version of ApiVersions answers in version 0, with error 35 at its head.
fn version_of_answer(api: ApiKey, version: i16, body: &[u8]) -> i16 {
    let unsupported = model::ErrorCode::UnsupportedVersion.code().to_be_bytes();
    if matches!(api, ApiKey::ApiVersions) && body.starts_with(&unsupported) { 0 } else { version }
}
