//! Producing: 1 and 100 partitions, single records and 64 KiB batches, acks 1 and all, with and without a
//! sync for each request, on one node and on three.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use crate::load::frames::{Batch, Fill, ProduceFrame};
use crate::load::produce::{Done, Lane, Work, drive};
use crate::report::{Better, Metric};
use crate::scenario::{Scale, Scenario};
use crate::server::Cluster;

const TOPIC: &str = "work";
const BATCH_BYTES: usize = 64 << 10;
const WARM_MAX: Duration = Duration::from_secs(4);

/// What the figures are told in.
#[derive(Clone, Copy)]
enum Unit {
    Bytes,
    Requests,
    Records,
}

/// One way to produce.
#[derive(Clone, Copy)]
struct Variant {
    name: &'static str,
    about: &'static str,
    partitions: i32,
    /// Partitions with a batch in one request.
    per_request: usize,
    fill: Fill,
    acks: i16,
    /// `flush.messages=1`.
    flush: bool,
    /// Connections to each node that leads.
    lanes: usize,
    requests: u64,
    unit: Unit,
    /// Throughput at least, processor time at most, of Kafka's.
    goals: (Option<f64>, Option<f64>),
}

const PLAIN: Variant = Variant {
    name: "",
    about: "",
    partitions: 1,
    per_request: 1,
    fill: Fill::Bytes(BATCH_BYTES),
    acks: 1,
    flush: false,
    lanes: 2,
    requests: 24_000,
    unit: Unit::Bytes,
    goals: (None, None),
};

const SINGLE: Variant =
    Variant { fill: Fill::Records(1), lanes: 4, requests: 200_000, unit: Unit::Requests, ..PLAIN };

const ONE_NODE: &[Variant] = &[
    Variant {
        name: "produce-64k",
        about: "one node, one partition, 64 KiB batches, acks=1",
        goals: (Some(2.5), Some(0.4)),
        ..PLAIN
    },
    Variant {
        name: "produce-1",
        about: "one node, one partition, one record a request, acks=1",
        goals: (None, Some(0.2)),
        ..SINGLE
    },
    Variant {
        name: "produce-100p",
        about: "one node, 100 partitions with 10 records each in one request, acks=1",
        partitions: 100,
        per_request: 100,
        fill: Fill::Records(10),
        requests: 10_000,
        unit: Unit::Records,
        goals: (Some(8.0), None),
        ..PLAIN
    },
    Variant {
        name: "produce-100p-1",
        about: "one node, 100 partitions with one record each in one request, acks=1",
        partitions: 100,
        per_request: 100,
        fill: Fill::Records(1),
        requests: 10_000,
        unit: Unit::Records,
        ..PLAIN
    },
    Variant {
        name: "produce-100p-64k",
        about: "one node, 100 partitions in turn, 64 KiB batches, acks=1",
        partitions: 100,
        ..PLAIN
    },
    Variant {
        name: "produce-64k-all",
        about: "one node, one partition, 64 KiB batches, acks=all",
        acks: -1,
        ..PLAIN
    },
    Variant {
        name: "produce-1-all",
        about: "one node, one partition, one record a request, acks=all",
        acks: -1,
        ..SINGLE
    },
    Variant {
        name: "produce-64k-flush",
        about: "one node, one partition, 64 KiB batches, acks=1, flush.messages=1",
        flush: true,
        requests: 4_000,
        ..PLAIN
    },
    Variant {
        name: "produce-1-flush",
        about: "one node, one partition, one record a request, acks=1, flush.messages=1",
        flush: true,
        requests: 10_000,
        ..SINGLE
    },
];

const THREE_NODES: &[Variant] = &[
    Variant {
        name: "three-12p",
        about: "three nodes, 12 partitions in turn, 100-record batches, acks=all",
        partitions: 12,
        fill: Fill::Records(100),
        acks: -1,
        lanes: 1,
        requests: 40_000,
        unit: Unit::Records,
        goals: (Some(5.0), Some(0.2)),
        ..PLAIN
    },
    Variant {
        name: "three-64k",
        about: "three nodes, 12 partitions in turn, 64 KiB batches, acks=1",
        partitions: 12,
        lanes: 1,
        requests: 12_000,
        ..PLAIN
    },
    Variant {
        name: "three-64k-all",
        about: "three nodes, 12 partitions in turn, 64 KiB batches, acks=all",
        partitions: 12,
        acks: -1,
        lanes: 1,
        requests: 12_000,
        ..PLAIN
    },
    Variant {
        name: "three-1-all",
        about: "three nodes, one partition, one record a request, acks=all",
        acks: -1,
        requests: 50_000,
        ..SINGLE
    },
    Variant {
        name: "three-100p-all",
        about: "three nodes, 100 partitions, all of a leader's with 10 records each in one request, acks=all",
        partitions: 100,
        per_request: 100,
        fill: Fill::Records(10),
        acks: -1,
        lanes: 1,
        requests: 5_000,
        unit: Unit::Records,
        ..PLAIN
    },
    Variant {
        name: "three-1-flush",
        about: "three nodes, one partition, one record a request, acks=all, flush.messages=1",
        acks: -1,
        flush: true,
        requests: 5_000,
        ..SINGLE
    },
];

/// On one node.
pub fn scenarios() -> Vec<Scenario> {
    ONE_NODE.iter().map(|&variant| scenario(variant)).collect()
}

/// On three.
pub fn scenarios_of_three() -> Vec<Scenario> {
    THREE_NODES.iter().map(|&variant| scenario(variant)).collect()
}

fn scenario(variant: Variant) -> Scenario {
    Scenario {
        name: variant.name,
        about: variant.about,
        nodes: variant.nodes_needed(),
        has_floor: variant.nodes_needed() == 1 && !variant.flush,
        is_alone: false,
        is_huge: false,
        run: Box::new(move |cluster, scale| variant.run(cluster, scale)),
    }
}

impl Variant {
    fn nodes_needed(&self) -> i32 {
        if self.name.starts_with("three") { 3 } else { 1 }
    }

    fn run(&self, cluster: &mut Cluster<'_>, scale: &Scale) -> Result<Vec<Metric>> {
        let configs: &[_] = if self.flush { &[("flush.messages", "1")] } else { &[] };
        let leaders = cluster.create_topic(TOPIC, self.partitions, configs)?;
        let lanes = self.lanes(&leaders, scale)?;
        let requests = scale.of(self.requests);
        let warm = Work { requests: requests / 4, limit: WARM_MAX.min(scale.limit()), ..Work::default() };
        drive(cluster, lanes.clone(), warm)?;
        let done = drive(cluster, lanes, Work { requests, least: scale.least(), limit: scale.limit() })?;
        cluster.delete_topic(TOPIC)?;
        Ok(self.metrics(&done))
    }

    fn lanes(&self, leaders: &[u16], scale: &Scale) -> Result<Vec<Lane>> {
        let batch = Batch::new(self.fill, scale.value_bytes)?;
        let mut led: BTreeMap<u16, Vec<i32>> = BTreeMap::new();
        for (index, &port) in (0..).zip(leaders) {
            led.entry(port).or_default().push(index);
        }
        let mut lanes = Vec::new();
        for (port, partitions) in led {
            let each = partitions.chunks(self.per_request);
            let frames = each
                .map(|some| ProduceFrame::new(TOPIC, some, &batch, self.acks))
                .collect::<Result<Vec<_>>>()?;
            lanes.extend((0..self.lanes).map(|_| Lane { port, frames: frames.clone() }));
        }
        Ok(lanes)
    }

    fn metrics(&self, done: &Done) -> Vec<Metric> {
        let (throughput, cpu) = self.goals;
        let per_gigabyte = done.cpu_seconds / (done.bytes as f64 / 1e9);
        let micros = done.cpu_seconds * 1e6;
        let (rate, rate_unit, cost, cost_unit) = match self.unit {
            Unit::Bytes => (done.bytes as f64 / 1e6, "MB/s", per_gigabyte, "CPU-s a GB"),
            Unit::Requests => {
                let cost = micros / done.requests as f64;
                (done.requests as f64, "requests/s", cost, "CPU µs a request")
            }
            Unit::Records => (done.records as f64, "records/s", per_gigabyte, "CPU-s a GB"),
        };
        vec![
            Metric {
                figure: rate_unit,
                better: Better::Higher,
                value: rate / done.seconds,
                goal: throughput,
            },
            Metric { figure: cost_unit, better: Better::Lower, value: cost, goal: cpu },
        ]
    }
}
