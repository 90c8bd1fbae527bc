//! What a group is on its own; how it lives is in the crate's scenarios.

use super::*;
use crate::call::{Caller, Client, Token};
use wire::messages::JoinGroupRequest;
use wire::messages::join_group_request::JoinGroupRequestProtocol;

/// A group whose members are given with their protocols, best first: `a:range,sticky`.
fn group(members: &str) -> Group {
    let mut group = Group::new(Timestamp::new(1));
    for spec in members.split(' ') {
        let (id, names) = spec.split_once(':').expect("a member and its protocols");
        let named = |name| JoinGroupRequestProtocol::default().with_name(text(name));
        let request = JoinGroupRequest::default().with_protocols(names.split(',').map(named).collect());
        let caller = Caller { token: Token(1), version: 9 };
        let mut member = Member::joining(text(id), &Client::default(), &request, caller);
        member.waiting = Waiting::Nothing;
        group.insert(member);
    }
    group
}

fn check_choice(members: &str, protocol: Option<&str>) {
    assert_eq!(group(members).elect_protocol().as_ref().map(StrBytes::as_str), protocol);
}

#[test]
fn the_protocol_is_one_that_all_know_and_most_like_best() {
    check_choice("a:range", Some("range"));
    check_choice("a:range,sticky b:sticky,range c:sticky,range", Some("sticky"));
    check_choice("a:x,range b:range,y", Some("range"));
    check_choice("a:range,sticky b:sticky,range", Some("range"));
    check_choice("a:x b:y", None);
}

#[test]
fn members_that_change_or_go_are_counted_no_more() {
    let mut group = group("a:range,sticky b:range");
    assert_eq!(group.elect_protocol(), Some(text("range")));
    group.remove(&text("b"));
    group.edit(&text("a"), |member| {
        member.protocols = Arc::new([Protocol { name: text("sticky"), metadata: Bytes::new() }]);
    });
    assert_eq!(group.elect_protocol(), Some(text("sticky")));
    assert_eq!(group.known_by.len(), 1);
}
