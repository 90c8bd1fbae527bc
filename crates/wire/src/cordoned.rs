//! The cordoned log directories of a heartbeat (KIP-1066): BrokerHeartbeat 2, one version past the library's.
//!
//! They are a tagged field, and the library keeps tagged fields that it does not know. So the version before reads and
//! writes them, and between our own nodes it is what is sent.

use crate::messages::{BrokerHeartbeatRequest, WireUuid};
use crate::varint;

/// Kafka's tag for them.
const TAG: i32 = 1;
const UUID_BYTES: usize = 16;

/// `request` with the directories that are to take no new replicas. None of them is not said.
pub fn with(mut request: BrokerHeartbeatRequest, dirs: &[WireUuid]) -> BrokerHeartbeatRequest {
    if !dirs.is_empty() {
        let mut field = Vec::new();
        let count = u32::try_from(dirs.len()).expect("a machine has few disks");
        varint::write_u32(count + 1, &mut field);
        dirs.iter().for_each(|dir| field.extend_from_slice(dir.as_bytes()));
        request.unknown_tagged_fields.insert(TAG, field.into());
    }
    request
}

/// The directories that a broker says are to take no new replicas; `None` where the field is no list of ids.
pub fn of(request: &BrokerHeartbeatRequest) -> Option<Vec<WireUuid>> {
    let Some(field) = request.unknown_tagged_fields.get(&TAG) else { return Some(Vec::new()) };
    let mut rest: &[u8] = field;
    // Null, from a broker that does not know yet, says as much as nothing.
    let count = varint::read_u32(&mut rest).ok()?.saturating_sub(1) as usize;
    let is_whole = count.checked_mul(UUID_BYTES) == Some(rest.len());
    is_whole.then(|| rest.chunks_exact(UUID_BYTES).filter_map(|id| WireUuid::from_slice(id).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::{of, with};
    use crate::api::{self, ApiKey};
    use crate::header::RequestHeader;
    use crate::kinds;
    use crate::messages::{BrokerHeartbeatRequest, RequestKind, WireUuid};

    /// What a heartbeat with such a field says.
    fn tagged(field: &[u8]) -> Option<Vec<WireUuid>> {
        let request = BrokerHeartbeatRequest::default();
        let mut body = Vec::new();
        kinds::encode_request(&request.into(), 1, &mut body).expect("it fits");
        assert_eq!(body.pop(), Some(0), "no tags");
        body.extend([1, 1, u8::try_from(field.len()).expect("short")]);
        body.extend(field);
        let api_key = ApiKey::BrokerHeartbeat as i16;
        let api_version = api::message_version(api_key, 2);
        let header = RequestHeader { api_key, api_version, correlation_id: 1, client_id: None };
        match crate::request::decode(&header, body.into()) {
            Ok(RequestKind::BrokerHeartbeat(request)) => of(&request),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_directories_are_read_from_the_field_and_nothing_else_is() {
        let ids = [WireUuid::from_u128(7), WireUuid::from_u128(8)];
        let field = [&[3][..], ids[0].as_bytes(), ids[1].as_bytes()].concat();
        assert_eq!(tagged(&field), Some(ids.to_vec()));
        assert_eq!(tagged(&[0]), Some(Vec::new()));
        assert_eq!(tagged(&[1]), Some(Vec::new()));
        for wrong in
            [&field[..20], &[&field[..], &[0]].concat(), &[], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0xff; 6]]
        {
            assert_eq!(tagged(wrong), None, "{wrong:?}");
        }
        assert_eq!(of(&with(BrokerHeartbeatRequest::default(), &ids)), Some(ids.to_vec()));
        assert_eq!(with(BrokerHeartbeatRequest::default(), &[]), BrokerHeartbeatRequest::default());
    }
}
