//! Random members of both protocols live random lives in one group, under failing appends and changing leaders.
//!
//! After each step the log replays to the state that is, and no partition has two owners ([`Life::check`]). In the end
//! members that behave come to rest: the group is stable, and every partition of what they read has one owner.

use std::collections::BTreeSet;

use fastrand::Rng;
use proptest::prelude::*;
use wire::messages::ResponseKind;

use crate::testing::{BEGINS, Life};
use crate::{Group, Settings};

const MODERN: [&str; 4] = ["a", "b", "c", "d"];
const CLASSIC: [&str; 2] = ["y", "z"];
const TOPICS: [&str; 6] =
    ["topics t:4 u:2", "topics t:4", "topics t:5 u:2 v:1", "topics u:1", "topics t:2@x u:2", "topics"];

/// A life's next step: mostly what a client should do, sometimes anything.
fn step(life: &Life, random: &mut Rng) -> String {
    let modern = MODERN[random.usize(..MODERN.len())];
    let classic = CLASSIC[random.usize(..CLASSIC.len())];
    match random.u8(..48) {
        0..18 => format!("hb {modern} own{}", instance(modern)),
        18..21 => format!("hb {modern} {}{}", subscription(random), instance(modern)),
        21 => format!("hb {modern} epoch=0{}", instance(modern)),
        22 => format!("hb {modern} leave{}", instance(modern)),
        23 => "hb d away instance=i".to_owned(),
        24 => format!("hb {modern} epoch={}", random.i32(0..9)),
        25..31 => classic_step(life, classic),
        31 => format!("join {classic} v3"),
        32 => format!("sync {classic}"),
        33 => format!("leave {classic}"),
        34 => format!("commit {modern} t-0={}", random.u16(..)),
        35..39 => TOPICS[random.usize(..TOPICS.len())].to_owned(),
        39..42 => format!("pass {}", [1, 500, 3000, 12_000, 46_000][random.usize(..5)]),
        42 => format!("fail {}", ["unavailable", "deposed", "large"][random.usize(..3)]),
        43 => "hold".to_owned(),
        44..47 => "release".to_owned(),
        _ => ["reload", "depose"][random.usize(..2)].to_owned(),
    }
}

/// One of them is a static member.
fn instance(client: &str) -> &'static str {
    if client == "d" { " instance=i" } else { "" }
}

fn subscription(random: &mut Rng) -> &'static str {
    ["topics=t own", "topics=t,u own", "regex=[tu] topics= own", "regex= topics=u own", "assignor=range"]
        [random.usize(..5)]
}

/// What a classic client does next, after what it was told last.
fn classic_step(life: &Life, client: &str) -> String {
    let last = life.answers.iter().rev().find(|(name, response)| {
        let classic = matches!(
            response,
            ResponseKind::JoinGroup(_) | ResponseKind::SyncGroup(_) | ResponseKind::Heartbeat(_)
        );
        name == client && classic
    });
    let rejoin = |code: i16| match code {
        // A rebalance: with what it has. Otherwise from the beginning.
        27 => format!("join {client} v3 own"),
        _ => format!("join {client} v3 id="),
    };
    match last.map(|(_, response)| response) {
        Some(ResponseKind::JoinGroup(response)) if response.error_code == 0 => format!("sync {client}"),
        Some(ResponseKind::SyncGroup(response)) if response.error_code == 0 => format!("beat {client}"),
        Some(ResponseKind::Heartbeat(response)) if response.error_code == 0 => format!("beat {client}"),
        Some(ResponseKind::JoinGroup(response)) => rejoin(response.error_code),
        Some(ResponseKind::SyncGroup(response)) => rejoin(response.error_code),
        Some(ResponseKind::Heartbeat(response)) => rejoin(response.error_code),
        _ => rejoin(0),
    }
}

/// Everybody behaves until nothing is left to do.
fn come_to_rest(life: &mut Life) {
    life.log.failing = None;
    for line in ["release", "pass 400000", TOPICS[0]] {
        life.run(line);
    }
    for _ in 0..40 {
        for client in ["a", "b", "d"] {
            life.run(&format!("hb {client} own{}", instance(client)));
        }
        for client in CLASSIC {
            if !life.waiting.values().any(|(name, ..)| name == client) {
                let line = classic_step(life, client);
                life.run(&line);
            }
        }
        life.run("pass 1100");
    }
}

/// Lives one seed; gives how many heartbeats brought partitions.
fn live(seed: u64, steps: usize) -> usize {
    let mut random = Rng::with_seed(seed);
    let mut life = Life::new(Settings::default());
    life.run(TOPICS[0]);
    for _ in 0..steps {
        let waits = |client: &str| life.waiting.values().any(|(name, ..)| name == client);
        let line = step(&life, &mut random);
        if !line.split(' ').nth(1).is_some_and(waits) {
            life.run(&line);
        }
    }
    come_to_rest(&mut life);
    let transcript = || life.transcript[life.transcript.len().saturating_sub(80)..].join("\n");
    let (_, group) = life.shard.groups().next().expect("it is there");
    let Group::Consumer(watched) = group else { panic!("it is of the new protocol\n{}", transcript()) };
    let group = watched.group();
    assert_eq!(group.state(), "Stable", "at {}\n{}", life.clock - BEGINS, transcript());
    let mut owned = BTreeSet::new();
    for (id, _) in group.members() {
        owned.extend(group.current(id).places());
    }
    let read = group.topics();
    let all =
        [("t", 4), ("u", 2)].iter().filter(|(name, _)| read.contains(name)).map(|(_, count)| count).sum();
    assert_eq!(owned.len(), all, "{}", transcript());
    let brings = |(_, response): &&(String, ResponseKind)| matches!(response, ResponseKind::ConsumerGroupHeartbeat(told) if told.assignment.is_some());
    life.answers.iter().filter(brings).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_no_partition_has_two_owners_and_all_come_to_rest(seed in any::<u64>()) {
        live(seed, 120);
    }
}

#[test]
fn random_lives_are_not_idle() {
    let brought: usize = (0..6).map(|seed| live(seed, 150)).sum();
    assert!(brought > 100, "{brought}");
}
