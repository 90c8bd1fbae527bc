//! What is written by hand is what kafka-protocol reads, in every version.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

use bytes::Bytes;
use log::disk::DiskFile;
use log::transactions::Aborted;
use model::{ErrorCode, LeaderEpoch, NodeId, Offset, ProducerId};
use replica::EpochEnd;
use wire::api::{Api, ApiKey};
use wire::messages::{FetchResponse, ResponseKind, StrBytes, WireUuid};

use super::{Head, PartitionOut, TopicOut, encode};
use crate::data::hints::Endpoint;
use crate::data::plane::CurrentLeader;
use crate::server::Chunk;

/// A file whose every byte is 7.
struct Sevens;

impl DiskFile for Sevens {
    fn read_at(&self, buffer: &mut [u8], _at: u64) -> io::Result<usize> {
        buffer.fill(7);
        Ok(buffer.len())
    }
    fn write_at(&self, _bytes: &[u8], _at: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn truncate(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
    fn raw_fd(&self) -> Option<RawFd> {
        None
    }
}

fn topics() -> Vec<TopicOut> {
    let (first, last) = (Offset::new(11), Offset::new(13));
    let aborted = Aborted { producer: ProducerId::new(77), first, last, stable: last.next() };
    let whole = |index, records| PartitionOut {
        high_watermark: Some(Offset::new(40)),
        last_stable: Some(Offset::new(38)),
        aborted: vec![aborted],
        log_start: Some(Offset::new(3)),
        records,
        ..PartitionOut::failed(index, ErrorCode::None)
    };
    let file = Chunk::File { file: Arc::new(Sevens), offset: 9, len: 300 };
    let diverging = Some(EpochEnd { epoch: LeaderEpoch::new(4), end: Offset::new(17) });
    let leader = Some(CurrentLeader { node: NodeId::new(2), epoch: LeaderEpoch::new(6) });
    let first = vec![
        whole(0, Some(Chunk::Bytes(Bytes::from_static(b"abc")))),
        whole(1, Some(file)),
        PartitionOut { diverging, preferred: Some(NodeId::new(9)), ..whole(2, None) },
    ];
    let second = vec![PartitionOut { leader, ..PartitionOut::failed(7, ErrorCode::NotLeaderOrFollower) }];
    let topic = |name: &'static str, id, partitions| TopicOut {
        name: StrBytes::from_static_str(name),
        id: WireUuid::from_u128(id),
        partitions,
    };
    vec![topic("one", 1, first), topic("two", 2, second)]
}

fn written(version: i16, session: i32, read_committed: bool) -> FetchResponse {
    let head = Head { version, error: ErrorCode::None, session, read_committed };
    let endpoint = |node, rack| Endpoint { node: NodeId::new(node), host: "h", port: 9092, rack };
    let endpoints = [endpoint(2, None), endpoint(3, Some("r"))].into_iter();
    let mut frame = Vec::new();
    let open = wire::response::begin(1, ApiKey::Fetch as i16, version, &mut frame);
    let mut body = Vec::new();
    for chunk in encode(&head, topics(), endpoints) {
        match chunk {
            Chunk::Bytes(bytes) => body.extend_from_slice(&bytes),
            Chunk::File { len, .. } => body.resize(body.len() + len, 7),
        }
    }
    open.end(&mut frame, body.len()).expect("short");
    frame.extend_from_slice(&body);
    let frame = Bytes::from(frame).slice(wire::frame::LENGTH_BYTES..);
    match wire::client::decode_response(ApiKey::Fetch, version, frame) {
        Ok((1, ResponseKind::Fetch(response))) => response,
        other => panic!("version {version}: {other:?}"),
    }
}

#[test]
fn every_version_is_read_as_it_was_meant() {
    let api = Api::of(ApiKey::Fetch).expect("served");
    for version in api.min..=api.max {
        let response = written(version, 5, version % 2 == 0);
        assert_eq!(response.session_id, if version >= 7 { 5 } else { 0 }, "version {version}");
        let [one, two] = response.responses.as_slice() else { panic!("version {version}: two topics") };
        if version >= 13 {
            assert_eq!((one.topic_id.as_u128(), two.topic_id.as_u128()), (1, 2));
        } else {
            assert_eq!((one.topic.as_str(), two.topic.as_str()), ("one", "two"));
        }
        let [inline, file, diverged] = one.partitions.as_slice() else { panic!("three partitions") };
        let told = (inline.partition_index, inline.high_watermark, inline.last_stable_offset);
        assert_eq!(told, (0, 40, 38), "version {version}");
        assert_eq!(inline.records.as_deref(), Some(b"abc".as_slice()));
        assert_eq!(inline.log_start_offset, if version >= 5 { 3 } else { -1 });
        let aborted = inline
            .aborted_transactions
            .as_ref()
            .map(|aborted| aborted.iter().map(|it| (it.producer_id.0, it.first_offset)).collect::<Vec<_>>());
        assert_eq!(aborted, (version % 2 == 0).then(|| vec![(77, 11)]), "version {version}");
        assert_eq!(file.records.as_deref(), Some([7; 300].as_slice()));
        assert_eq!(diverged.records.as_deref(), Some(b"".as_slice()));
        let preferred = diverged.preferred_read_replica.0;
        assert_eq!((preferred, inline.preferred_read_replica.0), (if version >= 11 { 9 } else { -1 }, -1));
        let refused = &two.partitions[0];
        assert_eq!((refused.error_code, refused.high_watermark), (6, -1));
        if version >= 12 {
            assert_eq!((diverged.diverging_epoch.epoch, diverged.diverging_epoch.end_offset), (4, 17));
            assert_eq!((refused.current_leader.leader_id.0, refused.current_leader.leader_epoch), (2, 6));
        }
        let endpoints: BTreeSet<_> =
            response.node_endpoints.iter().map(|it| (it.node_id.0, it.port)).collect();
        let expected = if version >= 16 { BTreeSet::from([(2, 9092), (3, 9092)]) } else { BTreeSet::new() };
        assert_eq!(endpoints, expected, "version {version}");
    }
}
