//! What a [`MemDisk`](super::MemDisk) holds: directories of now, and what a power cut leaves of them.
//!
//! A tree of directories, as on a real disk: renaming a directory moves one name. Each
//! directory knows its names as the running system sees them and as they were last made
//! durable, and the changes between the two in their order. A power cut throws the first
//! away; a directory that nothing durable leads to is gone with all that is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::mem::{Loss, Survival};
use crate::disk::mem_file::FileState;

/// A file under any name, or open under none.
pub type FileRef = Arc<Mutex<FileState>>;
/// A directory.
pub type DirRef = Arc<Mutex<DirState>>;

/// What a name stands for.
#[derive(Clone, Debug)]
pub enum Node {
    /// A file.
    File(FileRef),
    /// A directory.
    Dir(DirRef),
}

/// One directory.
#[derive(Debug, Default)]
pub struct DirState {
    pub names: BTreeMap<OsString, Node>,
    durable: BTreeMap<OsString, Node>,
    /// From `durable` to `names`; what one operation did has one number, and lives or dies together.
    changes: Vec<Change>,
}

#[derive(Debug)]
struct Change {
    number: u64,
    name: OsString,
    node: Option<Node>,
}

/// Everything on the disk.
#[derive(Debug, Default)]
pub struct State {
    root: DirRef,
    next_change: u64,
    /// Bytes of all files that have a name.
    pub used: u64,
    /// Locks that are held, each with the number of its holder.
    pub locks: BTreeMap<PathBuf, u64>,
    pub next_lock: u64,
    pub capacity: Option<u64>,
    pub read_only: bool,
    pub fail_next_sync: bool,
    /// Counts changes; the disk dies when it reaches the bound.
    pub operations: u64,
    pub stop_after: Option<u64>,
    pub fail_at: Option<u64>,
}

/// No holder of these locks leaves a thing half done.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(other)) => Arc::ptr_eq(one, other),
            (Self::Dir(one), Self::Dir(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl DirState {
    /// Makes the changes that `chosen` says durable.
    fn commit(&mut self, chosen: impl Fn(&Change) -> bool) {
        let (durable, changes) = (&mut self.durable, &mut self.changes);
        changes.retain_mut(|change| {
            if !chosen(change) {
                return true;
            }
            let name = std::mem::take(&mut change.name);
            match change.node.take() {
                Some(node) => durable.insert(name, node),
                None => durable.remove(&name),
            };
            false
        });
    }

    /// Makes sure that `name` leads durably to what it leads to now.
    fn commit_name(&mut self, name: &OsStr) {
        let numbers: BTreeSet<u64> =
            self.changes.iter().filter(|change| change.name == name).map(|change| change.number).collect();
        if !numbers.is_empty() {
            self.commit(|change| numbers.contains(&change.number));
        }
    }
}

impl State {
    /// Called before each change: says whether it may happen.
    pub fn admit_change(&mut self) -> io::Result<()> {
        if self.stop_after.is_some_and(|bound| self.operations >= bound) {
            return Err(io::Error::other("the simulated machine has stopped"));
        }
        let number = self.operations;
        self.operations += 1;
        if self.fail_at == Some(number) {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if self.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(())
    }

    /// Whether files may grow by so many bytes.
    pub fn admit_growth(&self, bytes: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if bytes > 0 && self.used + bytes > capacity => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    /// What `path` leads to.
    pub fn node(&self, path: &Path) -> io::Result<Node> {
        let mut node = Node::Dir(self.root.clone());
        for part in parts(path) {
            let Node::Dir(dir) = &node else { return Err(io::ErrorKind::NotADirectory.into()) };
            let next = locked(dir).names.get(part).cloned();
            node = next.ok_or_else(|| not_found(path))?;
        }
        Ok(node)
    }

    /// The directory at `path`.
    pub fn dir(&self, path: &Path) -> io::Result<DirRef> {
        match self.node(path)? {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// The file at `path`.
    pub fn file(&self, path: &Path) -> io::Result<FileRef> {
        match self.node(path)? {
            Node::File(file) => Ok(file),
            Node::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// The directory that holds `path`, and its last name.
    pub fn place<'a>(&self, path: &'a Path) -> io::Result<(DirRef, &'a OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.dir(path.parent().unwrap_or(Path::new("")))?, name))
    }

    /// The number of a new operation.
    pub fn begin_change(&mut self) -> u64 {
        self.next_change += 1;
        self.next_change
    }

    /// Lets a name stand for `node`, or for nothing.
    pub fn set(&mut self, dir: &DirRef, name: &OsStr, node: Option<Node>, number: u64) {
        if let Some(Node::File(file)) = &node {
            let mut file = locked(file);
            file.links += 1;
            if file.links == 1 {
                self.used += file.len();
            }
        }
        let mut dir = locked(dir);
        dir.changes.push(Change { number, name: name.to_owned(), node: node.clone() });
        let had = match node {
            Some(node) => dir.names.insert(name.to_owned(), node),
            None => dir.names.remove(name),
        };
        if let Some(Node::File(file)) = had {
            let mut file = locked(&file);
            file.links -= 1;
            if file.links == 0 {
                self.used -= file.len();
            }
        }
    }

    /// Takes every name in and below `dir` away.
    pub fn empty(&mut self, dir: &DirRef) {
        let names: Vec<(OsString, Node)> =
            locked(dir).names.iter().map(|(name, node)| (name.clone(), node.clone())).collect();
        for (name, node) in names {
            if let Node::Dir(below) = &node {
                self.empty(below);
            }
            let number = self.begin_change();
            self.set(dir, &name, None, number);
        }
    }

    /// Makes a directory and those above it.
    pub fn make_dirs(&mut self, path: &Path) -> io::Result<()> {
        let mut at = self.root.clone();
        for part in parts(path) {
            let found = locked(&at).names.get(part).cloned();
            let next = match found {
                Some(Node::Dir(dir)) => dir,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => {
                    let made = DirRef::default();
                    let number = self.begin_change();
                    self.set(&at, part, Some(Node::Dir(made.clone())), number);
                    made
                }
            };
            at = next;
        }
        Ok(())
    }

    /// Makes the names in `path` durable, and the way there: the file systems in use journal it along.
    pub fn sync_names(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.dir(path)?;
        locked(&dir).commit(|_| true);
        let mut at = self.root.clone();
        for part in parts(path) {
            locked(&at).commit_name(part);
            let next = locked(&at).names.get(part).cloned();
            let Some(Node::Dir(dir)) = next else { break };
            at = dir;
        }
        Ok(())
    }

    /// Every file with its path, in order.
    pub fn files(&self) -> Vec<(PathBuf, FileRef)> {
        let mut found = Vec::new();
        collect(&self.root, Path::new("/"), &mut found);
        found
    }

    /// What is left after a power cut.
    pub fn lose_power(&mut self, survival: &mut dyn Survival) -> Loss {
        let mut loss = Loss::default();
        restore(&self.root, survival, &mut loss);
        let files = self.files();
        for (_, file) in &files {
            let mut file = locked(file);
            file.links = 0;
            file.lose(survival, &mut loss);
        }
        self.used = 0;
        for (_, file) in &files {
            let mut file = locked(file);
            file.links += 1;
            if file.links == 1 {
                self.used += file.len();
            }
        }
        self.forget_processes();
        loss
    }

    /// The process is gone; the machine goes on.
    pub fn forget_processes(&mut self) {
        self.locks.clear();
        self.stop_after = None;
        self.fail_at = None;
    }
}

/// Gives a directory and all below it the names that are durable, or survive.
fn restore(dir: &DirRef, survival: &mut dyn Survival, loss: &mut Loss) {
    let below: Vec<DirRef> = {
        let mut dir = locked(dir);
        let mut numbers: Vec<u64> = dir.changes.iter().map(|change| change.number).collect();
        numbers.dedup();
        if !numbers.is_empty() {
            let kept = survival.of_names(numbers.len()).min(numbers.len());
            loss.names_lost += (numbers.len() - kept) as u64;
            let first_lost = numbers.get(kept).copied().unwrap_or(u64::MAX);
            dir.commit(|change| change.number < first_lost);
            dir.changes.clear();
        }
        dir.names = dir.durable.clone();
        let nodes = dir.names.values();
        nodes.filter_map(|node| if let Node::Dir(dir) = node { Some(dir.clone()) } else { None }).collect()
    };
    for dir in &below {
        restore(dir, survival, loss);
    }
}

fn collect(dir: &DirRef, path: &Path, found: &mut Vec<(PathBuf, FileRef)>) {
    for (name, node) in &locked(dir).names {
        match node {
            Node::File(file) => found.push((path.join(name), file.clone())),
            Node::Dir(dir) => collect(dir, &path.join(name), found),
        }
    }
}

/// Whether `node` is `dir` or lies above it, as far as names lead from it.
pub fn holds(node: &Node, dir: &DirRef) -> bool {
    let Node::Dir(above) = node else { return false };
    if node.is(&Node::Dir(dir.clone())) {
        return true;
    }
    let below: Vec<Node> = locked(above).names.values().cloned().collect();
    below.iter().any(|node| holds(node, dir))
}

fn parts(path: &Path) -> impl Iterator<Item = &OsStr> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name),
        // There is one root, and nobody here climbs.
        _ => None,
    })
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no such file or directory: {}", path.display()))
}

/// The error number of a failing device.
const EIO: i32 = 5;
