//! Resident memory: of an idle node, and with ten thousand connections.

use std::time::Duration;

use anyhow::Result;
use wire::messages::ApiVersionsRequest;

use crate::client::Client;
use crate::report::{Better, Metric};
use crate::scenario::{Scale, Scenario};
use crate::server::Cluster;

const CONNECTIONS: u64 = 10_000;
/// Until a node that was busy is idle.
pub const SETTLE: Duration = Duration::from_secs(5);

/// Both.
pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::alone("memory-idle", "resident memory of a node that was just started", 1, idle),
        Scenario::alone(
            "memory-connections",
            "10,000 connections that each asked one thing: resident memory, and the time it took",
            1,
            connections,
        ),
    ]
}

/// Resident memory once the node is idle.
pub fn resident(cluster: &Cluster<'_>, goal: Option<f64>) -> Result<Metric> {
    std::thread::sleep(SETTLE);
    let value = cluster.resident_bytes()? as f64 / f64::from(1 << 20);
    Ok(Metric { figure: "MiB resident", better: Better::Lower, value, goal })
}

fn idle(cluster: &mut Cluster<'_>, _scale: &Scale) -> Result<Vec<Metric>> {
    Ok(vec![resident(cluster, Some(0.08))?])
}

fn connections(cluster: &mut Cluster<'_>, scale: &Scale) -> Result<Vec<Metric>> {
    let port = cluster.node(1)?.port;
    let mut held = Vec::new();
    let cpu_before = cluster.cpu_seconds()?;
    for _ in 0..scale.of(CONNECTIONS) {
        let mut client = Client::connect(port)?;
        client.call(0, ApiVersionsRequest::default())?;
        held.push(client);
    }
    let cpu_seconds = cluster.cpu_seconds()? - cpu_before;
    let memory = resident(cluster, None)?;
    let value = cpu_seconds * 1e6 / held.len() as f64;
    Ok(vec![memory, Metric { figure: "CPU µs a connection", better: Better::Lower, value, goal: None }])
}
