//! A machine's disk, which fails on demand.
//!
//! Bytes and names live in [`MemDisk`], which knows what was synced. Here are the processes
//! that use it, one after the other, and the faults: power cuts that tear, flipped
//! bits, a full or read-only or slow or dying device. A process gets its [`Disk`] from
//! [`SimDisk::process`]; once it died, or the next one began, whatever it still holds
//! open only answers errors, so that what is dropped late never reaches the disk.
//!
//! What is written without [`net::Blocking`] (appends into the page cache, the syncs of a
//! start) takes no virtual time; a slow disk is slow for the work that waits for it.

mod damage;
mod process;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use log::Disk;
use log::disk::{Crash, MemDisk};
use net::{Blocking, Spent, WorkTime};

pub use damage::{Flip, Torn};
pub use process::ProcessDisk;

/// How long a piece of disk work takes on a healthy disk, from and to.
const HEALTHY: (Duration, Duration) = (Duration::ZERO, Duration::from_millis(2));

/// A machine's disk, as whoever injects faults holds it. Clones share the disk.
#[derive(Clone)]
pub struct SimDisk {
    mem: MemDisk,
    state: Arc<Mutex<State>>,
}

struct State {
    /// Counts the processes: only the newest reaches the disk, and none after a crash.
    process: u64,
    alive: bool,
    faults: Faults,
    counts: Counts,
    /// One source for each kind of fault: to inject one more of a kind changes no other.
    tearing: Rng,
    flipping: Rng,
    cutting: Rng,
    timing: Rng,
}

/// What is wrong with the disk.
#[derive(Default)]
struct Faults {
    full: bool,
    read_only: bool,
    slow: Option<(Duration, Duration)>,
    next_sync: Option<PathBuf>,
    next_write: Option<PathBuf>,
    unreadable: Option<PathBuf>,
    dead: Option<PathBuf>,
}

/// What happened to a disk, for the coverage of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes to files that were made.
    pub writes: u64,
    /// Syncs of files and directories that were made.
    pub syncs: u64,
    /// Processes that died while the machine went on.
    pub process_crashes: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Bytes that power cuts took.
    pub lost_bytes: u64,
    /// Bytes that were never synced and survived a power cut all the same.
    pub survived_bytes: u64,
    /// Writes of which a power cut left a part.
    pub torn_writes: u64,
    /// Changes of names that power cuts took.
    pub lost_names: u64,
    /// Bits flipped.
    pub flips: u64,
    /// Changes that a full or read-only disk refused.
    pub refused_writes: u64,
    /// Writes that failed in the middle, on a full disk or a failing one.
    pub cut_writes: u64,
    /// Reads that a failing device refused.
    pub failed_reads: u64,
    /// Changes that a failing device refused.
    pub failed_writes: u64,
    /// Syncs that failed.
    pub failed_syncs: u64,
    /// Pieces of work that took longer than a healthy disk ever does.
    pub slow_works: u64,
    /// Milliseconds that all work took.
    pub work_ms: u64,
    /// What processes tried after their death.
    pub stale: u64,
}

impl SimDisk {
    /// An empty disk. Faults draw from `seed`.
    pub fn new(seed: u64) -> Self {
        Self::of(MemDisk::new(), seed)
    }

    /// A disk with what `mem` holds.
    pub fn of(mem: MemDisk, seed: u64) -> Self {
        let mut seeds = Rng::with_seed(seed);
        let state = State {
            process: 0,
            alive: false,
            faults: Faults::default(),
            counts: Counts::default(),
            tearing: seeds.fork(),
            flipping: seeds.fork(),
            cutting: seeds.fork(),
            timing: seeds.fork(),
        };
        Self { mem, state: Arc::new(Mutex::new(state)) }
    }

    /// The disk for a new process. What the one before it still holds is dead, its locks are free.
    pub fn process(&self) -> ProcessDisk {
        let mut state = self.lock();
        state.process += 1;
        state.alive = true;
        self.mem.crash(Crash::Process);
        ProcessDisk::new(self.clone(), state.process)
    }

    /// Where a node on this disk runs its disk work.
    pub fn blocking(&self) -> Blocking {
        Blocking::Timed(Arc::new(self.clone()))
    }

    /// What is on the disk, for a checker or to prepare it: no fault is between.
    pub fn bare(&self) -> &MemDisk {
        &self.mem
    }

    /// Every file with its length, in the order of their paths.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.mem.files()
    }

    /// A file's bytes as a process would read them on a healthy disk.
    pub fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        log::disk::read_file(&self.mem, path, u64::MAX)
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// The process died, the machine goes on: all that was written is there.
    pub fn crash_process(&self) {
        let mut state = self.lock();
        state.alive = false;
        state.counts.process_crashes += 1;
        self.mem.crash(Crash::Process);
    }

    /// The machine lost power: what was not synced is lost, but for what `torn` lets survive.
    pub fn crash_power(&self, torn: Torn) {
        let mut state = self.lock();
        state.alive = false;
        let loss = self.mem.lose_power(torn.survival(&mut state.tearing).as_mut());
        let counts = &mut state.counts;
        counts.power_cuts += 1;
        counts.lost_bytes += loss.bytes_lost;
        counts.survived_bytes += loss.bytes_survived;
        counts.torn_writes += loss.writes_torn;
        counts.lost_names += loss.names_lost;
    }

    /// Flips one bit of one file of those that `is_meant` chooses; `None` when they hold nothing.
    pub fn flip_bit(&self, is_meant: impl Fn(&Path) -> bool) -> Option<Flip> {
        let mut files = self.mem.files();
        files.retain(|(path, len)| *len > 0 && is_meant(path));
        let mut state = self.lock();
        let flip = Flip::draw(&files, &mut state.flipping)?;
        self.mem.flip(&flip.path, flip.at, 1 << flip.bit).expect("it was just listed");
        state.counts.flips += 1;
        Some(flip)
    }

    /// No more room, or room again. What is there may still be written over.
    pub fn set_full(&self, full: bool) {
        self.lock().faults.full = full;
        self.mem.set_capacity(full.then(|| self.mem.used_bytes()));
    }

    /// Room for so many bytes in all, or for any number.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().faults.full = false;
        self.mem.set_capacity(bytes);
    }

    /// Refuses every change, syncs among them, as a file system does that was remounted after an error.
    pub fn set_read_only(&self, read_only: bool) {
        self.lock().faults.read_only = read_only;
    }

    /// From now on a piece of disk work takes from `range.0` to `range.1`; `None` makes it healthy again.
    pub fn slow(&self, range: Option<(Duration, Duration)>) {
        self.lock().faults.slow = range;
    }

    /// The next sync of a file below `dir` fails, once. What was dirty in it is dropped, and it reads
    /// as it was last synced: pages that could not be written are thrown away, not kept for later.
    pub fn fail_next_sync(&self, dir: &Path) {
        self.lock().faults.next_sync = Some(dir.to_owned());
    }

    /// The next write to a file below `dir` fails, once, after any number of its bytes were written.
    pub fn fail_next_write(&self, dir: &Path) {
        self.lock().faults.next_write = Some(dir.to_owned());
    }

    /// Reads of what is at or below `path` fail, until told otherwise.
    pub fn set_unreadable(&self, path: Option<&Path>) {
        self.lock().faults.unreadable = path.map(Path::to_owned);
    }

    /// Everything at or below `dir` fails, as on a device that died, until told otherwise.
    pub fn set_dead(&self, dir: Option<&Path>) {
        self.lock().faults.dead = dir.map(Path::to_owned);
    }

    /// Takes every fault away; what was damaged stays so.
    pub fn heal(&self) {
        self.lock().faults = Faults::default();
        self.mem.set_capacity(None);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WorkTime for SimDisk {
    fn next_work(&self) -> Spent {
        let mut state = self.lock();
        let (least, most) = state.faults.slow.unwrap_or(HEALTHY);
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let total = state.timing.u64(ms(least)..=ms(most).max(ms(least)));
        let before = state.timing.u64(0..=total);
        state.counts.work_ms += total;
        state.counts.slow_works += u64::from(total > ms(HEALTHY.1));
        Spent { before: Duration::from_millis(before), after: Duration::from_millis(total - before) }
    }
}

impl Faults {
    /// What a full disk still has to say about names: there is no room for another.
    fn leaves_no_room(&self, mem: &MemDisk) -> bool {
        self.full && mem.free_bytes(Path::new("/")).is_ok_and(|free| free == 0)
    }
}

/// Whether `path` is at or below where a fault lies.
fn lies_in(path: &Path, fault: Option<&PathBuf>) -> bool {
    fault.is_some_and(|dir| path.starts_with(dir))
}
