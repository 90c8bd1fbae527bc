//! `kastle transactions find-hanging`: transactions open in partitions that no coordinator will end.
//!
//! A leader names the producers whose transactions are open for longer than any may be. A producer that
//! belongs to no transactional id, or to one whose transaction does not have the partition, hangs: no
//! marker will come, and readers of committed data wait for ever (KIP-664).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Args;
use model::ErrorCode;
use serde_json::{Value, json};
use wire::messages::describe_producers_response::ProducerState;
use wire::messages::describe_transactions_response::TransactionState;
use wire::messages::metadata_response::MetadataResponseTopic;
use wire::messages::{ListTransactionsRequest, ProducerId};

use crate::client::{Cluster, Target, converse, refused};
use crate::failure::{Outcome, say};
use crate::output;
use crate::transactions::{coordinator, now, producers};

#[derive(Args)]
pub struct Arguments {
    /// Only partitions of this topic.
    #[arg(long)]
    topic: Option<String>,
    /// Only this partition of it.
    #[arg(long, requires = "topic")]
    partition: Option<i32>,
    /// Only partitions that this broker leads.
    #[arg(long, value_name = "ID")]
    broker: Option<i32>,
    /// What is open for no longer is not looked at; as transaction.max.timeout.ms of the brokers.
    #[arg(long, value_name = "MS", default_value_t = 900_000)]
    max_timeout: u64,
    #[command(flatten)]
    target: Target,
}

/// An open transaction in a partition.
struct Open {
    topic: String,
    partition: i32,
    producer: ProducerState,
}

pub fn run(arguments: &Arguments) -> Outcome {
    converse(&arguments.target, |cluster| find(cluster, arguments))
}

async fn find(mut cluster: Cluster, arguments: &Arguments) -> Outcome {
    let candidates = open_for_long(&mut cluster, arguments).await?;
    let ids: BTreeSet<i64> = candidates.iter().map(|open| open.producer.producer_id.0).collect();
    let known = coordinated(&mut cluster, ids).await?;
    let hanging: Vec<&Open> = candidates.iter().filter(|open| hangs(open, &known)).collect();
    if arguments.target.json {
        return output::json(&Value::Array(hanging.iter().map(|open| to_json(open)).collect()));
    }
    if hanging.is_empty() {
        return say("none");
    }
    let header =
        ["TOPIC", "PARTITION", "START-OFFSET", "PRODUCER-ID", "EPOCH", "COORDINATOR-EPOCH", "IDLE-MS"];
    output::table(&header, hanging.iter().map(|open| row(open)).collect())
}

async fn open_for_long(cluster: &mut Cluster, arguments: &Arguments) -> Outcome<Vec<Open>> {
    let names = arguments.topic.as_ref().map(|name| vec![name.clone()]);
    let topics = cluster.metadata(names.as_deref(), false).await?.topics;
    let longest = i64::try_from(Duration::from_millis(arguments.max_timeout).as_millis()).unwrap_or(i64::MAX);
    let oldest = now().saturating_sub(longest);
    let mut found = Vec::new();
    for topic in &topics {
        let name = topic.name.as_ref().map(|name| name.to_string()).unwrap_or_default();
        let code = ErrorCode::from_code(topic.error_code);
        if code.is_error() {
            return Err(refused(&format!("look at {name}"), code, None));
        }
        for (leader, partitions) in led(topic, arguments) {
            for (partition, producers) in producers::of(cluster, leader, &name, partitions).await? {
                let open = producers.into_iter().filter(|producer| {
                    producer.current_txn_start_offset >= 0 && producer.last_timestamp < oldest
                });
                found.extend(open.map(|producer| Open { topic: name.clone(), partition, producer }));
            }
        }
    }
    Ok(found)
}

/// The partitions that are asked about, by their leaders.
fn led(topic: &MetadataResponseTopic, arguments: &Arguments) -> BTreeMap<i32, Vec<i32>> {
    let mut led: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for partition in &topic.partitions {
        let (leader, index) = (partition.leader_id.0, partition.partition_index);
        let is_asked = arguments.partition.is_none_or(|asked| asked == index)
            && arguments.broker.is_none_or(|broker| broker == leader);
        if leader >= 0 && is_asked {
            led.entry(leader).or_default().push(index);
        }
    }
    led
}

/// What coordinators say of the transactions of these producers, by producer.
async fn coordinated(cluster: &mut Cluster, ids: BTreeSet<i64>) -> Outcome<BTreeMap<i64, TransactionState>> {
    let mut known = BTreeMap::new();
    if ids.is_empty() {
        return Ok(known);
    }
    let request = ListTransactionsRequest::default()
        .with_producer_id_filters(ids.into_iter().map(ProducerId).collect())
        .with_duration_filter(-1);
    for (_, listed) in coordinator::list(cluster, &request).await? {
        let id = listed.transactional_id.to_string();
        if let Some((_, state)) = coordinator::describe(cluster, &id).await? {
            known.insert(listed.producer_id.0, state);
        }
    }
    Ok(known)
}

/// Whether no coordinator will end it.
fn hangs(open: &Open, known: &BTreeMap<i64, TransactionState>) -> bool {
    let state = known.get(&open.producer.producer_id.0);
    state.is_none_or(|state| {
        let topics = state.topics.iter().filter(|topic| topic.topic.as_str() == open.topic);
        !topics.flat_map(|topic| &topic.partitions).any(|partition| *partition == open.partition)
    })
}

fn to_json(open: &Open) -> Value {
    let producer = &open.producer;
    json!({
        "topic": open.topic, "partition": open.partition, "startOffset": producer.current_txn_start_offset,
        "producerId": producer.producer_id.0, "producerEpoch": producer.producer_epoch,
        "coordinatorEpoch": producer.coordinator_epoch, "lastTimestamp": producer.last_timestamp,
    })
}

fn row(open: &Open) -> Vec<String> {
    let producer = &open.producer;
    vec![
        open.topic.clone(),
        open.partition.to_string(),
        producer.current_txn_start_offset.to_string(),
        producer.producer_id.0.to_string(),
        producer.producer_epoch.to_string(),
        producer.coordinator_epoch.to_string(),
        now().saturating_sub(producer.last_timestamp).to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use wire::messages::describe_transactions_response::TopicData;
    use wire::messages::topic;

    use super::*;

    fn check(partition: i32, producer: i64, expected: bool) {
        let data = TopicData::default().with_topic(topic("t")).with_partitions(vec![0, 3]);
        let known = BTreeMap::from([(7, TransactionState::default().with_topics(vec![data]))]);
        let producer = ProducerState::default().with_producer_id(ProducerId(producer));
        let open = Open { topic: "t".to_owned(), partition, producer };
        assert_eq!(hangs(&open, &known), expected, "{partition}");
    }

    #[test]
    fn what_its_coordinator_has_in_its_transaction_does_not_hang() {
        check(0, 7, false);
        check(3, 7, false);
        check(1, 7, true);
        check(0, 8, true);
    }
}
