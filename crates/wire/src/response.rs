//! From a message to a response's frame.
//!
//! Answers that are written by hand (Fetch, the quorum's) begin here too, with
//! [`begin`], so that headers are written in one place.

use model::ErrorCode;

use crate::api::{ApiKey, ListenerKind, advertised};
use crate::frame::OpenFrame;
use crate::messages::api_versions_response::ApiVersion;
use crate::messages::{ApiVersionsResponse, ResponseKind};
use crate::{cordoned, header, kinds};

/// Why a message cannot be written: a fault of ours, for a client cannot choose our answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The message holds what that version has no room for.
    #[error("{api:?} cannot be written in version {version}: {reason}")]
    Message {
        /// Its API.
        api: ApiKey,
        /// The version asked for.
        version: i16,
        /// What the encoder said.
        reason: String,
    },
    /// The frame would be longer than a length can say.
    #[error("{api:?} version {version} takes more than 2 GiB")]
    TooLong {
        /// Its API.
        api: ApiKey,
        /// The version asked for.
        version: i16,
    },
}

/// Begins a response's frame with its header; the caller writes the body and ends the frame.
pub fn begin(correlation_id: i32, api_key: i16, version: i16, out: &mut Vec<u8>) -> OpenFrame {
    let frame = OpenFrame::begin(out);
    header::encode_response(correlation_id, api_key, version, out);
    frame
}

/// Appends the whole frame of a response. On an error `out` is as it was.
pub fn encode(
    correlation_id: i32,
    api: ApiKey,
    version: i16,
    response: &ResponseKind,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let frame = begin(correlation_id, api as i16, version, out);
    let written = match response {
        ResponseKind::DescribeLogDirs(response) if cordoned::are_described_in(api as i16, version) => {
            cordoned::encode_log_dirs(response, out)
        }
        response => kinds::encode_response(response, version, out),
    };
    if let Err(reason) = written {
        frame.abandon(out);
        return Err(EncodeError::Message { api, version, reason });
    }
    frame.end(out, 0).map(drop).ok_or(EncodeError::TooLong { api, version })
}

/// What an ApiVersions request of a served version is told: the table, and no features.
/// The caller adds features and their finalized levels.
pub fn api_versions(listener: ListenerKind) -> ApiVersionsResponse {
    let entry = |api: crate::api::Advertised| {
        ApiVersion::default().with_api_key(api.key).with_min_version(api.min).with_max_version(api.max)
    };
    ApiVersionsResponse::default().with_api_keys(advertised(listener).map(entry).collect())
}

/// Appends the answer to an ApiVersions request of a version to come: a version-0 body that says so and
/// lists the served versions of ApiVersions, from which the client picks one (KIP-511).
///
/// Nothing else: franz-go takes a longer list for the whole answer, and then never hears of the features, without
/// which it speaks transactions of the old kind.
pub fn unsupported_api_versions(correlation_id: i32, listener: ListenerKind, out: &mut Vec<u8>) {
    let mut response = api_versions(listener).with_error_code(ErrorCode::UnsupportedVersion.code());
    response.api_keys.retain(|api| api.api_key == ApiKey::ApiVersions as i16);
    encode(correlation_id, ApiKey::ApiVersions, 0, &response.into(), out)
        .expect("a short list of numbers fits any version");
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use model::ErrorCode;

    use super::{EncodeError, encode, unsupported_api_versions};
    use crate::api::{ApiKey, ListenerKind};
    use crate::client::decode_response;
    use crate::messages::{ElectLeadersResponse, ResponseKind};

    #[test]
    fn a_client_from_the_future_is_told_in_which_versions_it_may_ask_and_nothing_else() {
        let mut frame = Vec::new();
        unsupported_api_versions(9, ListenerKind::Broker, &mut frame);
        // It asked in a version of which nothing is known but that the header has no tags.
        let (id, response) =
            decode_response(ApiKey::ApiVersions, 4, Bytes::from(frame).slice(4..)).expect("version 0");
        let ResponseKind::ApiVersions(response) = response else { panic!("{response:?}") };
        assert_eq!((id, response.error_code), (9, ErrorCode::UnsupportedVersion.code()));
        let keys: Vec<_> = response.api_keys.iter().map(|api| (api.api_key, api.max_version)).collect();
        assert_eq!(keys, [(ApiKey::ApiVersions as i16, 4)]);
    }

    #[test]
    fn what_a_version_has_no_room_for_is_an_error_and_leaves_nothing_behind() {
        let mut out = b"before".to_vec();
        let response = ElectLeadersResponse::default().with_error_code(41).into();
        let refused = encode(1, ApiKey::ElectLeaders, 0, &response, &mut out);
        assert!(matches!(refused, Err(EncodeError::Message { version: 0, .. })), "{refused:?}");
        assert_eq!(out, b"before");
    }
}
