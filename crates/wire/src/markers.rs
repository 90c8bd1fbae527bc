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
//! like any other from there on. Between our own nodes the field is what is sent.

use bytes::Bytes;

use crate::messages::write_txn_markers_request::WritableTxnMarker;
use crate::varint;

/// The first version with the field.
pub const VERSION: i16 = 2;
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
    let mut reading = Reading { rest: body, out: Vec::with_capacity(body.len() + 64) };
    reading.array(|marker| {
        marker.copy(8 + 2 + 1)?;
        marker.array(|topic| {
            topic.text()?;
            topic.array(|partition| partition.copy(4))?;
            topic.tags(None)
        })?;
        marker.copy(4)?;
        let (&version, rest) = marker.rest.split_first()?;
        marker.rest = rest;
        marker.tags(Some(version))
    })?;
    reading.tags(None)?;
    reading.rest.is_empty().then_some(reading.out)
}

struct Reading<'a> {
    rest: &'a [u8],
    out: Vec<u8>,
}

impl Reading<'_> {
    fn copy(&mut self, len: usize) -> Option<()> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.out.extend_from_slice(taken);
        self.rest = rest;
        Some(())
    }

    fn number(&mut self) -> Option<u32> {
        let before = self.rest;
        let number = varint::read_u32(&mut self.rest).ok()?;
        self.out.extend_from_slice(&before[..before.len() - self.rest.len()]);
        Some(number)
    }

    /// Elements take a byte each at least, so their number is bounded by what is left.
    fn array(&mut self, mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        let count = self.number()?.checked_sub(1)? as usize;
        if count > self.rest.len() {
            return None;
        }
        (0..count).try_for_each(|_| each(self))
    }

    fn text(&mut self) -> Option<()> {
        let len = self.number()?.checked_sub(1)?;
        self.copy(len as usize)
    }

    /// The tagged fields of a structure, and one more for the number. Those of a client that knows of more
    /// than we do say nothing here and are left out.
    fn tags(&mut self, added: Option<u8>) -> Option<()> {
        let count = varint::read_u32(&mut self.rest).ok()?;
        for _ in 0..count {
            varint::read_u32(&mut self.rest).ok()?;
            let len = varint::read_u32(&mut self.rest).ok()? as usize;
            self.rest = self.rest.get(len..)?;
        }
        match added {
            None => self.out.push(0),
            Some(value) => {
                self.out.push(1);
                write_unsigned(TAG.unsigned_abs(), &mut self.out);
                self.out.extend_from_slice(&[1, value]);
            }
        }
        Some(())
    }
}

fn write_unsigned(mut number: u32, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push((number as u8) | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{to_version_1, transaction_version, with_transaction_version};
    use crate::api::ApiKey;
    use crate::header::RequestHeader;
    use crate::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
    use crate::messages::{RequestKind, WriteTxnMarkersRequest, topic};

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
