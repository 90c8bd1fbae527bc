//! How much room each log directory has left, and who may still use it (`log.dir.reserve.bytes`).
//!
//! ```text
//!   0          half the reserve        the reserve
//!   |  scarce         |      short          |   roomy ...   bytes free
//!     internal topics,  replicas too          clients too
//!     metadata, upkeep
//! ```
//!
//! The disk is asked once a second; what is appended in between is counted, so that a
//! burst cannot run through the reserve. A refused client loses nothing: it tries again.
//! A replica that waits leaves the in-sync set, as any slow one does, and catches up
//! when there is room. Whatever frees room is never refused.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, Ordering};
use std::time::Duration;

use log::Disk;
use model::{Millis, NodeId};

use crate::data::partition::Partition;
use crate::data::plane::Plane;
use crate::data::upkeep;
use crate::handlers::view::is_internal;

/// How often the disks are asked, and how long a replica waits at a time.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// While there is too little room, what retention lets go is looked for as often.
const RETENTION_INTERVAL: Duration = Duration::from_secs(10);
/// The reserve where none is configured: this share of the disk...
const RESERVE_SHARE: i64 = 20;
/// ... and this at most: enough for the node's own records until somebody comes.
const RESERVE_MAX: i64 = 1 << 30;
/// Every one of `log.dirs`, in `cordoned.log.dirs`.
const ALL_DIRS: &str = "*";
/// A level is left when there is this share of the reserve more than it takes to enter it.
const SLACK_SHARE: i64 = 8;

/// Who may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Everybody.
    Roomy,
    /// Replicas, and whoever is within.
    Short,
    /// Only the node itself, what it cannot do without.
    Scarce,
}

/// Why a client's batch is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "The disk of this partition's log directory is nearly full: {free} bytes are free, {reserve} are kept back \
     (log.dir.reserve.bytes). Batches are taken again when there is room."
)]
pub struct Shortage {
    free: i64,
    reserve: i64,
}

/// All log directories, in the order of `log.dirs`.
pub struct Rooms {
    node: NodeId,
    rooms: Vec<Room>,
    /// As configured: -1 for our own choice.
    reserve: AtomicI64,
}

struct Room {
    path: PathBuf,
    /// As the disk said, less what was appended since.
    free: AtomicI64,
    total: AtomicI64,
    level: AtomicU8,
    cordoned: AtomicBool,
}

impl Rooms {
    /// Of directories that nobody has asked yet: they have room.
    pub fn new(node: NodeId, dirs: impl Iterator<Item = PathBuf>, reserve: i64) -> Self {
        let room = |path| Room {
            path,
            free: AtomicI64::new(i64::MAX),
            total: AtomicI64::new(i64::MAX),
            level: AtomicU8::new(Level::Roomy as u8),
            cordoned: AtomicBool::new(false),
        };
        Self { node, rooms: dirs.map(room).collect(), reserve: AtomicI64::new(reserve) }
    }

    /// Takes another `log.dir.reserve.bytes`.
    pub fn set_reserve(&self, bytes: i64) {
        self.reserve.store(bytes, Ordering::Relaxed);
    }

    /// Takes another `cordoned.log.dirs`.
    fn set_cordoned(&self, named: &[String]) {
        let is_meant = |room: &Room, name: &str| name == ALL_DIRS || Path::new(name) == room.path;
        for room in &self.rooms {
            room.cordoned.store(named.iter().any(|name| is_meant(room, name)), Ordering::Relaxed);
        }
        for name in named.iter().filter(|name| !self.rooms.iter().any(|room| is_meant(room, name))) {
            tracing::warn!(
                node = %self.node, dir = name,
                "cordoned.log.dirs names a directory that is none of this node's log.dirs; it is left out"
            );
        }
    }

    /// Whether no new replicas are to be put into directory `dir` (KIP-1066).
    pub fn is_cordoned(&self, dir: usize) -> bool {
        self.rooms.get(dir).is_some_and(|room| room.cordoned.load(Ordering::Relaxed))
    }

    /// Whether a client's batch may be appended in directory `dir`.
    pub fn admit(&self, dir: usize) -> Result<(), Shortage> {
        let Some(room) = self.rooms.get(dir) else { return Ok(()) };
        match self.look(room) {
            Level::Roomy => Ok(()),
            Level::Short | Level::Scarce => Err(Shortage {
                free: room.free.load(Ordering::Relaxed).max(0),
                reserve: self.reserve_of(room),
            }),
        }
    }

    /// How much room `dir` has.
    pub fn level(&self, dir: usize) -> Level {
        self.rooms.get(dir).map_or(Level::Roomy, |room| self.look(room))
    }

    /// So many bytes were appended in `dir`.
    pub fn spend(&self, dir: usize, bytes: usize) {
        if let Some(room) = self.rooms.get(dir) {
            room.free.fetch_sub(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
        }
    }

    /// The disk took no more: nobody tries again before it was asked.
    pub fn note_full(&self, dir: usize) {
        if let Some(room) = self.rooms.get(dir) {
            room.free.store(0, Ordering::Relaxed);
            self.look(room);
        }
    }

    /// Asks the disk about every directory. One that does not answer keeps what it said last.
    pub fn measure(&self, disk: &dyn Disk) {
        for room in &self.rooms {
            if let (Ok(free), Ok(total)) = (disk.free_bytes(&room.path), disk.total_bytes(&room.path)) {
                let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
                room.free.store(bytes(free), Ordering::Relaxed);
                room.total.store(bytes(total), Ordering::Relaxed);
                self.look(room);
            }
        }
    }

    /// Until when a replica of `partition` waits for room; the node's own topics do not.
    pub fn replica_waits_until(&self, now: Millis, partition: &Partition) -> Option<Millis> {
        if self.rooms.iter().all(|room| self.look(room) < Level::Scarce) {
            return None;
        }
        let is_held = self.level(partition.look().dir) == Level::Scarce;
        (is_held && !is_internal(partition.name.topic.as_str())).then(|| now.after(INTERVAL))
    }

    fn is_any_short(&self) -> bool {
        self.rooms.iter().any(|room| self.look(room) > Level::Roomy)
    }

    fn reserve_of(&self, room: &Room) -> i64 {
        match self.reserve.load(Ordering::Relaxed) {
            configured @ 0.. => configured,
            _ => (room.total.load(Ordering::Relaxed) / RESERVE_SHARE).min(RESERVE_MAX),
        }
    }

    /// The level now; a change of it is told.
    fn look(&self, room: &Room) -> Level {
        let (free, reserve) = (room.free.load(Ordering::Relaxed).max(0), self.reserve_of(room));
        let had = Level::of_code(room.level.load(Ordering::Relaxed));
        let level = judge(free, reserve, had);
        if level != had && room.level.swap(level as u8, Ordering::Relaxed) != level as u8 {
            self.tell(room, level, free, reserve);
        }
        level
    }

    fn tell(&self, room: &Room, level: Level, free: i64, reserve: i64) {
        let (node, dir, total) = (self.node, room.path.display(), room.total.load(Ordering::Relaxed));
        match level {
            Level::Roomy => tracing::info!(
                %node, %dir, free, reserve, total,
                "a log directory has room again: clients may write"
            ),
            Level::Short => tracing::warn!(
                %node, %dir, free, reserve, total,
                "a log directory is nearly full: clients' batches are refused, replicas go on; \
                 delete records or topics, shorten retention, or give the disk room"
            ),
            Level::Scarce => tracing::error!(
                %node, %dir, free, reserve, total,
                "half the reserve of a log directory is used: replicas of clients' topics wait, the node's own \
                 records are still written; delete records or topics, shorten retention, or give the disk room"
            ),
        }
    }
}

/// Takes another `cordoned.log.dirs`, and has the controller told.
pub fn cordon(plane: &Plane, named: &[String]) {
    plane.rooms.set_cordoned(named);
    let dirs = plane.options.log_dirs.iter().enumerate();
    let cordoned = dirs.filter(|(dir, _)| plane.rooms.is_cordoned(*dir)).map(|(_, (_, id))| *id).collect();
    plane.options.cordoned_dirs.send_if_modified(|had| {
        let is_new = *had != cordoned;
        *had = cordoned;
        is_new
    });
}

impl Level {
    fn of_code(code: u8) -> Self {
        match code {
            0 => Self::Roomy,
            1 => Self::Short,
            _ => Self::Scarce,
        }
    }
}

/// The level for so many bytes, where it was `had`: one that was reached is left a little later.
fn judge(free: i64, reserve: i64, had: Level) -> Level {
    let slack = |level| if had >= level { reserve / SLACK_SHARE } else { 0 };
    if free < (reserve / 2).saturating_add(slack(Level::Scarce)) {
        Level::Scarce
    } else if free < reserve.saturating_add(slack(Level::Short)) {
        Level::Short
    } else {
        Level::Roomy
    }
}

/// Asks the disks until the node stops; retention comes early where room is needed.
pub async fn run(plane: Arc<Plane>) {
    let mut looked_at = plane.options.clock.now();
    loop {
        tokio::select! {
            biased;
            () = plane.stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        measure(&plane).await;
        let now = plane.options.clock.now();
        if plane.rooms.is_any_short() && now.since(looked_at) >= RETENTION_INTERVAL {
            looked_at = now;
            upkeep::retain(&plane).await;
        }
    }
}

/// A file system that hangs must hang nothing else; in a simulation the question takes no time.
async fn measure(plane: &Arc<Plane>) {
    let asker = plane.clone();
    let work = move || asker.rooms.measure(asker.options.disk.as_ref());
    if plane.options.blocking.has_threads() {
        plane.options.blocking.run(work).await;
    } else {
        work();
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use log::disk::{Disk, MemDisk, OpenMode};
    use model::NodeId;

    use super::{Level, Rooms, judge};

    fn check(free: i64, reserve: i64, levels: [Level; 3]) {
        let found = [Level::Roomy, Level::Short, Level::Scarce].map(|had| judge(free, reserve, had));
        assert_eq!(found, levels, "{free} of {reserve}");
    }

    #[test]
    fn a_level_is_entered_at_its_bound_and_left_above_it() {
        use Level::{Roomy, Scarce, Short};
        check(900, 800, [Roomy, Roomy, Roomy]);
        check(899, 800, [Roomy, Short, Short]);
        check(799, 800, [Short, Short, Short]);
        check(500, 800, [Short, Short, Short]);
        check(499, 800, [Short, Short, Scarce]);
        check(399, 800, [Scarce, Scarce, Scarce]);
        check(0, 0, [Roomy, Roomy, Roomy]);
        check(i64::MAX, i64::MAX, [Roomy, Roomy, Roomy]);
    }

    #[test]
    fn what_is_appended_counts_until_the_disk_is_asked_again() {
        let disk = MemDisk::new();
        disk.set_capacity(Some(2_000));
        let rooms = Rooms::new(NodeId::new(1), std::iter::once(PathBuf::from("/d")), 800);
        rooms.measure(&disk);
        assert_eq!(rooms.admit(0), Ok(()));
        rooms.spend(0, 1_201);
        let refused = rooms.admit(0).expect_err("below the reserve").to_string();
        assert!(refused.contains("799 bytes are free, 800 are kept back"), "{refused}");
        rooms.measure(&disk);
        assert_eq!(rooms.admit(0), Ok(()));
        rooms.note_full(0);
        assert_eq!(rooms.level(0), Level::Scarce);
        rooms.spend(0, 10);
        rooms.set_reserve(0);
        assert_eq!(rooms.admit(0), Ok(()), "no reserve, nothing is refused");
    }

    #[test]
    fn the_reserve_of_a_small_disk_is_a_share_of_it() {
        let disk = MemDisk::new();
        disk.set_capacity(Some(2_000));
        let rooms = Rooms::new(NodeId::new(1), std::iter::once(PathBuf::from("/d")), -1);
        let file = disk.open(std::path::Path::new("/f"), OpenMode::ReadWrite).expect("no fault");
        for (used, level) in [(1_900, Level::Roomy), (1_901, Level::Short), (1_951, Level::Scarce)] {
            file.truncate(used).expect("it fits");
            rooms.measure(&disk);
            assert_eq!(rooms.level(0), level, "{used} of 2000 bytes are used");
        }
    }
}
