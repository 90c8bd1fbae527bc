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
    if !is_release && is_up_to_date(&binary) {
        return Ok(binary);
    }
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.args(["build", "--quiet", "--locked", "--package", "kastle", "--bin", "kastle", "--target-dir"]);
    build.arg(target.parent().context("a profile's directory lies in the target directory")?);
    if is_release {
        build.arg("--release");
    }
    let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().context("cannot run cargo")?;
    if !built.success() {
        bail!("cargo could not build the kastle binary");
    }
    Ok(binary)
}

/// Whether the binary is there and as new as everything it was made of: cargo lists that beside it. A source
/// saved while it was being compiled counts as compiled.
fn is_up_to_date(binary: &Path) -> bool {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    let (Some(built), Ok(listed)) = (changed(binary), fs::read_to_string(binary.with_extension("d"))) else {
        return false;
    };
    let sources = sources(&listed);
    !sources.is_empty()
        && sources.iter().chain([&lock]).all(|source| changed(source).is_some_and(|at| at <= built))
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// The files that a rule of `make` names behind its colon: separated by spaces, those in a name escaped.
fn sources(listed: &str) -> Vec<PathBuf> {
    let Some((_, listed)) = listed.split_once(": ") else { return Vec::new() };
    let mut sources = vec![String::new()];
    let mut letters = listed.trim().chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => sources.last_mut().expect("never empty").extend(letters.next()),
            ' ' => sources.push(String::new()),
            _ => sources.last_mut().expect("never empty").push(letter),
        }
    }
    sources.into_iter().filter(|source| !source.is_empty()).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use super::{is_up_to_date, sources};

    /// A binary of one source, changed so long before it; whether it is up to date.
    fn check(age_seconds: i64, is_listed: bool, outcome: bool) {
        let dir = tempfile::tempdir().expect("a directory");
        let (source, binary) = (dir.path().join("main.rs"), dir.path().join("kastle"));
        // Later than anything that is checked out here.
        let built = SystemTime::now() + Duration::from_secs(3600);
        let shift = Duration::from_secs(age_seconds.unsigned_abs());
        let saved = if age_seconds < 0 { built + shift } else { built - shift };
        for (path, at) in [(&source, saved), (&binary, built)] {
            fs::write(path, "x").expect("a file");
            fs::File::options()
                .write(true)
                .open(path)
                .and_then(|file| file.set_modified(at))
                .expect("a time");
        }
        let list =
            if is_listed { format!("{}: {}\n", binary.display(), source.display()) } else { String::new() };
        fs::write(dir.path().join("kastle.d"), list).expect("a list");
        assert_eq!(is_up_to_date(&binary), outcome, "{age_seconds} s, listed: {is_listed}");
    }

    #[test]
    fn a_binary_is_taken_as_it_is_unless_a_source_is_newer_or_unknown() {
        check(10, true, true);
        check(0, true, true);
        check(-10, true, false);
        check(10, false, false);
        assert!(!is_up_to_date(Path::new("/nowhere/kastle")));
    }

    #[test]
    fn names_with_spaces_are_whole() {
        let names = sources("/t/kastle: /a/b.rs /a/my\\ file.rs\n");
        assert_eq!(names, [Path::new("/a/b.rs"), Path::new("/a/my file.rs")]);
        assert!(sources("no rule").is_empty());
    }
}
