//! Every kind of fault bites: where it happened, something was lost, late, refused or wrong.

use std::time::Duration;

use judge::coverage::Event;
use kastle_sim::faults::Kind;
use kastle_sim::run::{Outcome, RunOptions, run};
use world::disk::Counts;

/// Runs that a kind gets to show itself.
const TRIES: u64 = 6;

fn of_disks(outcome: &Outcome, count: impl Fn(&Counts) -> u64) -> u64 {
    outcome.effects.disks.iter().map(count).sum()
}

/// How much of what this kind does was seen.
fn effect(kind: Kind, outcome: &Outcome) -> u64 {
    let network = &outcome.effects.network;
    match kind {
        Kind::KillOne | Kind::KillMajority | Kind::KillAll => of_disks(outcome, |disk| disk.process_crashes),
        Kind::LongAway => outcome.coverage.of(Event::SnapshotInstalled) + outcome.coverage.of(Event::Fence),
        Kind::PowerOne | Kind::PowerMany => of_disks(outcome, |disk| disk.lost_bytes + disk.lost_names),
        Kind::Pause => outcome.coverage.of(Event::Fence),
        Kind::PartitionOne | Kind::PartitionRing | Kind::PartitionOneWay | Kind::PartitionClients => {
            network.retransmitted
        }
        Kind::Delay => network.delayed,
        Kind::Loss => network.lost,
        Kind::ClockJump | Kind::ClockDrift => outcome.effects.clock_error_ms,
        Kind::DiskSlow => of_disks(outcome, |disk| disk.slow_works),
        Kind::DiskFull => of_disks(outcome, |disk| disk.refused_writes + disk.cut_writes),
        Kind::DiskReadOnly => of_disks(outcome, |disk| disk.refused_writes),
        Kind::SyncFails => of_disks(outcome, |disk| disk.failed_syncs),
        Kind::BitFlip => of_disks(outcome, |disk| disk.flips),
        Kind::RollingRestart => outcome.coverage.of(Event::ControlledShutdown),
    }
}

#[test]
fn every_kind_bites() {
    for kind in Kind::ALL {
        let options =
            RunOptions { length: Duration::from_secs(20), faults: Some(vec![kind]), ..RunOptions::default() };
        let bites = (0..TRIES).any(|seed| effect(kind, &run(seed, &options)) > 0);
        assert!(bites, "{kind} had no effect in {TRIES} runs");
    }
}

#[test]
fn without_faults_nothing_of_the_kind_is_seen() {
    let options =
        RunOptions { length: Duration::from_secs(20), faults: Some(Vec::new()), ..RunOptions::default() };
    let outcome = run(1, &options);
    assert!(outcome.violations.is_empty(), "{:?}", outcome.violations);
    let calm = [Kind::KillOne, Kind::PowerOne, Kind::Pause, Kind::PartitionOne, Kind::Loss, Kind::ClockJump];
    let calm = calm.into_iter().chain([Kind::DiskSlow, Kind::DiskFull, Kind::SyncFails, Kind::BitFlip]);
    for kind in calm {
        assert_eq!(effect(kind, &outcome), 0, "{kind}");
    }
}
