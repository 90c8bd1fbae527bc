//! Many partitions: how soon they are created, and how soon a node serves them after `kill -9`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use net::{ConnectOptions, Connection, TcpNetwork};
use wire::messages::create_topics_request::CreatableTopic;
use wire::messages::{CreateTopicsRequest, ResponseKind, topic};

use crate::cluster::{Cluster, Shape, metadata};
use crate::work::startup::produce_one;

const CREATE_VERSION: i16 = 7;
const CREATE_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_PAUSE: Duration = Duration::from_millis(5);

/// So many topics of so many partitions.
#[derive(Clone, Copy, Debug)]
pub struct Topics {
    /// Topics.
    pub count: usize,
    /// Partitions of each.
    pub partitions: i32,
    /// Topics in one request.
    pub per_call: usize,
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// From the first call until every partition has a leader, and its log on disk.
    pub created: Duration,
    /// Resident memory then.
    pub resident_bytes: u64,
    /// From the restart after `kill -9` to the first acknowledged record.
    pub restarted: Duration,
}

/// Measures on one node.
pub async fn run(topics: Topics) -> Result<Outcome> {
    let mut cluster = Cluster::start(Shape::of(1))?;
    let begun = Instant::now();
    create(&cluster, topics).await?;
    await_logs(&cluster, topics).await?;
    let created = begun.elapsed();
    let node = cluster.node(1);
    let resident_bytes = node.resident_bytes()?;
    node.kill()?;
    let begun = Instant::now();
    node.start()?;
    produce_one(&cluster, "topic-0").await?;
    Ok(Outcome { created, resident_bytes, restarted: begun.elapsed() })
}

/// Creates `topics` and waits until every partition has a leader.
pub async fn create(cluster: &Cluster, topics: Topics) -> Result<Duration> {
    let node = cluster.nodes.first().context("a node")?;
    let connection =
        Connection::connect(&TcpNetwork, "127.0.0.1", node.client_port, &ConnectOptions::default()).await?;
    let begun = Instant::now();
    let names: Vec<usize> = (0..topics.count).collect();
    for call in names.chunks(topics.per_call) {
        create_some(&connection, call, topics.partitions).await?;
    }
    let expected = topics.count * usize::try_from(topics.partitions)?;
    loop {
        let now = metadata(&connection).await?;
        let partitions = now.topics.iter().flat_map(|topic| &topic.partitions);
        if partitions.filter(|partition| partition.leader_id.0 >= 0).count() == expected {
            return Ok(begun.elapsed());
        }
        ensure!(
            begun.elapsed() < CREATE_TIMEOUT,
            "not every partition has a leader after {CREATE_TIMEOUT:?}"
        );
        tokio::time::sleep(POLL_PAUSE).await;
    }
}

/// Waits until the only node has a directory for every partition.
async fn await_logs(cluster: &Cluster, topics: Topics) -> Result<()> {
    let expected = topics.count * usize::try_from(topics.partitions)?;
    let begun = Instant::now();
    loop {
        let entries = std::fs::read_dir(cluster.data_dir(1))?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let logs = entries.filter(|name| name.starts_with("topic-")).count();
        if logs >= expected {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < CREATE_TIMEOUT,
            "{logs} of {expected} logs are there after {CREATE_TIMEOUT:?}"
        );
        tokio::time::sleep(POLL_PAUSE).await;
    }
}

async fn create_some(connection: &Connection, numbers: &[usize], partitions: i32) -> Result<()> {
    let topics = numbers
        .iter()
        .map(|number| {
            CreatableTopic::default()
                .with_name(topic(&format!("topic-{number}")))
                .with_num_partitions(partitions)
                .with_replication_factor(-1)
        })
        .collect();
    let timeout_ms = i32::try_from(CREATE_TIMEOUT.as_millis())?;
    let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(timeout_ms);
    match connection.send(CREATE_VERSION, request, CREATE_TIMEOUT).await? {
        ResponseKind::CreateTopics(response) => {
            let failed = response.topics.iter().find(|topic| topic.error_code != 0);
            failed
                .map_or(Ok(()), |topic| bail!("{:?} was not created: error {}", topic.name, topic.error_code))
        }
        other => bail!("a create request was answered with {other:?}"),
    }
}
