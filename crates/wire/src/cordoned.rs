//! Cordoned log directories (KIP-1066): BrokerHeartbeat 2 and DescribeLogDirs 5, one version past the library's each.
//!
//! ```text
//! BrokerHeartbeat 2 (request)    ... | tags { 1: directory ids }
//! DescribeLogDirs 5 (response)   throttle time i32 | error i16
//!                                | directories { error i16 | path | topics | bytes i64 | usable i64 | cordoned bool | tags }
//! ```
//!
//! The library keeps tagged fields that it does not know. So a heartbeat is read and written in the version before, and
//! between our own nodes that is what is sent. A described directory carries its field under a tag of ours until the
//! response is written anew.

use bytes::Bytes;

use crate::api::ApiKey;
use crate::kinds;
use crate::messages::describe_log_dirs_response::DescribeLogDirsResult;
use crate::messages::{BrokerHeartbeatRequest, DescribeLogDirsResponse, WireUuid};
use crate::rewrite::Rewriting;
use crate::varint;

/// The version of DescribeLogDirs with the field.
pub const LOG_DIRS_VERSION: i16 = 5;
/// The version whose messages are read and written for it.
const LOG_DIRS_MESSAGE_VERSION: i16 = 4;
/// The tag under which a described directory says that it is cordoned. Kafka's own tags are counted from 0.
const DESCRIBED_TAG: i32 = 9_999;
/// Kafka's tag for the directories of a heartbeat.
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

/// Whether the answer to such a request says which directories are cordoned, and has to be written anew.
pub fn are_described_in(api_key: i16, version: i16) -> bool {
    api_key == ApiKey::DescribeLogDirs as i16 && version == LOG_DIRS_VERSION
}

/// `directory`, cordoned.
pub fn described(mut directory: DescribeLogDirsResult) -> DescribeLogDirsResult {
    directory.unknown_tagged_fields.insert(DESCRIBED_TAG, Bytes::new());
    directory
}

/// Appends the body of DescribeLogDirs 5.
pub(crate) fn encode_log_dirs(response: &DescribeLogDirsResponse, out: &mut Vec<u8>) -> Result<(), String> {
    let mut body = Vec::new();
    kinds::encode_response(&response.clone().into(), LOG_DIRS_MESSAGE_VERSION, &mut body)?;
    let mut cordoned =
        response.results.iter().map(|it| it.unknown_tagged_fields.contains_key(&DESCRIBED_TAG));
    let body = to_version_5(&body, || cordoned.next()).ok_or("it is no such response")?;
    out.extend_from_slice(&body);
    Ok(())
}

/// The body of a response of version 4 as one of version 5.
fn to_version_5(body: &[u8], mut is_cordoned: impl FnMut() -> Option<bool>) -> Option<Vec<u8>> {
    let mut body = Rewriting::new(body);
    body.copy(4 + 2)?;
    body.array(|dir| {
        dir.copy(2)?;
        dir.text()?;
        dir.array(|topic| {
            topic.text()?;
            topic.array(|partition| {
                // Its index, size and lag, and whether it is on its way here.
                partition.copy(4 + 8 + 8 + 1)?;
                partition.tags(None)
            })?;
            topic.tags(None)
        })?;
        dir.copy(8 + 8)?;
        dir.put(&[u8::from(is_cordoned()?)]);
        dir.tags(None)
    })?;
    body.tags(None)?;
    body.end()
}

#[cfg(test)]
mod tests {
    use super::{LOG_DIRS_VERSION, described, of, with};
    use crate::api::{self, ApiKey};
    use crate::header::RequestHeader;
    use crate::kinds;
    use crate::messages::describe_log_dirs_response::{
        DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
    };
    use crate::messages::{
        BrokerHeartbeatRequest, DescribeLogDirsResponse, RequestKind, WireUuid, text, topic,
    };
    use crate::response;

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

    /// Two directories, the first of them cordoned and with a partition, as they go over the wire.
    fn log_dirs(version: i16) -> Vec<u8> {
        let partition = DescribeLogDirsPartition::default()
            .with_partition_index(3)
            .with_partition_size(4)
            .with_offset_lag(5)
            .with_is_future_key(true);
        let topics =
            vec![DescribeLogDirsTopic::default().with_name(topic("t")).with_partitions(vec![partition])];
        let first = DescribeLogDirsResult::default()
            .with_log_dir(text("/a"))
            .with_topics(topics)
            .with_total_bytes(9)
            .with_usable_bytes(8);
        let first = if version == LOG_DIRS_VERSION { described(first) } else { first };
        let second = DescribeLogDirsResult::default().with_error_code(56).with_log_dir(text("/b"));
        let response = DescribeLogDirsResponse::default().with_results(vec![first, second]);
        let mut frame = Vec::new();
        response::encode(7, ApiKey::DescribeLogDirs, version, &response.into(), &mut frame).expect("it fits");
        // After the length, the correlation id and the header's tags.
        frame.split_off(4 + 4 + 1)
    }

    #[test]
    fn described_directories_have_the_bytes_that_kafka_4_3_writes() {
        let first = [
            &[0, 0, 3, b'/', b'a', 2, 2, b't', 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4][..],
            &[0, 0, 0, 0, 0, 0, 0, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 8],
        ]
        .concat();
        let second = [&[0, 56, 3, b'/', b'b', 1][..], &[0xff; 16]].concat();
        let head: &[u8] = &[0, 0, 0, 0, 0, 0, 3];
        assert_eq!(log_dirs(5), [head, &first, &[1, 0], &second, &[0, 0, 0]].concat());
        assert_eq!(log_dirs(4), [head, &first, &[0], &second, &[0, 0]].concat());
    }
}
