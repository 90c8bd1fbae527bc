//! The walls of the map as facts: which crate may depend on which, and what a pure crate must not name.
//!
//! Reads manifests and sources as text. It judges no taste (sizes, names, style): readers do that.

use std::fs;
use std::path::{Path, PathBuf};

/// The crates of the map, lowest first: a crate may depend only on those before it.
pub const MAP: &[(&str, Kind)] = &[
    ("model", Kind::Pure),
    ("proto", Kind::Pure),
    ("wire", Kind::Pure),
    ("config", Kind::Pure),
    ("metadata", Kind::Pure),
    ("controller", Kind::Pure),
    ("replica", Kind::Pure),
    ("coordinator", Kind::Pure),
    ("log", Kind::Files),
    ("net", Kind::Shell),
    ("quorum", Kind::Shell),
    ("broker", Kind::Shell),
    ("cli", Kind::Shell),
];

/// What a crate may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No clock, socket, file, thread or randomness, no order that a hasher decides.
    Pure,
    /// Synchronous files, nothing else.
    Files,
    /// Everything.
    Shell,
}

/// A crate's sources and manifest.
pub struct Crate {
    /// The folder's name under `crates/`.
    pub name: String,
    /// `Cargo.toml` as text.
    pub manifest: String,
    /// Each source file, with its text.
    pub sources: Vec<(PathBuf, String)>,
}

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("tests/tidy lies two below the root")
        .into()
}

/// Every crate under `folder` (`crates` or `tests`), by name.
pub fn crates(folder: &str) -> Vec<Crate> {
    let outer = folders(&root().join(folder));
    // A test of some size has crates of its own within; what lies within a product crate stands in for another's.
    let inner = outer.iter().filter(|_| folder == "tests").flat_map(|path| folders(path));
    let mut found: Vec<Crate> = outer.iter().cloned().chain(inner).map(|path| load(&path)).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

impl Crate {
    /// The names of the workspace crates it depends on, outside tests.
    pub fn dependencies(&self) -> Vec<&str> {
        let section = self.manifest.split("[dependencies]").nth(1).unwrap_or_default();
        let section = section.split("\n[").next().unwrap_or_default();
        section
            .lines()
            .filter_map(|line| line.split(['.', ' ', '=']).next())
            .filter(|name| !name.is_empty())
            .collect()
    }

    /// Each line of product code with its place; comments, tests and examples are left out.
    pub fn product_lines(&self) -> impl Iterator<Item = (String, &str)> {
        self.sources.iter().filter(|(path, _)| !is_test(path)).flat_map(|(path, text)| {
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            code.lines()
                .enumerate()
                .filter(|(_, line)| !line.trim_start().starts_with("//"))
                .map(move |(number, line)| (format!("{}:{}", path.display(), number + 1), line))
        })
    }
}

fn is_test(path: &Path) -> bool {
    let outside = |part: &std::ffi::OsStr| part == "tests" || part == "examples";
    path.components().any(|part| outside(part.as_os_str())) || path.ends_with("tests.rs")
}

fn load(path: &Path) -> Crate {
    let manifest = fs::read_to_string(path.join("Cargo.toml")).expect("each crate has a manifest");
    let mut sources = Vec::new();
    for part in ["src", "tests", "build", "examples"] {
        collect(&path.join(part), &mut sources);
    }
    let name = path.file_name().and_then(|name| name.to_str()).expect("crates have plain names");
    Crate { name: name.to_owned(), manifest, sources }
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|entry| entry.join("Cargo.toml").is_file()).collect()
}

fn collect(path: &Path, sources: &mut Vec<(PathBuf, String)>) {
    let entries = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    for entry in entries {
        if entry.is_dir() {
            collect(&entry, sources);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&entry).expect("sources are UTF-8");
            sources.push((entry, text));
        }
    }
}
