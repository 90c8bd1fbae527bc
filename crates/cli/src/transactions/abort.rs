//! `kastle transactions abort`: ends a transaction in one partition with a marker of our own.
//!
//! Only for one that hangs: its coordinator knows nothing of it and will never end it, and readers of
//! committed data wait for it. One that is merely open is its producer's, or its timeout's, to end.

use clap::Args;
use model::ErrorCode;
use serde_json::json;
use wire::messages::describe_producers_response::ProducerState;
use wire::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use wire::messages::{ProducerId, WriteTxnMarkersRequest, topic};

use crate::client::{Cluster, Target, To, answer, converse, refused, unexpected};
use crate::failure::{Failure, Outcome, say};
use crate::output;
use crate::transactions::producers;

#[derive(Args)]
pub struct Arguments {
    /// The topic.
    #[arg(long)]
    topic: String,
    /// Its partition.
    #[arg(long)]
    partition: i32,
    /// Where the transaction begins in it, as find-hanging says.
    #[arg(long, value_name = "OFFSET")]
    start_offset: i64,
    #[command(flatten)]
    target: Target,
}

pub fn run(arguments: &Arguments) -> Outcome {
    converse(&arguments.target, |cluster| abort(cluster, arguments))
}

async fn abort(mut cluster: Cluster, arguments: &Arguments) -> Outcome {
    let Arguments { topic: name, partition, start_offset, target } = arguments;
    let deed = format!("abort the transaction at offset {start_offset} of {name}-{partition}");
    let routes = cluster.partitions(name, false).await?;
    let Some(&leader) = routes.leaders.get(partition) else {
        return Err(refused(&deed, ErrorCode::UnknownTopicOrPartition, None));
    };
    let producers = producers::of(&mut cluster, leader, name, vec![*partition]).await?;
    let mut open = producers.into_iter().flat_map(|(_, producers)| producers);
    let Some(producer) = open.find(|producer| producer.current_txn_start_offset == *start_offset) else {
        return Err(Failure::refused(format!(
            "cannot {deed}: none is open that begins there; `kastle transactions find-hanging` shows where"
        )));
    };
    let request = marker(name, *partition, &producer);
    let response = answer!(WriteTxnMarkers, cluster.ask(To::Node(leader), request).await?);
    let topics = response.markers.iter().flat_map(|marker| &marker.topics);
    let Some(written) = topics.flat_map(|topic| &topic.partitions).next() else { return Err(unexpected()) };
    let code = ErrorCode::from_code(written.error_code);
    if code.is_error() {
        return Err(refused(&deed, code, None));
    }
    let (id, epoch) = (producer.producer_id.0, producer.producer_epoch);
    if target.json {
        let aborted = json!({
            "topic": name, "partition": partition, "startOffset": start_offset, "producerId": id,
            "producerEpoch": epoch,
        });
        return output::json(&aborted);
    }
    say(format_args!(
        "aborted: {name}-{partition} from offset {start_offset} on, of producer {id} epoch {epoch}"
    ))
}

/// As Kafka's tool writes it: of the coordinator that the partition knows, or the first there is.
fn marker(name: &str, partition: i32, producer: &ProducerState) -> WriteTxnMarkersRequest {
    let place =
        WritableTxnMarkerTopic::default().with_name(topic(name)).with_partition_indexes(vec![partition]);
    let marker = WritableTxnMarker::default()
        .with_producer_id(ProducerId(producer.producer_id.0))
        .with_producer_epoch(i16::try_from(producer.producer_epoch).unwrap_or(i16::MAX))
        .with_transaction_result(false)
        .with_coordinator_epoch(producer.coordinator_epoch.max(0))
        .with_topics(vec![place]);
    WriteTxnMarkersRequest::default().with_markers(vec![marker])
}
