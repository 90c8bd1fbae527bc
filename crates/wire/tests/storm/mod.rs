//! A storm of frames: valid, truncated, mutated and random ones, against the
//! whole way from a frame's bytes to a message, with every allocation counted.
//!
//! Frame `n` of seed `s` is always the same, so that a failure names its frame.
//! Shared by `tests/bounds.rs` (short) and `examples/bounds_storm.rs` (long).

pub mod counting;
mod writer;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use fastrand::Rng;
use kastle_wire::api::ApiKey;
use kastle_wire::bounds::{self, BoundsError};
use kastle_wire::header::RequestHeader;
use kastle_wire::messages::RequestKind;
use kastle_wire::{client, request};

pub use writer::{valid_body, versions};

/// What an error may take to say what is wrong, a backtrace included.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// What decoding takes beside the message: the shared count of the frame's slices.
const DECODE_BYTES: usize = 256;

/// One of an API's two messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Request,
    Response,
}

/// What became of a storm's frames.
#[derive(Debug, Default)]
pub struct Report {
    pub taken: u64,
    pub refused: u64,
    /// The largest single allocation.
    pub allocation_max: usize,
    /// The most memory that one frame held at a time.
    pub peak_max: usize,
    /// The frame of that.
    pub peak_frame: usize,
    /// The most memory held beyond four times the frame (eight for a response).
    pub beyond_growth_max: usize,
}

struct Frame {
    direction: Direction,
    api: ApiKey,
    version: i16,
    bytes: Vec<u8>,
    /// Known to be right or wrong, or unknown.
    expected: Option<bool>,
}

/// Runs frames `first..first + count`; panics at the first that breaks a promise.
pub fn run(seed: u64, first: u64, count: u64, report: &mut Report) {
    read_shapes();
    for number in first..first + count {
        let frame = frame(&mut Rng::with_seed(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15))));
        let told =
            format!("frame {number} of seed {seed}, {:?} {:?} {}", frame.direction, frame.api, frame.version);
        let outcome = catch_unwind(AssertUnwindSafe(|| take(frame, report)));
        if let Err(panic) = outcome {
            eprintln!("{told}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Shapes are read when they are first met, which must not count as a frame's doing.
fn read_shapes() {
    for api in ApiKey::iter() {
        for direction in [Direction::Request, Direction::Response] {
            let _ = walk(direction, api, *versions(direction, api as i16).start(), &[]);
        }
    }
}

fn frame(random: &mut Rng) -> Frame {
    let (direction, api, version) = any_message(random);
    let mut bytes = head(direction, api, version);
    let body_at = bytes.len();
    let dense = random.u16(..20_000) == 0;
    bytes.extend(valid_body(direction, api as i16, version, dense, random));
    let expected = match random.u8(..8) {
        0..3 if dense => None,
        0..3 => Some(true),
        3 if bytes.len() > body_at => {
            bytes.truncate(random.usize(body_at..bytes.len()));
            Some(false)
        }
        4 => {
            bytes.truncate(body_at);
            bytes.extend((0..random.usize(..200)).map(|_| random.u8(..)));
            None
        }
        5 => {
            mutate(&mut bytes, 0, random);
            None
        }
        _ => {
            mutate(&mut bytes, body_at, random);
            None
        }
    };
    Frame { direction, api, version, bytes, expected }
}

fn any_message(random: &mut Rng) -> (Direction, ApiKey, i16) {
    let direction = if random.u8(..4) == 0 { Direction::Response } else { Direction::Request };
    let known: Vec<ApiKey> = ApiKey::iter().collect();
    let api = known[random.usize(..known.len())];
    (direction, api, random.i16(versions(direction, api as i16)))
}

fn head(direction: Direction, api: ApiKey, version: i16) -> Vec<u8> {
    let mut bytes = Vec::new();
    match direction {
        Direction::Request => {
            let (api_key, api_version) = (api as i16, version);
            RequestHeader { api_key, api_version, correlation_id: 1, client_id: None }.encode(&mut bytes);
        }
        Direction::Response => kastle_wire::header::encode_response(1, api as i16, version, &mut bytes),
    }
    bytes
}

/// One to four wounds: a flipped bit, another byte, a lying length, bytes lost, doubled or put in.
fn mutate(bytes: &mut Vec<u8>, from: usize, random: &mut Rng) {
    const LIES: [&[u8]; 6] = [
        &[0x7f, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0x80, 0x80, 0x80, 0x80, 0x80],
        &[0x7f, 0xff],
        &[0, 0x0f, 0x42, 0x40],
    ];
    for _ in 0..random.usize(1..=4) {
        if bytes.len() <= from {
            return bytes.push(random.u8(..));
        }
        let at = random.usize(from..bytes.len());
        match random.u8(..6) {
            0 => bytes[at] ^= 1 << random.u8(..8),
            1 => bytes[at] = random.u8(..),
            2 => {
                let lie = LIES[random.usize(..LIES.len())];
                let end = (at + lie.len()).min(bytes.len());
                bytes.splice(at..end, lie.iter().copied());
            }
            3 => drop(bytes.drain(at..(at + random.usize(1..9)).min(bytes.len()))),
            4 => {
                let copy = bytes[at..(at + random.usize(1..40)).min(bytes.len())].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => bytes.insert(at, random.u8(..)),
        }
    }
}

/// Takes one frame as a node would and judges what that cost.
fn take(frame: Frame, report: &mut Report) {
    let Frame { direction, api, version, bytes, expected } = frame;
    let length = bytes.len();
    let bytes = Bytes::from(bytes.into_boxed_slice());
    counting::start();
    let outcome = match direction {
        Direction::Request => take_request(bytes),
        Direction::Response => take_response(api, version, bytes),
    };
    let counted = counting::stop();
    if let Some(expected) = expected {
        assert_eq!(outcome.is_ok(), expected, "{outcome:?}");
    }
    match outcome {
        Ok(memory) => {
            report.taken += 1;
            assert!(
                counted.peak <= memory + DECODE_BYTES,
                "took {} where {memory} was promised",
                counted.peak
            );
        }
        Err(_) => {
            report.refused += 1;
            assert!(counted.peak <= ERROR_BYTES_MAX, "took {} to be refused", counted.peak);
        }
    }
    let (allowed, growth) = match direction {
        Direction::Request => (bounds::request_memory_max(length), 4),
        Direction::Response => (bounds::response_memory_max(length), 8),
    };
    assert!(counted.peak <= allowed, "took {} of {allowed}", counted.peak);
    report.allocation_max = report.allocation_max.max(counted.largest);
    report.beyond_growth_max = report.beyond_growth_max.max(counted.peak.saturating_sub(growth * length));
    if counted.peak > report.peak_max {
        (report.peak_max, report.peak_frame) = (counted.peak, length);
    }
}

/// The memory that the walk promised for a frame that was decoded.
fn take_request(mut frame: Bytes) -> Result<usize, String> {
    let header = RequestHeader::decode(&mut frame).map_err(|error| error.to_string())?;
    let api = ApiKey::try_from(header.api_key).map_err(|()| "no such API".to_owned())?;
    let version = header.api_version;
    if request::admit(&header, kastle_wire::api::ListenerKind::Broker).is_ok() {
        let memory = bounds::check(api, version, &frame).map_err(|error| error.to_string());
        let taken = request::decode(&header, frame).map_err(|error| error.to_string());
        return if memory.is_ok() { taken.and(memory) } else { memory };
    }
    // What no broker's listener serves is decoded all the same: some day one will.
    let memory = bounds::check(api, version, &frame).map_err(|error| error.to_string())?;
    let taken = RequestKind::decode(api, &mut frame, version).map_err(|error| format!("{error:#}"));
    taken.map(|_| memory)
}

fn take_response(api: ApiKey, version: i16, frame: Bytes) -> Result<usize, String> {
    let skipped = 4 + kastle_wire::header::response_header_version(api as i16, version) as usize;
    // A header with tagged fields (a mutated one) is left to the client's own walk.
    let plain = skipped == 4 || frame.get(4) == Some(&0);
    let memory = match frame.get(skipped..) {
        Some(body) if plain => bounds::check_response(api, version, body),
        _ => Err(BoundsError::Trailing { left: 0 }),
    };
    let taken = client::decode_response(api, version, frame).map_err(|error| error.to_string());
    taken.map(|_| memory.unwrap_or(ERROR_BYTES_MAX))
}

/// The walk over a body of either direction.
pub fn walk(direction: Direction, api: ApiKey, version: i16, body: &[u8]) -> Result<usize, BoundsError> {
    match direction {
        Direction::Request => bounds::check(api, version, body),
        Direction::Response => bounds::check_response(api, version, body),
    }
}
