//! The short form of the campaign: some hundred seeds, and those that once found a bug.
//!
//! `cargo run --release -p kastle-sim -- --seeds 5000` is the long one.

use std::time::Duration;

use kastle_sim::campaign::{Campaign, minimums};
use kastle_sim::run::{RunOptions, run};

/// Seeds that failed once, each for another reason, with what they found. They run in full.
const FOUND: &[(u64, &str)] = &[
    (3, "records of a topic with flush.messages=1 were read before they were synced"),
    (5, "a broker led by what the metadata said before its restart; a follower cut nothing for ever"),
    (12, "partition.metadata was half written on a full disk"),
    (10342, "a slow disk and a due snapshot made the quorum ask for it without end"),
    (10765, "what a follower had cut came back after a power cut, below its recovery point"),
    (28, "a stopping node was not watched"),
    (979, "a controller that took office twice in an epoch drew the same topic ids again"),
    (1600, "a batch was committed though the one that it rested on had been refused"),
    (93, "a node stopped before it registered called its logs closed"),
    (202, "the judge held on to what was lost legally"),
    (144, "a transaction begun by a clock that was ahead stayed open until the time came"),
    (1982, "a power cut brought back what was cut off, beneath what was written instead"),
];

#[test]
fn seeds_that_found_a_bug_find_it_no_more() {
    for &(seed, found) in FOUND {
        let outcome = run(seed, &RunOptions::default());
        let story = outcome.story.map(|story| story.to_string()).unwrap_or_default();
        assert!(outcome.violations.is_empty(), "seed {seed} once showed that {found}\n{story}");
    }
}

#[test]
fn two_hundred_seeds_hold_and_cover_what_they_should() {
    let campaign = Campaign {
        first: 1_000_000,
        count: 200,
        options: RunOptions { length: Duration::from_secs(20), ..RunOptions::default() },
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        stop_at_failure: true,
    };
    let report = campaign.run(|_| ());
    if let Some(failure) = report.failures.first() {
        panic!("{}", failure.story.as_ref().map(ToString::to_string).unwrap_or_default());
    }
    let short = report.coverage.require(&minimums(report.seeds));
    assert!(short.is_ok(), "{}\n{}", short.unwrap_err().join("\n"), report.coverage);
}
