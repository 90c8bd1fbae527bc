//! `kastle start FILE`: runs the node that a server.properties describes.

use std::path::PathBuf;

use broker::Node;
use broker::identity::{META_PROPERTIES, MetaProperties};
use clap::Args;
use config::NodeConfig;
use log::disk::RealDisk;

use crate::config_file;
use crate::failure::{Failure, Outcome};
use crate::run;

#[derive(Args)]
pub struct Arguments {
    /// The node's server.properties.
    file: PathBuf,
    /// Set a key over the file; repeatable.
    #[arg(long = "override", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let config = config_file::load(&arguments.file, &arguments.overrides, "start the node")?;
    check_formatted(&config, arguments)?;
    run::run(config, greeting)
}

/// An unformatted directory names the command that helps, with this node's own arguments.
fn check_formatted(config: &NodeConfig, arguments: &Arguments) -> Outcome {
    let mut cluster = None;
    let mut missing = Vec::new();
    for dir in config.all_dirs() {
        match MetaProperties::read(&RealDisk, &dir) {
            Ok(Some(found)) => cluster = Some(found.cluster),
            Ok(None) => missing.push(dir.join(META_PROPERTIES).display().to_string()),
            // The node itself says what is wrong with it.
            Err(_) => {}
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let id =
        cluster.as_ref().map_or_else(|| "$(kastle storage random-uuid)".to_owned(), |id| quoted(id.as_str()));
    let voters = match (config.quorum.voters.is_empty(), config.roles.is_controller(), &cluster) {
        (true, true, None) => " --standalone",
        _ => "",
    };
    let again = if cluster.is_some() { " --ignore-formatted" } else { "" };
    Err(Failure::refused(format!(
        "cannot start the node: not formatted, there is no {}; run: kastle storage format -t {id} -c {}{voters}{again}",
        missing.join(" and no "),
        arguments.file.display()
    )))
}

/// As a shell takes it for one word.
fn quoted(text: &str) -> String {
    let is_plain =
        text.chars().all(|character| character.is_ascii_alphanumeric() || "-_.".contains(character));
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn greeting(node: &Node) -> String {
    let config = node.config();
    let addresses: Vec<String> =
        node.addresses().iter().map(|(name, address)| format!("{name} {address}")).collect();
    format!("kastle node {} serves: {}", config.node_id, addresses.join(", "))
}
