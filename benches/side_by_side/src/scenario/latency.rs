//! End to end at a fixed rate: from when a record is due until a consumer has it.

use anyhow::{Context, Result};

use crate::load::frames::{Batch, Fill, ProduceFrame};
use crate::load::paced::{Pace, drive};
use crate::report::{Better, Metric};
use crate::scenario::{Scale, Scenario};
use crate::server::Cluster;

const TOPIC: &str = "paced";
const PER_SECOND: u32 = 500;
const SECONDS: u64 = 30;

/// On three nodes.
pub fn scenarios() -> Vec<Scenario> {
    vec![Scenario {
        name: "latency",
        about: "three nodes, 500 records a second, acks=all, from due to consumed",
        nodes: 3,
        has_floor: false,
        is_alone: false,
        is_huge: false,
        run: Box::new(run),
    }]
}

fn run(cluster: &mut Cluster<'_>, scale: &Scale) -> Result<Vec<Metric>> {
    let leaders = cluster.create_topic(TOPIC, 1, &[])?;
    let frame = ProduceFrame::new(TOPIC, &[0], &Batch::new(Fill::Records(1), scale.value_bytes)?, -1)?;
    let seconds = if scale.short { SECONDS / 5 } else { SECONDS };
    let counted = PER_SECOND * u32::try_from(seconds)?;
    let warm = counted / 3;
    let pace = Pace { per_second: PER_SECOND, records: warm + counted, warm };
    let port = *leaders.first().context("a partition")?;
    let outcome = drive(cluster, port, TOPIC, frame, pace)?;
    cluster.delete_topic(TOPIC)?;
    let percentile = |figure, share, goal| Metric {
        figure,
        better: Better::Lower,
        value: outcome.percentile_ms(share),
        goal,
    };
    Ok(vec![
        percentile("p50 ms", 0.5, Some(0.5)),
        percentile("p99 ms", 0.99, Some(0.2)),
        percentile("p99.9 ms", 0.999, None),
        Metric {
            figure: "CPU µs a record",
            better: Better::Lower,
            value: outcome.cpu_seconds * 1e6 / f64::from(pace.records),
            goal: None,
        },
    ])
}
