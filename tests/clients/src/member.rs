//! One process of a client: what it says is heard, and it ends when its input does.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::judge::MemberId;
use crate::speech::{Kcat, Speech};

/// One that has not ended by then never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process; ends with this value.
pub struct Member {
    /// Its number.
    pub id: MemberId,
    /// The name it keeps from one life to the next, if it has one.
    pub instance: Option<String>,
    speech: Speech,
    process: Child,
    input: Option<ChildStdin>,
    hearing: Vec<JoinHandle<()>>,
    errors: PathBuf,
}

impl Member {
    /// Starts it; its lines go to `heard`, what it complains of into a file in `dir`.
    pub fn start(
        mut command: Command,
        speech: Speech,
        id: MemberId,
        instance: Option<String>,
        dir: &Path,
        heard: Sender<(MemberId, String)>,
    ) -> Result<Self> {
        let errors = dir.join(format!("member-{id}.log"));
        let complaints = match speech {
            Speech::Own => Stdio::from(File::create(&errors)?),
            Speech::Kcat => Stdio::piped(),
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(complaints);
        let mut process = command.spawn().with_context(|| format!("run {command:?}"))?;
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().context("a pipe was asked for")?);
        let mut hearing = Vec::new();
        if let Some(told) = process.stderr.take() {
            let (mut kcat, mut log, heard) = (Kcat::default(), File::create(&errors)?, heard.clone());
            hearing.push(std::thread::spawn(move || {
                hear(BufReader::new(told), |line| {
                    // What cannot be written down is still heard.
                    let _ = writeln!(log, "{line}");
                    kcat.translate(&line).is_none_or(|line| heard.send((id, line)).is_ok())
                });
            }));
        }
        hearing.push(std::thread::spawn(move || hear(output, |line| heard.send((id, line)).is_ok())));
        Ok(Self { id, instance, speech, process, input, hearing, errors })
    }

    /// A line of input.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().context("its input has ended")?;
        writeln!(input, "{line}").with_context(|| self.complaints())
    }

    /// An error if it has ended.
    pub fn is_alive(&mut self) -> Result<()> {
        let ended = self.process.try_wait()?;
        ensure!(ended.is_none(), "member {} ended: {}", self.id, self.complaints());
        Ok(())
    }

    /// `kill -9`. All that it said has been heard when this returns.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        self.heard_out()
    }

    /// Ends its input, on which it leaves in order.
    pub fn ask_to_stop(&mut self) -> Result<()> {
        self.input = None;
        if self.speech == Speech::Kcat {
            // In a group it reads no input.
            Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status()?;
        }
        Ok(())
    }

    /// Waits until it has left in order. All that it said has been heard when this returns.
    pub fn stop(&mut self) -> Result<()> {
        self.ask_to_stop()?;
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.process.try_wait()? {
                break status;
            }
            if Instant::now() > deadline {
                bail!("member {} does not end: {}", self.id, self.complaints());
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        ensure!(status.success(), "member {} ended with {status}: {}", self.id, self.complaints());
        self.heard_out()
    }

    fn heard_out(&mut self) -> Result<()> {
        for hearing in self.hearing.drain(..) {
            hearing.join().map_err(|_| anyhow::anyhow!("the hearer panicked"))?;
        }
        Ok(())
    }

    fn complaints(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.errors).unwrap_or_default()).into_owned()
    }
}

/// Whole lines alone: the last one of a killed process may be cut short. Ends with the lines, or when nobody listens.
fn hear(mut output: impl BufRead, mut each: impl FnMut(String) -> bool) {
    let mut line = String::new();
    while output.read_line(&mut line).is_ok_and(|length| length > 0)
        && line.ends_with('\n')
        && each(line.trim_end().to_owned())
    {
        line.clear();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // The life is over either way.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
