//! Producers as the leaders of partitions see them (KIP-664).

use model::ErrorCode;
use wire::messages::DescribeProducersRequest;
use wire::messages::describe_producers_request::TopicRequest;
use wire::messages::describe_producers_response::{PartitionResponse, ProducerState};
use wire::messages::topic;

use crate::client::{Cluster, To, answer, refused};
use crate::failure::Outcome;

/// The producers of some partitions of a topic that one node leads, by partition.
pub async fn of(
    cluster: &mut Cluster,
    leader: i32,
    name: &str,
    partitions: Vec<i32>,
) -> Outcome<Vec<(i32, Vec<ProducerState>)>> {
    let asked = TopicRequest::default().with_name(topic(name)).with_partition_indexes(partitions);
    let request = DescribeProducersRequest::default().with_topics(vec![asked]);
    let response = answer!(DescribeProducers, cluster.ask(To::Node(leader), request).await?);
    let partitions = response.topics.into_iter().flat_map(|topic| topic.partitions);
    let told = partitions.map(|partition: PartitionResponse| {
        let (index, code) = (partition.partition_index, ErrorCode::from_code(partition.error_code));
        if code.is_error() {
            let deed = format!("describe the producers of {name}-{index}");
            return Err(refused(&deed, code, partition.error_message.as_deref()));
        }
        Ok((index, partition.active_producers))
    });
    told.collect()
}
