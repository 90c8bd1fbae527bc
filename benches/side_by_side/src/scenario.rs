//! What is measured: each scenario does one kind of work on a cluster and answers with its figures.

mod catch_up;
mod create;
mod failover;
mod fetch;
mod groups;
mod latency;
mod memory;
mod offsets;
mod produce;
mod restart;
mod shutdown;
mod transactions;

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::client::NewTopic;
use crate::load::frames::{Batch, Fill, ProduceFrame};
use crate::load::produce::dial;
use crate::report::Metric;
use crate::server::Cluster;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// A tenth.
    pub short: bool,
    /// Bytes of each record's value.
    pub value_bytes: usize,
}

impl Scale {
    /// `full`, or a tenth of it.
    pub fn of(&self, full: u64) -> u64 {
        if self.short { (full / 10).max(1) } else { full }
    }

    /// The shortest that one measurement takes.
    pub fn least(&self) -> Duration {
        Duration::from_secs(if self.short { 1 } else { 3 })
    }

    /// The longest that one measurement takes.
    pub fn limit(&self) -> Duration {
        Duration::from_secs(if self.short { 5 } else { 20 })
    }
}

type Run = Box<dyn Fn(&mut Cluster<'_>, &Scale) -> Result<Vec<Metric>>>;

/// A piece of work.
pub struct Scenario {
    /// What `--scenario` says.
    pub name: &'static str,
    /// What is done.
    pub about: &'static str,
    /// Nodes of the cluster.
    pub nodes: i32,
    /// Whether the floor can do it.
    pub has_floor: bool,
    /// Needs a cluster of its own.
    pub is_alone: bool,
    /// Only when asked for with `--huge`.
    pub is_huge: bool,
    /// Does it.
    pub run: Run,
}

impl Scenario {
    /// One that needs a cluster of its own, and that the floor cannot do.
    fn alone(
        name: &'static str,
        about: &'static str,
        nodes: i32,
        run: impl Fn(&mut Cluster<'_>, &Scale) -> Result<Vec<Metric>> + 'static,
    ) -> Self {
        Self { name, about, nodes, has_floor: false, is_alone: true, is_huge: false, run: Box::new(run) }
    }
}

/// The scenarios that `names` name, whole or by how they begin; all without names.
pub fn chosen(names: &[String], huge: bool) -> Vec<Scenario> {
    let mut all = produce::scenarios();
    all.extend(fetch::scenarios());
    all.extend(produce::scenarios_of_three());
    all.extend(latency::scenarios());
    all.extend(catch_up::scenarios());
    all.extend(memory::scenarios());
    all.extend(create::scenarios());
    all.extend(restart::scenarios());
    all.extend(failover::scenarios());
    all.extend(shutdown::scenarios());
    all.extend(groups::scenarios());
    all.extend(offsets::scenarios());
    all.extend(transactions::scenarios());
    all.retain(|scenario| huge || !scenario.is_huge);
    let is_whole: Vec<bool> =
        names.iter().map(|name| all.iter().any(|scenario| scenario.name == name)).collect();
    all.retain(|scenario| {
        let fits = |(name, &whole): (&String, &bool)| {
            if whole { scenario.name == name } else { scenario.name.starts_with(name) }
        };
        names.is_empty() || names.iter().zip(&is_whole).any(fits)
    });
    all
}

/// Partitions of each of many topics, and topics made in one call.
const PARTITIONS_EACH: i32 = 10;
const TOPICS_A_CALL: usize = 100;

/// Creates topics with `partitions` partitions in all and waits until each has a leader.
fn create_many(cluster: &Cluster<'_>, partitions: usize) -> Result<()> {
    let topics: Vec<NewTopic> = (0..partitions / PARTITIONS_EACH as usize)
        .map(|number| NewTopic {
            name: format!("many-{number}"),
            partitions: PARTITIONS_EACH,
            configs: Vec::new(),
        })
        .collect();
    let mut client = cluster.client()?;
    topics.chunks(TOPICS_A_CALL).try_for_each(|call| client.create(call))?;
    client.await_leaders(None, partitions).map(drop)
}

/// Partitions of all topics that `node` leads, or that nobody leads for `-1`.
fn led_by(metadata: &wire::messages::MetadataResponse, node: i32) -> usize {
    let partitions = metadata.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.filter(|partition| partition.leader_id.0 == node).count()
}

/// Asks again and again until one record is acknowledged; how long that took.
fn first_acknowledged(port: u16, topic: &str, index: i32, within: Duration) -> Result<Duration> {
    let frame = ProduceFrame::new(topic, &[index], &Batch::new(Fill::Records(1), 100)?, -1)?;
    let begun = Instant::now();
    loop {
        match attempt(port, &frame) {
            Ok(()) => return Ok(begun.elapsed()),
            Err(error) if begun.elapsed() > within => {
                return Err(error.context(format!("nothing was acknowledged within {within:?}")));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn attempt(port: u16, frame: &ProduceFrame) -> Result<()> {
    use std::io::{Read, Write};
    let mut stream = dial(port)?;
    stream.write_all(&frame.bytes)?;
    let mut answer = vec![0; 4];
    stream.read_exact(&mut answer)?;
    let length = wire::frame::length([answer[0], answer[1], answer[2], answer[3]], 1 << 20)?;
    answer.resize(4 + length, 0);
    stream.read_exact(&mut answer[4..])?;
    anyhow::ensure!(frame.is_taken(&answer), "refused: {}", frame.explain(&answer));
    Ok(())
}
