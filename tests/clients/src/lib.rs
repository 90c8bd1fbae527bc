//! Clients that people use, as programs of their own, against real nodes.
//!
//! A client that is not installed skips its test with a word on how to get it; in
//! CI (`CI=true`), where `.ci/run` installs them all, its absence is a failure.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A client program.
pub struct Client {
    program: PathBuf,
}

impl Client {
    /// The program, if a trial run of it succeeds. `None` where it may be missing; else it is an
    /// error that says `how` to get it.
    pub fn find(program: &Path, trial: &[&str], how: &str) -> Result<Option<Self>> {
        let tried = Command::new(program).args(trial).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if tried.is_ok_and(|status| status.success()) {
            return Ok(Some(Self { program: program.to_owned() }));
        }
        let missing = format!("{} cannot be run; to get it: {how}", program.display());
        if std::env::var("CI").is_ok_and(|value| value == "true") {
            bail!(missing);
        }
        eprintln!("skipped: {missing}");
        Ok(None)
    }

    /// Runs it to its end with `input`; what it printed.
    pub fn run(&self, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
        let mut child = Command::new(&self.program)
            .args(arguments)
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

/// A Python with confluent-kafka: the one that `KASTLE_PYTHON` names, else `python3`.
pub fn python() -> Result<Option<Client>> {
    let python = std::env::var_os("KASTLE_PYTHON").map_or_else(|| PathBuf::from("python3"), PathBuf::from);
    let how = "pip install confluent-kafka, or set KASTLE_PYTHON to a Python that has it";
    Client::find(&python, &["-c", "import confluent_kafka"], how)
}
