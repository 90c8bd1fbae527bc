//! The client programs: where they are, or how to get them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use crate::speech::Speech;

/// A client program.
#[derive(Clone, Debug)]
pub struct Client {
    program: PathBuf,
    /// Ahead of what it is run with.
    leading: Vec<String>,
    /// kcat alone has no words of ours: another client writes records for it.
    writer: Option<Box<Self>>,
}

impl Client {
    /// The program, if a trial run of it succeeds; else it is `missing`, and `how` says how to get it.
    pub fn find(program: &Path, trial: &[&str], how: &str) -> Result<Option<Self>> {
        Ok(needs::program(program, trial, how)?.map(|()| Self::at(program)))
    }

    fn at(program: &Path) -> Self {
        Self { program: program.to_owned(), leading: Vec::new(), writer: None }
    }

    /// With these words ahead of all others.
    fn leading(mut self, words: &[&str]) -> Self {
        self.leading.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// To be run with `arguments`.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.leading).args(arguments);
        command
    }

    /// How it speaks as a member of a group.
    pub(crate) fn speech(&self) -> Speech {
        if self.writer.is_some() { Speech::Kcat } else { Speech::Own }
    }

    /// To be run as a member of a group.
    pub(crate) fn member(
        &self,
        bootstrap: &str,
        group: &str,
        topic: &str,
        style: &str,
        instance: Option<&str>,
    ) -> Command {
        if self.speech() == Speech::Own {
            let mut words = vec!["member", bootstrap, group, topic, style];
            words.extend(instance);
            return self.command(&words);
        }
        let strategy = if style == "eager" { "range" } else { "cooperative-sticky" };
        let mut command = self.command(&["-b", bootstrap, "-u", "-f", "seen %p %o %s\n", "-G", group]);
        let mut set = |key: &str, value: &str| {
            command.args(["-X", &format!("{key}={value}")]);
        };
        set("partition.assignment.strategy", strategy);
        set("auto.offset.reset", "earliest");
        set("auto.commit.interval.ms", "500");
        set("session.timeout.ms", "6000");
        set("heartbeat.interval.ms", "500");
        if let Some(instance) = instance {
            set("group.instance.id", instance);
        }
        command.arg(topic);
        command
    }

    /// To be run as who writes the records.
    pub(crate) fn producer(&self, bootstrap: &str, topic: &str, partitions: u32) -> Command {
        let writer = self.writer.as_deref().unwrap_or(self);
        writer.command(&["produce", bootstrap, topic, &partitions.to_string()])
    }

    /// Runs it to its end with `input`; what it printed.
    pub fn run(&self, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("run {}", self.program.display()))?;
        let mut stdin = child.stdin.take().context("a pipe was asked for")?;
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output()?;
        writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        if !output.status.success() {
            bail!("{} {arguments:?}: {}", self.program.display(), String::from_utf8_lossy(&output.stderr));
        }
        Ok(output.stdout)
    }
}

/// kcat, the client of the command line.
pub fn kcat() -> Result<Option<Client>> {
    Client::find(Path::new("kcat"), &["-V"], "apt-get install kcat")
}

/// kcat in groups, for which `writer` writes.
pub fn kcat_in_groups(writer: Client) -> Result<Option<Client>> {
    Ok(kcat()?.map(|kcat| Client { writer: Some(Box::new(writer)), ..kcat }))
}

/// A Python with confluent-kafka: the one that `KASTLE_PYTHON` names, else `python3`.
pub fn python() -> Result<Option<Client>> {
    python_with("confluent_kafka", "confluent-kafka")
}

fn python_with(module: &str, package: &str) -> Result<Option<Client>> {
    let python = std::env::var_os("KASTLE_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let how = format!("pip install {package}, or set KASTLE_PYTHON to a Python that has it");
    Client::find(&python, &["-c", &format!("import {module}")], &how)
}

/// confluent-kafka, in groups.
pub fn confluent_kafka() -> Result<Option<Client>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/confluent_kafka_member.py");
    Ok(python()?.map(|python| python.leading(&[script])))
}

/// kafka-python, in groups.
pub fn kafka_python() -> Result<Option<Client>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/python/kafka_python_member.py");
    Ok(python_with("kafka.coordinator.assignors", "kafka-python")?.map(|python| python.leading(&[script])))
}

/// kafkajs, in groups: found along `NODE_PATH`.
pub fn kafkajs() -> Result<Option<Client>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/javascript/kafkajs-member.js");
    let how =
        "npm install --prefix target/clients kafkajs and NODE_PATH=\"$PWD/target/clients/node_modules\"";
    let node = Client::find(Path::new("node"), &["-e", "require('kafkajs')"], how)?;
    Ok(node.map(|node| node.leading(&[script])))
}

/// The `rdkafka` crate, in groups: the program of this package at `program`.
pub fn rdkafka(program: &str) -> Client {
    Client::at(Path::new(program))
}

/// franz-go, in groups: the built program, which `KASTLE_FRANZ_GO` names by a path from the workspace's directory.
pub fn franz_go() -> Result<Option<Client>> {
    let Some(path) = std::env::var_os("KASTLE_FRANZ_GO") else {
        let how = "(cd tests/clients/go && go build -o ../../../target/clients/franz-go .) \
            and KASTLE_FRANZ_GO=target/clients/franz-go";
        return needs::missing("KASTLE_FRANZ_GO is not set", how);
    };
    Ok(Some(Client::at(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path))))
}

/// Kafka's own client, in groups: compiled into `classes` against Kafka's jars.
pub fn java(classes: &Path) -> Result<Option<Client>> {
    let Some(libs) = needs::jars::find()? else { return Ok(None) };
    let how = "apt-get install default-jdk-headless (17 or later)";
    let Some(compiler) = Client::find(Path::new("javac"), &["-version"], how)? else { return Ok(None) };
    let (jars, classes) = (format!("{}/*", libs.display()), classes.display().to_string());
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/java/Member.java");
    compile(&compiler, &["-cp", &jars, "-d", &classes, source])?;
    let classpath = format!("{jars}:{classes}");
    // Cheap to start rather than fast in the long run: there are ten and more of them.
    let machine = ["-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"];
    let java = Client::at(Path::new("java")).leading(&machine);
    Ok(Some(java.leading(&["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", &classpath, "Member"])))
}

/// Once in a process, by whoever is first.
fn compile(compiler: &Client, arguments: &[&str]) -> Result<()> {
    static IS_COMPILED: Mutex<bool> = Mutex::new(false);
    let mut is_compiled = IS_COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if !*is_compiled {
        compiler.run(arguments, b"")?;
        *is_compiled = true;
    }
    Ok(())
}
