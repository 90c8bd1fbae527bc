//! Files that are kept open between uses, only so many in a process.
//!
//! A node may have more segments than a process may have files. Each segment keeps its
//! file open as long as there is room; a file that was not used since it was last looked
//! at makes way for a new one (the clock algorithm: nearly the least recently used, and a
//! use costs one store). Whoever uses a file at the moment holds it, open or not here.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::disk::DiskFile;

/// Where one segment keeps its file.
#[derive(Default)]
pub(crate) struct Slot {
    file: Mutex<Option<Arc<dyn DiskFile>>>,
    was_used: AtomicBool,
    is_listed: AtomicBool,
}

/// The files that are kept open, at most so many.
pub struct OpenFiles {
    most: usize,
    /// In the order in which they are looked at next. A slot that closed by itself stays until its turn.
    ring: Mutex<VecDeque<Weak<Slot>>>,
}

impl Slot {
    /// The file, opened if need be, and kept open if `files` has room.
    pub(crate) fn get(
        self: &Arc<Self>,
        files: Option<&OpenFiles>,
        open: impl FnOnce() -> io::Result<Arc<dyn DiskFile>>,
    ) -> io::Result<Arc<dyn DiskFile>> {
        self.was_used.store(true, Ordering::Relaxed);
        let file = {
            let mut held = self.lock();
            if let Some(file) = held.as_ref() {
                return Ok(file.clone());
            }
            held.insert(open()?).clone()
        };
        if let Some(files) = files {
            files.admit(self);
        }
        Ok(file)
    }

    /// Closes the file until it is used again.
    pub(crate) fn close(&self) {
        let file = self.lock().take();
        drop(file);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<dyn DiskFile>>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenFiles {
    /// Keeps at most `most` files open.
    pub const fn new(most: usize) -> Self {
        Self { most, ring: Mutex::new(VecDeque::new()) }
    }

    fn admit(&self, slot: &Arc<Slot>) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_listed.swap(true, Ordering::Relaxed) {
            return;
        }
        ring.push_back(Arc::downgrade(slot));
        while ring.len() > self.most {
            let Some(oldest) = ring.pop_front() else { return };
            let Some(slot) = oldest.upgrade() else { continue };
            let is_open = slot.lock().is_some();
            if is_open && slot.was_used.swap(false, Ordering::Relaxed) {
                ring.push_back(oldest);
            } else {
                slot.is_listed.store(false, Ordering::Relaxed);
                slot.close();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::{OpenFiles, Slot};
    use crate::disk::{Disk, MemDisk, OpenMode};

    /// Slots are used in turn, `!N` closes one; says which are open in the end.
    fn check(most: usize, uses: &str, outcome: &str) {
        let (disk, files) = (MemDisk::new(), OpenFiles::new(most));
        disk.create_dir_all(Path::new("/d")).expect("an empty disk takes directories");
        let slots: Vec<Arc<Slot>> = (0..10).map(|_| Arc::default()).collect();
        for one in uses.split(' ') {
            match one.strip_prefix('!') {
                Some(closed) => slots[closed.parse::<usize>().expect("a digit")].close(),
                None => {
                    let open = || disk.open(Path::new("/d/f"), OpenMode::ReadWrite);
                    let slot = &slots[one.parse::<usize>().expect("a digit")];
                    slot.get(Some(&files), open).expect("no fault");
                }
            }
        }
        let open = slots.iter().enumerate().filter(|(_, slot)| slot.lock().is_some());
        let open: Vec<String> = open.map(|(at, _)| at.to_string()).collect();
        assert_eq!(open.join(" "), outcome, "after {uses}");
    }

    #[test]
    fn only_so_many_files_stay_open_and_the_used_ones_before_the_others() {
        check(3, "0 1 2", "0 1 2");
        check(3, "0 1 2 3", "1 2 3");
        check(3, "0 1 2 3 1 4", "1 3 4");
        check(1, "0 1 2 3", "3");
        check(0, "0", "");
    }

    #[test]
    fn a_file_that_closed_by_itself_makes_room_and_may_come_back() {
        check(2, "0 1 !0 2", "1 2");
        check(2, "0 !0 0 1 !1 1", "0 1");
    }
}
