//! Noise on every port: random, cut and changed frames, while a neighbour is served throughout.

#[allow(dead_code, reason = "each test file uses its own part of it")]
mod support;

use std::time::Duration;

use support::{Client, Cluster, run};
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::{ApiVersionsRequest, MetadataRequest, ResponseKind, topic};

const ROUNDS: usize = 20_000;
const PORTS: [u16; 2] = [9092, 9093];

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
            if round % 50 == 0 {
                let asked = tokio::time::timeout(
                    Duration::from_secs(5),
                    neighbour.ask(3, ApiVersionsRequest::default()),
                );
                assert!(asked.await.is_ok(), "round {round}: the neighbour waits");
            }
        }
        // Noise can be a request that is obeyed, UnregisterBroker say: the broker comes back from it.
        let mut seen = (0, 0);
        for _ in 0..100 {
            seen = picture(&neighbour).await;
            if seen == (1, 3) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(seen, (1, 3));
        assert!(peak_bytes() < 512 << 20, "{} bytes were in use at once", peak_bytes());
        cluster.stop_all().await;
    });
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
