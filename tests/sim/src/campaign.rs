//! Many seeds on all cores, and what came of them.
//!
//! Each seed runs alone on its thread, so that threads cannot change what a seed does.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use judge::coverage::{Coverage, Event, Minimums};
use model::Mutant;
use world::trace::Trace;

use crate::faults::Kind;
use crate::run::{Outcome, RunOptions, run};

/// Which seeds to run, and when to stop.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The first seed.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// How each runs.
    pub options: RunOptions,
    /// How many at the same time.
    pub threads: usize,
    /// Whether the first failure ends it.
    pub stop_at_failure: bool,
}

/// What came of a campaign.
#[derive(Debug, Default)]
pub struct Report {
    /// How many seeds ran.
    pub seeds: u64,
    /// Those that failed, in order of their seeds.
    pub failures: Vec<Outcome>,
    /// What all of them covered.
    pub coverage: Coverage,
    /// The last seed's trace.
    pub trace: Trace,
    /// How long it took.
    pub took: Duration,
}

/// How far a campaign is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Seeds that ran.
    pub done: u64,
    /// Seeds that will have run.
    pub of: u64,
    /// Seeds that failed.
    pub failed: u64,
    /// The seed that has just failed.
    pub failure: Option<u64>,
    /// Since the start.
    pub elapsed: Duration,
}

impl Campaign {
    /// Runs it; `progress` is told after each seed.
    pub fn run(&self, progress: impl Fn(Progress) + Sync) -> Report {
        let begun = Instant::now();
        let next = AtomicU64::new(0);
        let over = AtomicBool::new(false);
        let report = Mutex::new(Report::default());
        let work = || {
            while !over.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= self.count {
                    return;
                }
                let outcome = run(self.first + number, &self.options);
                if self.stop_at_failure && outcome.failed() {
                    over.store(true, Ordering::Relaxed);
                }
                let failure = outcome.failed().then_some(outcome.seed);
                let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                report.add(outcome);
                let failed = report.failures.len() as u64;
                let (done, of) = (report.seeds, self.count);
                progress(Progress { done, of, failed, failure, elapsed: begun.elapsed() });
            }
        };
        thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(work);
            }
        });
        let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.failures.sort_by_key(|outcome| outcome.seed);
        report.took = begun.elapsed();
        report
    }
}

impl Report {
    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.coverage.merge(&outcome.coverage);
        self.trace.clone_from(&outcome.trace);
        if outcome.failed() {
            self.failures.push(outcome);
        }
    }
}

/// How a planted bug fared.
#[derive(Debug)]
pub struct Caught {
    /// The bug.
    pub mutant: Mutant,
    /// Seeds that ran until one failed, or all.
    pub seeds: u64,
    /// The failure that gave it away; `None` when it survived.
    pub by: Option<Outcome>,
}

/// Plants each of `mutants` in turn and runs seeds until one fails.
pub fn hunt(mutants: &[Mutant], campaign: &Campaign, caught: impl Fn(&Caught)) -> Vec<Caught> {
    let hunts = mutants.iter().map(|&mutant| {
        let options = RunOptions { mutant: Some(mutant), ..campaign.options.clone() };
        let report = Campaign { options, stop_at_failure: true, ..campaign.clone() }.run(|_| ());
        let by = report.failures.into_iter().next();
        let found = Caught { mutant, seeds: report.seeds, by };
        caught(&found);
        found
    });
    hunts.collect()
}

/// What a campaign of so many seeds must have covered: a few of everything, in growing number.
pub fn minimums(seeds: u64) -> Minimums {
    let each = [
        (Event::RaftElection, 2.0),
        (Event::PartitionElection, 5.0),
        (Event::IsrShrink, 3.0),
        (Event::IsrExpand, 3.0),
        (Event::ElrChange, 1.0),
        (Event::Truncation, 0.1),
        (Event::SnapshotTaken, 1.0),
        // The rarest: one short run in a hundred has a node away for long enough.
        (Event::SnapshotInstalled, 0.005),
        (Event::CleanStart, 0.2),
        (Event::UncleanStart, 1.0),
        (Event::SegmentRolled, 5.0),
        (Event::RecordCompacted, 5.0),
        (Event::Fence, 1.0),
        (Event::Unfence, 2.0),
        (Event::ControlledShutdown, 0.1),
        (Event::Restart, 1.0),
        (Event::PartitionCreated, 3.0),
        (Event::PartitionDeleted, 0.1),
        (Event::AckedSend, 50.0),
        (Event::Poll, 50.0),
        (Event::GroupAssigned, 5.0),
        (Event::OffsetCommitted, 50.0),
        (Event::TransactionCommitted, 5.0),
        (Event::TransactionAborted, 1.0),
    ];
    let least = |a_seed: f64| (a_seed * seeds as f64) as u64;
    Minimums {
        events: each.iter().map(|&(event, a_seed)| (event, least(a_seed))).collect(),
        // Every kind strikes in a campaign of some size.
        faults: if seeds >= 100 { Kind::ALL.iter().map(ToString::to_string).collect() } else { Vec::new() },
        percent_ok_under_faults: 30,
        operations_under_faults: least(50.0),
    }
}
