//! Request and response headers.
//!
//! Which of the versions a header has follows from the API and version that its
//! first four bytes name: 2 (with tagged fields) for flexible requests, 1 for the
//! rest. A response's is one lower, but ApiVersions' stays 0, for its reader does
//! not yet know what the broker speaks (KIP-511).
//!
//! Decoding is our own: bounded, and whole even where the API or version is
//! unknown, so that the refusal can name it.

use bytes::{Buf, Bytes};

use crate::api::{ApiKey, quorum};
use crate::messages::StrBytes;

/// More tagged fields than any header has use for; Kafka 4.4 draws the same line.
const TAGGED_FIELDS_MAX: u32 = 10_000;

/// Who asks for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API's number, known or not.
    pub api_key: i16,
    /// The version the body is in.
    pub api_version: i16,
    /// Returned with the response.
    pub correlation_id: i32,
    /// What the client calls itself: a slice of the frame.
    pub client_id: Option<StrBytes>,
}

/// Why a header cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The frame ends inside it.
    #[error("the frame ends inside the header, at {field}")]
    Truncated {
        /// Which part is missing.
        field: &'static str,
    },
    /// The client id's length is below -1.
    #[error("the client id's length is {0}")]
    ClientIdLength(i16),
    /// The client id is no text.
    #[error("the client id is not UTF-8")]
    ClientIdText,
    /// More tagged fields than a header can have.
    #[error("the header has {0} tagged fields, at most {TAGGED_FIELDS_MAX} are accepted")]
    TaggedFields(u32),
    /// A number that takes more than five bytes.
    #[error("a variable-length number of the header has no end")]
    Varint,
}

/// The header version of a request. For an unknown API or version it is the best guess, 1 or 2.
pub fn request_header_version(api_key: i16, api_version: i16) -> i16 {
    if quorum::is_private(api_key) {
        return 1;
    }
    match ApiKey::try_from(api_key) {
        Ok(key) => key.request_header_version(api_version),
        Err(()) => 1,
    }
}

/// The header version of a response.
pub fn response_header_version(api_key: i16, api_version: i16) -> i16 {
    match ApiKey::try_from(api_key) {
        Ok(ApiKey::ApiVersions) | Err(()) => 0,
        Ok(key) => key.response_header_version(api_version),
    }
}

impl RequestHeader {
    /// Takes the header off the front of `frame`; what stays is the body.
    pub fn decode(frame: &mut Bytes) -> Result<Self, HeaderError> {
        let truncated = |field| move |_| HeaderError::Truncated { field };
        let api_key = frame.try_get_i16().map_err(truncated("api_key"))?;
        let api_version = frame.try_get_i16().map_err(truncated("api_version"))?;
        let correlation_id = frame.try_get_i32().map_err(truncated("correlation_id"))?;
        let client_id = client_id(frame)?;
        if request_header_version(api_key, api_version) >= 2 {
            skip_tagged_fields(frame)?;
        }
        Ok(Self { api_key, api_version, correlation_id, client_id })
    }

    /// Writes the header in the version its API and version ask for.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.api_key.to_be_bytes());
        out.extend_from_slice(&self.api_version.to_be_bytes());
        out.extend_from_slice(&self.correlation_id.to_be_bytes());
        match &self.client_id {
            Some(id) => {
                // A length has 15 bits; a longer name loses its tail.
                let bytes = &id.as_bytes()[..id.len().min(i16::MAX as usize)];
                out.extend_from_slice(&(bytes.len() as i16).to_be_bytes());
                out.extend_from_slice(bytes);
            }
            None => out.extend_from_slice(&(-1i16).to_be_bytes()),
        }
        if request_header_version(self.api_key, self.api_version) >= 2 {
            out.push(0);
        }
    }
}

/// Writes a response's header.
pub fn encode_response(correlation_id: i32, api_key: i16, api_version: i16, out: &mut Vec<u8>) {
    out.extend_from_slice(&correlation_id.to_be_bytes());
    if response_header_version(api_key, api_version) >= 1 {
        out.push(0);
    }
}

/// Takes a response's correlation id off the front of `frame`, which is the same in every version.
pub fn decode_correlation_id(frame: &mut Bytes) -> Result<i32, HeaderError> {
    frame.try_get_i32().map_err(|_| HeaderError::Truncated { field: "correlation_id" })
}

/// Takes what follows the correlation id in the header of that API's response.
pub fn decode_response_rest(frame: &mut Bytes, api_key: i16, api_version: i16) -> Result<(), HeaderError> {
    if response_header_version(api_key, api_version) >= 1 {
        skip_tagged_fields(frame)?;
    }
    Ok(())
}

fn client_id(frame: &mut Bytes) -> Result<Option<StrBytes>, HeaderError> {
    let truncated = HeaderError::Truncated { field: "client_id" };
    let length = frame.try_get_i16().map_err(|_| truncated.clone())?;
    if length == -1 {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| HeaderError::ClientIdLength(length))?;
    if length > frame.len() {
        return Err(truncated);
    }
    let text = StrBytes::from_utf8(frame.split_to(length)).map_err(|_| HeaderError::ClientIdText)?;
    Ok(Some(text))
}

fn skip_tagged_fields(frame: &mut Bytes) -> Result<(), HeaderError> {
    let count = varint(frame)?;
    if count > TAGGED_FIELDS_MAX {
        return Err(HeaderError::TaggedFields(count));
    }
    for _ in 0..count {
        let _tag = varint(frame)?;
        let length = varint(frame)? as usize;
        if length > frame.len() {
            return Err(HeaderError::Truncated { field: "tagged field" });
        }
        frame.advance(length);
    }
    Ok(())
}

fn varint(frame: &mut Bytes) -> Result<u32, HeaderError> {
    let mut value = 0;
    for shift in [0, 7, 14, 21, 28] {
        let byte = frame.try_get_u8().map_err(|_| HeaderError::Truncated { field: "tagged fields" })?;
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(HeaderError::Varint)
}

#[cfg(test)]
mod tests {
    use super::{
        HeaderError, RequestHeader, encode_response, request_header_version, response_header_version,
    };
    use crate::api::{ApiKey, quorum};
    use crate::messages::text;
    use bytes::Bytes;

    fn header(api: ApiKey, api_version: i16) -> RequestHeader {
        RequestHeader { api_key: api as i16, api_version, correlation_id: 7, client_id: Some(text("me")) }
    }

    #[test]
    fn every_header_survives_its_bytes_and_none_is_read_from_a_part_of_them() {
        let unnamed = RequestHeader { client_id: None, ..header(ApiKey::Fetch, 12) };
        for header in [header(ApiKey::Metadata, 8), header(ApiKey::Metadata, 9), unnamed] {
            let mut bytes = Vec::new();
            header.encode(&mut bytes);
            for end in 0..bytes.len() {
                assert!(RequestHeader::decode(&mut Bytes::copy_from_slice(&bytes[..end])).is_err());
            }
            bytes.push(0xaa);
            let mut frame = Bytes::from(bytes);
            assert_eq!(RequestHeader::decode(&mut frame), Ok(header));
            assert_eq!(&frame[..], [0xaa], "the body stays");
        }
    }

    #[test]
    fn a_header_of_an_unknown_api_is_read() {
        let mut frame = Bytes::from_static(&[0x7f, 0xff, 0, 1, 0, 0, 0, 9, 0xff, 0xff]);
        let header = RequestHeader::decode(&mut frame).expect("all fields are there");
        assert_eq!((header.api_key, header.correlation_id, header.client_id), (0x7fff, 9, None));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        let check = |tail: &[u8], expected: HeaderError| {
            let mut bytes = vec![0, 3, 0, 12, 0, 0, 0, 9];
            bytes.extend_from_slice(tail);
            assert_eq!(RequestHeader::decode(&mut Bytes::from(bytes)), Err(expected));
        };
        check(&[0xff, 0xfe], HeaderError::ClientIdLength(-2));
        check(&[0x7f, 0xff, b'x'], HeaderError::Truncated { field: "client_id" });
        check(&[0, 1, 0xff], HeaderError::ClientIdText);
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f], HeaderError::TaggedFields(u32::MAX));
        check(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], HeaderError::Varint);
        check(&[0xff, 0xff, 1, 0, 0xff, 0x7f], HeaderError::Truncated { field: "tagged field" });
    }

    #[test]
    fn header_versions_follow_the_api_and_its_version() {
        assert_eq!(request_header_version(ApiKey::Produce as i16, 8), 1);
        assert_eq!(request_header_version(ApiKey::Produce as i16, 9), 2);
        assert_eq!(request_header_version(ApiKey::SaslHandshake as i16, 1), 1);
        assert_eq!(request_header_version(ApiKey::ApiVersions as i16, 99), 2);
        assert_eq!(request_header_version(quorum::VOTE, 0), 1);
        assert_eq!(response_header_version(ApiKey::Produce as i16, 9), 1);
        assert_eq!(response_header_version(ApiKey::ApiVersions as i16, 4), 0);
        assert_eq!(response_header_version(quorum::VOTE, 0), 0);
    }

    #[test]
    fn a_flexible_responses_header_has_room_for_tags() {
        let mut out = Vec::new();
        encode_response(5, ApiKey::Metadata as i16, 9, &mut out);
        assert_eq!(out, [0, 0, 0, 5, 0]);
        out.clear();
        encode_response(5, ApiKey::ApiVersions as i16, 3, &mut out);
        assert_eq!(out, [0, 0, 0, 5]);
    }
}
