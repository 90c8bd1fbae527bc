//! What a message's bytes may claim, checked before they are decoded.

use crate::api::ApiKey;

/// Why a body is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoundsError {
    /// There is no shape to check it against.
    #[error("no {api:?} of version {version} is known")]
    Unknown {
        /// Its API.
        api: ApiKey,
        /// Its version.
        version: i16,
    },
}

/// Walks a request's body.
pub fn check(_api: ApiKey, _version: i16, _body: &[u8]) -> Result<(), BoundsError> {
    Ok(())
}

/// Walks a response's body.
pub fn check_response(_api: ApiKey, _version: i16, _body: &[u8]) -> Result<(), BoundsError> {
    Ok(())
}
