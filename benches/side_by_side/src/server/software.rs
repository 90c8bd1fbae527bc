//! The programs themselves: Kafka's jars and a JVM, the `kastle` binary of this workspace, this program as the floor.
//!
//! Kastle is built by itself (`cargo build --release -p kastle`), so that no other
//! package's features come along; `KASTLE_BINARY` names another one.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::server::Kind;

/// The flags of Kafka's own start script, `kafka-server-start.sh`.
const JVM: &[&str] = &[
    "-Xmx1G",
    "-Xms1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:MaxInlineLevel=15",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
];
const CLUSTER_ID: &str = "AAAAAAAAQACAAAAAAAAAAA";

/// What can be started.
pub struct Software {
    libs: PathBuf,
    kastle: PathBuf,
    floor: PathBuf,
}

impl Software {
    /// Finds, fetches or builds what `kinds` need.
    pub fn find(kinds: &[Kind]) -> Result<Self> {
        ensure!(
            !cfg!(debug_assertions),
            "a build without optimisation measures nothing: cargo run --release"
        );
        let mut found = Self::floor_alone()?;
        if kinds.contains(&Kind::Kafka) {
            check_java()?;
            found.libs = needs::jars::fetch()?;
        }
        if kinds.contains(&Kind::Kastle) {
            found.kastle = kastle()?;
        }
        Ok(found)
    }

    /// Only what needs nothing.
    pub fn floor_alone() -> Result<Self> {
        Ok(Self { libs: PathBuf::new(), kastle: PathBuf::new(), floor: std::env::current_exe()? })
    }

    fn java(&self) -> Command {
        let mut java = Command::new("java");
        java.args(JVM).arg("-cp").arg(format!("{}/*", self.libs.display()));
        java
    }

    /// Formats a node's storage.
    pub fn format(&self, kind: Kind, config: &Path) -> Result<()> {
        let mut command = match kind {
            Kind::Floor => return Ok(()),
            Kind::Kafka => {
                let mut java = self.java();
                java.args(["kafka.tools.StorageTool", "format"]);
                java
            }
            Kind::Kastle => {
                let mut kastle = Command::new(&self.kastle);
                kastle.args(["storage", "format"]);
                kastle
            }
        };
        command.args(["--cluster-id", CLUSTER_ID, "--config"]).arg(config);
        let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
        let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cannot format for {}:\n{told}", kind.name());
        Ok(())
    }

    /// The command that runs a node.
    pub fn node(&self, kind: Kind, config: &Path, port: u16, data: &Path) -> Command {
        match kind {
            Kind::Kafka => {
                let mut java = self.java();
                java.arg("kafka.Kafka").arg(config);
                java
            }
            Kind::Kastle => {
                let mut kastle = Command::new(&self.kastle);
                kastle.arg("start").arg(config);
                kastle
            }
            Kind::Floor => {
                let mut floor = Command::new(&self.floor);
                floor.args(["floor", "--port", &port.to_string(), "--dir"]).arg(data);
                floor
            }
        }
    }
}

fn check_java() -> Result<()> {
    if needs::runs(Path::new("java"), &["-version"]) {
        return Ok(());
    }
    bail!(
        "cannot run Kafka: there is no `java`; install a Java runtime of version 17 or later \
         (Debian: apt install openjdk-17-jre-headless), or measure without it: --servers kastle,floor"
    )
}

fn kastle() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("KASTLE_BINARY") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let target = own.ancestors().find(|path| path.ends_with("release")).context(
        "this program lies in no target/release: run it through cargo, or name a binary in KASTLE_BINARY",
    )?;
    eprintln!("building kastle");
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--release", "--locked", "-p", "kastle", "--target-dir"]);
    build.arg(target.parent().context("release lies in a target directory")?);
    let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().context("cannot run cargo")?;
    ensure!(status.success(), "cargo could not build kastle");
    Ok(target.join("kastle"))
}
