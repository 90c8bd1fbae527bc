//! Kafka's own tools, and a Kafka broker, against real nodes.
//!
//! The jars are fetched by `cargo run -p kastle-needs`, 43 MB from Maven Central, or
//! those of the directory that `KASTLE_KAFKA_LIBS` names. A JVM takes a second to
//! start: each test starts few.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Cheap to start rather than fast in the long run.
const JVM: &[&str] =
    &["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+PerfDisableSharedMem", "-Xshare:auto"];
/// A broker that does not serve after this long never will.
const SERVES_WITHIN: Duration = Duration::from_secs(60);

/// Kafka's jars.
pub struct Kafka {
    libs: PathBuf,
}

/// What a tool printed.
#[derive(Debug)]
pub struct Printed {
    /// Both streams, the standard one first.
    pub text: String,
    /// Whether the tool calls it a success.
    pub ok: bool,
}

impl Kafka {
    /// The jars, if they are here.
    pub fn find() -> Result<Option<Self>> {
        Ok(needs::jars::find()?.map(|libs| Self { libs }))
    }

    /// To run a tool with `arguments`.
    pub fn command(&self, class: &str, arguments: &[&str]) -> Command {
        let mut java = self.java("error");
        java.arg(class).args(arguments).stdin(Stdio::null());
        java
    }

    fn java(&self, level: &str) -> Command {
        let mut java = Command::new("java");
        java.args(JVM)
            .arg(format!("-Dorg.slf4j.simpleLogger.defaultLogLevel={level}"))
            .arg("-cp")
            .arg(format!("{}/*", self.libs.display()));
        java
    }

    /// Runs a tool to its end: its class and its arguments.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> Result<Printed> {
        let output = self.command(class, arguments).output()?;
        let Output { status, stdout, stderr } = output;
        let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
        Ok(Printed { text, ok: status.success() })
    }

    /// Runs a tool that must succeed and print every one of `expected`, and no exception.
    pub fn check(&self, class: &str, arguments: &[&str], expected: &[&str]) -> Result<String> {
        let Printed { text, ok } = self.tool(class, arguments)?;
        let missing: Vec<&&str> = expected.iter().filter(|part| !text.contains(**part)).collect();
        if !ok || !missing.is_empty() || text.contains("Exception") {
            bail!("{class} {arguments:?}: missing {missing:?} in:\n{text}");
        }
        Ok(text)
    }

    /// Starts a tool that runs on beside the test; what it prints goes to a file.
    pub fn start(&self, class: &str, arguments: &[&str], output: &Path) -> Result<Program> {
        let file = std::fs::File::create(output)?;
        let process = self.command(class, arguments).stdout(file.try_clone()?).stderr(file).spawn()?;
        Ok(Program { process, output: output.to_owned() })
    }

    /// Formats and starts a Kafka broker by the `server.properties` at `config`; returns when it serves.
    pub fn broker(&self, config: &Path, cluster: &str) -> Result<Broker> {
        let path = config.to_str().context("a plain path")?;
        let format = ["format", "--cluster-id", cluster, "--config", path];
        self.check("kafka.tools.StorageTool", &format, &[])?;
        let log = config.with_extension("log");
        let file = std::fs::File::create(&log)?;
        let process = self
            .java("info")
            .args(["kafka.Kafka", path])
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?;
        let mut broker = Broker { process, log };
        broker.await_serving()?;
        Ok(broker)
    }
}

/// A tool that runs; ends with this value.
pub struct Program {
    process: Child,
    output: PathBuf,
}

impl Program {
    /// What it has printed so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    /// Asks it to end, and waits for that.
    pub fn stop(&mut self) -> Result<()> {
        Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The test is over either way.
        let _ = self.kill();
    }
}

/// A Kafka broker's process; ends with this value.
pub struct Broker {
    process: Child,
    log: PathBuf,
}

impl Broker {
    fn await_serving(&mut self) -> Result<()> {
        let deadline = Instant::now() + SERVES_WITHIN;
        loop {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            if log.contains("Kafka Server started") {
                return Ok(());
            }
            if self.process.try_wait()?.is_some() || Instant::now() > deadline {
                let lines: Vec<&str> =
                    log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
                bail!("the Kafka broker does not serve:\n{}", lines.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // The test is over either way.
        let _ = self.kill();
    }
}
