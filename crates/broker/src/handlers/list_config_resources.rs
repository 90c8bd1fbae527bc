//! ListConfigResources (KIP-1142): what configs can be, or are, set on.
//!
//! Topics and nodes are listed whether or not anything is set on them; groups and
//! subscriptions to client metrics are there once something is. Version 0 knows the
//! latter alone.

use metadata::{Image, ResourceKind};
use model::ErrorCode;
use wire::messages::list_config_resources_response::ConfigResource;
use wire::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse, text};

use crate::context::Context;
use crate::handlers::view;

/// The levels of a node's loggers. Here nothing can be set on them, so there are none to list.
const BROKER_LOGGER: ResourceKind = ResourceKind(8);
/// All kinds, in the order of Kafka's answers.
const KINDS: &[ResourceKind] = &[
    ResourceKind::GROUP,
    ResourceKind::CLIENT_METRICS,
    BROKER_LOGGER,
    ResourceKind::BROKER,
    ResourceKind::TOPIC,
];

/// Lists the resources of the kinds asked for, or of all.
pub fn handle(
    context: &Context,
    listener: &str,
    version: i16,
    request: &ListConfigResourcesRequest,
) -> ListConfigResourcesResponse {
    list(&context.published.get().image, listener, version, &request.resource_types)
}

fn list(image: &Image, listener: &str, version: i16, asked: &[i8]) -> ListConfigResourcesResponse {
    let asked: Vec<ResourceKind> = match (version, asked) {
        (0, _) => vec![ResourceKind::CLIENT_METRICS],
        (_, []) => KINDS.to_vec(),
        (_, asked) => asked.iter().map(|kind| ResourceKind(*kind)).collect(),
    };
    let response = ListConfigResourcesResponse::default();
    if asked.iter().any(|kind| !KINDS.contains(kind)) {
        return response.with_error_code(ErrorCode::UnsupportedVersion.code());
    }
    let kinds = KINDS.iter().filter(|kind| asked.contains(kind));
    let resources = kinds.flat_map(|kind| {
        let one = |name: String| {
            ConfigResource::default().with_resource_type(kind.0).with_resource_name(text(&name))
        };
        names(image, listener, *kind).into_iter().map(one).collect::<Vec<_>>()
    });
    response.with_config_resources(resources.collect())
}

fn names(image: &Image, listener: &str, kind: ResourceKind) -> Vec<String> {
    match kind {
        ResourceKind::TOPIC => image.topics().map(|topic| topic.name.as_str().to_owned()).collect(),
        ResourceKind::BROKER => {
            let alive = image.brokers().filter(|broker| !broker.fenced);
            let reached = alive.filter(|broker| view::endpoint(broker, listener).is_some());
            reached.map(|broker| broker.id.to_string()).collect()
        }
        _ => {
            let set = image.all_configs().filter(|(resource, _)| resource.kind == kind);
            set.map(|(resource, _)| resource.name.clone()).collect()
        }
    }
}
