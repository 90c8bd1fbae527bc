//! Who does what when: the servers take turns, round by round, on clusters that scenarios of one shape share.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::load::frames::{Batch, Fill, ProduceFrame};
use crate::load::produce::{Lane, Work, drive};
use crate::report::Report;
use crate::scenario::{Scale, Scenario};
use crate::server::{Cluster, Kind, Software, own_cpu_seconds};

/// Before the first measurement on a cluster: a JVM compiles what is used often.
const WARM: Duration = Duration::from_secs(8);
const WARM_SHORT: Duration = Duration::from_secs(3);

/// How a run is done.
pub struct Plan<'a> {
    /// What is started.
    pub software: &'a Software,
    /// By whom.
    pub kinds: &'a [Kind],
    /// How much is done.
    pub scale: Scale,
    /// Where the servers keep their data.
    pub dir: &'a Path,
}

/// Measures every scenario `rounds` times with every kind of server. What fails is told and left out.
pub fn run(plan: &Plan<'_>, scenarios: &[Scenario], rounds: usize, report: &mut Report) {
    for scenario in scenarios {
        report.expect(scenario.name, scenario.about);
    }
    for round in 1..=rounds {
        for group in groups(scenarios) {
            for &kind in plan.kinds {
                eprintln!("round {round} of {rounds}, {}", kind.name());
                turn(plan, kind, &group, report);
            }
        }
    }
}

/// Scenarios that can share a cluster, in order.
fn groups(scenarios: &[Scenario]) -> Vec<Vec<&Scenario>> {
    let mut groups: Vec<Vec<&Scenario>> = Vec::new();
    for scenario in scenarios {
        let fits = |group: &&mut Vec<&Scenario>| {
            let first = group.first();
            first.is_some_and(|first| !first.is_alone && !scenario.is_alone && first.nodes == scenario.nodes)
        };
        match groups.last_mut().filter(fits) {
            Some(group) => group.push(scenario),
            None => groups.push(vec![scenario]),
        }
    }
    groups
}

/// One server does one group's work. After a failure the rest goes on with a new cluster.
fn turn(plan: &Plan<'_>, kind: Kind, group: &[&Scenario], report: &mut Report) {
    let mut cluster = None;
    for scenario in group.iter().filter(|scenario| kind != Kind::Floor || scenario.has_floor) {
        let begun = Instant::now();
        let outcome = one(plan, kind, scenario, &mut cluster);
        match outcome {
            Ok(metrics) => {
                let told: Vec<String> =
                    metrics.iter().map(|metric| format!("{:.2} {}", metric.value, metric.figure)).collect();
                eprintln!("  {:<20} {} ({:.0?})", scenario.name, told.join(", "), begun.elapsed());
                report.add(scenario.name, kind, &metrics);
            }
            Err(error) => {
                cluster = None;
                eprintln!("  {:<20} failed: {error:#}", scenario.name);
                report.fail(scenario.name, kind, &error);
            }
        }
    }
}

fn one<'a>(
    plan: &Plan<'a>,
    kind: Kind,
    scenario: &Scenario,
    shared: &mut Option<Cluster<'a>>,
) -> Result<Vec<crate::report::Metric>> {
    if shared.is_none() {
        let mut cluster = Cluster::start(plan.software, kind, scenario.nodes, plan.dir)?;
        if !scenario.is_alone {
            warm(&mut cluster, plan.scale)?;
        }
        *shared = Some(cluster);
    }
    let cluster = shared.as_mut().expect("it was just made");
    // What others left to be written would slow this one down.
    rustix::fs::sync();
    let own_before = own_cpu_seconds()?;
    let metrics = (scenario.run)(cluster, &plan.scale)?;
    let own = own_cpu_seconds()? - own_before;
    eprintln!("  {:<20} the load generator took {own:.1} CPU-s", "");
    Ok(metrics)
}

fn warm(cluster: &mut Cluster<'_>, scale: Scale) -> Result<()> {
    let port = cluster.create_topic("warm", 1, &[])?[0];
    let frames =
        vec![ProduceFrame::new("warm", &[0], &Batch::new(Fill::Records(10), scale.value_bytes)?, -1)?];
    let lanes = vec![Lane { port, frames }; 2];
    let limit = if scale.short { WARM_SHORT } else { WARM };
    drive(cluster, lanes, Work { requests: u64::MAX, limit, ..Work::default() })?;
    cluster.delete_topic("warm")
}
