//! What a [`MemDisk`](super::MemDisk) holds: the names and bytes of now, and what a power cut leaves.
//!
//! Files are numbered; names point to numbers, once as the running system sees them
//! and once as they were last made durable. A file's bytes likewise: as written, and
//! as last synced. A power cut throws the first of each pair away.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// A file's number, its identity under any name.
pub type FileId = u64;

/// One file.
#[derive(Clone, Debug, Default)]
pub struct FileState {
    /// As written.
    pub now: Vec<u8>,
    /// As last synced.
    pub synced: Vec<u8>,
    /// The last write since the last sync, for tearing.
    pub last_write: Option<(u64, Vec<u8>)>,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A file.
    File(FileId),
    /// A directory.
    Dir,
}

/// Everything on the disk.
#[derive(Debug, Default)]
pub struct State {
    pub files: BTreeMap<FileId, FileState>,
    pub names: BTreeMap<PathBuf, Node>,
    pub durable_names: BTreeMap<PathBuf, Node>,
    pub locks: BTreeMap<PathBuf, ()>,
    pub next_file: FileId,
    pub capacity: Option<u64>,
    pub read_only: bool,
    pub fail_next_sync: bool,
    /// Counts changes; the disk dies when it reaches the bound.
    pub operations: u64,
    pub stop_after: Option<u64>,
    pub fail_at: Option<u64>,
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

    pub fn file(&self, id: FileId) -> io::Result<&FileState> {
        self.files.get(&id).ok_or_else(gone)
    }

    pub fn file_mut(&mut self, id: FileId) -> io::Result<&mut FileState> {
        self.files.get_mut(&id).ok_or_else(gone)
    }

    pub fn node(&self, path: &Path) -> io::Result<Node> {
        self.names.get(path).copied().ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("no such file or directory: {}", path.display()))
        })
    }

    pub fn used_bytes(&self) -> u64 {
        self.files.values().map(|file| file.now.len() as u64).sum()
    }

    /// Whether a file may grow by so many bytes.
    pub fn admit_growth(&self, bytes: u64) -> io::Result<()> {
        match self.capacity {
            Some(capacity) if self.used_bytes() + bytes > capacity => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    /// Everything below `dir`, itself included.
    pub fn below(&self, dir: &Path) -> Vec<PathBuf> {
        self.names.keys().filter(|path| path.starts_with(dir)).cloned().collect()
    }

    /// Makes the names directly in `dir`, and what lies below names that went, durable.
    pub fn sync_names(&mut self, dir: &Path) {
        let is_child = |path: &Path| path.parent() == Some(dir);
        let gone: Vec<PathBuf> = self
            .durable_names
            .keys()
            .filter(|path| is_child(path) && self.names.get(*path) != self.durable_names.get(*path))
            .cloned()
            .collect();
        for path in gone {
            self.durable_names.retain(|known, _| !known.starts_with(&path));
        }
        let here: Vec<_> = self
            .names
            .iter()
            .filter(|(path, _)| is_child(path))
            .map(|(path, node)| (path.clone(), *node))
            .collect();
        self.durable_names.extend(here);
    }

    /// What is left after a power cut.
    pub fn lose_power(&mut self) {
        self.names = self.durable_names.clone();
        // A file in a directory that was never made durable is gone with it.
        let reachable = |path: &Path, names: &BTreeMap<PathBuf, Node>| {
            path.ancestors()
                .skip(1)
                .all(|dir| dir.as_os_str().is_empty() || names.contains_key(dir) || dir == Path::new("/"))
        };
        let names = self.names.clone();
        self.names.retain(|path, _| reachable(path, &names));
        self.durable_names = self.names.clone();
        for file in self.files.values_mut() {
            file.now = file.synced.clone();
            file.last_write = None;
        }
        self.forget_processes();
    }

    /// The process is gone; the machine goes on.
    pub fn forget_processes(&mut self) {
        self.locks.clear();
        self.stop_after = None;
        self.fail_at = None;
        let used: Vec<FileId> = self
            .names
            .values()
            .chain(self.durable_names.values())
            .filter_map(|node| if let Node::File(id) = node { Some(*id) } else { None })
            .collect();
        self.files.retain(|id, _| used.contains(id));
    }
}

/// The error number of a failing device.
const EIO: i32 = 5;

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the file was lost in a crash")
}
