//! DescribeCluster: the brokers (asked at a broker) or the controllers (asked at a controller, KIP-919).

use metadata::Image;
use model::ErrorCode;
use wire::api::ListenerKind;
use wire::messages::describe_cluster_response::DescribeClusterBroker;
use wire::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse, text};

use crate::context::Context;
use crate::dispatch::RequestContext;
use crate::handlers::view::{self, CLUSTER_OPERATIONS};

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Lists the nodes of the kind that the listener is for.
pub fn handle(
    context: &Context,
    asker: &RequestContext,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    let served = match asker.listener.kind {
        ListenerKind::Broker => BROKERS,
        ListenerKind::Controller => CONTROLLERS,
    };
    let response = DescribeClusterResponse::default()
        .with_cluster_id(text(context.cluster.as_str()))
        .with_endpoint_type(served);
    let asked = if asker.version == 0 { served } else { request.endpoint_type };
    if asked != served {
        return refuse(response, asked);
    }
    let image = &context.published.get().image;
    let (nodes, controller) = match asker.listener.kind {
        ListenerKind::Broker => {
            (brokers(image, &asker.listener.name, request.include_fenced_brokers), context.node.get())
        }
        ListenerKind::Controller => (
            controllers(image, &asker.listener.name),
            context.active_controller().map_or(-1, |node| node.get()),
        ),
    };
    let response = response.with_brokers(nodes).with_controller_id(BrokerId(controller));
    if request.include_cluster_authorized_operations {
        response.with_cluster_authorized_operations(CLUSTER_OPERATIONS)
    } else {
        response
    }
}

fn refuse(response: DescribeClusterResponse, asked: i8) -> DescribeClusterResponse {
    let (code, message) = match asked {
        BROKERS => (
            ErrorCode::MismatchedEndpointType,
            "The request was sent to an endpoint of type CONTROLLER, but we wanted an endpoint of type BROKER",
        ),
        CONTROLLERS => (
            ErrorCode::MismatchedEndpointType,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER",
        ),
        _ => (ErrorCode::UnsupportedEndpointType, "Unsupported endpoint type"),
    };
    response.with_error_code(code.code()).with_error_message(Some(text(message)))
}

fn brokers(image: &Image, listener: &str, with_fenced: bool) -> Vec<DescribeClusterBroker> {
    let shown = image.brokers().filter(|broker| with_fenced || !broker.fenced);
    let described = shown.filter_map(|broker| {
        let (host, port) = view::endpoint(broker, listener)?;
        let described = DescribeClusterBroker::default()
            .with_broker_id(BrokerId(broker.id.get()))
            .with_host(text(host))
            .with_port(i32::from(port))
            .with_rack(broker.rack.as_deref().map(text))
            .with_is_fenced(broker.fenced);
        Some(described)
    });
    described.collect()
}

fn controllers(image: &Image, listener: &str) -> Vec<DescribeClusterBroker> {
    let described = image.controllers().filter_map(|controller| {
        let endpoint = controller.listeners.iter().find(|candidate| candidate.name == listener)?;
        let described = DescribeClusterBroker::default()
            .with_broker_id(BrokerId(controller.id.get()))
            .with_host(text(&endpoint.host))
            .with_port(i32::from(endpoint.port));
        Some(described)
    });
    described.collect()
}
