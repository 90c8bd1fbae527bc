//! Random histories of a perfect log have no anomaly, and any one thing spoilt in them is found.

mod perfect;
mod spoilers;

use std::collections::BTreeMap;

use fastrand::Rng;

use super::super::{Class, Findings, explain, find};
use crate::history::History;
use crate::promise::{FaultsSeen, Promise};
use perfect::Perfect;
use spoilers::SPOILERS;

/// Operations of the histories that are spoilt.
const OPS: usize = 800;
const SEEDS: u64 = 30;

/// What is found, and whether anything violates a promise.
fn judged(history: &History) -> (Findings, Vec<Class>) {
    let promise = Promise::new(FaultsSeen::default(), BTreeMap::new());
    let findings = find(history, &promise);
    let violated = promise.judge(&findings).violated.into_keys().collect();
    (findings, violated)
}

#[test]
fn a_perfect_log_has_no_anomaly() {
    for seed in 0..SEEDS {
        let history = Perfect::new(seed).run(OPS);
        let (findings, violated) = judged(&history);
        let stories: Vec<String> = findings.anomalies.iter().map(|found| explain(&history, found)).collect();
        assert!(violated.is_empty(), "seed {seed}: {violated:?}\n{}", stories.join("\n"));
    }
}

#[test]
fn whatever_is_spoilt_in_a_perfect_history_is_found() {
    let mut spoilt: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..SEEDS {
        let perfect = Perfect::new(seed).run(OPS);
        for (name, spoil, expected) in SPOILERS {
            let mut history = perfect.clone();
            if spoil(&mut history, &mut Rng::with_seed(seed)).is_none() {
                continue;
            }
            *spoilt.entry(name).or_insert(0) += 1;
            let (_, violated) = judged(&history);
            let is_found = expected.iter().any(|class| violated.contains(class));
            assert!(is_found, "seed {seed}, {name}: found {violated:?}, expected one of {expected:?}");
        }
    }
    for (name, _, _) in SPOILERS {
        let count = spoilt.get(name).copied().unwrap_or(0);
        assert!(count >= SEEDS / 3, "{name} found something to spoil in only {count} histories");
    }
}

#[test]
fn a_history_of_fifty_thousand_operations_is_judged() {
    let history = Perfect::new(7).run(50_000);
    assert!(history.ops().len() >= 50_000);
    let (findings, violated) = judged(&history);
    assert!(violated.is_empty(), "{findings:?}");
}
