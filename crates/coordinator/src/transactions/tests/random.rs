//! Random producers live random lives under failing appends, lost markers and changing leaders.
//!
//! After each step the log replays to the state that is ([`Life::check`]): a prepared transaction never goes back,
//! and no partition is told what is not decided. Beside that: an epoch never ends in two ways, epochs never go back,
//! what a client was told is so, and nobody waits for ever.

use std::collections::BTreeMap;

use fastrand::Rng;
use proptest::prelude::*;
use wire::messages::ResponseKind;

use crate::transactions::testing::Life;
use crate::transactions::{Settings, State};

const IDS: [&str; 3] = ["x", "y", "z"];

fn step(random: &mut Rng) -> String {
    let id = IDS[random.usize(..IDS.len())];
    let place = ["t-0", "t-1", "u-0"][random.usize(..3)];
    let result = ["commit", "abort"][random.usize(..2)];
    match random.u8(..40) {
        0..3 => format!("init {id} timeout={}", [5_000, 60_000][random.usize(..2)]),
        3 => format!("init {id} own"),
        4..9 => format!("add {id} {place}"),
        9..13 => format!("add {id} {place} v5"),
        13..16 => format!("end {id} {result}"),
        16..22 => format!("end {id} {result} v5"),
        22..29 => format!("done {id}"),
        29 => format!("retry {id} {place}"),
        30 => format!("{} {id} {place}", ["gone", "fenced"][random.usize(..2)]),
        31 | 32 => format!("pass {}", [1, 500, 11_000][random.usize(..3)]),
        33 => format!("fail {}", ["unavailable", "deposed", "large"][random.usize(..3)]),
        34 => "hold".to_owned(),
        35..38 => "release".to_owned(),
        38 => format!("verify {id} {place}"),
        _ => ["reload", "depose"][random.usize(..2)].to_owned(),
    }
}

/// What was seen of ends and epochs, held against what may be.
#[derive(Default)]
struct Witness {
    /// Markers heard.
    sent: usize,
    /// How each epoch of each producer ended.
    ends: BTreeMap<(i64, i16), bool>,
    /// The last producer of each id: ids and epochs only rise, as the allocator's do.
    producers: BTreeMap<String, (i64, i16)>,
    /// Answers heard, and those of them that told of a commit.
    heard: usize,
    commits: usize,
}

impl Witness {
    fn look(&mut self, life: &Life) {
        for marker in &life.sent[self.sent..] {
            let key = (marker.producer_id.get(), marker.epoch.get());
            let known = *self.ends.entry(key).or_insert(marker.commit);
            // Before KIP-890 one epoch has many transactions, one after the other.
            assert!(known == marker.commit || marker.version < 2, "two ends: {marker:?}");
        }
        self.sent = life.sent.len();
        for (id, known) in life.shard.transactions() {
            let now = (known.producer_id.get(), known.epoch.get());
            let before = self.producers.insert(id.to_string(), now).unwrap_or(now);
            assert!(before <= now, "{id}: {before:?} went back to {now:?}\n{}", life.transcript.join("\n"));
        }
        for (client, response) in &life.answers[self.heard..] {
            match response {
                ResponseKind::EndTxn(answer) if answer.error_code == 0 => {
                    let known = life.shard.transactions().find(|(id, _)| ***id == **client);
                    let state = known.expect("its end is committed").1.state;
                    assert!(state.prepared().is_some() || state.complete().is_some(), "{client}: {state:?}");
                    self.commits += 1;
                }
                ResponseKind::InitProducerId(answer) if answer.error_code == 0 => {
                    let given = (answer.producer_id.0, answer.producer_epoch);
                    assert!(self.producers[client] >= given, "{client} was given what is not committed");
                }
                _ => {}
            }
        }
        self.heard = life.answers.len();
    }
}

/// Lives one seed; gives how many transactions ended and how many markers went out.
fn live(seed: u64, steps: usize) -> (usize, usize) {
    let mut random = Rng::with_seed(seed);
    let mut life = Life::new(Settings::default());
    let mut witness = Witness::default();
    for _ in 0..steps {
        life.run(&step(&mut random));
        witness.look(&life);
    }
    life.log.failing = None;
    life.run("release");
    // A coordinator that was fenced waits for its successor.
    life.prompt = true;
    life.run("reload");
    life.run("pass 120000");
    witness.look(&life);
    let transcript = life.transcript.join("\n");
    assert!(life.waiting.is_empty(), "somebody waits for ever: {:?}\n{transcript}", life.waiting);
    for (id, known) in life.shard.transactions() {
        let ended = known.state == State::Empty || known.state.complete().is_some();
        assert!(ended, "{id} is {:?} for ever\n{transcript}", known.state);
    }
    (witness.commits, witness.sent)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_a_transaction_ends_in_one_way_and_every_partition_hears_of_it(seed in any::<u64>()) {
        live(seed, 150);
    }
}

#[test]
fn random_lives_are_not_idle() {
    let (ends, markers) = (0..20).map(|seed| live(seed, 300)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    assert!(ends > 150 && markers > 150, "{ends} ends, {markers} markers");
}
