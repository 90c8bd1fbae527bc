//! Noise on every port: random, cut and changed frames, while a neighbour is served throughout.

use std::time::Duration;

use crate::support::{Client, Cluster, run};
use bytes::Bytes;
use wire::header::RequestHeader;
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::{ApiKey, MetadataRequest, RequestKind, ResponseKind, topic};

const ROUNDS: usize = 20_000;
const PORTS: [u16; 2] = [9092, 9093];
/// `broker.heartbeat.interval.ms` by default.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// What the neighbour sees of a cluster without a topic: one broker, UNKNOWN_TOPIC_OR_PARTITION.
const WHOLE: (usize, i16) = (1, 3);

/// A frame of `api` in `version`: a well-formed header, and `body`.
fn frame(api: i16, version: i16, flexible: bool, body: &[u8]) -> Vec<u8> {
    let mut inner = Vec::new();
    inner.extend(api.to_be_bytes());
    inner.extend(version.to_be_bytes());
    inner.extend(7_i32.to_be_bytes());
    inner.extend([0, 1, b'x']);
    if flexible {
        inner.push(0);
    }
    inner.extend(body);
    let mut frame = u32::try_from(inner.len()).expect("small").to_be_bytes().to_vec();
    frame.extend(inner);
    frame
}

/// A body full of what decoders stumble on: huge counts, negative lengths, endless varints, noise.
fn body(rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..rng.usize(..12) {
        match rng.u8(..6) {
            0 => body.extend([0x7f, 0xff, 0xff, 0xff]),
            1 => body.extend([0xff; 10]),
            2 => body.extend([0, 0, 0, rng.u8(..4)]),
            3 => body.extend([0x80, 0x80, 0x80, 0x80, 0x0f]),
            4 => body.extend([0, 1, b't']),
            _ => body.extend((0..rng.usize(..40)).map(|_| rng.u8(..)).collect::<Vec<_>>()),
        }
    }
    body
}

/// What one bad client sends.
fn noise(rng: &mut fastrand::Rng) -> Vec<u8> {
    let apis = wire::api::SERVED;
    let api = &apis[rng.usize(..apis.len())];
    let version = rng.i16(api.min..=api.max);
    let flexible = api.flexible_from.is_some_and(|from| version >= from);
    let mut bytes = match rng.u8(..8) {
        0 => (0..rng.usize(..200)).map(|_| rng.u8(..)).collect(),
        // One of the quorum's own.
        1 => frame(20_000 + rng.i16(..5), 0, false, &body(rng)),
        _ => frame(api.key as i16, version, flexible, &body(rng)),
    };
    match rng.u8(..4) {
        0 => bytes.truncate(rng.usize(..=bytes.len())),
        1 if !bytes.is_empty() => {
            let at = rng.usize(..bytes.len());
            bytes[at] ^= 1 << rng.u8(..8);
        }
        2 if bytes.len() > 4 => bytes[..4].copy_from_slice(&rng.u32(..).to_be_bytes()),
        _ => {}
    }
    bytes
}

#[test]
fn noise_on_every_port_harms_nobody() {
    run(async {
        let cluster = Cluster::start(1).await;
        let neighbour = cluster.client(1).await;
        let mut rng = fastrand::Rng::with_seed(6);
        for round in 0..ROUNDS {
            let bytes = noise(&mut rng);
            cluster.shout(1, PORTS[round % 2], &bytes).await;
            if unregisters(&bytes) {
                comes_back(&neighbour).await;
            }
            let seen = tokio::time::timeout(Duration::from_secs(5), picture(&neighbour)).await;
            assert_eq!(seen, Ok(WHOLE), "round {round}, after {bytes:?}");
        }
        assert!(peak_bytes() < 512 << 20, "{} bytes were in use at once", peak_bytes());
        cluster.stop_all().await;
    });
}

/// The one request among the noise that a broker is not left whole by: its own removal, as round 17384
/// of these once asked for. Obeyed, for nobody here says who may ask.
#[test]
fn a_broker_that_noise_unregisters_is_gone_at_once_and_registers_again() {
    run(async {
        let cluster = Cluster::start(1).await;
        let neighbour = cluster.client(1).await;
        let rest = [&[0][..], &[0, 0, 0, 2], &[0xff; 10], &[0x80, 0x80, 0x80, 0x80, 0x0f]].concat();
        let bytes = frame(ApiKey::UnregisterBroker as i16, 0, true, &[&[0, 0, 0, 1], &rest[..]].concat());
        assert!(unregisters(&bytes));
        cluster.shout(1, 9092, &bytes).await;
        assert_eq!(picture(&neighbour).await, (0, 3), "the broker was not unregistered");
        comes_back(&neighbour).await;
        cluster.stop_all().await;
    });
}

/// Whether `bytes` ask, well-formed, that the only broker be unregistered.
fn unregisters(bytes: &[u8]) -> bool {
    let Some((length, frame)) = bytes.split_first_chunk::<4>() else { return false };
    let Ok(length) = usize::try_from(u32::from_be_bytes(*length)) else { return false };
    let Some(frame) = frame.get(..length) else { return false };
    let mut frame = Bytes::copy_from_slice(frame);
    let Ok(header) = RequestHeader::decode(&mut frame) else { return false };
    matches!(
        wire::request::decode(&header, frame),
        Ok(RequestKind::UnregisterBroker(request)) if request.broker_id.0 == 1
    )
}

/// Waits until the broker is registered again and unfenced: it learns of its removal by its next
/// heartbeat, and takes one or two more.
async fn comes_back(neighbour: &Client) {
    let deadline = tokio::time::Instant::now() + 3 * HEARTBEAT;
    while picture(neighbour).await != WHOLE {
        assert!(tokio::time::Instant::now() < deadline, "the broker stays away");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How many brokers the metadata shows, and the error of a topic that is not there.
async fn picture(client: &Client) -> (usize, i16) {
    let asked = MetadataRequestTopic::default().with_name(Some(topic("none")));
    let request = MetadataRequest::default().with_topics(Some(vec![asked]));
    match client.ask(12, request.with_allow_auto_topic_creation(false)).await {
        ResponseKind::Metadata(response) => (response.brokers.len(), response.topics[0].error_code),
        other => panic!("{other:?}"),
    }
}

/// The most memory that this process has had, as the kernel counts it.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
