//! The seam between logs and the machine's disks.
//!
//! Plain, synchronous operations on files and directories, as a log needs them and
//! no more. [`RealDisk`] is the machine's; [`MemDisk`] is one in memory that loses
//! what was not synced, tears writes and fails on demand, so that a test can crash
//! at every step.
//!
//! What is durable: a file's bytes after `sync` of the file; a file's name, its
//! removal or rename after `sync_dir` of its directory. Nothing else.

mod mem;
mod mem_file;
mod mem_state;
mod real;

use std::io;
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::Arc;

use crate::open_files::OpenFiles;

pub use mem::{Crash, Loss, MemDisk, Survival};
pub use real::RealDisk;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist.
    Read,
    /// Made when it does not exist.
    ReadWrite,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// Its name; entries whose name is no UTF-8 are not listed, Kafka makes none.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// A disk.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// What is in a directory, sorted by name.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;
    /// Makes a directory and those above it; it may exist.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory and all that is in it.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Gives a file or directory another name, replacing a file of that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the directory's names durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Whether there is a file or directory of that name.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// A file's length in bytes.
    fn file_len(&self, path: &Path) -> io::Result<u64>;
    /// Takes the lock file at `path`, made if need be; `WouldBlock` when another process holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>>;
    /// How many bytes can still be written below `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
    /// How large the disk below `path` is.
    fn total_bytes(&self, path: &Path) -> io::Result<u64>;
    /// Which files stay open between uses, where open files are scarce.
    fn open_files(&self) -> Option<&OpenFiles> {
        None
    }
}

/// An open file. All methods may be called from several threads.
#[allow(clippy::len_without_is_empty, reason = "a file's length is an operation that may fail")]
pub trait DiskFile: Send + Sync {
    /// Reads at `at` until `buffer` is full or the file ends; says how many bytes it read.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `at`, making the file longer if need be.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Writes `head` and behind it `body`, as one write of both would.
    fn write_parts_at(&self, head: &[u8], body: &[u8], at: u64) -> io::Result<()> {
        if head.is_empty() { self.write_at(body, at) } else { self.write_at(&[head, body].concat(), at) }
    }
    /// Makes all that was written durable. After an error nothing is known: do not try again.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file, or lengthens it with zeroes.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Whether `len` bytes from `at` on can be read without waiting for a disk, as far as a few samples tell.
    fn is_cached(&self, _at: u64, _len: usize) -> bool {
        true
    }
    /// Waits until `len` bytes from `at` on are in memory, and has what follows them fetched meanwhile:
    /// whoever reads old records reads on. What cannot be read shows at the read.
    fn load(&self, _at: u64, _len: usize) {}
    /// For `sendfile` and memory maps; `None` on a disk that is not the machine's.
    fn raw_fd(&self) -> Option<RawFd>;
}

/// Holds a lock until it is dropped.
pub trait DirLock: Send + Sync {}

/// Reads a small file whole. A file above `len_max` bytes is an error: it is not what it should be.
pub fn read_file(disk: &dyn Disk, path: &Path, len_max: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read)?;
    let len = file.len()?;
    if len > len_max {
        let message = format!("{} has {len} bytes, at most {len_max} are expected", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Whether an operation failed for want of room: it may be tried again when there is some.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Replaces a file so that a crash leaves the old or the new one, whole: a temporary file beside
/// it, synced, renamed, and the directory synced.
pub fn write_atomically(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let file = disk.open(&temporary, OpenMode::ReadWrite)?;
    file.truncate(0)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    disk.rename(&temporary, path)?;
    disk.sync_dir(path.parent().unwrap_or_else(|| Path::new(".")))
}
