//! The test of the tests, in short: some planted bugs, each caught within a few seeds.
//!
//! `cargo run --release -p kastle-sim -- --mutant all --seeds 500` plants every one.

use kastle_sim::campaign::{Campaign, hunt};
use kastle_sim::run::RunOptions;
use model::Mutant;

#[test]
fn planted_bugs_are_caught() {
    let mutants = [
        Mutant::VoteNotPersisted,
        Mutant::AckedBeforeWatermark,
        Mutant::MinIsrIgnored,
        Mutant::IsrCountedBeforeCommitted,
        Mutant::SequenceUnchecked,
    ];
    let campaign = Campaign {
        first: 0,
        count: 60,
        options: RunOptions::default(),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        stop_at_failure: true,
    };
    let survivors: Vec<Mutant> = hunt(&mutants, &campaign, |_| ())
        .into_iter()
        .filter(|caught| caught.by.is_none())
        .map(|caught| caught.mutant)
        .collect();
    assert!(survivors.is_empty(), "survived 60 seeds: {survivors:?}");
}
