//! Random clients live random lives under failing appends and changing leaders.
//!
//! After each step the log replays to the state that is ([`Life::check`]), and of what clients were told:
//! no committed offset goes back, a generation has one leader and each member's part comes from it alone,
//! and nobody waits for ever.

use std::collections::BTreeMap;

use fastrand::Rng;
use proptest::prelude::*;
use wire::messages::ResponseKind;

use crate::Settings;
use crate::testing::{Life, label};

const CLIENTS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// What a client would do next, if it behaved.
#[derive(Clone, Copy, Default, PartialEq)]
enum Want {
    #[default]
    Join,
    Sync,
    Beat,
}

/// What clients were told, held against what may be.
struct Witness {
    heard: usize,
    wants: BTreeMap<String, Want>,
    /// Of each generation: the leader that divided it.
    leaders: BTreeMap<i32, String>,
    next_offset: i64,
    acknowledged: i64,
    joins: usize,
    parts: usize,
}

/// A life's next step: mostly what the client should do, sometimes anything.
fn step(life: &mut Life, witness: &mut Witness, random: &mut Rng) -> String {
    let client = CLIENTS[random.usize(..CLIENTS.len())];
    let waits = life.waiting.values().any(|(name, ..)| name == client);
    match random.u8(..40) {
        0..20 if waits => format!("pass {}", random.u16(1..2000)),
        0..20 => match witness.wants.get(client).copied().unwrap_or_default() {
            Want::Join => join(client, random),
            Want::Sync => sync(client, life),
            Want::Beat => format!("beat {client}{}", instance(client)),
        },
        20 | 21 => join(client, random),
        22 => sync(client, life),
        23 => format!("leave {client}"),
        24..28 => {
            witness.next_offset += 1;
            format!("commit {client}{} t-0={}", instance(client), witness.next_offset)
        }
        28 | 29 => "fetch t-0".to_owned(),
        30 => "fetch stable t-0".to_owned(),
        31..33 => format!("pass {}", [1, 500, 3000, 12_000][random.usize(..4)]),
        33 => format!("fail {}", ["unavailable", "deposed", "large"][random.usize(..3)]),
        34 => "hold".to_owned(),
        35..38 => "release".to_owned(),
        _ if random.u8(..3) == 0 => ["reload", "depose"][random.usize(..2)].to_owned(),
        _ => format!("beat {client}{}", instance(client)),
    }
}

/// One of them is a static member.
fn instance(client: &str) -> &'static str {
    if client == "e" { " instance=i" } else { "" }
}

fn join(client: &str, random: &mut Rng) -> String {
    let protocols = ["range", "range,sticky", "sticky,range"][random.usize(..3)];
    let version = [3, 4, 8, 9][random.usize(..4)];
    let rebalance = [5000, 60_000][random.usize(..2)];
    format!("join {client} v{version} protocols={protocols} rebalance={rebalance}{}", instance(client))
}

/// The parts name the generation that they are of, and who divided it.
fn sync(client: &str, life: &Life) -> String {
    let own = life.clients.get(client).cloned().unwrap_or_default();
    let known = life.clients.values().map(|memory| label(&memory.member)).filter(|id| id.contains('.'));
    let part = |id| format!(" {id}={}/{}", own.generation, label(&own.member));
    format!("sync {client}{}{}", instance(client), known.map(part).collect::<String>())
}

impl Witness {
    fn new() -> Self {
        Self {
            heard: 0,
            wants: BTreeMap::new(),
            leaders: BTreeMap::new(),
            next_offset: 0,
            acknowledged: -1,
            joins: 0,
            parts: 0,
        }
    }

    /// Hears the answers that came since.
    fn listen(&mut self, life: &Life, line: &str) {
        for (client, response) in &life.answers[self.heard..] {
            match response {
                ResponseKind::JoinGroup(r) => {
                    self.joins += usize::from(r.error_code == 0);
                    self.want(client, r.error_code, Want::Sync);
                }
                ResponseKind::SyncGroup(r) => {
                    if r.error_code == 0 && !r.assignment.is_empty() {
                        self.part(client, std::str::from_utf8(&r.assignment).expect("ours"));
                    }
                    self.want(client, r.error_code, Want::Beat);
                }
                ResponseKind::Heartbeat(r) if r.error_code != 0 => {
                    self.want(client, r.error_code, Want::Join)
                }
                ResponseKind::OffsetCommit(r) => {
                    let code = r.topics[0].partitions[0].error_code;
                    if code == 0 && line.starts_with("commit") {
                        self.acknowledged = self.next_offset;
                    }
                }
                ResponseKind::OffsetFetch(r) if r.groups[0].error_code == 0 => {
                    let told = r.groups[0].topics[0].partitions[0].committed_offset;
                    let back = told < self.acknowledged && line.starts_with("fetch");
                    assert!(!back, "an offset went back\n{}", life.transcript.join("\n"));
                    // What was told once is not unsaid either.
                    self.acknowledged = self.acknowledged.max(told);
                }
                _ => {}
            }
        }
        self.heard = life.answers.len();
    }

    fn want(&mut self, client: &str, code: i16, want: Want) {
        self.wants.insert(client.to_owned(), if code == 0 { want } else { Want::Join });
    }

    fn part(&mut self, client: &str, part: &str) {
        let (generation, leader) = part.split_once('/').expect("a generation and who divided it");
        let generation = generation.parse().expect("a generation");
        let known = self.leaders.entry(generation).or_insert_with(|| leader.to_owned());
        assert_eq!(known, leader, "{client}: two leaders divided generation {generation}");
        self.parts += 1;
    }
}

/// Lives one seed; gives how much happened.
fn live(seed: u64, steps: usize) -> (usize, usize) {
    let mut random = Rng::with_seed(seed);
    let mut life = Life::new(Settings::default());
    let mut witness = Witness::new();
    let mut generation = 0;
    for _ in 0..steps {
        let line = step(&mut life, &mut witness, &mut random);
        life.run(&line);
        witness.listen(&life, &line);
        // A new leader may begin a generation again that nobody was given a part of.
        let now = life.shard.groups().next().map_or(0, |(_, group)| match group {
            crate::Group::Classic(group) => group.generation(),
            crate::Group::Consumer(_) => unreachable!("nobody made one"),
        });
        assert!(now >= generation || line == "reload" || line == "depose", "a generation went back");
        generation = now;
    }
    life.log.failing = None;
    life.run("release");
    // Longer than the longest anybody waits: a first join.
    life.run("pass 400000");
    let transcript = life.transcript.join("\n");
    assert!(life.waiting.is_empty(), "somebody waits for ever: {:?}\n{transcript}", life.waiting);
    (witness.joins, witness.parts)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_nothing_acknowledged_is_lost(seed in any::<u64>()) {
        live(seed, 150);
    }
}

#[test]
fn random_lives_are_not_idle() {
    let (joins, parts) = (0..25).map(|seed| live(seed, 300)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    assert!(joins > 300 && parts > 100, "{joins} joins, {parts} parts");
}
