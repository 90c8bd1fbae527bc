//! CreateTopics: each topic on its own, some may fail while others are created.
//!
//! A topic is judged in the order Kafka judges: its name, whether it exists, its
//! configs, its partitions and replicas. Its id is drawn from the request's seed and
//! carried in the record, so that every node knows the topic by the same id.

use std::collections::BTreeSet;

use config::Overrides;
use config::alter::AlterError;
use metadata::{ResourceKind, Topic};
use model::{ErrorCode, METADATA_TOPIC, NodeId, TopicId, TopicName, TopicNameError, Uuid};
use proto::metadata::{ConfigRecord, MetadataRecord, TopicRecord};
use wire::messages::create_topics_request::CreatableTopic;
use wire::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use wire::messages::{CreateTopicsRequest, CreateTopicsResponse, text, to_wire_uuid};

use crate::chance::Chance;
use crate::decision::{Decision, Refusal};
use crate::topics::{
    LayoutError, PARTITIONS_PER_REQUEST_MAX, check_manual, index, new_partition, place_automatically,
    replica_list,
};
use crate::view::View;

/// In a request: the cluster's default.
const DEFAULT: i32 = -1;

/// Why a topic is not created.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CreateTopicError {
    /// Not a topic's name.
    #[error("Topic name is invalid: {0}")]
    Name(#[from] TopicNameError),
    /// Metrics could not tell it from another topic.
    #[error("Topic '{name}' collides with existing topic: {existing}")]
    Collides {
        /// The new topic.
        name: String,
        /// The other.
        existing: String,
    },
    /// It is there.
    #[error("Topic '{0}' already exists.")]
    Exists(String),
    /// It is named twice.
    #[error("Duplicate topic name.")]
    Duplicate,
    /// Our own topic.
    #[error("Creation of internal topic {METADATA_TOPIC} is prohibited.")]
    Internal,
    /// A bad config.
    #[error(transparent)]
    Config(#[from] AlterError),
    /// An assignment and a number of replicas.
    #[error("A manual partition assignment was specified, but replication factor was not set to -1.")]
    ReplicasTwice,
    /// An assignment and a number of partitions.
    #[error("A manual partition assignment was specified, but numPartitions was not set to -1.")]
    PartitionsTwice,
    /// No replicas, or fewer.
    #[error("Replication factor must be larger than 0, or -1 to use the default value.")]
    ReplicationFactor,
    /// No partitions, or fewer.
    #[error("Number of partitions was set to an invalid non-positive value.")]
    Partitions,
    /// A partition assigned twice.
    #[error("Found multiple manual partition assignments for partition {0}")]
    AssignedTwice(i32),
    /// Partitions left out.
    #[error("partitions should be a consecutive 0-based integer sequence")]
    Gap,
    /// Replicas that cannot be placed.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// More than one batch may hold.
    #[error("Excessively large number of partitions per request.")]
    TooMany,
}

impl CreateTopicError {
    /// What the client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Name(_) | Self::Collides { .. } => ErrorCode::InvalidTopicException,
            Self::Exists(_) => ErrorCode::TopicAlreadyExists,
            Self::Internal | Self::Duplicate | Self::ReplicasTwice | Self::PartitionsTwice => {
                ErrorCode::InvalidRequest
            }
            Self::Config(error) => error.code(),
            Self::ReplicationFactor => ErrorCode::InvalidReplicationFactor,
            Self::Partitions => ErrorCode::InvalidPartitions,
            Self::AssignedTwice(_) | Self::Gap => ErrorCode::InvalidReplicaAssignment,
            Self::Layout(error) => error.code(),
            Self::TooMany => ErrorCode::PolicyViolation,
        }
    }
}

/// A topic that can be created.
struct Laid {
    replicas: Vec<Vec<NodeId>>,
    configs: Overrides,
    result: CreatableTopicResult,
}

/// Creates what can be created.
pub fn decide(view: &View<'_>, request: &CreateTopicsRequest) -> Decision<CreateTopicsResponse> {
    let mut chance = Chance::new(view.seed);
    let too_many = partitions_asked(view, request) > PARTITIONS_PER_REQUEST_MAX;
    let repeated = repeated(request.topics.iter().map(|topic| topic.name.as_str()));
    let mut answered = BTreeSet::new();
    let mut created: Vec<TopicName> = Vec::new();
    let mut records = Vec::new();
    let mut results = Vec::new();
    for topic in &request.topics {
        if !answered.insert(topic.name.as_str()) {
            continue;
        }
        let id = draw_topic_id(view, &mut chance);
        let laid = if too_many {
            Err(CreateTopicError::TooMany)
        } else if repeated.contains(topic.name.as_str()) {
            Err(CreateTopicError::Duplicate)
        } else {
            lay_out(view, topic, &created, chance.next_u64())
        };
        results.push(match laid {
            Ok((name, laid)) => {
                created.push(name);
                write(view, id, topic, &laid, &mut records);
                laid.result.with_topic_id(to_wire_uuid(id))
            }
            Err(error) => refused(topic, &error),
        });
    }
    if request.validate_only {
        records.clear();
    }
    Decision::new(records, CreateTopicsResponse::default().with_topics(results))
}

fn partitions_asked(view: &View<'_>, request: &CreateTopicsRequest) -> usize {
    let of = |topic: &CreatableTopic| match (topic.assignments.len(), topic.num_partitions) {
        (0, DEFAULT) => usize::try_from(view.settings.num_partitions).unwrap_or(1),
        (0, count) => usize::try_from(count).unwrap_or(0),
        (assigned, _) => assigned,
    };
    request.topics.iter().map(of).fold(0, usize::saturating_add)
}

/// The names that come more than once.
pub fn repeated<'a>(names: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert(*name)).collect()
}

fn draw_topic_id(view: &View<'_>, chance: &mut Chance) -> TopicId {
    let draw = || Uuid::from_random(chance.next_u128().to_be_bytes());
    // Two draws in 2^122 are one id, and one in 64 begins with '-': both are drawn again.
    let mut free = std::iter::repeat_with(draw).flatten().filter(|id| view.image.topic_by_id(*id).is_none());
    free.next().expect("an endless iterator")
}

fn lay_out(
    view: &View<'_>,
    topic: &CreatableTopic,
    created: &[TopicName],
    seed: u64,
) -> Result<(TopicName, Laid), CreateTopicError> {
    let name = TopicName::new(&topic.name)?;
    if name.as_str() == METADATA_TOPIC {
        return Err(CreateTopicError::Internal);
    }
    if view.image.topic(name.as_str()).is_some() {
        return Err(CreateTopicError::Exists(name.to_string()));
    }
    if let Some(existing) = colliding(view, &name, created) {
        return Err(CreateTopicError::Collides { name: name.to_string(), existing });
    }
    let configs = check_configs(topic)?;
    let replicas =
        if topic.assignments.is_empty() { automatic(view, topic, seed)? } else { manual(view, topic)? };
    let result = CreatableTopicResult::default()
        .with_name(topic.name.clone())
        .with_error_message(None)
        .with_num_partitions(i32::try_from(replicas.len()).unwrap_or(i32::MAX))
        .with_replication_factor(i16::try_from(replicas[0].len()).unwrap_or(i16::MAX))
        .with_configs(Some(described(view, &configs)));
    Ok((name, Laid { replicas, configs, result }))
}

/// A topic, there or about to be, whose name metrics could not tell from this one.
fn colliding(view: &View<'_>, name: &TopicName, created: &[TopicName]) -> Option<String> {
    let key = name.collision_key();
    if !key.contains('_') {
        return None;
    }
    let fresh = created.iter().find(|other| other.collision_key() == key).map(TopicName::to_string);
    fresh.or_else(|| {
        let same = |other: &&Topic| other.name.collision_key() == key;
        view.image.topics().find(same).map(|other| other.name.to_string())
    })
}

fn check_configs(topic: &CreatableTopic) -> Result<Overrides, AlterError> {
    let nulls = topic.configs.iter().filter(|config| config.value.is_none());
    if let Some(error) = config::alter::topic_nulls(nulls.map(|config| config.name.as_str())) {
        return Err(error);
    }
    let pairs =
        topic.configs.iter().filter_map(|config| Some((config.name.to_string(), config.value.as_ref()?)));
    let overrides: Overrides = pairs.map(|(name, value)| (name, value.to_string())).collect();
    config::alter::topic(&overrides)?;
    Ok(overrides)
}

fn manual(view: &View<'_>, topic: &CreatableTopic) -> Result<Vec<Vec<NodeId>>, CreateTopicError> {
    if topic.replication_factor != -1 {
        return Err(CreateTopicError::ReplicasTwice);
    }
    if topic.num_partitions != DEFAULT {
        return Err(CreateTopicError::PartitionsTwice);
    }
    let mut seen = BTreeSet::new();
    let mut expected = None;
    let mut laid: Vec<(i32, Vec<NodeId>)> = Vec::with_capacity(topic.assignments.len());
    for assignment in &topic.assignments {
        if !seen.insert(assignment.partition_index) {
            return Err(CreateTopicError::AssignedTwice(assignment.partition_index));
        }
        let replicas = replica_list(&assignment.broker_ids);
        check_manual(view, model::PartitionIndex::new(assignment.partition_index), &replicas, expected)?;
        expected = Some(replicas.len());
        laid.push((assignment.partition_index, replicas));
    }
    laid.sort_unstable_by_key(|(at, _)| *at);
    if laid.iter().zip(0..).any(|((at, _), place)| *at != place) {
        return Err(CreateTopicError::Gap);
    }
    Ok(laid.into_iter().map(|(_, replicas)| replicas).collect())
}

fn automatic(
    view: &View<'_>,
    topic: &CreatableTopic,
    seed: u64,
) -> Result<Vec<Vec<NodeId>>, CreateTopicError> {
    if topic.replication_factor < -1 || topic.replication_factor == 0 {
        return Err(CreateTopicError::ReplicationFactor);
    }
    if topic.num_partitions < DEFAULT || topic.num_partitions == 0 {
        return Err(CreateTopicError::Partitions);
    }
    let or_default = |given: i32, default: i32| if given == DEFAULT { default } else { given };
    let count = or_default(topic.num_partitions, view.settings.num_partitions);
    let replicas =
        or_default(topic.replication_factor.into(), view.settings.default_replication_factor.into());
    let count = usize::try_from(count.max(1)).unwrap_or(1);
    let replicas = usize::try_from(replicas.max(1)).unwrap_or(1);
    Ok(place_automatically(view, count, replicas, seed)?)
}

fn described(view: &View<'_>, overrides: &Overrides) -> Vec<CreatableTopicConfigs> {
    let entries =
        config::describe::topic(overrides, &view.layers(&view.cluster_configs(), &Overrides::new()))
            .into_iter();
    let shown = entries.map(|entry| {
        CreatableTopicConfigs::default()
            .with_name(text(entry.name))
            .with_value(entry.value.as_deref().map(text))
            .with_config_source(entry.source as i8)
            .with_is_sensitive(entry.sensitive)
    });
    shown.collect()
}

fn write(
    view: &View<'_>,
    id: TopicId,
    topic: &CreatableTopic,
    laid: &Laid,
    records: &mut Vec<MetadataRecord>,
) {
    records.push(TopicRecord { name: topic.name.to_string(), topic_id: id }.into());
    for (name, value) in &laid.configs {
        let record = ConfigRecord {
            resource_type: ResourceKind::TOPIC.0,
            resource_name: topic.name.to_string(),
            name: name.clone(),
            value: Some(value.clone()),
        };
        records.push(record.into());
    }
    let partitions = laid.replicas.iter().enumerate();
    records.extend(partitions.map(|(at, replicas)| new_partition(view, id, index(at), replicas).into()));
}

fn refused(topic: &CreatableTopic, error: &CreateTopicError) -> CreatableTopicResult {
    let refusal = Refusal::new(error.code(), error);
    CreatableTopicResult::default()
        .with_name(topic.name.clone())
        .with_error_code(refusal.code.code())
        .with_error_message(refusal.text())
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_configs(None)
}

#[cfg(test)]
mod tests;
