//! Committed offsets: round trips of OffsetCommit, and how long a million of them takes to load.
//!
//! Loading is what a start takes longer with them than without, until the group can be asked.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use model::ErrorCode;
use wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use wire::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest, ResponseKind, text, topic};

use crate::client::Client;
use crate::load::members::await_coordinator;
use crate::report::{Better, Metric};
use crate::scenario::{Scale, Scenario};
use crate::server::Cluster;

const COMMIT: i16 = 9;
const FETCH: i16 = 9;
const TOPIC: &str = "work";
const ROUND_TRIPS: u64 = 40_000;
const CONNECTIONS: u64 = 8;
/// Partitions of the topic, and as many offsets in one request.
const PARTITIONS: i32 = 1_000;
const GROUPS: u64 = 1_000;
/// Partitions of `__consumer_offsets`, which both brokers have by default; all groups are in the first.
const OFFSETS_PARTITIONS: i32 = 50;
const READY_MAX: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(2);

/// Commits, and their loading.
pub fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::alone(
            "offset-commit",
            "one node, 8 connections, OffsetCommit of one partition each, in turn",
            1,
            commits,
        ),
        Scenario::alone(
            "offset-load",
            "one node with 1,000,000 offsets in one partition, started again",
            1,
            loads,
        ),
    ]
}

fn commits(cluster: &mut Cluster<'_>, scale: &Scale) -> Result<Vec<Metric>> {
    let port = cluster.create_topic(TOPIC, 1, &[])?[0];
    await_coordinator(port, "g0")?;
    let each = scale.of(ROUND_TRIPS) / CONNECTIONS;
    // A quarter goes before: a JVM compiles what is used often.
    drive(port, each / 4)?;
    let (cpu_before, begun) = (cluster.cpu_seconds()?, Instant::now());
    drive(port, each)?;
    let (took, cpu) = (begun.elapsed().as_secs_f64(), cluster.cpu_seconds()? - cpu_before);
    let done = (each * CONNECTIONS) as f64;
    Ok(vec![
        Metric { figure: "commits/s", better: Better::Higher, value: done / took, goal: None },
        Metric {
            figure: "CPU µs a commit", better: Better::Lower, value: cpu * 1e6 / done, goal: Some(0.4)
        },
    ])
}

/// Each connection commits for a group of its own, one request after the other.
fn drive(port: u16, each: u64) -> Result<()> {
    let lane = |number: u64| -> Result<()> {
        let mut client = Client::connect(port)?;
        (0..each).try_for_each(|offset| commit(&mut client, &format!("g{number}"), 1, offset as i64))
    };
    std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..CONNECTIONS).map(|number| scope.spawn(move || lane(number))).collect();
        lanes.into_iter().try_for_each(|lane| lane.join().map_err(|_| anyhow::anyhow!("a lane panicked"))?)
    })
}

/// One request; tried again while the coordinator is not ready.
fn commit(client: &mut Client, group: &str, partitions: i32, offset: i64) -> Result<()> {
    let one = |index: i32| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text("")))
    };
    let asked = OffsetCommitRequestTopic::default()
        .with_name(topic(TOPIC))
        .with_partitions((0..partitions).map(one).collect());
    let request = OffsetCommitRequest::default().with_group_id(GroupId(text(group))).with_topics(vec![asked]);
    let deadline = Instant::now() + READY_MAX;
    loop {
        let ResponseKind::OffsetCommit(response) = client.call(COMMIT, request.clone())? else {
            bail!("a commit was answered with something else");
        };
        let codes = response.topics.iter().flat_map(|topic| &topic.partitions).map(|it| it.error_code);
        match ErrorCode::from_code(codes.max().context("no partition was answered")?) {
            ErrorCode::None => return Ok(()),
            code if code.is_retriable() && Instant::now() < deadline => std::thread::sleep(PAUSE),
            code => bail!("a commit was refused: {}", code.name()),
        }
    }
}

fn loads(cluster: &mut Cluster<'_>, scale: &Scale) -> Result<Vec<Metric>> {
    let port = cluster.create_topic(TOPIC, PARTITIONS, &[])?[0];
    let groups = names(usize::try_from(scale.of(GROUPS))?);
    let last = groups.last().context("a group")?.clone();
    await_coordinator(port, &last)?;
    commit(&mut Client::connect(port)?, &last, 1, 7)?;
    let (empty, _) = restart(cluster, port, &last)?;
    let mut client = Client::connect(port)?;
    groups.iter().try_for_each(|group| commit(&mut client, group, PARTITIONS, 7))?;
    drop(client);
    let (full, cpu) = restart(cluster, port, &last)?;
    let offsets = groups.len() as f64 * f64::from(PARTITIONS);
    let metric = |figure, value, better, goal| Metric { figure, better, value, goal };
    Ok(vec![
        metric("offsets", offsets, Better::Neither, None),
        metric("s to start with one", empty, Better::Neither, None),
        metric("s to start with all", full, Better::Lower, None),
        metric("s to load them", (full - empty).max(0.001), Better::Lower, Some(0.3)),
        metric("CPU-s of the start", cpu, Better::Lower, None),
        metric(
            "MiB resident then",
            cluster.resident_bytes()? as f64 / f64::from(1 << 20),
            Better::Lower,
            None,
        ),
    ])
}

/// Stops the node in order and starts it; seconds until the group's offsets are told, and its processor time by then.
fn restart(cluster: &mut Cluster<'_>, port: u16, group: &str) -> Result<(f64, f64)> {
    cluster.node(1)?.stop()?;
    let begun = Instant::now();
    cluster.spawn(1)?;
    while !is_told(port, group).unwrap_or(false) {
        ensure!(begun.elapsed() < READY_MAX, "the offsets of {group} are not told after {READY_MAX:?}");
        std::thread::sleep(PAUSE);
    }
    Ok((begun.elapsed().as_secs_f64(), cluster.cpu_seconds()?))
}

fn is_told(port: u16, group: &str) -> Result<bool> {
    let asked = OffsetFetchRequestTopics::default().with_name(topic(TOPIC)).with_partition_indexes(vec![0]);
    let asked =
        OffsetFetchRequestGroup::default().with_group_id(GroupId(text(group))).with_topics(Some(vec![asked]));
    let request = OffsetFetchRequest::default().with_groups(vec![asked]);
    let ResponseKind::OffsetFetch(response) = Client::connect(port)?.call(FETCH, request)? else {
        bail!("an offset request was answered with something else");
    };
    let group = response.groups.first().context("one was asked for")?;
    let told = group.topics.first().and_then(|topic| topic.partitions.first());
    Ok(group.error_code == 0 && told.is_some_and(|told| told.committed_offset == 7))
}

/// Names of groups that all live in the first partition of `__consumer_offsets`.
fn names(count: usize) -> Vec<String> {
    let numbered = (0_u64..).map(|number| format!("group-{number}"));
    numbered.filter(|name| partition_of(name) == 0).take(count).collect()
}

/// As Kafka spreads groups: Java's hash of the name.
fn partition_of(name: &str) -> i32 {
    let hash = name.bytes().fold(0_i32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    (hash & i32::MAX) % OFFSETS_PARTITIONS
}

#[cfg(test)]
mod tests {
    use super::{names, partition_of};

    #[test]
    fn groups_of_one_partition_are_found() {
        // "Aa" and "BB" have the same hash in Java: 2112.
        assert_eq!((partition_of("Aa"), partition_of("BB")), (12, 12));
        assert!(names(3).iter().all(|name| partition_of(name) == 0));
        assert_eq!(names(3).len(), 3);
    }
}
