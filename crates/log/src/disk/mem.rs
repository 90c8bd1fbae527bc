//! A disk in memory that behaves as badly as real ones do.
//!
//! Clones share the disk: a test keeps one to pull the plug while the code under
//! test holds another. Every change is counted, so that a test can run a scenario
//! once for each step and stop the machine there.

use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::mem_state::{FileId, Node, State};
use crate::disk::{DirEntry, DirLock, Disk, DiskFile, OpenMode};

/// A disk in memory.
#[derive(Clone, Debug, Default)]
pub struct MemDisk {
    state: Arc<Mutex<State>>,
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process dies; the page cache lives on.
    Process,
    /// Power is lost: only what was synced is left.
    Power,
    /// Power is lost, and of the last unsynced write to each file the first `keep` bytes are left.
    TornPower {
        /// How many bytes reached the platter.
        keep: usize,
    },
}

struct MemFile {
    disk: MemDisk,
    id: FileId,
    writable: bool,
}

struct MemLock {
    disk: MemDisk,
    path: PathBuf,
}

impl MemDisk {
    /// An empty disk without a limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the run: locks are free again, faults planned are forgotten, and what `how` says is lost.
    pub fn crash(&self, how: Crash) {
        let mut state = self.lock();
        match how {
            Crash::Process => state.forget_processes(),
            Crash::Power => state.lose_power(),
            Crash::TornPower { keep } => {
                for file in state.files.values_mut() {
                    if let Some((at, bytes)) = file.last_write.take() {
                        let kept = &bytes[..keep.min(bytes.len())];
                        write_into(&mut file.synced, kept, at);
                    }
                }
                state.lose_power();
            }
        }
    }

    /// How many changes were made so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// From now on `changes` more changes succeed, then every one fails: the machine has stopped.
    pub fn stop_after(&self, changes: u64) {
        let mut state = self.lock();
        state.stop_after = Some(state.operations + changes);
    }

    /// The change after `changes` more fails with an I/O error; those after it succeed.
    pub fn fail_after(&self, changes: u64) {
        let mut state = self.lock();
        state.fail_at = Some(state.operations + changes);
    }

    /// The next sync of a file fails, and what was dirty is dropped, as Linux does.
    pub fn fail_next_sync(&self) {
        self.lock().fail_next_sync = true;
    }

    /// Bounds what all files together may hold; `None` lifts the bound.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Makes the disk refuse every change, or take them again.
    pub fn set_read_only(&self, read_only: bool) {
        self.lock().read_only = read_only;
    }

    /// Flips bits of a byte of a file, as a bad medium does.
    pub fn flip(&self, path: &Path, at: u64, bits: u8) -> io::Result<()> {
        let mut state = self.lock();
        let Node::File(id) = state.node(path)? else { return Err(io::ErrorKind::IsADirectory.into()) };
        let file = state.file_mut(id)?;
        let at = usize::try_from(at).map_err(io::Error::other)?;
        for bytes in [&mut file.now, &mut file.synced] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= bits;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for MemDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        let id = match state.node(path) {
            Ok(Node::File(id)) => id,
            Ok(Node::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
            Err(error) if mode == OpenMode::Read => return Err(error),
            Err(_) => create(&mut state, path)?,
        };
        Ok(Arc::new(MemFile { disk: self.clone(), id, writable: mode == OpenMode::ReadWrite }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.lock();
        if state.node(dir)? != Node::Dir {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let children = state.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        let mut entries: Vec<DirEntry> = children
            .filter_map(|(path, node)| {
                let name = path.file_name()?.to_str()?.to_owned();
                Some(DirEntry { name, is_dir: *node == Node::Dir })
            })
            .collect();
        entries.sort_unstable();
        Ok(entries)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let missing =
            |state: &State| dir.ancestors().any(|dir| !is_root(dir) && !state.names.contains_key(dir));
        if !missing(&state) {
            return Ok(());
        }
        state.admit_change()?;
        for dir in dir.ancestors().filter(|dir| !is_root(dir)) {
            state.names.insert(dir.to_owned(), Node::Dir);
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.node(path)?;
        state.admit_change()?;
        state.names.remove(path);
        Ok(())
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.node(dir)?;
        state.admit_change()?;
        for path in state.below(dir) {
            state.names.remove(&path);
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.node(from)?;
        state.admit_change()?;
        for path in state.below(from) {
            let node = state.names.remove(&path).expect("just listed");
            let rest = path.strip_prefix(from).expect("just listed as below");
            let moved = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            // What was durable under the old directory's name stays so under the new one once
            // the parent is synced: its files' own names did not change.
            if moved != to && state.durable_names.contains_key(&path) {
                state.durable_names.insert(moved.clone(), node);
            }
            state.names.insert(moved, node);
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.admit_change()?;
        state.sync_names(dir);
        // The directory itself is reachable after this: the file systems in use journal it along.
        for dir in dir.ancestors().filter(|dir| !is_root(dir)) {
            state.durable_names.insert(dir.to_owned(), Node::Dir);
        }
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.lock().names.contains_key(path))
    }

    fn file_len(&self, path: &Path) -> io::Result<u64> {
        let state = self.lock();
        let Node::File(id) = state.node(path)? else { return Err(io::ErrorKind::IsADirectory.into()) };
        Ok(state.file(id)?.now.len() as u64)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        let mut state = Self::lock(self);
        if state.locks.insert(path.to_owned(), ()).is_some() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemLock { disk: self.clone(), path: path.to_owned() }))
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let state = Self::lock(self);
        Ok(state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used_bytes())))
    }
}

impl DirLock for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.disk.lock().locks.remove(&self.path);
    }
}

impl DiskFile for MemFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let state = self.disk.lock();
        let bytes = &state.file(self.id)?.now;
        let from = usize::try_from(at).map_or(bytes.len(), |at| at.min(bytes.len()));
        let len = buffer.len().min(bytes.len() - from);
        buffer[..len].copy_from_slice(&bytes[from..from + len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.changing()?;
        let len = state.file(self.id)?.now.len() as u64;
        state.admit_growth((at + bytes.len() as u64).saturating_sub(len))?;
        let file = state.file_mut(self.id)?;
        write_into(&mut file.now, bytes, at);
        file.last_write = Some((at, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.changing()?;
        let fails = std::mem::take(&mut state.fail_next_sync);
        let file = state.file_mut(self.id)?;
        file.last_write = None;
        if fails {
            file.now = file.synced.clone();
            return Err(io::Error::other("the simulated device lost what was dirty"));
        }
        file.synced = file.now.clone();
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.changing()?;
        let had = state.file(self.id)?.now.len() as u64;
        state.admit_growth(len.saturating_sub(had))?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        state.file_mut(self.id)?.now.resize(len, 0);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().file(self.id)?.now.len() as u64)
    }

    fn raw_fd(&self) -> Option<RawFd> {
        None
    }
}

impl MemFile {
    fn changing(&self) -> io::Result<MutexGuard<'_, State>> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut state = self.disk.lock();
        state.admit_change()?;
        Ok(state)
    }
}

fn create(state: &mut State, path: &Path) -> io::Result<FileId> {
    let parent = path.parent().unwrap_or_else(|| Path::new(""));
    if !is_root(parent) && state.node(parent)? != Node::Dir {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    state.admit_change()?;
    let id = state.next_file;
    state.next_file += 1;
    state.files.insert(id, Default::default());
    state.names.insert(path.to_owned(), Node::File(id));
    Ok(id)
}

fn is_root(path: &Path) -> bool {
    path.as_os_str().is_empty() || path == Path::new("/")
}

fn write_into(file: &mut Vec<u8>, bytes: &[u8], at: u64) {
    let at = usize::try_from(at).expect("files in memory fit its addresses");
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Crash, MemDisk};
    use crate::disk::{Disk, OpenMode, read_file, write_atomically};

    const DIR: &str = "/d";
    const FILE: &str = "/d/f";

    fn disk_with(bytes: &[u8]) -> MemDisk {
        let disk = MemDisk::new();
        disk.create_dir_all(Path::new(DIR)).expect("no fault");
        disk.open(Path::new(FILE), OpenMode::ReadWrite)
            .and_then(|file| file.write_at(bytes, 0))
            .expect("no fault");
        disk
    }

    fn content(disk: &MemDisk) -> Option<Vec<u8>> {
        read_file(disk, Path::new(FILE), 100).ok()
    }

    #[test]
    fn a_killed_process_loses_nothing() {
        let disk = disk_with(b"abc");
        disk.crash(Crash::Process);
        assert_eq!(content(&disk), Some(b"abc".to_vec()));
    }

    #[test]
    fn lost_power_takes_names_and_bytes_that_were_not_synced() {
        let disk = disk_with(b"abc");
        disk.crash(Crash::Power);
        assert_eq!(content(&disk), None);

        let disk = disk_with(b"abc");
        disk.sync_dir(Path::new(DIR)).expect("no fault");
        disk.crash(Crash::Power);
        assert_eq!(content(&disk), Some(Vec::new()), "the name was durable, the bytes were not");
    }

    #[test]
    fn a_torn_write_leaves_a_prefix() {
        let disk = disk_with(b"abc");
        disk.sync_dir(Path::new(DIR)).expect("no fault");
        disk.crash(Crash::TornPower { keep: 2 });
        assert_eq!(content(&disk), Some(b"ab".to_vec()));
    }

    #[test]
    fn an_atomic_write_is_the_old_or_the_new_file_at_every_step() {
        for step in 0..20 {
            let disk = disk_with(b"");
            write_atomically(&disk, Path::new(FILE), b"old").expect("no fault");
            disk.stop_after(step);
            let done = write_atomically(&disk, Path::new(FILE), b"new").is_ok();
            disk.crash(Crash::Power);
            let found = content(&disk).expect("never lost");
            assert!(found == b"new" || (!done && found == b"old"), "step {step}: {found:?}");
        }
    }

    #[test]
    fn a_failed_sync_drops_what_was_dirty_and_a_full_disk_says_so() {
        let disk = disk_with(b"abc");
        let file = disk.open(Path::new(FILE), OpenMode::ReadWrite).expect("no fault");
        disk.fail_next_sync();
        assert!(file.sync().is_err());
        assert_eq!(content(&disk), Some(Vec::new()));
        disk.set_capacity(Some(2));
        let error = file.write_at(b"abc", 0).expect_err("three bytes into two");
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        disk.set_capacity(None);
        disk.set_read_only(true);
        assert!(file.write_at(b"a", 0).is_err());
    }

    #[test]
    fn a_lock_is_held_once_until_dropped() {
        let disk = MemDisk::new();
        let lock = Disk::lock(&disk, Path::new("/d/.lock")).expect("free");
        assert!(Disk::lock(&disk, Path::new("/d/.lock")).is_err());
        drop(lock);
        assert!(Disk::lock(&disk, Path::new("/d/.lock")).is_ok());
    }
}
