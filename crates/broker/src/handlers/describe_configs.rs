//! DescribeConfigs: every key of a resource, its value, and where that comes from.

use config::Layers;
use config::describe::ConfigEntry;
use metadata::{ConfigResource, Configs, Image, ResourceKind};
use model::{ErrorCode, TopicName};
use wire::messages::describe_configs_request::DescribeConfigsResource;
use wire::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use wire::messages::{DescribeConfigsRequest, DescribeConfigsResponse, StrBytes, text};

use crate::context::Context;

/// Describes each resource asked for.
pub fn handle(context: &Context, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let picture = context.published.get();
    let results = request.resources.iter().map(|resource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        match entries(context, &picture.image, resource) {
            Ok(entries) => {
                let asked = |entry: &ConfigEntry| is_asked(resource, entry.name);
                let shown = entries.iter().filter(|entry| asked(entry));
                result.with_configs(shown.map(|entry| describe(entry, &request)).collect())
            }
            Err((code, message)) => {
                result.with_error_code(code.code()).with_error_message(Some(text(&message)))
            }
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn is_asked(resource: &DescribeConfigsResource, name: &str) -> bool {
    resource.configuration_keys.as_ref().is_none_or(|keys| keys.iter().any(|key| key.as_str() == name))
}

fn entries(
    context: &Context,
    image: &Image,
    resource: &DescribeConfigsResource,
) -> Result<Vec<ConfigEntry>, (ErrorCode, String)> {
    let name = resource.resource_name.as_str();
    let set = |kind, name: &str| overrides(image, kind, name);
    let own = set(ResourceKind::BROKER, &context.node.to_string());
    let cluster = set(ResourceKind::BROKER, "");
    let layers = Layers { broker: &own, cluster: &cluster, file: &context.config.file };
    match ResourceKind(resource.resource_type) {
        ResourceKind::TOPIC => {
            if let Err(error) = TopicName::new(name) {
                return Err((ErrorCode::InvalidTopicException, error.to_string()));
            }
            if image.topic(name).is_none() {
                let message = "This server does not host this topic-partition.".to_owned();
                return Err((ErrorCode::UnknownTopicOrPartition, message));
            }
            Ok(config::describe::topic(&set(ResourceKind::TOPIC, name), &layers))
        }
        ResourceKind::BROKER if name.is_empty() => Ok(config::describe::cluster(&cluster)),
        ResourceKind::BROKER if name == context.node.to_string() => Ok(config::describe::broker(&layers)),
        ResourceKind::BROKER => {
            let message = format!(
                "Unexpected broker id, expected {} or empty string, but received {name}",
                context.node
            );
            Err((ErrorCode::InvalidRequest, message))
        }
        ResourceKind::CLIENT_METRICS => {
            Ok(config::describe::client(&set(ResourceKind::CLIENT_METRICS, name)))
        }
        ResourceKind::GROUP => Ok(config::describe::group(&set(ResourceKind::GROUP, name), &layers)),
        ResourceKind(other) => {
            Err((ErrorCode::InvalidRequest, format!("Unsupported resource type: {other}")))
        }
    }
}

fn overrides(image: &Image, kind: ResourceKind, name: &str) -> Configs {
    let resource = ConfigResource { kind, name: name.to_owned() };
    image.configs(&resource).cloned().unwrap_or_default()
}

fn describe(entry: &ConfigEntry, request: &DescribeConfigsRequest) -> DescribeConfigsResourceResult {
    let value = |value: &Option<String>| value.as_deref().map(text);
    let result = DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_static_str(entry.name))
        .with_value(value(&entry.value))
        .with_read_only(entry.read_only)
        .with_config_source(entry.source as i8)
        .with_is_sensitive(entry.sensitive)
        .with_config_type(entry.kind as i8);
    let synonym = |synonym: &config::describe::Synonym| {
        DescribeConfigsSynonym::default()
            .with_name(StrBytes::from_static_str(synonym.name))
            .with_value(value(&synonym.value))
            .with_source(synonym.source as i8)
    };
    let result = if request.include_synonyms {
        result.with_synonyms(entry.synonyms.iter().map(synonym).collect())
    } else {
        result
    };
    let documentation = StrBytes::from_static_str(entry.documentation);
    result.with_documentation(request.include_documentation.then_some(documentation))
}
