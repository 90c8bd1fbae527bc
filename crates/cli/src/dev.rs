//! `kastle dev`: a ready single node with nothing to configure.
//!
//! Formats a directory by itself, a temporary one unless told otherwise, and removes that
//! one when it stops.

use std::net::TcpListener;
use std::path::PathBuf;

use broker::identity::MetaProperties;
use clap::Args;
use config::{NodeConfig, Properties};
use log::disk::RealDisk;

use crate::config_file;
use crate::failure::{Failure, Outcome};
use crate::run;
use crate::storage::{self, Plan};

#[derive(Args)]
pub struct Arguments {
    /// Port for clients; 0 for any free one.
    #[arg(long, default_value_t = 9092)]
    port: u16,
    /// Keep the data in this directory.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let (dir, temporary) = match &arguments.data {
        Some(dir) => (dir.clone(), None),
        None => {
            let made = tempfile::Builder::new().prefix("kastle-dev-").tempdir();
            let made =
                made.map_err(|error| refuse(format!("a temporary directory: {error}; use --data DIR")))?;
            (made.path().to_owned(), Some(made))
        }
    };
    let config = configure(arguments.port, &dir)?;
    let known = MetaProperties::read(&RealDisk, &dir).map_err(refuse)?;
    let cluster = match known {
        Some(found) => found.cluster,
        None => storage::random_id()?.into(),
    };
    storage::format_dirs(&RealDisk, &Plan::latest(&config, cluster))?;
    let outcome = run::run(config, |node| {
        let port =
            node.addresses().iter().find(|(name, _)| name == "PLAINTEXT").map_or(0, |(_, at)| at.port());
        format!("kastle serves at localhost:{port}")
    });
    drop(temporary);
    outcome
}

fn configure(port: u16, dir: &std::path::Path) -> Outcome<NodeConfig> {
    let port = if port == 0 { free_port()? } else { port };
    let controller = free_port()?;
    let mut properties = Properties::default();
    let settings = [
        ("process.roles", "broker,controller".to_owned()),
        ("node.id", "1".to_owned()),
        ("controller.quorum.voters", format!("1@127.0.0.1:{controller}")),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        ("listeners", format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}")),
        ("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{port}")),
        ("log.dirs", dir.display().to_string()),
        // One node is all there is, and nobody waits for more members of a group.
        ("offsets.topic.replication.factor", "1".to_owned()),
        ("transaction.state.log.replication.factor", "1".to_owned()),
        ("transaction.state.log.min.isr", "1".to_owned()),
        ("group.initial.rebalance.delay.ms", "0".to_owned()),
    ];
    for (key, value) in settings {
        properties.set(key, &value);
    }
    config_file::from_properties(&properties, "run a node for development")
}

/// A port that was free a moment ago.
fn free_port() -> Outcome<u16> {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    port.map(|address| address.port()).map_err(|error| refuse(format!("no free port: {error}; close some")))
}

fn refuse(cause: impl std::fmt::Display) -> Failure {
    Failure::refused(format!("cannot run a node for development: {cause}"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::configure;

    #[test]
    fn nothing_need_be_configured() {
        let config = configure(0, Path::new("/data")).expect("a sound configuration");
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        assert_eq!(config.log_dirs, [Path::new("/data")]);
        assert!(config.listeners.iter().all(|listener| listener.port != 0));
        // The address that is listened on: `localhost` may resolve to IPv6 first.
        assert_eq!(config.advertised[0].host, "127.0.0.1");
    }
}
