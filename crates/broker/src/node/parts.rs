//! Pieces of a node's start that are plain functions of its configuration.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use config::{Listener, NodeConfig, Protocol};
use controller::Settings;
use model::{ClusterId, Uuid};
use net::Network;
use quorum::{Endpoint, Tuning, Voter, Voters};
use wire::api::ListenerKind;

use crate::lifecycle::Advertised;
use crate::node::StartError;
use crate::server::{BoundListener, Limits, ListenerSpec};

/// A voter that was away for a moment gets batches and not a snapshot, however small snapshots are.
const BATCHES_BEHIND_MIN: u64 = 20;

/// The server's bounds as configured. Kafka's "no limit" is not one we have.
pub(super) fn limits(config: &NodeConfig) -> Limits {
    let default = Limits::default();
    let at_most = |configured: u32, default: usize| match usize::try_from(configured) {
        Ok(count) if count < i32::MAX as usize => count,
        _ => default,
    };
    let network = &config.network;
    Limits {
        connections_max: at_most(network.connections_max, default.connections_max),
        connections_per_address_max: at_most(
            network.connections_per_address_max,
            default.connections_per_address_max,
        ),
        connections_of_address_max: network
            .connections_per_address_overrides
            .iter()
            .flat_map(|(host, &count)| addresses_of(host).into_iter().map(move |address| (address, count)))
            .map(|(address, count)| (address, at_most(count, default.connections_per_address_max)))
            .collect(),
        request_bytes_max: at_most(network.request_bytes_max, default.request_bytes_max),
        // A year stands for "never": every connection is looked at some day.
        idle_max: network.idle_max.unwrap_or(Duration::from_secs(365 * 24 * 3600)),
        ..default
    }
}

/// The addresses that a host of `max.connections.per.ip.overrides` stands for, once and for all as in
/// Kafka: looked up at the start.
fn addresses_of(host: &str) -> Vec<IpAddr> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return vec![address.to_canonical()];
    }
    match (host, 0).to_socket_addrs() {
        Ok(found) => found.map(|address| address.ip().to_canonical()).collect(),
        Err(error) => {
            tracing::warn!(host, %error, "max.connections.per.ip.overrides names a host without an address; it has no override");
            Vec::new()
        }
    }
}

/// Binds every listener.
pub(super) async fn bind(
    config: &NodeConfig,
    network: &dyn Network,
) -> Result<Vec<BoundListener>, StartError> {
    let mut bound = Vec::new();
    for listener in &config.listeners {
        if listener.protocol != Protocol::Plaintext {
            let (listener, protocol) = (listener.name.clone(), listener.protocol);
            return Err(StartError::Protocol { listener, protocol });
        }
        let is_controllers = config.controller_listener_names.contains(&listener.name);
        let kind = if is_controllers { ListenerKind::Controller } else { ListenerKind::Broker };
        let address = listener.address();
        let spec = ListenerSpec { name: listener.name.clone(), kind, address: address.clone() };
        let opened = BoundListener::bind(network, spec).await;
        bound.push(opened.map_err(|source| bind_error(listener, address, source))?);
    }
    Ok(bound)
}

fn bind_error(listener: &Listener, address: String, source: io::Error) -> StartError {
    let advice = match source.kind() {
        io::ErrorKind::AddrInUse => {
            "another process listens there: stop it, or choose another port in listeners"
        }
        io::ErrorKind::AddrNotAvailable => {
            "this machine has no such address: name one of its own in listeners, and others' view of it in \
             advertised.listeners"
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege: choose a higher one",
        _ => "check listeners",
    };
    StartError::Bind { listener: listener.name.clone(), address, source, advice }
}

/// What is advertised, with the port that was drawn where 0 was asked for.
pub(super) fn advertised(listeners: &[Listener], addresses: &[(String, SocketAddr)]) -> Vec<Advertised> {
    let resolved = listeners.iter().map(|listener| {
        let bound = addresses.iter().find(|(name, _)| *name == listener.name);
        let drawn = bound.map_or(listener.port, |(_, address)| address.port());
        Advertised {
            listener: listener.name.clone(),
            host: listener.host.clone(),
            port: if listener.port == 0 { drawn } else { listener.port },
            security_protocol: listener.protocol as i16,
        }
    });
    resolved.collect()
}

/// `controller.quorum.voters`, with their addresses on the controllers' listener.
pub(super) fn voters(config: &NodeConfig) -> Voters {
    let listener = controller_listener(config);
    let voter = |voter: &config::QuorumVoter| {
        let endpoint = Endpoint { listener: listener.clone(), host: voter.host.clone(), port: voter.port };
        (voter.id, Voter { directory: Uuid::ZERO, endpoints: vec![endpoint] })
    };
    Voters(config.quorum.voters.iter().map(voter).collect())
}

/// The listener that controllers are dialled on.
pub(super) fn controller_listener(config: &NodeConfig) -> String {
    config.controller_listener_names.first().cloned().unwrap_or_default()
}

/// The quorum's timeouts and sizes as configured.
pub(super) fn quorum_tuning(config: &NodeConfig) -> Tuning {
    // So much of the log is kept behind a snapshot as a tenth of it holds, at a usual kilobyte a batch.
    let default = Tuning::default();
    let tenth = config.quorum.bytes_between_snapshots / (10 << 10);
    Tuning {
        batches_behind_snapshot: tenth.clamp(BATCHES_BEHIND_MIN, default.batches_behind_snapshot),
        election_timeout: config.quorum.election_timeout,
        fetch_timeout: config.quorum.fetch_timeout,
        bytes_between_snapshots: config.quorum.bytes_between_snapshots,
        segment_bytes: u64::from(config.quorum.segment_bytes),
        ..default
    }
}

/// The levels of every feature that this release can run at.
pub(super) fn features() -> BTreeMap<String, (i16, i16)> {
    let supported = controller::settings::supported_features().into_iter();
    supported.map(|(name, levels)| (name, (levels.min, levels.max))).collect()
}

/// The configuration as far as decisions read it.
pub(super) fn settings(config: &NodeConfig, cluster: &ClusterId) -> Settings {
    Settings {
        node: config.node_id,
        cluster_id: cluster.to_string(),
        session_timeout: config.session.timeout,
        num_partitions: i32::try_from(config.topics.partitions).unwrap_or(i32::MAX),
        default_replication_factor: i16::try_from(config.topics.replication_factor).unwrap_or(i16::MAX),
        may_delete_topics: config.topics.may_delete,
        static_configs: config.file.clone(),
        ..Settings::default()
    }
}

/// Draws an id.
pub(super) fn draw_id(rng: &mut fastrand::Rng) -> Uuid {
    loop {
        if let Some(id) = Uuid::from_random(rng.u128(..).to_be_bytes()) {
            return id;
        }
    }
}
