//! Reads a `server.properties` for the commands that need one.

use std::path::Path;

use config::{NodeConfig, Properties};

use crate::failure::{Failure, Outcome};

/// Reads `file` with `overrides` (`KEY=VALUE`) over it; `deed` is what cannot be done without it.
pub fn load(file: &Path, overrides: &[String], deed: &str) -> Outcome<NodeConfig> {
    let shown = file.display();
    let bytes = std::fs::read(file).map_err(|error| {
        Failure::typed_wrong(format!(
            "cannot {deed}: {shown}: {error}; name a server.properties file that this user can read"
        ))
    })?;
    let mut properties = Properties::parse(&shown.to_string(), &bytes)
        .map_err(|error| Failure::typed_wrong(format!("cannot {deed}: {error}")))?;
    for text in overrides {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            Failure::typed_wrong(format!(
                "cannot {deed}: --override {text} has no '='; write --override KEY=VALUE"
            ))
        })?;
        properties.set(key.trim(), value);
    }
    from_properties(&properties, deed)
}

/// Makes properties typed and gives the node this machine's name.
pub fn from_properties(properties: &Properties, deed: &str) -> Outcome<NodeConfig> {
    let mut config = NodeConfig::from_properties(properties).map_err(|errors| {
        let problems: String = errors.0.iter().map(|problem| format!("\n  {problem}")).collect();
        Failure::typed_wrong(format!("cannot {deed}: the configuration has problems:{problems}"))
    })?;
    config.name_host(&host_name());
    Ok(config)
}

/// What other machines most likely call this one.
fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    if name.is_empty() { "localhost".to_owned() } else { name.into_owned() }
}
