//! One `kastle` process: its files, its ports, its life.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::binary::binary;

/// A node may replay and recover for so long before it serves.
const START_MAX: Duration = Duration::from_secs(60);
/// An orderly stop hands over leaders first.
const STOP_MAX: Duration = Duration::from_secs(30);

/// A node of a cluster.
pub struct Node {
    /// `node.id`.
    pub id: i32,
    /// Where clients connect.
    pub client_port: u16,
    /// Where controllers connect.
    pub controller_port: u16,
    config: PathBuf,
    log: PathBuf,
    process: Option<Child>,
}

impl Node {
    /// A node with ports that are free now, and its files in `dir`.
    pub fn new(id: i32, dir: &Path) -> Result<Self> {
        let (client_port, controller_port) = (free_port()?, free_port()?);
        let config = dir.join(format!("node{id}.properties"));
        let log = dir.join(format!("node{id}.log"));
        Ok(Self { id, client_port, controller_port, config, log, process: None })
    }

    /// Where its configuration is.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// What it wrote on its standard error so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Starts it and waits until it says that it serves. Says how long that took.
    pub fn start(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        self.spawn()?;
        self.await_serving()?;
        Ok(begun.elapsed())
    }

    /// Starts it without waiting.
    pub fn spawn(&mut self) -> Result<()> {
        let log = fs::File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(binary()?)
            .arg("start")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()?;
        self.process = Some(child);
        Ok(())
    }

    /// Waits for the line on standard output that says it serves.
    pub fn await_serving(&mut self) -> Result<()> {
        let process = self.process.as_mut().context("the node was not started")?;
        let stdout = process.stdout.take().context("the node was awaited already")?;
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines();
            // Nobody may be left to hear of it; the rest is read so that the node never blocks on it.
            let _ = sender.send(lines.next());
            lines.for_each(drop);
        });
        match receiver.recv_timeout(START_MAX) {
            Ok(Some(Ok(_))) => Ok(()),
            Ok(_) => bail!("node {} ended before it served:\n{}", self.id, self.log()),
            Err(_) => bail!("node {} does not serve after {START_MAX:?}:\n{}", self.id, self.log()),
        }
    }

    /// `kill -9`, without a word of warning.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// SIGSTOP: it stands still and knows nothing of it.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let process = self.process.as_ref().context("the node does not run")?;
        Ok(kill_process(Pid::from_child(process), signal)?)
    }

    /// SIGTERM; waits for the orderly end.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        let mut process = self.process.take().context("the node does not run")?;
        let pid = Pid::from_child(&process);
        kill_process(pid, Signal::TERM)?;
        let deadline = Instant::now() + STOP_MAX;
        loop {
            if let Some(status) = process.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                process.kill()?;
                process.wait()?;
                bail!("node {} did not stop within {STOP_MAX:?}:\n{}", self.id, self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its resident memory in bytes.
    pub fn resident_bytes(&self) -> Result<u64> {
        let pid = self.pid().context("the node does not run")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes << 10)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The test is over either way.
        let _ = self.kill();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
