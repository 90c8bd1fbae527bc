//! A seed gives the same run, line by line, however often and on whichever thread it runs.

use std::time::Duration;

use kastle_sim::run::{Outcome, RunOptions, run};

fn traced(seed: u64) -> Outcome {
    let options = RunOptions { keep_trace: true, length: Duration::from_secs(20), ..RunOptions::default() };
    run(seed, &options)
}

#[test]
fn a_seed_replays_bit_for_bit() {
    for seed in [0, 7, 12] {
        // Beside a third run of another seed: what threads do to each other must not show.
        let (first, second) = std::thread::scope(|scope| {
            let other = scope.spawn(move || traced(seed + 1_000));
            let (first, second) = (scope.spawn(move || traced(seed)), traced(seed));
            let first = first.join().expect("the run itself does not panic");
            assert_ne!(other.join().expect("the run itself does not panic").trace.hash, second.trace.hash);
            (first, second)
        });
        let differs = first.trace.lines.iter().zip(&second.trace.lines).position(|(one, other)| one != other);
        if let Some(at) = differs {
            panic!("seed {seed}, line {at}:\n{}\n{}", first.trace.lines[at], second.trace.lines[at]);
        }
        assert_eq!(first.trace.count, second.trace.count, "seed {seed}");
        assert_eq!(first.violations, second.violations, "seed {seed}");
        assert!(first.trace.count > 1_000, "seed {seed}: {} lines are no run", first.trace.count);
    }
}
