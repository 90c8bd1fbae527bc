//! A disk in memory that behaves as badly as real ones do.
//!
//! Clones share the disk: a test keeps one to pull the plug while the code under
//! test holds another. Every change is counted, so that a test can run a scenario
//! once for each step and stop the machine there.

use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::disk::mem_state::{FileRef, Node, State, holds, locked};
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

/// Decides what a power cut leaves of what was never synced. Asked file by file and directory by
/// directory in the order of their paths, within them in the order of the changes. Unless it says
/// otherwise, nothing is left.
pub trait Survival {
    /// The next answers are for the writes of one file, of so many bytes together.
    fn begin_file(&mut self, _bytes: usize) {}

    /// How many of the first of `len` written bytes are left; `later` changes of the file follow.
    fn of_write(&mut self, _len: usize, _later: usize) -> usize {
        0
    }

    /// Whether a change of length is left; if not, nothing after it in this file is.
    fn of_resize(&mut self) -> bool {
        false
    }

    /// How many of so many changes of a directory's names are left: the first ones.
    fn of_names(&mut self, _changes: usize) -> usize {
        0
    }
}

/// What a power cut took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Written, not synced, and gone.
    pub bytes_lost: u64,
    /// Written, not synced, and there all the same.
    pub bytes_survived: u64,
    /// Writes of which a part is left.
    pub writes_torn: u64,
    /// Changes of names that are gone.
    pub names_lost: u64,
}

/// What survives when nothing does.
pub(crate) struct Nothing;

impl Survival for Nothing {}

/// The last write to each file survives up to a length.
struct LastWrite {
    keep: usize,
}

impl Survival for LastWrite {
    fn of_write(&mut self, len: usize, later: usize) -> usize {
        if later == 0 { self.keep.min(len) } else { 0 }
    }
}

struct MemFile {
    disk: MemDisk,
    file: FileRef,
    writable: bool,
}

struct MemLock {
    disk: MemDisk,
    path: PathBuf,
    number: u64,
}

impl MemDisk {
    /// An empty disk without a limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends the run: locks are free again, faults planned are forgotten, and what `how` says is lost.
    pub fn crash(&self, how: Crash) {
        match how {
            Crash::Process => self.lock().forget_processes(),
            Crash::Power => drop(self.lose_power(&mut Nothing)),
            Crash::TornPower { keep } => drop(self.lose_power(&mut LastWrite { keep })),
        }
    }

    /// Ends the run with a power cut that leaves what `survival` says.
    pub fn lose_power(&self, survival: &mut dyn Survival) -> Loss {
        self.lock().lose_power(survival)
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

    /// The next sync of a file fails, and what was dirty is dropped, as Linux does: the file reads
    /// as it was last synced.
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
        let file = self.lock().file(path)?;
        locked(&file).flip(at, bits);
        Ok(())
    }

    /// Every file and its length, in the order of their paths.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.lock().files().into_iter().map(|(path, file)| (path, locked(&file).len())).collect()
    }

    /// Bytes of all files together.
    pub fn used_bytes(&self) -> u64 {
        self.lock().used
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }
}

impl Disk for MemDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        let file = match state.file(path) {
            Err(error) if mode == OpenMode::ReadWrite && error.kind() == io::ErrorKind::NotFound => {
                let (dir, name) = state.place(path)?;
                state.admit_change()?;
                let (number, made) = (state.begin_change(), FileRef::default());
                state.set(&dir, name, Some(Node::File(made.clone())), number);
                made
            }
            found => found?,
        };
        Ok(Arc::new(MemFile { disk: self.clone(), file, writable: mode == OpenMode::ReadWrite }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let dir = self.lock().dir(dir)?;
        let entries = &locked(&dir).names;
        let named = entries.iter().filter_map(|(name, node)| {
            Some(DirEntry { name: name.to_str()?.to_owned(), is_dir: matches!(node, Node::Dir(_)) })
        });
        Ok(named.collect())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if state.dir(dir).is_ok() {
            return Ok(());
        }
        state.admit_change()?;
        state.make_dirs(dir)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.file(path)?;
        let (dir, name) = state.place(path)?;
        state.admit_change()?;
        let number = state.begin_change();
        state.set(&dir, name, None, number);
        Ok(())
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let gone = state.dir(dir)?;
        let (above, name) = state.place(dir)?;
        state.admit_change()?;
        state.empty(&gone);
        let number = state.begin_change();
        state.set(&above, name, None, number);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let node = state.node(from)?;
        let ((old_dir, old_name), (new_dir, new_name)) = (state.place(from)?, state.place(to)?);
        if holds(&node, &new_dir) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if let Ok(replaced) = state.dir(to)
            && !locked(&replaced).names.is_empty()
        {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.admit_change()?;
        let number = state.begin_change();
        state.set(&old_dir, old_name, None, number);
        state.set(&new_dir, new_name, Some(node), number);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.admit_change()?;
        state.sync_names(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.lock().node(path).is_ok())
    }

    fn file_len(&self, path: &Path) -> io::Result<u64> {
        let file = self.lock().file(path)?;
        Ok(locked(&file).len())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        let mut state = Self::lock(self);
        if state.locks.contains_key(path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let number = state.next_lock;
        state.next_lock += 1;
        state.locks.insert(path.to_owned(), number);
        Ok(Box::new(MemLock { disk: self.clone(), path: path.to_owned(), number }))
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let state = Self::lock(self);
        Ok(state.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(state.used)))
    }

    fn total_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(Self::lock(self).capacity.unwrap_or(u64::MAX))
    }
}

impl DirLock for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        // After a crash it may be another's already.
        let mut state = self.disk.lock();
        if state.locks.get(&self.path) == Some(&self.number) {
            state.locks.remove(&self.path);
        }
    }
}

impl DiskFile for MemFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let file = locked(&self.file);
        let bytes = file.bytes();
        let from = usize::try_from(at).map_or(bytes.len(), |at| at.min(bytes.len()));
        let len = buffer.len().min(bytes.len() - from);
        buffer[..len].copy_from_slice(&bytes[from..from + len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut state = self.changing()?;
        let mut file = locked(&self.file);
        let growth = (at + bytes.len() as u64).saturating_sub(file.len());
        state.admit_growth(growth)?;
        file.write(bytes, at);
        if file.links > 0 {
            state.used += growth;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.changing()?;
        let mut file = locked(&self.file);
        if !std::mem::take(&mut state.fail_next_sync) {
            file.sync();
            return Ok(());
        }
        let had = file.len();
        file.lose(&mut Nothing, &mut Loss::default());
        if file.links > 0 {
            state.used = state.used + file.len() - had;
        }
        Err(io::Error::other("the simulated device lost what was dirty"))
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.changing()?;
        let mut file = locked(&self.file);
        let had = file.len();
        state.admit_growth(len.saturating_sub(had))?;
        usize::try_from(len).map_err(io::Error::other)?;
        file.resize(len);
        if file.links > 0 {
            state.used = state.used + len - had;
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(locked(&self.file).len())
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

    #[test]
    fn a_renamed_directory_keeps_what_was_durable_in_it() {
        let (old, new) = (Path::new(DIR), Path::new("/e"));
        let disk = disk_with(b"abc");
        disk.open(Path::new(FILE), OpenMode::ReadWrite).and_then(|file| file.sync()).expect("no fault");
        disk.sync_dir(old).expect("no fault");
        disk.rename(old, new).expect("no fault");
        assert!(!disk.exists(old).expect("no fault"));
        assert_eq!(read_file(&disk, Path::new("/e/f"), 100).expect("moved along"), b"abc");
        disk.crash(Crash::Power);
        assert_eq!(content(&disk), Some(b"abc".to_vec()), "the new name was not durable");
        disk.rename(old, new).and_then(|()| disk.sync_dir(Path::new("/"))).expect("no fault");
        disk.crash(Crash::Power);
        assert_eq!(disk.files(), [("/e/f".into(), 3)]);
    }

    #[test]
    fn a_removed_file_serves_who_has_it_open_and_takes_no_room() {
        let disk = disk_with(b"abc");
        let file = disk.open(Path::new(FILE), OpenMode::ReadWrite).expect("no fault");
        assert_eq!(disk.used_bytes(), 3);
        disk.remove_dir_all(Path::new(DIR)).expect("no fault");
        assert_eq!(disk.used_bytes(), 0);
        file.write_at(b"defg", 3).expect("no fault");
        assert_eq!((file.len().expect("open"), disk.used_bytes()), (7, 0));
    }

    #[test]
    fn a_lock_of_a_killed_process_cannot_free_the_next_ones() {
        let (disk, path) = (MemDisk::new(), Path::new("/d/.lock"));
        let old = Disk::lock(&disk, path).expect("free");
        disk.crash(Crash::Process);
        let _new = Disk::lock(&disk, path).expect("freed by the crash");
        drop(old);
        assert!(Disk::lock(&disk, path).is_err());
    }

    #[test]
    fn ten_thousand_directories_are_made_synced_and_listed_at_once() {
        let disk = MemDisk::new();
        for number in 0..10_000 {
            let dir = format!("/d/{number}");
            disk.create_dir_all(Path::new(&dir)).expect("no fault");
            let file = disk.open(&Path::new(&dir).join("f"), OpenMode::ReadWrite).expect("no fault");
            file.write_at(b"abc", 0).and_then(|()| file.sync()).expect("no fault");
            disk.sync_dir(Path::new(&dir)).and_then(|()| disk.sync_dir(Path::new("/d"))).expect("no fault");
            assert_eq!(disk.list(Path::new(&dir)).expect("no fault").len(), 1);
        }
        disk.crash(Crash::Power);
        assert_eq!((disk.files().len(), disk.used_bytes()), (10_000, 30_000));
    }
}
