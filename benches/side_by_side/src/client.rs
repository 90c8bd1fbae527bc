//! One blocking connection for what is not measured: topics, metadata, the quorum.
//!
//! Requests are built and answers decoded by `wire`, one at a time. The measured
//! load does not go through here.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use wire::api::ApiKey;
use wire::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use wire::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use wire::messages::metadata_request::MetadataRequestTopic;
use wire::messages::{
    BrokerId, CreateTopicsRequest, DeleteTopicsRequest, DescribeQuorumRequest, ListOffsetsRequest,
    MetadataRequest, MetadataResponse, RequestKind, ResponseKind, text, topic,
};

/// Creating thousands of partitions takes Kafka a while.
const TIMEOUT: Duration = Duration::from_secs(120);
const TIMEOUT_MS: i32 = 120_000;
const POLL_PAUSE: Duration = Duration::from_millis(5);
const METADATA: i16 = 12;
const CREATE_TOPICS: i16 = 7;
const DELETE_TOPICS: i16 = 5;
const DESCRIBE_QUORUM: i16 = 2;
const LIST_OFFSETS: i16 = 5;

/// The largest answer that is read.
pub const ANSWER_BYTES_MAX: usize = 256 << 20;

/// A connection to one node.
pub struct Client {
    stream: TcpStream,
    next_id: i32,
}

/// A topic to be made.
#[derive(Clone, Debug)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Its partitions.
    pub partitions: i32,
    /// Its settings.
    pub configs: Vec<(&'static str, &'static str)>,
}

impl Client {
    /// Dials 127.0.0.1.
    pub fn connect(port: u16) -> Result<Self> {
        let stream =
            TcpStream::connect(("127.0.0.1", port)).with_context(|| format!("nobody listens on {port}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { stream, next_id: 0 })
    }

    /// Sends a request and awaits its answer.
    pub fn call(&mut self, version: i16, request: impl Into<RequestKind>) -> Result<ResponseKind> {
        self.next_id += 1;
        let (api, frame) = frame_of(self.next_id, version, &request.into())?;
        self.stream.write_all(&frame)?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut answer = vec![0; wire::frame::length(length, ANSWER_BYTES_MAX)?];
        self.stream.read_exact(&mut answer)?;
        answer_to(self.next_id, api, version, answer)
    }

    /// What the node says of `name`, or of all topics.
    pub fn metadata(&mut self, name: Option<&str>) -> Result<MetadataResponse> {
        let asked = name.map(|name| vec![MetadataRequestTopic::default().with_name(Some(topic(name)))]);
        let request = MetadataRequest::default().with_topics(asked);
        match self.call(METADATA, request)? {
            ResponseKind::Metadata(response) => Ok(response),
            other => bail!("a metadata request was answered with {other:?}"),
        }
    }

    /// Creates topics in one request.
    pub fn create(&mut self, topics: &[NewTopic]) -> Result<()> {
        let creatable = topics.iter().map(|new| {
            let configs = new.configs.iter().map(|&(name, value)| {
                CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
            });
            CreatableTopic::default()
                .with_name(topic(&new.name))
                .with_num_partitions(new.partitions)
                .with_replication_factor(-1)
                .with_configs(configs.collect())
        });
        let request =
            CreateTopicsRequest::default().with_topics(creatable.collect()).with_timeout_ms(TIMEOUT_MS);
        let ResponseKind::CreateTopics(response) = self.call(CREATE_TOPICS, request)? else {
            bail!("a create request was answered with something else");
        };
        let failed = response.topics.iter().find(|topic| topic.error_code != 0);
        failed.map_or(Ok(()), |topic| {
            bail!("{:?} was not created: error {} {:?}", topic.name, topic.error_code, topic.error_message)
        })
    }

    /// Deletes a topic.
    pub fn delete(&mut self, name: &str) -> Result<()> {
        let request =
            DeleteTopicsRequest::default().with_topic_names(vec![topic(name)]).with_timeout_ms(TIMEOUT_MS);
        let ResponseKind::DeleteTopics(response) = self.call(DELETE_TOPICS, request)? else {
            bail!("a delete request was answered with something else");
        };
        let failed = response.responses.iter().find(|topic| topic.error_code != 0);
        failed.map_or(Ok(()), |topic| bail!("{name} was not deleted: error {}", topic.error_code))
    }

    /// Waits until `partitions` partitions (of `name`, or of all topics) have a leader; what the node said then.
    pub fn await_leaders(&mut self, name: Option<&str>, partitions: usize) -> Result<MetadataResponse> {
        let begun = Instant::now();
        loop {
            let now = self.metadata(name)?;
            let all = now.topics.iter().flat_map(|topic| &topic.partitions);
            let led = all.filter(|partition| partition.leader_id.0 >= 0).count();
            if led >= partitions {
                return Ok(now);
            }
            ensure!(begun.elapsed() < TIMEOUT, "{led} of {partitions} partitions are led after {TIMEOUT:?}");
            std::thread::sleep(POLL_PAUSE);
        }
    }

    /// Whether the node serves all of these partitions of `name`, which it leads.
    pub fn serves(&mut self, name: &str, partitions: &[i32]) -> Result<bool> {
        let asked = partitions.iter().map(|&index| {
            ListOffsetsPartition::default()
                .with_partition_index(index)
                .with_current_leader_epoch(-1)
                .with_timestamp(-1)
        });
        let asked = ListOffsetsTopic::default().with_name(topic(name)).with_partitions(asked.collect());
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked]);
        let ResponseKind::ListOffsets(response) = self.call(LIST_OFFSETS, request)? else {
            bail!("a list offsets request was answered with something else");
        };
        let mut answers = response.topics.iter().flat_map(|topic| &topic.partitions);
        Ok(answers.all(|partition| partition.error_code == 0))
    }

    /// The active controller.
    pub fn controller(&mut self) -> Result<i32> {
        use wire::messages::describe_quorum_request::{PartitionData, TopicData};
        let partition = PartitionData::default().with_partition_index(0);
        let asked = TopicData::default()
            .with_topic_name(topic("__cluster_metadata"))
            .with_partitions(vec![partition]);
        let request = DescribeQuorumRequest::default().with_topics(vec![asked]);
        let ResponseKind::DescribeQuorum(response) = self.call(DESCRIBE_QUORUM, request)? else {
            bail!("a quorum request was answered with something else");
        };
        let partition = response.topics.first().and_then(|topic| topic.partitions.first());
        Ok(partition.context("the quorum has no partition")?.leader_id.0)
    }
}

/// The frame of a request, and whose answer it wants.
pub fn frame_of(id: i32, version: i16, request: &RequestKind) -> Result<(ApiKey, Vec<u8>)> {
    let api = wire::request::api_of(request).context("no API of that kind")?;
    let mut frame = Vec::new();
    wire::client::encode_request(id, Some(&text("side-by-side")), api, version, request, &mut frame)?;
    Ok((api, frame))
}

/// The answer to the request `asked`.
pub fn answer_to(asked: i32, api: ApiKey, version: i16, answer: Vec<u8>) -> Result<ResponseKind> {
    let (id, response) = wire::client::decode_response(api, version, answer.into())?;
    ensure!(id == asked, "answer {id} came for request {asked}");
    Ok(response)
}
