//! Kafka's jars: those that `KASTLE_KAFKA_LIBS` names, else those of `kafka.artifacts`, fetched once.
//!
//! The list holds a SHA-256 and a path on Maven Central for every jar that the
//! broker and the tools need. What was fetched is used only when it is what the list says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

const LIBS: &str = "KASTLE_KAFKA_LIBS";
const CENTRAL: &str = "https://repo1.maven.org/maven2";
const LIST: &str = include_str!("../kafka.artifacts");
/// How they are had, and what runs them.
const HOW: &str = "cargo run -p kastle-needs";
const HOW_JAVA: &str = "apt-get install default-jre-headless (17 or later)";

/// A jar of the list.
struct Artifact {
    sha256: &'static str,
    path: &'static str,
}

impl Artifact {
    fn file(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }
}

/// The directory with the jars, if they are here and so is Java; else it is `missing`.
pub fn find() -> Result<Option<PathBuf>> {
    let Some(()) = crate::program(Path::new("java"), &["-version"], HOW_JAVA)? else { return Ok(None) };
    if let Some(libs) = named()? {
        return Ok(Some(libs));
    }
    let dir = fetched();
    match list().all(|artifact| dir.join(artifact.file()).is_file()) {
        true => Ok(Some(dir)),
        false => crate::missing("Kafka's jars are not here", HOW),
    }
}

/// The directory with the jars, which are fetched where they are not here.
pub fn fetch() -> Result<PathBuf> {
    if let Some(libs) = named()? {
        return Ok(libs);
    }
    let dir = fetched();
    fs::create_dir_all(&dir)?;
    for artifact in list() {
        let file = dir.join(artifact.file());
        if !file.is_file() {
            bring(&artifact, &file)?;
        }
    }
    Ok(dir)
}

/// What the environment names, a path that is meant from the workspace's directory.
fn named() -> Result<Option<PathBuf>> {
    let Some(libs) = std::env::var_os(LIBS) else { return Ok(None) };
    let libs = workspace().join(libs);
    ensure!(libs.is_dir(), "{LIBS} names {}, which is no directory; without it: {HOW}", libs.display());
    // Without it Kafka logs nothing, and the log is how it is known to serve.
    let mut files = fs::read_dir(&libs)?.flatten();
    if !files.any(|entry| entry.file_name().to_string_lossy().starts_with("slf4j-simple")) {
        bail!("{} has no slf4j-simple jar, and Kafka does not log without", libs.display());
    }
    Ok(Some(libs))
}

/// Where they are once they were fetched.
fn fetched() -> PathBuf {
    workspace().join("target/kafka-4.3.1")
}

fn workspace() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    workspace.canonicalize().unwrap_or(workspace)
}

fn list() -> impl Iterator<Item = Artifact> {
    let lines = LIST.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(' ')).map(|(sha256, path)| Artifact { sha256, path })
}

/// Under another name until it is what it should be.
fn bring(artifact: &Artifact, file: &Path) -> Result<()> {
    let url = format!("{CENTRAL}/{}", artifact.path);
    eprintln!("fetching {url}");
    let part = file.with_extension("part");
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--silent", "--show-error", "--location", "--retry", "3", "--output"]);
    let status = curl.arg(&part).arg(&url).status();
    let how = format!(
        "Kafka's jars come from Maven Central: that needs `curl` and the network. Where there is none, \
         copy the jars of a Kafka 4.3.1 and slf4j-simple to a directory and name it in {LIBS}"
    );
    let fetched = status.as_ref().is_ok_and(|status| status.success());
    ensure!(fetched, "cannot fetch {url} ({status:?}). {how}");
    let content = fs::read(&part).with_context(|| format!("curl left no {}", part.display()))?;
    let sha256: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
    ensure!(sha256 == artifact.sha256, "{url} has the SHA-256 {sha256}, not {}", artifact.sha256);
    Ok(fs::rename(part, file)?)
}

#[cfg(test)]
mod tests {
    use super::list;

    #[test]
    fn the_list_names_each_jar_once_with_its_checksum() {
        let mut files: Vec<&str> = list().map(|artifact| artifact.file()).collect();
        assert!(files.contains(&"kafka_2.13-4.3.1.jar") && files.contains(&"kafka-tools-4.3.1.jar"));
        assert!(list().all(|artifact| artifact.sha256.len() == 64 && artifact.path.ends_with(".jar")));
        let count = files.len();
        files.sort_unstable();
        files.dedup();
        assert_eq!(files.len(), count);
    }
}
