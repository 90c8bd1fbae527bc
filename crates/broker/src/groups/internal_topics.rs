//! The topics that coordinators keep their state in: created on first use, and who leads what.
//!
//! As with Kafka's, a topic waits for as many live brokers as it is to have replicas: until then
//! the controller refuses it, and whoever looks for a coordinator is told that none is available.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use config::{InternalTopicConfig, NodeConfig};
use coordinator::partition_of;
use metadata::Image;
use model::{ErrorCode, NodeId, PartitionIndex};
use tokio::sync::Mutex;
use tokio::time::Instant;
use wire::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use wire::messages::{CreateTopicsRequest, ResponseKind, text, topic};

use crate::controller_link::ControllerLink;
use crate::publish::{Picture, Published};

/// How long a topic is waited for.
const CREATION_WAIT: Duration = Duration::from_secs(2);
/// After a refusal the controller is not asked again for as long.
const REFUSED_PAUSE: Duration = Duration::from_millis(250);
/// The version whose errors tell the controller's reasons.
const CREATE_TOPICS_VERSION: i16 = 7;

/// A coordinator's topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InternalTopic {
    /// Groups and their offsets.
    Offsets,
    /// Transactions.
    Transactions,
}

impl InternalTopic {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Offsets => "__consumer_offsets",
            Self::Transactions => "__transaction_state",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Offsets, Self::Transactions].into_iter().find(|known| known.name() == name)
    }

    /// What it is created with.
    pub fn creatable(self, config: &NodeConfig) -> CreatableTopic {
        let (shape, configs) = match self {
            Self::Offsets => (&config.groups.topic, vec![("compression.type", "producer".to_owned())]),
            Self::Transactions => (
                &config.transaction_log.topic,
                vec![
                    ("compression.type", "uncompressed".to_owned()),
                    ("min.insync.replicas", config.transaction_log.min_isr.to_string()),
                    ("unclean.leader.election.enable", "false".to_owned()),
                ],
            ),
        };
        let InternalTopicConfig { partitions, replication_factor, segment_bytes, .. } = shape;
        let common = [("cleanup.policy", "compact".to_owned()), ("segment.bytes", segment_bytes.to_string())];
        let configs = common.into_iter().chain(configs).map(|(key, value)| {
            CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(&value)))
        });
        CreatableTopic::default()
            .with_name(topic(self.name()))
            .with_num_partitions(*partitions)
            .with_replication_factor(*replication_factor)
            .with_configs(configs.collect())
    }

    /// How many partitions it has, if it is there.
    pub fn partitions(self, image: &Image) -> Option<i32> {
        let count = image.topic(self.name())?.partitions().count();
        Some(i32::try_from(count).unwrap_or(i32::MAX))
    }

    /// Who coordinates what is called `key`, if the topic is there and the partition has a leader.
    pub fn coordinator(self, image: &Image, key: &str) -> Option<NodeId> {
        let topic = image.topic(self.name())?;
        let index = partition_of(key, self.partitions(image)?);
        topic.partition(PartitionIndex::new(index))?.leader
    }
}

/// Creates them.
pub struct InternalTopics {
    controllers: ControllerLink,
    published: Published,
    config: Arc<NodeConfig>,
    /// When the controller refused each last. Who holds the lock asks for all.
    refused: BTreeMap<InternalTopic, Mutex<Option<Instant>>>,
}

impl InternalTopics {
    /// With the shapes of `config`.
    pub fn new(controllers: ControllerLink, published: Published, config: Arc<NodeConfig>) -> Self {
        let known = [InternalTopic::Offsets, InternalTopic::Transactions];
        let refused = known.map(|topic| (topic, Mutex::new(None))).into();
        Self { controllers, published, config, refused }
    }

    /// The metadata with the topic in it, which is created if it is missing. An error when it is not
    /// there after a while.
    pub async fn ensure(&self, topic: InternalTopic) -> Result<Arc<Picture>, ErrorCode> {
        let is_there = |picture: &Picture| picture.image.topic(topic.name()).is_some();
        let picture = self.published.get();
        if is_there(&picture) {
            return Ok(picture);
        }
        let deadline = Instant::now() + CREATION_WAIT;
        // The first asks the controller; the others find what came of that.
        let mut refused = self.refused[&topic].lock().await;
        let was_refused = refused.is_some_and(|at: Instant| at.elapsed() < REFUSED_PAUSE);
        if !is_there(&self.published.get()) {
            if was_refused || !self.create(topic, deadline).await {
                if !was_refused {
                    *refused = Some(Instant::now());
                }
                return Err(ErrorCode::CoordinatorNotAvailable);
            }
            *refused = None;
        }
        drop(refused);
        let mut published = self.published.clone();
        match tokio::time::timeout_at(deadline, published.wait_for(is_there)).await {
            Ok(Some(picture)) => Ok(picture),
            Ok(None) | Err(_) => Err(ErrorCode::CoordinatorNotAvailable),
        }
    }

    /// Has the controller create it; true when it is there or will be.
    async fn create(&self, topic: InternalTopic, deadline: Instant) -> bool {
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic.creatable(&self.config)])
            .with_timeout_ms(i32::try_from(CREATION_WAIT.as_millis()).unwrap_or(i32::MAX));
        let name = topic.name();
        match self.controllers.request(CREATE_TOPICS_VERSION, request, deadline).await {
            Ok(ResponseKind::CreateTopics(response)) => {
                let Some(result) = response.topics.first() else { return false };
                let code = ErrorCode::from_code(result.error_code);
                let is_there = matches!(code, ErrorCode::None | ErrorCode::TopicAlreadyExists);
                if !is_there {
                    let reason = result.error_message.as_deref().unwrap_or_default();
                    tracing::warn!(topic = name, %code, reason, "the topic cannot be created yet");
                }
                is_there
            }
            Ok(_) => false,
            Err(error) => {
                tracing::info!(topic = name, %error, "the topic was not created");
                false
            }
        }
    }
}
