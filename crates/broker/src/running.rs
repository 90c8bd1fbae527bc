//! The mark of a process at work: `.kastle_running` in every log directory.
//!
//! Who finds no clean-shutdown marker must assume that acknowledged records are missing
//! (KIP-966), for the machine may have lost power. But a process that was killed on a machine
//! that runs on has lost nothing: all it wrote is in the page cache. The mark tells the two
//! apart. It holds the broker's epoch and the id of the machine's boot; found again under
//! the same boot, the broker may say that it knows how its last run ended, as after a stop
//! in order. So a cluster whose processes were all killed comes back with all its replicas
//! in sync. The mark is never synced: it has no meaning after a power cut.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use log::Disk;
use log::disk::{OpenMode, read_file};
use model::BrokerEpoch;

/// The mark's name.
const MARK: &str = ".kastle_running";
/// A mark is one short line.
const BYTES_MAX: u64 = 4 << 10;

/// The marks of one node.
#[derive(Clone)]
pub struct Running {
    disk: Arc<dyn Disk>,
    dirs: Vec<PathBuf>,
    /// The machine's boot, where it can be told.
    boot: Option<String>,
}

impl Running {
    /// Of a node with these log directories, on a machine since its boot `boot`.
    pub fn new(disk: Arc<dyn Disk>, dirs: Vec<PathBuf>, boot: Option<String>) -> Self {
        Self { disk, dirs, boot }
    }

    /// The epoch of the last run, if the machine has run on since and every directory is still what
    /// that run wrote to.
    pub fn last_epoch(&self) -> Option<BrokerEpoch> {
        let boot = self.boot.as_ref()?;
        let mut epochs = self.dirs.iter().map(|dir| {
            let text = read_file(self.disk.as_ref(), &dir.join(MARK), BYTES_MAX).ok()?;
            let (epoch, marked) = std::str::from_utf8(&text).ok()?.trim_end().split_once(' ')?;
            (marked == boot).then(|| BrokerEpoch::from_wire(epoch.parse().ok()?))?
        });
        let first = epochs.next()??;
        epochs.all(|epoch| epoch == Some(first)).then_some(first)
    }

    /// Marks every directory. Without a mark the next start assumes the worst, so a failure is no error.
    pub fn mark(&self, epoch: BrokerEpoch) {
        let Some(boot) = &self.boot else { return };
        for dir in &self.dirs {
            if let Err(error) = self.write(&dir.join(MARK), format!("{epoch} {boot}\n").as_bytes()) {
                tracing::warn!(dir = %dir.display(), %error, "cannot mark the directory as in use");
            }
        }
    }

    /// Takes the marks away: a disk failed, and what was written may be gone.
    pub fn withdraw(&self) {
        for path in self.dirs.iter().map(|dir| dir.join(MARK)) {
            match self.disk.remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::error!(
                    file = %path.display(), %error,
                    "the mark of a running process cannot be removed after a disk failed; \
                     remove it before the next start, or restart the machine"
                ),
            }
        }
    }

    fn write(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        let file = self.disk.open(path, OpenMode::ReadWrite)?;
        file.truncate(0)?;
        file.write_at(text, 0)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use log::Disk;
    use log::disk::{Crash, MemDisk};
    use model::BrokerEpoch;

    use super::Running;

    fn of(disk: &MemDisk, boot: Option<&str>) -> Running {
        let dirs = ["/a", "/b"].map(PathBuf::from).to_vec();
        Running::new(Arc::new(disk.clone()), dirs, boot.map(str::to_owned))
    }

    fn disk() -> MemDisk {
        let disk = MemDisk::new();
        for dir in ["/a", "/b"] {
            disk.create_dir_all(Path::new(dir)).expect("an empty disk takes directories");
        }
        disk.sync_dir(Path::new("/")).expect("no fault");
        disk
    }

    #[test]
    fn a_mark_counts_under_the_same_boot_alone() {
        let disk = disk();
        assert_eq!(of(&disk, Some("boot-1")).last_epoch(), None);
        of(&disk, Some("boot-1")).mark(BrokerEpoch::new(17));
        disk.crash(Crash::Process);
        assert_eq!(of(&disk, Some("boot-1")).last_epoch(), Some(BrokerEpoch::new(17)));
        assert_eq!(of(&disk, Some("boot-2")).last_epoch(), None);
        assert_eq!(of(&disk, None).last_epoch(), None);
        disk.crash(Crash::Power);
        assert_eq!(of(&disk, Some("boot-1")).last_epoch(), None, "it was never synced");
    }

    #[test]
    fn a_directory_without_its_mark_spoils_the_others() {
        let disk = disk();
        of(&disk, Some("boot")).mark(BrokerEpoch::new(3));
        disk.remove_file(Path::new("/b/.kastle_running")).expect("it is there");
        assert_eq!(of(&disk, Some("boot")).last_epoch(), None);
    }

    #[test]
    fn withdrawn_marks_are_gone() {
        let disk = disk();
        let running = of(&disk, Some("boot"));
        running.mark(BrokerEpoch::new(3));
        running.withdraw();
        running.withdraw();
        assert_eq!(running.last_epoch(), None);
    }
}
