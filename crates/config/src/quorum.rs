//! The metadata quorum's keys: who votes, where controllers are found, how long they wait.

use std::time::Duration;

use model::NodeId;

use crate::listener::split_address;
use crate::node::Roles;
use crate::reader::Reader;

/// One of `controller.quorum.voters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumVoter {
    /// The voter.
    pub id: NodeId,
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// How the quorum is reached and how patient it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumConfig {
    /// `controller.quorum.voters`; empty where the voters live in the log.
    pub voters: Vec<QuorumVoter>,
    /// `controller.quorum.bootstrap.servers`.
    pub bootstrap_servers: Vec<(String, u16)>,
    /// `controller.quorum.election.timeout.ms`.
    pub election_timeout: Duration,
    /// `controller.quorum.fetch.timeout.ms`.
    pub fetch_timeout: Duration,
    /// `controller.quorum.request.timeout.ms`.
    pub request_timeout: Duration,
    /// `controller.quorum.retry.backoff.ms`.
    pub retry_backoff: Duration,
    /// `controller.quorum.fetch.max.bytes`.
    pub fetch_bytes_max: u32,
    /// `controller.quorum.fetch.snapshot.max.bytes`.
    pub fetch_snapshot_bytes_max: u32,
    /// `metadata.log.segment.bytes`.
    pub segment_bytes: u32,
    /// `metadata.log.max.record.bytes.between.snapshots`.
    pub bytes_between_snapshots: u64,
    /// `metadata.log.max.snapshot.interval.ms`; zero for no limit.
    pub snapshot_interval_max: Duration,
    /// `metadata.max.idle.interval.ms`; zero for no no-op records.
    pub idle_interval_max: Duration,
    /// `metadata.max.retention.bytes`.
    pub retention_bytes: u64,
    /// `metadata.max.retention.ms`.
    pub retention: Duration,
}

impl QuorumConfig {
    /// Where a controller may be found: the bootstrap servers, else the voters.
    pub fn seeds(&self) -> Vec<(String, u16)> {
        if self.bootstrap_servers.is_empty() {
            self.voters.iter().map(|voter| (voter.host.clone(), voter.port)).collect()
        } else {
            self.bootstrap_servers.clone()
        }
    }
}

const VOTERS: &str = "controller.quorum.voters";
const SERVERS: &str = "controller.quorum.bootstrap.servers";

pub(crate) fn read(reader: &mut Reader<'_>, roles: Roles, node: NodeId) -> QuorumConfig {
    let voters = read_voters(reader);
    let bootstrap_servers = read_servers(reader);
    if reader.list(VOTERS).is_empty() && reader.list(SERVERS).is_empty() {
        let expected = "If using process.roles, either controller.quorum.bootstrap.servers must contain the set of \
                        bootstrap controllers or controller.quorum.voters must contain a parseable set of controllers.";
        reader.problem(SERVERS, expected, "set it to the controllers' addresses, for example localhost:9093");
    }
    check_membership(reader, roles, node, &voters);
    QuorumConfig {
        voters,
        bootstrap_servers,
        election_timeout: reader.millis("controller.quorum.election.timeout.ms"),
        fetch_timeout: reader.millis("controller.quorum.fetch.timeout.ms"),
        request_timeout: reader.millis("controller.quorum.request.timeout.ms"),
        retry_backoff: reader.millis("controller.quorum.retry.backoff.ms"),
        fetch_bytes_max: reader.small("controller.quorum.fetch.max.bytes"),
        fetch_snapshot_bytes_max: reader.small("controller.quorum.fetch.snapshot.max.bytes"),
        segment_bytes: reader.small("metadata.log.segment.bytes"),
        bytes_between_snapshots: reader.count("metadata.log.max.record.bytes.between.snapshots"),
        snapshot_interval_max: reader.millis("metadata.log.max.snapshot.interval.ms"),
        idle_interval_max: reader.millis("metadata.max.idle.interval.ms"),
        retention_bytes: reader.count("metadata.max.retention.bytes"),
        retention: reader.millis("metadata.max.retention.ms"),
    }
}

fn read_voters(reader: &mut Reader<'_>) -> Vec<QuorumVoter> {
    let advice = "write each as ID@HOST:PORT, for example 1@controller-1:9093";
    let mut voters: Vec<QuorumVoter> = Vec::new();
    for text in reader.list(VOTERS) {
        let Some((id, address)) = text.split_once('@') else {
            let expected = format!(
                "Invalid configuration value for {VOTERS}. Each entry should be in the form `{{id}}@{{host}}:{{port}}`."
            );
            reader.problem(VOTERS, expected, advice);
            continue;
        };
        let Some(node) = id.parse().ok().and_then(NodeId::from_wire) else {
            reader.problem(VOTERS, format!("Failed to parse voter ID as an integer from {id}"), advice);
            continue;
        };
        match split_address(address).filter(|(host, _)| !host.is_empty()) {
            Some((host, port)) if voters.iter().all(|voter| voter.id != node) => {
                voters.push(QuorumVoter { id: node, host, port });
            }
            Some(_) => {
                reader.problem(VOTERS, format!("node {node} appears twice"), "name each voter once");
            }
            None => {
                let expected = format!(
                    "Failed to parse host name from entry {text} for the configuration {VOTERS}. Each entry should be \
                     in the form `{{id}}@{{host}}:{{port}}`."
                );
                reader.problem(VOTERS, expected, advice);
            }
        }
    }
    voters
}

fn read_servers(reader: &mut Reader<'_>) -> Vec<(String, u16)> {
    let mut servers = Vec::new();
    for text in reader.list(SERVERS) {
        match split_address(&text).filter(|(host, _)| !host.is_empty()) {
            Some(server) => servers.push(server),
            None => {
                let expected = format!(
                    "Failed to parse host name from {text} for the configuration {SERVERS}. Each entry should be in \
                     the form \"{{host}}:{{port}}\""
                );
                reader.problem(SERVERS, expected, "write each as HOST:PORT");
            }
        }
    }
    servers
}

fn check_membership(reader: &mut Reader<'_>, roles: Roles, node: NodeId, voters: &[QuorumVoter]) {
    if voters.is_empty() || !reader.is_set("node.id") && !reader.is_set("broker.id") {
        return;
    }
    let votes = voters.iter().any(|voter| voter.id == node);
    let ids = voters.iter().map(|voter| voter.id.to_string()).collect::<Vec<_>>().join(", ");
    if roles.is_controller() && !votes {
        let expected = format!(
            "If process.roles contains the 'controller' role, the node id {node} must be included in the set of \
             voters {VOTERS}=Set({ids})"
        );
        reader.problem(VOTERS, expected, format!("add {node}@HOST:PORT to it, or correct node.id"));
    }
    if roles == Roles::Broker && votes {
        let expected = format!(
            "If process.roles contains just the 'broker' role, the node id {node} must not be included in the set of \
             voters {VOTERS}=Set({ids})"
        );
        reader.problem(VOTERS, expected, "add controller to process.roles, or correct node.id");
    }
}
