//! The machine's own disks.

use std::fs::{self, File};
use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustix::fs::{Advice, FlockOperation, fadvise, flock};
use rustix::io::{Errno, ReadWriteFlags, preadv2, pwritev};

use crate::disk::{DirEntry, DirLock, Disk, DiskFile, OpenMode};
use crate::open_files::OpenFiles;

/// More files than that are not worth their memory in the kernel.
const OPEN_FILES_MAX: usize = 16_384;

/// Bytes from one sample to the next where it is asked whether a range is in memory.
const SAMPLE_STEP: usize = 256 << 10;

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

struct RealFile(File);

struct RealLock(#[allow(dead_code, reason = "closing it releases the lock")] File);

impl DirLock for RealLock {}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let writes = mode == OpenMode::ReadWrite;
        let file = File::options().read(true).write(writes).create(writes).truncate(false).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(DirEntry { name, is_dir: entry.file_type()?.is_dir() });
            }
        }
        entries.sort_unstable();
        Ok(entries)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn file_len(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        let file = File::options().write(true).create(true).truncate(false).open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(RealLock(file)))
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn open_files(&self) -> Option<&OpenFiles> {
        // The limit is the process's, and so are the files.
        static OPEN_FILES: OnceLock<OpenFiles> = OnceLock::new();
        Some(OPEN_FILES.get_or_init(|| OpenFiles::new(open_files_max())))
    }

    fn total_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
    }
}

/// Half of what the process may have open: the rest is for connections.
fn open_files_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.map_or(OPEN_FILES_MAX, |limit| usize::try_from(limit / 2).unwrap_or(usize::MAX)).min(OPEN_FILES_MAX)
}

impl DiskFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read_at(&mut buffer[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn write_parts_at(&self, head: &[u8], body: &[u8], at: u64) -> io::Result<()> {
        let parts = [IoSlice::new(head), IoSlice::new(body)];
        let written = match pwritev(&self.0, &parts, at) {
            Ok(written) => written,
            Err(Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        // A disk that is nearly full takes a part and refuses the rest when asked for it.
        let (done, at) = (written.min(head.len()), at + written as u64);
        let rest = &head[done..];
        self.0.write_all_at(rest, at)?;
        self.0.write_all_at(&body[written - done..], at + rest.len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn is_cached(&self, at: u64, len: usize) -> bool {
        // Another answer than "not now" is no reason to take the long way.
        samples(at, len).all(|at| self.sample(at, ReadWriteFlags::NOWAIT) != Err(Errno::AGAIN))
    }

    fn load(&self, at: u64, len: usize) {
        // Only advice: the samples wait for the bytes in any case.
        let _ = fadvise(&self.0, at, NonZeroU64::new(2 * len as u64), Advice::WillNeed);
        for at in samples(at, len) {
            let _ = self.sample(at, ReadWriteFlags::empty());
        }
    }

    fn raw_fd(&self) -> Option<RawFd> {
        Some(self.0.as_raw_fd())
    }
}

impl RealFile {
    /// Reads the byte at `at` and drops it.
    fn sample(&self, at: u64, flags: ReadWriteFlags) -> Result<usize, Errno> {
        preadv2(&self.0, &mut [IoSliceMut::new(&mut [0])], at, flags)
    }
}

/// Where a range is looked at: every so often, and at its last byte.
fn samples(at: u64, len: usize) -> impl Iterator<Item = u64> {
    let last = at + len.saturating_sub(1) as u64;
    (at..last).step_by(SAMPLE_STEP).chain([last])
}

#[cfg(test)]
mod tests {
    use crate::disk::{Disk, OpenMode, RealDisk, read_file};

    #[test]
    fn two_parts_are_written_one_behind_the_other() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("file");
        let file = RealDisk.open(&path, OpenMode::ReadWrite).expect("it is made");
        let written = |head: &[u8], body: &[u8], at| {
            file.write_parts_at(head, body, at).expect("there is room");
            read_file(&RealDisk, &path, 100).expect("it is there")
        };
        assert_eq!(written(b"ab", b"cde", 0), b"abcde");
        assert_eq!(written(b"", b"xy", 1), b"axyde");
        assert_eq!(written(b"p", b"", 6), b"axyde\0p");
    }

    #[test]
    fn a_range_is_looked_at_throughout() {
        let at = |at, len| super::samples(at, len).collect::<Vec<_>>();
        assert_eq!(at(10, 0), [10]);
        assert_eq!(at(10, 1), [10]);
        assert_eq!(at(10, 100), [10, 109]);
        assert_eq!(at(0, 600 << 10), [0, 256 << 10, 512 << 10, (600 << 10) - 1]);
    }

    #[test]
    fn what_was_loaded_is_in_memory_and_can_be_sent() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = RealDisk.open(&dir.path().join("file"), OpenMode::ReadWrite).expect("it is made");
        let bytes = vec![7; 3 << 20];
        file.write_at(&bytes, 0).expect("there is room");
        file.load(0, bytes.len());
        assert!(file.is_cached(0, bytes.len()));
        // Behind the end there is nothing to wait for.
        file.load(4 << 20, 100);
        assert!(file.is_cached(4 << 20, 100));
    }
}
