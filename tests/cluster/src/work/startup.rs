//! From nothing to the first acknowledged record, and what an idle node costs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use model::{LeaderEpoch, Offset, Timestamp};
use net::{ConnectOptions, Connection, TcpNetwork};
use wire::batch::{BatchBuilder, NewRecord};
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::produce_request::{PartitionProduceData, TopicProduceData};
use wire::messages::{Bytes, MetadataRequest, ProduceRequest, ResponseKind, topic};

use crate::cluster::{Cluster, Shape};

const PRODUCE_VERSION: i16 = 9;
const METADATA_VERSION: i16 = 12;
const TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_PAUSE: Duration = Duration::from_millis(2);
/// For the node to become idle.
const SETTLE: Duration = Duration::from_secs(2);

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// `storage format`, `start`, and a record produced into a topic that is made on the way.
    pub first_produce: Duration,
    /// Resident memory of the node when idle.
    pub resident_bytes: u64,
}

/// Measures on one node.
pub async fn run() -> Result<Outcome> {
    let mut cluster = Cluster::prepare(Shape::of(1))?;
    let begun = Instant::now();
    cluster.format()?;
    cluster.spawn_all()?;
    produce_one(&cluster, "first").await?;
    let first_produce = begun.elapsed();
    tokio::time::sleep(SETTLE).await;
    Ok(Outcome { first_produce, resident_bytes: cluster.node(1).resident_bytes()? })
}

/// Produces one record to partition 0 of `name` with acks=all on the first node, asking again
/// until it is acknowledged; the topic is made if need be.
pub async fn produce_one(cluster: &Cluster, name: &str) -> Result<()> {
    let port = cluster.nodes.first().context("a node")?.client_port;
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let error = match attempt(port, name).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if Instant::now() > deadline {
            return Err(error.context(format!("nothing was acknowledged within {TIMEOUT:?}")));
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

async fn attempt(port: u16, name: &str) -> Result<()> {
    let connection = Connection::connect(&TcpNetwork, "127.0.0.1", port, &ConnectOptions::default()).await?;
    let asked = MetadataRequestTopic::default().with_name(Some(topic(name)));
    let request =
        MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(true);
    connection.send(METADATA_VERSION, request, TIMEOUT).await?;
    let data = TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![
        PartitionProduceData::default().with_index(0).with_records(Some(one_record()?)),
    ]);
    let timeout_ms = i32::try_from(TIMEOUT.as_millis())?;
    let request =
        ProduceRequest::default().with_acks(-1).with_timeout_ms(timeout_ms).with_topic_data(vec![data]);
    match connection.send(PRODUCE_VERSION, request, TIMEOUT).await? {
        ResponseKind::Produce(response) => {
            let answer = response.responses.first().and_then(|topic| topic.partition_responses.first());
            match answer.map(|partition| partition.error_code) {
                Some(0) => Ok(()),
                code => bail!("the record was refused with {code:?}"),
            }
        }
        other => bail!("a produce request was answered with {other:?}"),
    }
}

fn one_record() -> Result<Bytes> {
    let mut batch = BatchBuilder::new(Offset::ZERO, LeaderEpoch::new(-1));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let timestamp = Timestamp::new(i64::try_from(now.as_millis())?);
    batch.push(&NewRecord { timestamp, value: Some(b"hello"), ..NewRecord::default() });
    let mut bytes = Vec::new();
    batch.finish(&mut bytes)?;
    Ok(bytes.into())
}
