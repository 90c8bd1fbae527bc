//! Each wall of `crates/README.md` is a test here.

use std::fs;

use kastle_tidy::{Crate, Kind, MAP, crates, root};

/// What no pure crate may name, and why.
const IMPURE: &[(&str, &str)] = &[
    ("std::time::Instant", "time is an argument"),
    ("SystemTime", "time is an argument"),
    ("Instant::now", "time is an argument"),
    ("std::fs", "files are the shell's"),
    ("std::net", "sockets are the shell's"),
    ("std::thread", "threads are the shell's"),
    ("tokio", "tasks are the shell's"),
    ("getrandom", "randomness is an argument"),
    ("rand::", "randomness is an argument"),
    ("HashMap", "a hasher decides its order"),
    ("HashSet", "a hasher decides its order"),
];

/// Names that only one crate may say.
const KEPT_WITHIN: &[(&str, &str)] = &[("openraft", "quorum"), ("kafka_protocol", "wire")];

/// What is never left behind.
const LEFTOVERS: &[&str] = &["todo!(", "unimplemented!(", "dbg!(", "#[ignore"];

fn kind_of(name: &str) -> Option<Kind> {
    MAP.iter().find(|(known, _)| *known == name).map(|&(_, kind)| kind)
}

fn none_found(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn lines_with<'a>(member: &'a Crate, needle: &'a str) -> impl Iterator<Item = String> + 'a {
    member.product_lines().filter(move |(_, line)| line.contains(needle)).map(|(place, _)| place)
}

#[test]
fn every_crate_is_on_the_map() {
    let map = fs::read_to_string(root().join("crates/README.md")).expect("the map exists");
    for member in crates("crates") {
        assert!(kind_of(&member.name).is_some(), "crates/{} is missing in kastle_tidy::MAP", member.name);
        let named = map.contains(&format!("`{}`", member.name));
        assert!(named, "crates/{} is missing in crates/README.md", member.name);
    }
}

#[test]
fn dependencies_point_downwards_only() {
    let level = |name: &str| MAP.iter().position(|(known, _)| *known == name);
    let mut found = Vec::new();
    for member in crates("crates") {
        let own = level(&member.name).expect("on the map");
        let upward = |name: &&str| level(name).is_some_and(|other| other >= own);
        found.extend(
            member.dependencies().into_iter().filter(upward).map(|name| format!("{} -> {name}", member.name)),
        );
    }
    none_found(&found);
}

#[test]
fn pure_crates_name_nothing_impure() {
    let mut found = Vec::new();
    for member in crates("crates").iter().filter(|member| kind_of(&member.name) == Some(Kind::Pure)) {
        for &(name, why) in IMPURE {
            found.extend(lines_with(member, name).map(|place| format!("{place}: {name}: {why}")));
        }
    }
    none_found(&found);
}

#[test]
fn files_are_synchronous() {
    let log = crates("crates").into_iter().find(|member| member.name == "log").expect("on the map");
    none_found(&lines_with(&log, "tokio").collect::<Vec<_>>());
}

#[test]
fn openraft_and_kafka_protocol_are_each_named_in_one_crate() {
    let mut found = Vec::new();
    for &(name, home) in KEPT_WITHIN {
        for member in crates("crates").iter().filter(|member| member.name != home) {
            found.extend(lines_with(member, name).map(|place| format!("{place}: {name} belongs to {home}")));
        }
    }
    none_found(&found);
}

#[test]
fn nothing_is_left_unfinished() {
    let own = |member: &Crate| member.name == "tidy";
    let mut found = Vec::new();
    for member in crates("crates").iter().chain(crates("tests").iter().filter(|member| !own(member))) {
        for &leftover in LEFTOVERS {
            let hits = member.sources.iter().filter(|(_, text)| text.contains(leftover));
            found.extend(hits.map(|(path, _)| format!("{}: {leftover}", path.display())));
        }
    }
    none_found(&found);
}

#[test]
fn every_file_says_what_it_is() {
    let mut found = Vec::new();
    for member in crates("crates").iter().chain(crates("tests").iter()) {
        let headless = member.sources.iter().filter(|(_, text)| !text.starts_with("//!"));
        found.extend(headless.map(|(path, _)| format!("{}: no //! header", path.display())));
    }
    none_found(&found);
}
