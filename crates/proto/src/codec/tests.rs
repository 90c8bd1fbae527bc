//! Values in both forms, and what each refuses. Whole records are tested beside them.

pub(crate) mod draw;

use super::*;

const FLEXIBLE: Form = Form { version: 1, flexible: true };
const FIXED: Form = Form { version: 1, flexible: false };

/// One value's bytes in both forms, each read back.
fn check<T: Wire + PartialEq + std::fmt::Debug>(value: T, flexible: &[u8], fixed: &[u8]) {
    for (form, bytes) in [(FLEXIBLE, flexible), (FIXED, fixed)] {
        let mut out = Vec::new();
        value.put(form, &mut out).expect("it fits");
        assert_eq!(out, bytes, "{value:?} in {form:?}");
        let mut reader = Reader::new(bytes);
        assert_eq!(T::get(form, &mut reader).as_ref(), Ok(&value));
        assert_eq!(reader.finish(), Ok(()));
    }
}

#[test]
fn numbers_are_big_endian_in_both_forms() {
    check(-2_i8, &[0xfe], &[0xfe]);
    check(258_i16, &[1, 2], &[1, 2]);
    check(65_535_u16, &[0xff, 0xff], &[0xff, 0xff]);
    check(true, &[1], &[1]);
    check(Float64::new(1.5), &[0x3f, 0xf8, 0, 0, 0, 0, 0, 0], &[0x3f, 0xf8, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn lengths_are_one_more_as_varints_or_plain() {
    check("ab".to_owned(), &[3, b'a', b'b'], &[0, 2, b'a', b'b']);
    check(vec![7_u8, 8], &[3, 7, 8], &[0, 0, 0, 2, 7, 8]);
    check(vec![1_i16, 2], &[3, 0, 1, 0, 2], &[0, 0, 0, 2, 0, 1, 0, 2]);
}

#[test]
fn null_is_zero_or_minus_one() {
    check(None::<String>, &[0], &[0xff, 0xff]);
    check(None::<Vec<u8>>, &[0], &[0xff; 4]);
    check(None::<Vec<i32>>, &[0], &[0xff; 4]);
    check(Some(String::new()), &[1], &[0, 0]);
    check(Some(Vec::<i32>::new()), &[1], &[0; 4]);
}

/// What reading a `T` says.
fn check_refused<T: Wire + std::fmt::Debug>(form: Form, bytes: &[u8], error: &str) {
    let read = T::get(form, &mut Reader::new(bytes)).expect_err(error);
    assert_eq!(read.to_string(), error);
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    check_refused::<String>(FIXED, &[0xff, 0xfe], "at byte 0: a length of -2");
    check_refused::<Vec<u8>>(FIXED, &[0x80, 0, 0, 0], "at byte 0: a length of -2147483648");
    check_refused::<Vec<i32>>(FIXED, &[0xff; 4], "at byte 0: null where it is not allowed");
    check_refused::<Vec<i32>>(
        FIXED,
        &[0, 0, 0, 2, 0, 0, 0, 0],
        "at byte 0: a count of 2 where at most 1 fit",
    );
    check_refused::<Vec<u8>>(FLEXIBLE, &[9, 1], "at byte 1: needs 8 more bytes, 1 are left");
    let long = [&[0x81, 0x80, 0x02][..], &[b'a'; 0x8000]].concat();
    check_refused::<String>(FLEXIBLE, &long, "at byte 0: a count of 32768 where at most 32767 fit");
}

#[test]
fn an_array_beyond_its_bound_is_refused_though_its_bytes_are_there() {
    let mut bytes = 1_000_001_u32.to_be_bytes().to_vec();
    bytes.resize(1_000_100, 0);
    check_refused::<Vec<i8>>(FIXED, &bytes, "at byte 0: a count of 1000001 where at most 1000000 fit");
}

#[test]
fn more_tags_than_the_bound_are_refused_though_their_bytes_are_there() {
    let mut bytes = Vec::new();
    put_varint(10_001, &mut bytes);
    bytes.resize(30_000, 0);
    let read = Reader::new(&bytes).tags(FLEXIBLE, |_, _| Ok(false));
    assert_eq!(read, Err(DecodeError::Count { at: 0, count: 10_001, max: 10_000 }));
}

#[test]
fn null_before_its_version_is_an_error_both_ways() {
    let mut out = Vec::new();
    assert_eq!(put_null_from(2, &None::<String>, FLEXIBLE, &mut out), Err(EncodeError::Null { version: 1 }));
    assert_eq!(put_null_from(1, &None::<String>, FLEXIBLE, &mut out), Ok(()));
    assert_eq!(out, [0]);
    assert_eq!(get_null_from::<String>(1, FLEXIBLE, &mut Reader::new(&out)), Ok(None));
    let refused = get_null_from::<String>(2, FLEXIBLE, &mut Reader::new(&out));
    assert_eq!(refused, Err(DecodeError::Null { at: 0 }));
    let some = get_null_from::<String>(2, FLEXIBLE, &mut Reader::new(&[1]));
    assert_eq!(some, Ok(Some(String::new())));
}

#[test]
fn varints_hold_32_bits_and_no_more() {
    for (value, bytes) in
        [(0, &[0][..]), (127, &[0x7f]), (128, &[0x80, 1]), (u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0x0f])]
    {
        let mut out = Vec::new();
        put_varint(value, &mut out);
        assert_eq!(out, bytes);
        assert_eq!(Reader::new(bytes).varint(), Ok(value));
    }
    let beyond = Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x1f]).varint();
    assert_eq!(beyond, Err(DecodeError::Varint { at: 0 }));
}

/// Reads Kafka's bytes, writes them again, and gives the fields as text without `Some(..)`.
pub(crate) fn reread<T: Message + std::fmt::Debug>(version: i16, bytes: &[u8]) -> (Vec<u8>, String) {
    let message = T::decode(version, bytes).expect("Kafka wrote it");
    let mut out = Vec::new();
    message.encode(version, &mut out).expect("what was read can be written");
    (out, format!("{message:?}").replace("Some(", "").replace(')', ""))
}

/// Holds a line of what Kafka's serialisers wrote (record, version, bytes, fields) against what `reread`
/// makes of it, by the record's name.
pub(crate) fn check_golden(line: &str, reread: impl Fn(&str, i16, &[u8]) -> (Vec<u8>, String)) {
    let mut parts = line.splitn(4, ' ');
    let mut part = || parts.next().expect("four parts a line");
    let (name, version, digits, fields) = (part(), part(), part(), part());
    let version = version.parse().expect("a version");
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hex digits");
    let bytes: Vec<u8> = (0..digits.len() / 2).map(|at| byte(2 * at)).collect();
    let (written, read) = reread(name, version, &bytes);
    assert_eq!(written, bytes, "{line}");
    assert_eq!(read, fields);
}
