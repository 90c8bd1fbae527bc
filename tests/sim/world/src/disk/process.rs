//! The disk as one process has it: every operation passes the faults on its way.
//!
//! A process that died, or that another one replaced, reaches nothing any more: its
//! files, locks and the disk itself answer errors.

use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log::Disk;
use log::disk::{DirEntry, DirLock, DiskFile, OpenMode};

use super::{SimDisk, State, lies_in};

/// The error number of a failing device.
const EIO: i32 = 5;

/// The disk of one process.
#[derive(Clone)]
pub struct ProcessDisk {
    disk: SimDisk,
    number: u64,
}

struct ProcessFile {
    disk: ProcessDisk,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
}

/// What an operation needs of the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// To look at names.
    Look,
    /// To read bytes.
    Read,
    /// To change bytes or names that are there, or to make them durable.
    Change,
    /// To make a new name.
    Name,
}

impl ProcessDisk {
    pub(super) fn new(disk: SimDisk, number: u64) -> Self {
        Self { disk, number }
    }

    /// Carries out an operation on `path`, if the process lives and no fault forbids it.
    fn run<T>(
        &self,
        path: &Path,
        need: Need,
        operation: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.disk.lock();
        if !state.alive || state.process != self.number {
            state.counts.stale += 1;
            return Err(io::Error::other("this process is dead"));
        }
        self.admit(&mut state, path, need)?;
        let done = operation(&mut state);
        if let Err(error) = &done
            && error.kind() == io::ErrorKind::StorageFull
        {
            state.counts.refused_writes += 1;
        }
        done
    }

    fn admit(&self, state: &mut State, path: &Path, need: Need) -> io::Result<()> {
        let changes = matches!(need, Need::Change | Need::Name);
        if lies_in(path, state.faults.dead.as_ref()) {
            let failed =
                if changes { &mut state.counts.failed_writes } else { &mut state.counts.failed_reads };
            *failed += 1;
            return Err(io::Error::from_raw_os_error(EIO));
        }
        if need == Need::Read && lies_in(path, state.faults.unreadable.as_ref()) {
            state.counts.failed_reads += 1;
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let refused = match need {
            Need::Change | Need::Name if state.faults.read_only => io::ErrorKind::ReadOnlyFilesystem,
            Need::Name if state.faults.leaves_no_room(&self.disk.mem) => io::ErrorKind::StorageFull,
            _ => return Ok(()),
        };
        state.counts.refused_writes += 1;
        Err(refused.into())
    }

    fn exists_now(&self, path: &Path) -> bool {
        self.disk.mem.exists(path).unwrap_or(false)
    }
}

impl Disk for ProcessDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let need = match mode {
            OpenMode::Read => Need::Look,
            OpenMode::ReadWrite if self.exists_now(path) => Need::Change,
            OpenMode::ReadWrite => Need::Name,
        };
        let file = self.run(path, need, |_| self.disk.mem.open(path, mode))?;
        Ok(Arc::new(ProcessFile { disk: self.clone(), path: path.to_owned(), file }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.run(dir, Need::Read, |_| self.disk.mem.list(dir))
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let need = if self.exists_now(dir) { Need::Look } else { Need::Name };
        self.run(dir, need, |_| self.disk.mem.create_dir_all(dir))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.run(path, Need::Change, |_| self.disk.mem.remove_file(path))
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.run(dir, Need::Change, |_| self.disk.mem.remove_dir_all(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(from, Need::Change, |_| self.disk.mem.rename(from, to))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.run(dir, Need::Change, |state| {
            state.counts.syncs += 1;
            self.disk.mem.sync_dir(dir)
        })
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.run(path, Need::Look, |_| self.disk.mem.exists(path))
    }

    fn file_len(&self, path: &Path) -> io::Result<u64> {
        self.run(path, Need::Look, |_| self.disk.mem.file_len(path))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.run(path, Need::Look, |_| Disk::lock(&self.disk.mem, path))
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.run(path, Need::Look, |_| self.disk.mem.free_bytes(path))
    }

    fn total_bytes(&self, path: &Path) -> io::Result<u64> {
        self.run(path, Need::Look, |_| self.disk.mem.total_bytes(path))
    }
}

impl DiskFile for ProcessFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.disk.run(&self.path, Need::Read, |_| self.file.read_at(buffer, at))
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.disk.run(&self.path, Need::Change, |state| {
            if lies_in(&self.path, state.faults.next_write.as_ref()) {
                state.faults.next_write = None;
                state.counts.failed_writes += 1;
                let written = state.cutting.usize(0..=bytes.len());
                self.write_part(state, &bytes[..written], at)?;
                return Err(io::Error::from_raw_os_error(EIO));
            }
            match self.file.write_at(bytes, at) {
                Ok(()) => {
                    state.counts.writes += 1;
                    Ok(())
                }
                // The system call writes what there is room for and fails when asked for the rest.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    let fits = self.room(at)?.min(bytes.len());
                    self.write_part(state, &bytes[..fits], at)?;
                    Err(error)
                }
                Err(error) => Err(error),
            }
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.run(&self.path, Need::Change, |state| {
            let fails = lies_in(&self.path, state.faults.next_sync.as_ref());
            if fails {
                state.faults.next_sync = None;
                state.counts.failed_syncs += 1;
                self.disk.disk.mem.fail_next_sync();
            } else {
                state.counts.syncs += 1;
            }
            self.file.sync()
        })
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.disk.run(&self.path, Need::Change, |_| self.file.truncate(len))
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.run(&self.path, Need::Look, |_| self.file.len())
    }

    fn raw_fd(&self) -> Option<RawFd> {
        None
    }
}

impl ProcessFile {
    /// How many bytes can be written at `at`.
    fn room(&self, at: u64) -> io::Result<usize> {
        let free = self.disk.disk.mem.free_bytes(&self.path)?;
        let end = self.file.len()?.saturating_add(free);
        Ok(usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX))
    }

    fn write_part(&self, state: &mut State, part: &[u8], at: u64) -> io::Result<()> {
        if part.is_empty() {
            return Ok(());
        }
        state.counts.cut_writes += 1;
        self.file.write_at(part, at)
    }
}
