//! The notation's parser: what it reads, and that a slip fails with its line.

#[allow(dead_code, reason = "the build reads more of it")]
#[path = "../build/schema.rs"]
mod schema;

use schema::{Kind, Scalar, Shape, Versions, parse};

fn check_error(text: &str, error: &str) {
    assert_eq!(parse(text).map_err(|error| error.to_string()), Err(error.to_owned()));
}

#[test]
fn a_record_has_a_key_versions_and_fields() {
    let schema = parse(
        "record Thing  key 7  versions 1-3  flexible 2+  # why\n  \
           parts  []Part?2+  2+  tag 4  ignorable  = null\n\
         struct Part\n  \
           name  string  = none\n",
    )
    .expect("it follows the notation");
    let thing = &schema.items[0];
    let versions = Versions { first: 1, last: Some(3) };
    assert_eq!(thing.kind, Kind::Record { key: Some(7), versions, flexible_from: Some(2) });
    let parts = &thing.fields[0];
    assert_eq!(parts.shape, Shape::Array(Box::new(Shape::Struct("Part".to_owned()))));
    assert_eq!((parts.null_from, parts.tag, parts.ignorable), (Some(2), Some(4), true));
    assert_eq!(parts.versions, Versions { first: 2, last: None });
    assert_eq!(parts.default.as_deref(), Some("null"));
    assert_eq!(schema.items[1].fields[0].shape, Shape::Scalar(Scalar::String));
}

#[test]
fn a_message_has_no_key_and_may_be_inflexible() {
    let schema = parse("message Old  versions 0  flexible none\n").expect("it follows the notation");
    let versions = Versions { first: 0, last: Some(0) };
    assert_eq!(schema.items[0].kind, Kind::Record { key: None, versions, flexible_from: None });
}

#[test]
fn a_slip_fails_with_its_line() {
    check_error("  a int8\n", "line 1: a field before any record");
    check_error("\nrecrod A versions 0\n", "line 2: 'recrod' is none of record, message, struct");
    check_error("record A versions 0\n", "line 1: record A has no key");
    check_error("message A versions 0+\n", "line 1: A: a record's versions have an end");
    check_error("message A version 0\n", "line 1: A: expected 'versions A-B', then perhaps 'flexible V+'");
    check_error("struct A\n  a\n", "line 2: 'a' has no type");
    check_error("struct A\n  a int8 tag\n", "line 2: a: nothing after 'tag'");
    check_error("struct A\n  a int8 nul\n", "line 2: 'nul' is no number that fits here");
}

#[test]
fn what_lines_say_together_must_agree() {
    check_error("struct A\nstruct A\n", "line 2: A is there twice");
    check_error("record A key 1 versions 0\nrecord B key 1 versions 0\n", "line 2: B: key 1 is taken");
    check_error("struct A\n  a int8\n  a int8\n", "line 3: A.a is there twice");
    check_error("struct A\n  a int8 tag 0\n  b int8 tag 0\n", "line 3: A.b: its tag is taken");
    check_error("struct A\n  a []B\n", "line 2: A.a: there is no type B");
    check_error("struct A\n  a int8?\n", "line 2: A.a: this type is never null");
    check_error("struct A\n  a string = null\n", "line 2: A.a: null by default, but never null");
}
