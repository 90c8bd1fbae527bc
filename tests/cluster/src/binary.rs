//! The `kastle` binary that the nodes run: found, or built.
//!
//! What is measured is what people get: the package alone, with its own features. Built
//! together with the workspace it would have those of every other package too, and the
//! simulation's switch for planted bugs among them, in the middle of the hot paths.
//!
//! Tests measure nothing, and cargo has built the binary for them already: `cargo test
//! --workspace` builds it for the command line's own tests, with the workspace's features.
//! To ask for it without them would compile nearly all of it a second time. So an
//! unoptimised binary is taken as it is unless one of its sources is newer; an optimised
//! one is always cargo's to judge.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

/// What of the workspace goes into the binary: files, and directories with all that is in them.
const MADE_OF: [&str; 5] = ["crates", "proto", "Cargo.toml", "Cargo.lock", "rust-toolchain.toml"];

/// The binary that `KASTLE_BINARY` names, else the one of this build, built first if need be.
pub fn binary() -> Result<&'static Path> {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = BINARY.get() {
        return Ok(path);
    }
    let path = match std::env::var_os("KASTLE_BINARY") {
        Some(path) => path.into(),
        None => of_this_build(&std::env::current_exe()?)?,
    };
    Ok(BINARY.get_or_init(|| path))
}

fn of_this_build(own: &Path) -> Result<PathBuf> {
    let target = own.ancestors().find(|path| path.ends_with("debug") || path.ends_with("release"));
    let target = target.context("tests and tools run from cargo's target directory")?;
    let binary = target.join("kastle");
    let is_release = target.ends_with("release");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if !is_release && is_up_to_date(&workspace, &binary) {
        return Ok(binary);
    }
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet", "--locked", "--package", "kastle", "--bin", "kastle", "--target-dir"]);
    build.arg(target.parent().context("a profile's directory lies in the target directory")?);
    if is_release {
        build.arg("--release");
    }
    let built = build.current_dir(&workspace).status().context("cannot run cargo")?;
    if !built.success() {
        bail!("cargo could not build the kastle binary");
    }
    Ok(binary)
}

/// Whether the binary is there and as new as everything in the workspace that it is made of. A source saved while it
/// was being compiled counts as compiled.
fn is_up_to_date(workspace: &Path, binary: &Path) -> bool {
    let made_of = MADE_OF.map(|name| workspace.join(name));
    changed(binary).is_some_and(|built| made_of.iter().all(|path| is_older(path, built)))
}

/// Whether a file, or each in a directory, was changed no later than `built`.
fn is_older(path: &Path, built: SystemTime) -> bool {
    if !path.is_dir() {
        return changed(path).is_some_and(|at| at <= built);
    }
    let Ok(mut entries) = fs::read_dir(path) else { return false };
    entries.all(|entry| {
        entry.is_ok_and(|entry| {
            let is_tests = entry.file_name() == "tests";
            is_tests || is_older(&entry.path(), built)
        })
    })
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use super::{MADE_OF, is_up_to_date};

    /// A binary built an hour from now, and a workspace of which `saved` was changed so long before it; whether
    /// the binary is up to date.
    fn check(saved: &str, age_seconds: i64, outcome: bool) {
        let dir = tempfile::tempdir().expect("a directory");
        let touch = |name: &str, at: SystemTime| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("within the directory")).expect("a directory");
            fs::write(&path, "x").expect("a file");
            fs::File::options()
                .write(true)
                .open(&path)
                .and_then(|file| file.set_modified(at))
                .expect("a time");
            path
        };
        let now = SystemTime::now();
        let built = now + Duration::from_secs(3600);
        for name in MADE_OF {
            touch(&if name.contains('.') { name.to_owned() } else { format!("{name}/a.rs") }, now);
        }
        let shift = Duration::from_secs(age_seconds.unsigned_abs());
        touch(saved, if age_seconds < 0 { built + shift } else { built - shift });
        let binary = touch("target/kastle", built);
        assert_eq!(is_up_to_date(dir.path(), &binary), outcome, "{saved}: {age_seconds} s");
    }

    #[test]
    fn a_binary_is_taken_as_it_is_unless_a_source_is_newer() {
        check("crates/log/src/disk/real.rs", 10, true);
        check("crates/log/src/disk/real.rs", 0, true);
        check("crates/log/src/disk/real.rs", -10, false);
        check("Cargo.lock", -10, false);
        check("proto/metadata.schema", -10, false);
        // The binary is not made of tests.
        check("crates/log/src/partition/tests/cut.rs", -10, true);
        assert!(!is_up_to_date(Path::new("/nowhere"), Path::new("/nowhere/kastle")));
    }
}
