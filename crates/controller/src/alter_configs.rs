//! IncrementalAlterConfigs and AlterConfigs: what is set at run time on topics, brokers,
//! groups and metrics subscriptions.
//!
//! Both come to the same thing: the values a resource shall have. The incremental
//! request says how they differ from now, the old one lists them all. Each resource
//! is judged as it would be afterwards, and succeeds or fails on its own.

use std::collections::{BTreeMap, BTreeSet};

use config::alter::AlterError;
use config::{Kind, Overrides, Scope};
use metadata::{ConfigResource, ResourceKind};
use model::{ErrorCode, NodeId, TopicName, TopicNameError};
use proto::metadata::{ClearElrRecord, ConfigRecord, MetadataRecord};
use wire::messages::alter_configs_response::AlterConfigsResourceResponse as OldResult;
use wire::messages::incremental_alter_configs_request::AlterableConfig;
use wire::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use wire::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};

use crate::decision::{Decision, Refusal};
use crate::view::View;

/// Longest value: its length is 16 bits in older forms of the record.
const VALUE_BYTES_MAX: usize = i16::MAX as usize;
const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// Why a resource's configs do not change.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum AlterConfigsError {
    /// It comes twice.
    #[error("Each resource must appear at most once.")]
    ResourceTwice,
    /// A key of it comes twice.
    #[error("Error due to duplicate config keys")]
    KeyTwice,
    /// No such kind of resource, or one that the controller knows nothing of.
    #[error("Unexpected resource type {0}.")]
    Kind(i8),
    /// Neither set, delete, append nor subtract.
    #[error("Unknown operations type {0}")]
    Operation(i8),
    /// A value of nothing.
    #[error("Null value not supported for : {0}")]
    Null(String),
    /// Something appended to what is no list.
    #[error("Can't {operation} to key {key} because its type is not LIST.")]
    NotList {
        /// `APPEND` or `SUBTRACT`.
        operation: &'static str,
        /// The key.
        key: String,
    },
    /// A value that no record holds.
    #[error(
        "The configuration value cannot be added because it exceeds the maximum value size of {VALUE_BYTES_MAX} bytes."
    )]
    TooLong,
    /// A resource without a name.
    #[error("Default {0} resources are not allowed.")]
    Nameless(&'static str),
    /// Not a topic's name.
    #[error("Topic name is invalid: {0}")]
    TopicName(#[from] TopicNameError),
    /// No such topic.
    #[error("The topic '{0}' does not exist.")]
    UnknownTopic(String),
    /// No such broker or controller.
    #[error("No node with id {0} found.")]
    UnknownNode(i32),
    /// Brokers would differ in what a topic's minimum is.
    #[error("Broker-level min.insync.replicas cannot be altered while ELR is enabled.")]
    BrokerMinIsr,
    /// Brokers' files would say what a topic's minimum is.
    #[error("Cluster-level min.insync.replicas cannot be removed while ELR is enabled.")]
    ClusterMinIsr,
    /// A key or value that the resource does not take.
    #[error(transparent)]
    Invalid(#[from] AlterError),
}

impl AlterConfigsError {
    /// What the client is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::ResourceTwice | Self::KeyTwice | Self::Kind(_) | Self::Operation(_) | Self::Null(_) => {
                ErrorCode::InvalidRequest
            }
            Self::Nameless(_) => ErrorCode::InvalidRequest,
            Self::NotList { .. } | Self::TooLong | Self::BrokerMinIsr | Self::ClusterMinIsr => {
                ErrorCode::InvalidConfig
            }
            Self::TopicName(_) => ErrorCode::InvalidTopicException,
            Self::UnknownTopic(_) => ErrorCode::UnknownTopicOrPartition,
            Self::UnknownNode(_) => ErrorCode::BrokerIdNotRegistered,
            Self::Invalid(error) => error.code(),
        }
    }
}

/// One resource as a request names it.
type Named<'a> = (i8, &'a str);

/// What keys shall be; `None` for unset.
type Wishes = BTreeMap<String, Option<String>>;

/// Changes configs as they differ.
pub fn decide(
    view: &View<'_>,
    request: &IncrementalAlterConfigsRequest,
) -> Decision<IncrementalAlterConfigsResponse> {
    let named = |resource: &wire::messages::incremental_alter_configs_request::AlterConfigsResource| {
        (resource.resource_type, resource.resource_name.to_string())
    };
    let repeated = repeated(request.resources.iter().map(named));
    let mut records = Vec::new();
    let mut results = Vec::new();
    for resource in &request.resources {
        let name = (resource.resource_type, resource.resource_name.as_str());
        let outcome = resolve(name, &repeated)
            .and_then(|known| Ok((wishes(view, &known, &resource.configs)?, known)))
            .and_then(|(wishes, known)| alter(view, &known, wishes));
        let refusal = settle(outcome, &mut records);
        results.push(
            AlterConfigsResourceResponse::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(refusal.as_ref().map_or(0, |refusal| refusal.code.code()))
                .with_error_message(refusal.and_then(|refusal| refusal.text())),
        );
    }
    if request.validate_only {
        records.clear();
    }
    Decision::new(records, IncrementalAlterConfigsResponse::default().with_responses(results))
}

/// Replaces all configs of each resource. What is not listed is unset.
pub fn decide_all(view: &View<'_>, request: &AlterConfigsRequest) -> Decision<AlterConfigsResponse> {
    let named = |resource: &wire::messages::alter_configs_request::AlterConfigsResource| {
        (resource.resource_type, resource.resource_name.to_string())
    };
    let repeated = repeated(request.resources.iter().map(named));
    let mut records = Vec::new();
    let mut results = Vec::new();
    for resource in &request.resources {
        let name = (resource.resource_type, resource.resource_name.as_str());
        let outcome = resolve(name, &repeated).and_then(|known| {
            let mut wishes: Wishes = current(view, &known).into_keys().map(|key| (key, None)).collect();
            for config in &resource.configs {
                let null = || AlterConfigsError::Null(config.name.to_string());
                let value = config.value.as_ref().ok_or_else(null)?;
                wishes.insert(config.name.to_string(), Some(value.to_string()));
            }
            alter(view, &known, wishes)
        });
        let refusal = settle(outcome, &mut records);
        results.push(
            OldResult::default()
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name.clone())
                .with_error_code(refusal.as_ref().map_or(0, |refusal| refusal.code.code()))
                .with_error_message(refusal.and_then(|refusal| refusal.text())),
        );
    }
    if request.validate_only {
        records.clear();
    }
    Decision::new(records, AlterConfigsResponse::default().with_responses(results))
}

fn settle(
    outcome: Result<Vec<MetadataRecord>, AlterConfigsError>,
    records: &mut Vec<MetadataRecord>,
) -> Option<Refusal> {
    match outcome {
        Ok(new) => {
            records.extend(new);
            None
        }
        Err(error) => Some(Refusal::new(error.code(), error)),
    }
}

fn repeated(names: impl Iterator<Item = (i8, String)>) -> BTreeSet<(i8, String)> {
    let mut seen = BTreeSet::new();
    names.filter(|name| !seen.insert(name.clone())).collect()
}

fn resolve(
    (kind, name): Named<'_>,
    repeated: &BTreeSet<(i8, String)>,
) -> Result<ConfigResource, AlterConfigsError> {
    if repeated.contains(&(kind, name.to_owned())) {
        return Err(AlterConfigsError::ResourceTwice);
    }
    let known =
        [ResourceKind::TOPIC, ResourceKind::BROKER, ResourceKind::CLIENT_METRICS, ResourceKind::GROUP];
    let kind = known.into_iter().find(|known| known.0 == kind).ok_or(AlterConfigsError::Kind(kind))?;
    Ok(ConfigResource { kind, name: name.to_owned() })
}

fn current(view: &View<'_>, resource: &ConfigResource) -> Overrides {
    view.image.configs(resource).cloned().unwrap_or_default()
}

/// What the incremental request wants the values to be.
fn wishes(
    view: &View<'_>,
    resource: &ConfigResource,
    asked: &[AlterableConfig],
) -> Result<Wishes, AlterConfigsError> {
    let had = current(view, resource);
    let mut wishes = Wishes::new();
    for config in asked {
        let name = config.name.to_string();
        let value = || {
            let null = || AlterConfigsError::Null(name.clone());
            config.value.as_ref().map(ToString::to_string).ok_or_else(null)
        };
        let wish = match config.config_operation {
            0 => Some(value()?),
            1 => None,
            2 => Some(appended(&listed(view, resource, &had, &name, "APPEND")?, &value()?)),
            3 => Some(subtracted(&listed(view, resource, &had, &name, "SUBTRACT")?, &value()?)),
            other => return Err(AlterConfigsError::Operation(other)),
        };
        if wishes.insert(name, wish).is_some() {
            return Err(AlterConfigsError::KeyTwice);
        }
    }
    Ok(wishes)
}

fn scope(kind: ResourceKind) -> Scope {
    match kind {
        ResourceKind::TOPIC => Scope::Topic,
        ResourceKind::GROUP => Scope::Group,
        ResourceKind::CLIENT_METRICS => Scope::Client,
        _ => Scope::Broker,
    }
}

/// The items of a list as they are now, inherited ones if none are set.
fn listed(
    view: &View<'_>,
    resource: &ConfigResource,
    had: &Overrides,
    name: &str,
    operation: &'static str,
) -> Result<Vec<String>, AlterConfigsError> {
    let key = config::find(scope(resource.kind), name).filter(|key| key.kind == Kind::List);
    let key = key.ok_or_else(|| AlterConfigsError::NotList { operation, key: name.to_owned() })?;
    let inherited = || match key.default {
        config::Default::Text(text) => text.to_owned(),
        config::Default::Required | config::Default::Absent => String::new(),
    };
    let text = had.get(name).or_else(|| view.settings.static_configs.get(name)).cloned();
    Ok(items(&text.unwrap_or_else(inherited)))
}

fn items(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

fn appended(had: &[String], more: &str) -> String {
    let mut all = had.to_vec();
    for item in items(more) {
        if !all.contains(&item) {
            all.push(item);
        }
    }
    all.join(",")
}

fn subtracted(had: &[String], less: &str) -> String {
    let less = items(less);
    had.iter().filter(|item| !less.contains(item)).cloned().collect::<Vec<_>>().join(",")
}

/// Judges the resource as it would be, and writes down what differs.
fn alter(
    view: &View<'_>,
    resource: &ConfigResource,
    wishes: Wishes,
) -> Result<Vec<MetadataRecord>, AlterConfigsError> {
    let had = current(view, resource);
    let changes: Wishes = wishes.into_iter().filter(|(name, wish)| had.get(name) != wish.as_ref()).collect();
    if changes.values().flatten().any(|value| value.len() > VALUE_BYTES_MAX) {
        return Err(AlterConfigsError::TooLong);
    }
    let mut after = had;
    let mut set = Overrides::new();
    for (name, wish) in &changes {
        match wish {
            Some(value) => {
                after.insert(name.clone(), value.clone());
                set.insert(name.clone(), value.clone());
            }
            None => drop(after.remove(name)),
        }
    }
    check(view, resource, &after, &set)?;
    if view.elr_enabled() && resource.kind == ResourceKind::BROKER {
        check_min_isr(resource, &changes)?;
    }
    Ok(write(view, resource, changes))
}

fn check(
    view: &View<'_>,
    resource: &ConfigResource,
    after: &Overrides,
    set: &Overrides,
) -> Result<(), AlterConfigsError> {
    let name = resource.name.as_str();
    match resource.kind {
        ResourceKind::TOPIC => {
            if name.is_empty() {
                return Err(AlterConfigsError::Nameless("topic"));
            }
            TopicName::new(name)?;
            config::alter::topic(after)?;
            let known = view.image.topic(name);
            known.map(drop).ok_or_else(|| AlterConfigsError::UnknownTopic(name.to_owned()))
        }
        ResourceKind::GROUP if name.is_empty() => Err(AlterConfigsError::Nameless("group")),
        ResourceKind::GROUP => Ok(config::alter::group(after, &view.settings.static_configs)?),
        ResourceKind::CLIENT_METRICS if name.is_empty() => Err(AlterConfigsError::Nameless("client metrics")),
        ResourceKind::CLIENT_METRICS => Ok(config::alter::client(after)?),
        _ => {
            let node = config::alter::broker_name(name)?;
            config::alter::broker(set, node.is_none())?;
            let known = |id| {
                view.image.broker(NodeId::new(id)).is_some()
                    || view.image.controller(NodeId::new(id)).is_some()
            };
            match node.filter(|id| !known(*id)) {
                Some(id) => Err(AlterConfigsError::UnknownNode(id)),
                None => Ok(()),
            }
        }
    }
}

/// With eligible leader replicas every node must agree on what a topic's minimum is.
fn check_min_isr(resource: &ConfigResource, changes: &Wishes) -> Result<(), AlterConfigsError> {
    match changes.get(MIN_INSYNC_REPLICAS) {
        Some(_) if !resource.name.is_empty() => Err(AlterConfigsError::BrokerMinIsr),
        Some(None) => Err(AlterConfigsError::ClusterMinIsr),
        Some(Some(_)) | None => Ok(()),
    }
}

/// Who was eligible below another minimum need not be below the new one: the sets begin anew.
fn write(view: &View<'_>, resource: &ConfigResource, changes: Wishes) -> Vec<MetadataRecord> {
    let clears = view.elr_enabled() && changes.contains_key(MIN_INSYNC_REPLICAS);
    let record = |(name, value): (String, Option<String>)| {
        let (resource_type, resource_name) = (resource.kind.0, resource.name.clone());
        MetadataRecord::from(ConfigRecord { resource_type, resource_name, name, value })
    };
    let mut records: Vec<MetadataRecord> = changes.into_iter().map(record).collect();
    if clears && [ResourceKind::TOPIC, ResourceKind::BROKER].contains(&resource.kind) {
        let topic_name =
            if resource.kind == ResourceKind::TOPIC { resource.name.clone() } else { String::new() };
        records.push(ClearElrRecord { topic_name }.into());
    }
    records
}

#[cfg(test)]
mod tests;
