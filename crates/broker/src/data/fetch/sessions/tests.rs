//! Which sessions are opened, found, refused and evicted.

use std::sync::Arc;

use model::{ErrorCode, Millis};
use wire::messages::{StrBytes, WireUuid};

use super::{Claim, Contents, Opened, Sessions, next_epoch};
use crate::data::fetch::plan::{TopicWanted, Want};

const MINUTE: u64 = 60_000;

fn want(index: i32) -> Want {
    let topic = Arc::new(TopicWanted { name: StrBytes::from_static_str("t"), id: WireUuid::nil() });
    Want::missing(topic, index)
}

fn contents(size: i32) -> Contents {
    Contents::new((0..size).map(want).collect(), Millis::new(0))
}

fn open(sessions: &Sessions, at: u64, id: i32, epoch: i32) -> Result<Opened, ErrorCode> {
    sessions.open(Millis::new(at), Claim { id, epoch, uses_ids: false })
}

/// Uses a session once, as a request does that is answered.
fn touch(sessions: &Sessions, at: u64, id: i32, epoch: i32) -> Result<(), ErrorCode> {
    match open(sessions, at, id, epoch)? {
        Opened::Incremental(ticket, contents) => assert!(sessions.put_back(ticket, contents)),
        _ => panic!("{epoch} is no incremental request"),
    }
    Ok(())
}

/// Sessions are created in turn, each `f` or `c` (follower, client), its size and the minute; the
/// outcome is the places of those that are alive in the end, `-` for one that was not opened.
fn check(most: usize, made: &[(char, i32, u64)], outcome: &str) {
    let sessions = Sessions::new(most, 1);
    let ids: Vec<i32> = made
        .iter()
        .map(|&(kind, size, at)| {
            let now = Millis::new(at * MINUTE);
            // Those that are there are in use.
            let known: Vec<(i32, i32)> =
                sessions.lock().sessions.iter().map(|(id, session)| (*id, session.epoch)).collect();
            known.iter().for_each(|&(id, epoch)| touch(&sessions, at * MINUTE, id, epoch).expect("alive"));
            sessions.create(now, kind == 'f', false, contents(size))
        })
        .collect();
    let state = sessions.lock();
    let said = ids.iter().enumerate().map(|(place, id)| match id {
        0 => "-".to_owned(),
        id if state.sessions.contains_key(id) => place.to_string(),
        _ => "x".to_owned(),
    });
    assert_eq!(said.collect::<Vec<_>>().join(" "), outcome);
}

#[test]
fn a_young_session_is_safe_from_its_equals_and_a_client_from_nobody_else() {
    check(2, &[('c', 5, 0), ('c', 5, 0), ('c', 9, 1)], "0 1 -");
    check(2, &[('c', 4, 0), ('c', 5, 0), ('f', 1, 1)], "x 1 2");
    check(2, &[('f', 5, 0), ('f', 5, 0), ('f', 9, 1)], "0 1 -");
    check(2, &[('f', 5, 0), ('c', 5, 0), ('f', 1, 1)], "0 x 2");
}

#[test]
fn an_old_session_gives_way_to_a_larger_one_of_its_kind() {
    check(2, &[('c', 5, 0), ('c', 3, 0), ('c', 4, 3)], "0 x 2");
    check(2, &[('c', 5, 0), ('c', 3, 0), ('c', 3, 3)], "0 1 -");
    check(2, &[('c', 5, 0), ('c', 3, 0), ('c', 2, 3)], "0 1 -");
    check(1, &[('f', 5, 0), ('c', 99, 3)], "0 -");
    check(0, &[('f', 5, 0)], "-");
}

#[test]
fn a_session_that_nobody_uses_gives_way_to_any() {
    let sessions = Sessions::new(1, 1);
    let first = sessions.create(Millis::new(0), true, false, contents(100));
    assert_eq!(sessions.create(Millis::new(2 * MINUTE), false, false, contents(1)), 0);
    assert!(sessions.create(Millis::new(2 * MINUTE + 1), false, false, contents(1)) > 0);
    assert_eq!(touch(&sessions, 2 * MINUTE + 2, first, 1), Err(ErrorCode::FetchSessionIdNotFound));
}

#[test]
fn a_request_must_name_a_session_that_is_there_and_its_next_epoch() {
    let sessions = Sessions::new(9, 1);
    let id = sessions.create(Millis::new(0), false, false, contents(2));
    assert_eq!(touch(&sessions, 0, id + 1, 1), Err(ErrorCode::FetchSessionIdNotFound));
    assert_eq!(touch(&sessions, 0, id, 2), Err(ErrorCode::InvalidFetchSessionEpoch));
    assert_eq!(touch(&sessions, 0, id, 1), Ok(()));
    assert_eq!(touch(&sessions, 0, id, 1), Err(ErrorCode::InvalidFetchSessionEpoch));
    let claim = Claim { id, epoch: 2, uses_ids: true };
    let opened = sessions.open(Millis::new(0), claim).err();
    assert_eq!(opened, Some(ErrorCode::FetchSessionTopicIdError));
    assert_eq!(touch(&sessions, 0, id, 2), Ok(()));
    assert!(matches!(open(&sessions, 0, id, 0), Ok(Opened::Full)), "it closes the old one");
    assert_eq!(touch(&sessions, 0, id, 3), Err(ErrorCode::FetchSessionIdNotFound));
}

#[test]
fn a_request_that_was_never_answered_ends_its_session() {
    let sessions = Sessions::new(9, 1);
    let id = sessions.create(Millis::new(0), false, false, contents(2));
    drop(open(&sessions, 0, id, 1));
    assert_eq!(touch(&sessions, 0, id, 2), Err(ErrorCode::FetchSessionIdNotFound));
}

#[test]
fn a_session_keeps_its_places_when_partitions_come_and_go() {
    let mut contents = contents(4);
    contents.forget(&want(1).key());
    contents.forget(&want(9).key());
    contents.put(want(7));
    contents.put(want(3));
    let held: Vec<i32> = contents.wants.iter().map(|want| want.index).collect();
    assert_eq!(held, [0, 3, 2, 7]);
    for (place, want) in contents.wants.iter().enumerate() {
        assert_eq!(contents.places.get(&want.key()), Some(&place));
    }
    assert_eq!(contents.places.len(), 4);
}

#[test]
fn the_epoch_wraps_past_those_with_a_meaning() {
    assert_eq!((next_epoch(0), next_epoch(7), next_epoch(i32::MAX)), (1, 8, 1));
}
