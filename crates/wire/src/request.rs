//! From a request's body to its message.
//!
//! The order matters: first whether the API and version are served, then the
//! walk over the bytes, and only then the library, which trusts what it reads.

use bytes::Bytes;

use crate::api::{Api, ListenerKind, name};
use crate::bounds::{self, BoundsError};
use crate::header::RequestHeader;
use crate::messages::RequestKind;

pub use crate::kinds::api_of;

/// Why a request is not taken. A connection that sends one is closed; only an ApiVersions
/// request of a version to come is answered ([`crate::response::unsupported_api_versions`]).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No such API on this kind of listener.
    #[error("{} is not served on a {listener:?} listener", name(*.api_key))]
    UnknownApi {
        /// Its key.
        api_key: i16,
        /// Where it came.
        listener: ListenerKind,
    },
    /// The API is served, not in that version.
    #[error("{} is served in versions {min} to {max}, not {version}", name(*.api_key))]
    UnsupportedVersion {
        /// Its key.
        api_key: i16,
        /// The version asked for.
        version: i16,
        /// The first one served.
        min: i16,
        /// The last one served.
        max: i16,
    },
    /// The bytes claim what they cannot hold.
    #[error("{} version {version}: {source}", name(*.api_key))]
    Bounds {
        /// Its key.
        api_key: i16,
        /// Its version.
        version: i16,
        /// What they claim.
        source: BoundsError,
    },
    /// The bytes are within bounds and still no such message.
    #[error("{} version {version}: {reason}", name(*.api_key))]
    Malformed {
        /// Its key.
        api_key: i16,
        /// Its version.
        version: i16,
        /// What the decoder said.
        reason: String,
    },
}

/// Whether a request with that header is taken on that kind of listener, and the API it asks for.
pub fn admit(header: &RequestHeader, listener: ListenerKind) -> Result<&'static Api, RequestError> {
    let (api_key, version) = (header.api_key, header.api_version);
    let api = Api::of_number(api_key)
        .filter(|api| api.listeners.include(listener))
        .ok_or(RequestError::UnknownApi { api_key, listener })?;
    if !api.serves(version) {
        return Err(RequestError::UnsupportedVersion { api_key, version, min: api.min, max: api.max });
    }
    Ok(api)
}

/// The message in `body`, whose strings and byte runs are slices of it. The header must have been
/// [admitted](admit) for its listener; the API and version are checked again all the same.
pub fn decode(header: &RequestHeader, mut body: Bytes) -> Result<RequestKind, RequestError> {
    let (api_key, version) = (header.api_key, header.api_version);
    let api = Api::of_number(api_key)
        .ok_or(RequestError::UnknownApi { api_key, listener: ListenerKind::Broker })?;
    if !api.serves(version) {
        return Err(RequestError::UnsupportedVersion { api_key, version, min: api.min, max: api.max });
    }
    bounds::check(api.key, version, &body).map_err(|source| RequestError::Bounds {
        api_key,
        version,
        source,
    })?;
    RequestKind::decode(api.key, &mut body, version).map_err(|error| RequestError::Malformed {
        api_key,
        version,
        reason: format!("{error:#}"),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{RequestError, admit, decode};
    use crate::api::{ApiKey, ListenerKind, quorum};
    use crate::bounds::BoundsError;
    use crate::header::RequestHeader;
    use crate::messages::RequestKind;

    fn header(api_key: i16, api_version: i16) -> RequestHeader {
        RequestHeader { api_key, api_version, correlation_id: 1, client_id: None }
    }

    #[test]
    fn only_what_the_listener_serves_is_admitted() {
        let check = |api_key: i16, version: i16, listener: ListenerKind, refused: Option<RequestError>| {
            assert_eq!(admit(&header(api_key, version), listener).err(), refused, "{api_key} {version}");
        };
        let unknown = |api_key, listener| Some(RequestError::UnknownApi { api_key, listener });
        use ListenerKind::{Broker, Controller};
        let (produce, envelope) = (ApiKey::Produce as i16, ApiKey::Envelope as i16);
        check(produce, 13, Broker, None);
        check(produce, 13, Controller, unknown(produce, Controller));
        check(envelope, 0, Controller, None);
        check(envelope, 0, Broker, unknown(envelope, Broker));
        check(-1, 0, Broker, unknown(-1, Broker));
        check(quorum::VOTE, 0, Controller, unknown(quorum::VOTE, Controller));
        let old = RequestError::UnsupportedVersion { api_key: produce, version: 2, min: 3, max: 13 };
        check(produce, 2, Broker, Some(old));
    }

    #[test]
    fn a_body_is_walked_before_it_is_decoded() {
        let metadata = header(ApiKey::Metadata as i16, 1);
        let body = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
        let refused = decode(&metadata, body).expect_err("two thousand million topics in no bytes");
        assert!(matches!(refused, RequestError::Bounds { source: BoundsError::Elements { .. }, .. }));
        assert_eq!(
            refused.to_string(),
            "Metadata version 1: topics claims 2147483647 elements; 0 bytes are left and at most 1000000 are accepted"
        );
        let taken = decode(&metadata, Bytes::from_static(&[0xff; 4]));
        assert!(matches!(taken, Ok(RequestKind::Metadata(request)) if request.topics.is_none()));
    }
}
