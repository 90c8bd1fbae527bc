//! Many partitions: how soon all are led and have their logs, and the memory they take.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::report::{Better, Metric};
use crate::scenario::memory::resident;
use crate::scenario::{Scale, Scenario, create_many};
use crate::server::Cluster;

const LOGS_WITHIN: Duration = Duration::from_secs(300);

/// A thousand, ten thousand, and with `--huge` fifty thousand.
pub fn scenarios() -> Vec<Scenario> {
    let scenario = |name, about, partitions: u64, goals: (Option<f64>, Option<f64>)| Scenario {
        is_huge: partitions > 10_000,
        ..Scenario::alone(name, about, 1, move |cluster, scale| run(cluster, scale, partitions, goals))
    };
    vec![
        scenario("create-1000", "one node, 100 topics of 10 partitions until all serve", 1_000, (None, None)),
        scenario(
            "create-10000",
            "one node, 1,000 topics of 10 partitions until all serve",
            10_000,
            (Some(0.1), Some(0.15)),
        ),
        scenario(
            "create-50000",
            "one node, 5,000 topics of 10 partitions until all serve",
            50_000,
            (None, None),
        ),
    ]
}

fn run(
    cluster: &mut Cluster<'_>,
    scale: &Scale,
    partitions: u64,
    goals: (Option<f64>, Option<f64>),
) -> Result<Vec<Metric>> {
    let partitions = usize::try_from(scale.of(partitions))?;
    let cpu_before = cluster.cpu_seconds()?;
    let begun = Instant::now();
    create_many(cluster, partitions)?;
    let data = cluster.node(1)?.data.clone();
    loop {
        let names = fs::read_dir(&data)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let logs = names.filter(|name| name.starts_with("many-")).count();
        if logs >= partitions {
            break;
        }
        ensure!(begun.elapsed() < LOGS_WITHIN, "{logs} of {partitions} logs are there after {LOGS_WITHIN:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
    let value = begun.elapsed().as_secs_f64();
    let cpu_seconds = cluster.cpu_seconds()? - cpu_before;
    Ok(vec![
        Metric { figure: "s until all serve", better: Better::Lower, value, goal: goals.0 },
        Metric { figure: "CPU-s", better: Better::Lower, value: cpu_seconds, goal: None },
        resident(cluster, goals.1)?,
    ])
}
