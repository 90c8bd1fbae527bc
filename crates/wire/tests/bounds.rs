//! The bounds of the wire: no bytes panic, none take more memory than allowed.
//!
//! The long form, ten million frames:
//! `cargo run --release -p kastle-wire --example bounds_storm -- --frames 10000000`

mod storm;

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use kastle_wire::api::{ApiKey, SERVED};
use kastle_wire::bounds::BoundsError;
use kastle_wire::frame::LENGTH_BYTES;
use kastle_wire::header::RequestHeader;
use kastle_wire::messages::{RequestKind, ResponseKind};
use kastle_wire::{client, errors, request, response};
use model::ErrorCode;
use storm::Direction;

/// Calls `each` with every message in every version.
fn messages(mut each: impl FnMut(Direction, ApiKey, i16)) {
    for api in ApiKey::iter() {
        for direction in [Direction::Request, Direction::Response] {
            for version in storm::versions(direction, api as i16) {
                each(direction, api, version);
            }
        }
    }
}

#[test]
fn valid_bodies_of_every_version_are_walked_to_their_end_and_read_by_the_library() {
    let mut random = Rng::with_seed(1);
    messages(|direction, api, version| {
        for _ in 0..20 {
            let body = storm::valid_body(direction, api as i16, version, false, &mut random);
            let told = format!("{direction:?} {api:?} {version}: {body:02x?}");
            let walked = storm::walk(direction, api, version, &body);
            assert!(walked.is_ok(), "{walked:?}: {told}");
            let rewritten = rewritten(direction, api, version, &body);
            assert!(matches!(rewritten, Ok(Ok(_))), "{rewritten:?}: {told}");
        }
    });
}

/// Writes what the library read, and says whether the walk accepts the library's bytes.
fn rewritten(
    direction: Direction,
    api: ApiKey,
    version: i16,
    body: &[u8],
) -> Result<Result<usize, BoundsError>, String> {
    let mut bytes = Bytes::copy_from_slice(body);
    let mut out = BytesMut::new();
    let told = |error| format!("{error:#}");
    match direction {
        Direction::Request => RequestKind::decode(api, &mut bytes, version)
            .and_then(|message| message.encode(&mut out, version))
            .map_err(told)?,
        Direction::Response => ResponseKind::decode(api, &mut bytes, version)
            .and_then(|message| message.encode(&mut out, version))
            .map_err(told)?,
    }
    assert!(bytes.is_empty(), "the library left {} bytes", bytes.len());
    Ok(storm::walk(direction, api, version, &out))
}

#[test]
fn no_proper_part_of_a_body_is_a_body() {
    let mut random = Rng::with_seed(2);
    messages(|direction, api, version| {
        let body = storm::valid_body(direction, api as i16, version, false, &mut random);
        for end in 0..body.len().min(300) {
            let walked = storm::walk(direction, api, version, &body[..end]);
            assert!(walked.is_err(), "{direction:?} {api:?} {version}, {end} of {}", body.len());
        }
    });
}

#[test]
fn a_storm_of_frames_neither_panics_nor_takes_more_memory_than_promised() {
    let mut report = storm::Report::default();
    storm::run(3, 0, 200_000, &mut report);
    assert!(report.taken > 50_000 && report.refused > 50_000, "{report:?}");
}

#[test]
fn every_served_request_can_be_refused_in_its_own_shape() {
    let mut random = Rng::with_seed(4);
    for api in SERVED {
        for version in api.min..=api.max {
            let api_key = api.key as i16;
            let header = RequestHeader { api_key, api_version: version, correlation_id: 5, client_id: None };
            let body = storm::valid_body(Direction::Request, api_key, version, false, &mut random);
            let asked = request::decode(&header, body.into()).expect("a valid body");
            let refusal = errors::respond(&asked, version, ErrorCode::NotController, Some("not me"));
            let refusal = refusal.unwrap_or_else(|| panic!("{} has no error response", api.name));
            let mut frame = Vec::new();
            let written = response::encode(5, api.key, version, &refusal, &mut frame);
            assert_eq!(written, Ok(()), "{asked:?}");
            let read = client::decode_response(api.key, version, Bytes::from(frame).slice(LENGTH_BYTES..));
            assert!(matches!(read, Ok((5, _))), "{} {version}: {read:?}", api.name);
        }
    }
}
