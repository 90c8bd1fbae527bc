//! A large group: its members all start at once; then one leaves.
//!
//! Both brokers are set to ask for two heartbeats a second, and all members heartbeat when one has left, so that what is
//! measured is the server and not how long clients are silent. The initial delay of classic groups is the default of both brokers, 3 s.

use std::time::Instant;

use anyhow::Result;

use crate::load::members::{Members, Membership, Protocol, await_coordinator};
use crate::report::{Better, Metric};
use crate::scenario::{Scale, Scenario};
use crate::server::Cluster;

const MEMBERS: u64 = 1_000;
/// A smaller group goes before: a JVM compiles what is used often.
const WARM: u64 = 100;

/// In both protocols.
pub fn scenarios() -> Vec<Scenario> {
    let scenario = |name, about, protocol| {
        Scenario::alone(name, about, 1, move |cluster, scale| run(cluster, scale, protocol))
    };
    vec![
        scenario(
            "group-classic",
            "one node, 1,000 members join one classic group at once, then one leaves",
            Protocol::Classic,
        ),
        scenario("group-consumer", "the same in the new protocol (KIP-848)", Protocol::Consumer),
    ]
}

fn run(cluster: &mut Cluster<'_>, scale: &Scale, protocol: Protocol) -> Result<Vec<Metric>> {
    form(cluster, "warm", scale.of(WARM), protocol)?;
    form(cluster, "large", scale.of(MEMBERS), protocol)
}

fn form(cluster: &Cluster<'_>, name: &str, members: u64, protocol: Protocol) -> Result<Vec<Metric>> {
    let members = usize::try_from(members)?;
    let partitions = i32::try_from(members)?;
    let port = cluster.create_topic(name, partitions, &[])?[0];
    await_coordinator(port, name)?;
    let membership = Membership { port, group: name.to_owned(), topic: name.to_owned(), partitions };
    let cpu_before = cluster.cpu_seconds()?;
    let begun = Instant::now();
    let members = Members::start(membership, protocol, members)?;
    let (epoch, rest) = members.await_rest(0)?;
    let joined = rest.saturating_duration_since(begun);
    let cpu = cluster.cpu_seconds()? - cpu_before;
    let left = members.lose_one(epoch)?;
    let metric = |figure, value, goal| Metric { figure, better: Better::Lower, value, goal };
    Ok(vec![
        metric("s until all have joined", joined.as_secs_f64(), Some(0.5)),
        metric("CPU-s until then", cpu, None),
        metric("s until one has left", left.as_secs_f64(), Some(0.5)),
    ])
}
