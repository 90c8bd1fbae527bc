//! Memory follows the bytes that are there: truncated and mutated records of Kafka's never panic,
//! and never allocate beyond a small multiple of their length.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use kastle_proto::metadata::MetadataRecord;
use proptest::prelude::*;

/// Counts what this thread asks for.
struct Counting;

thread_local! {
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has no counter left, and nothing to count.
        let _ = ASKED.try_with(|asked| asked.set(asked.get() + layout.size()));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// An element of one byte (an empty string) takes 24 in memory, and a growing vector asks for each
/// of its sizes in turn; the constant is the first room of a few nested vectors.
fn allowed(bytes: usize) -> usize {
    128 * bytes + 16_384
}

fn values() -> Vec<Vec<u8>> {
    let lines = include_str!("golden/metadata.txt").lines().filter(|line| !line.starts_with('#'));
    let hex = lines.map(|line| line.split(' ').nth(2).expect("the bytes"));
    let byte = |pair: &[u8]| {
        u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("two hex digits")
    };
    hex.map(|hex| hex.as_bytes().chunks(2).map(byte).collect()).collect()
}

/// Reads `bytes` and counts; whatever comes of it must not be bought with memory.
fn check(bytes: &[u8]) -> bool {
    let before = ASKED.with(Cell::get);
    let read = MetadataRecord::from_value(bytes);
    let asked = ASKED.with(Cell::get) - before;
    assert!(asked <= allowed(bytes.len()), "{asked} bytes of memory for {}: {bytes:02x?}", bytes.len());
    read.is_ok()
}

#[test]
fn a_record_cut_anywhere_is_an_error() {
    for value in values() {
        assert!(check(&value));
        for end in 0..value.len() {
            assert!(!check(&value[..end]), "cut at {end}: {value:02x?}");
        }
    }
}

#[test]
fn a_record_with_a_byte_more_is_an_error() {
    for mut value in values() {
        value.push(0);
        assert!(!check(&value), "{value:02x?}");
    }
}

#[test]
fn a_hostile_number_at_any_place_buys_no_memory() {
    for value in values() {
        for at in 0..value.len() {
            for lie in
                [&[0xff, 0xff, 0xff, 0xff, 0x07][..], &[0xff, 0xff, 0x3f], &[0x7f], &[0x81, 0x80, 0x80]]
            {
                let mut bytes = value[..at].to_vec();
                bytes.extend_from_slice(lie);
                bytes.extend_from_slice(&value[at..]);
                check(&bytes);
            }
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), key in 0_u8..30, version in 0_u8..5) {
        let mut framed = vec![1, key, version];
        framed.extend_from_slice(&bytes);
        check(&framed);
        check(&bytes);
    }

    #[test]
    fn mutated_records_are_read_or_refused(
        pick in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let values = values();
        let mut value = pick.get(&values).clone();
        for (at, byte) in changes {
            let at = at.index(value.len());
            value[at] = byte;
        }
        check(&value);
    }
}
